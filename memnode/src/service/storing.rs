//! Blocks that peers are storing here at this moment.
//!
//! A borrower that gives up on a block cancels its request and frees the id, for it cannot know how far the block came. The
//! two meet the request in any state, also between the last byte and the entry in the store. Whoever frees an id
//! therefore marks it here, and the store that is under way drops its block instead of keeping it.

use std::collections::HashMap;
use std::sync::Mutex;

use memproto::{BlockId, NodeId};

use super::lock;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Storing {
    /// Whether the block was freed meanwhile.
    freed: Mutex<HashMap<(NodeId, BlockId), bool>>,
}

/// A block on its way in. Dropped, it no longer is.
pub(super) struct OnItsWay<'a> {
    storing: &'a Storing,
    block: (NodeId, BlockId),
}

impl Storing {
    /// Notes that a peer stores a block. `None` where it is storing this very id already.
    pub(super) fn begin(&self, peer: NodeId, id: BlockId) -> Option<OnItsWay<'_>> {
        let block = (peer, id);
        let mut freed = lock(&self.freed);
        if freed.contains_key(&block) {
            return None;
        }
        freed.insert(block, false);
        Some(OnItsWay { storing: self, block })
    }

    /// Marks a block that a peer frees.
    pub(super) fn note_freed(&self, peer: NodeId, id: BlockId) {
        if let Some(freed) = lock(&self.freed).get_mut(&(peer, id)) {
            *freed = true;
        }
    }
}

impl OnItsWay<'_> {
    /// Whether the block was freed since it began.
    pub(super) fn was_freed(&self) -> bool {
        lock(&self.storing.freed)
            .get(&self.block)
            .copied()
            .unwrap_or(false)
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        lock(&self.storing.freed).remove(&self.block);
    }
}
