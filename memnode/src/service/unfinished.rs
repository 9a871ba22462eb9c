//! What a write has placed before it is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use memproto::{BlockId, NodeId};

use super::Service;

/// Blocks that a write has placed on peers, or is placing, but nobody can reach yet. Dropped before [`finish`](Self::finish), be it
/// by an error or because the caller went away, they are freed.
pub(super) struct Unfinished {
    service: Arc<Service>,
    on_peers: BTreeMap<NodeId, Vec<BlockId>>,
}

impl Unfinished {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            on_peers: BTreeMap::new(),
        }
    }

    /// Notes a block before it is sent to a peer: what arrived there must be freed even where its reply got lost.
    pub(super) fn note_on_peer(&mut self, holder: NodeId, id: BlockId) {
        self.on_peers.entry(holder).or_default().push(id);
    }

    /// The write is done: its blocks can be reached now and stay.
    pub(super) fn finish(mut self) {
        self.on_peers.clear();
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for (holder, ids) in std::mem::take(&mut self.on_peers) {
            self.service.free_later(holder, ids);
        }
    }
}
