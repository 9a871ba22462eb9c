//! Flushing: all that the programs of this host stored is freed, wherever it lies. What peers stored here stays.

use futures_util::stream::{self, StreamExt};
use memproto::control::Freed;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::{PeerReply, PeerRequest};
use memproto::{BlockId, NodeId};

use super::{Service, unexpected_reply};
use crate::body::Body;
use crate::store::Owner;

/// How many values are freed at the same time: what lies on a peer takes a round trip, and a link has room for a few hundred
/// requests of all callers.
const UNDER_WAY_MAX: usize = 64;

/// The word that stands for every connected peer.
const ALL: &str = "all";

/// Which peers may flush this node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FlushAllowed {
    /// None.
    #[default]
    None,
    /// These trusted devices, by name, id or prefix of an id.
    Trusted(Vec<String>),
    /// Every connected one.
    All,
}

impl FlushAllowed {
    /// What a list of names means; `all` among them stands for every peer.
    pub fn new(names: &[String]) -> Self {
        match names {
            [] => FlushAllowed::None,
            names if names.iter().any(|name| name == ALL) => FlushAllowed::All,
            names => FlushAllowed::Trusted(names.to_vec()),
        }
    }
}

impl Service {
    /// Frees all keys, blocks and streams that programs of this host stored. What is stored meanwhile may stay.
    ///
    /// # Cancel safety
    /// What was freed before stays freed.
    pub async fn flush(&self) -> ApiResult<Freed> {
        let mut freed = Freed::default();
        for shard in 0.. {
            let Some(ids) = self.store.ids_of_programs(shard) else {
                break;
            };
            let mut each =
                stream::iter(ids.into_iter().map(|id| self.flush_one(id))).buffer_unordered(UNDER_WAY_MAX);
            while let Some(one) = each.next().await {
                freed.blocks += one.blocks;
                freed.bytes += one.bytes;
            }
        }
        for freed_now in self.writing.ids().into_iter().filter_map(|id| self.free_open(id)) {
            freed.blocks += freed_now.blocks;
            freed.bytes += freed_now.bytes;
        }
        tracing::info!(
            blocks = freed.blocks,
            bytes = freed.bytes,
            "freed all that programs of this host stored"
        );
        Ok(freed)
    }

    /// Asks a peer to flush itself.
    ///
    /// # Errors
    /// As for every request to a peer that is named; `Denied` where its owner does not allow it.
    pub async fn flush_peer(&self, name: &str) -> ApiResult<Freed> {
        let link = self.peers.resolve_link(name)?;
        match link.request(PeerRequest::Flush, Body::empty()).await?.0 {
            PeerReply::Freed { blocks, bytes, usage } => {
                link.note_borrowed(usage);
                Ok(Freed { blocks, bytes })
            }
            _ => Err(unexpected_reply(&link)),
        }
    }

    /// Flushes this node for a peer, where the person at this machine allows it to that peer.
    pub(super) async fn flush_for_peer(&self, peer: NodeId) -> ApiResult<PeerReply> {
        if !self.may_flush(peer) {
            return Err(ApiError::new(
                ErrorCode::Denied,
                format!(
                    "'{}' does not let this node free what its own programs stored: its owner allows it with the setting \
                     allow_flush = \"{}\"",
                    self.config.name, peer
                ),
            ));
        }
        tracing::warn!(%peer, "a peer flushes this node, as allow_flush allows");
        let Freed { blocks, bytes } = self.flush().await?;
        let usage = self.store.grant_use(peer);
        Ok(PeerReply::Freed { blocks, bytes, usage })
    }

    /// Whether a peer may flush this node. A name or prefix counts while exactly one trusted device is meant by it: peers
    /// choose their names themselves.
    fn may_flush(&self, peer: NodeId) -> bool {
        match &self.config.allow_flush {
            FlushAllowed::None => false,
            FlushAllowed::All => true,
            FlushAllowed::Trusted(names) => names
                .iter()
                .any(|name| self.peers.resolve_trusted(name) == Ok(peer)),
        }
    }

    async fn flush_one(&self, id: BlockId) -> Freed {
        let is_of_programs = |meta: &crate::store::BlockMeta| meta.owner == Owner::Local;
        match self.end_value(id, is_of_programs) {
            Some(removed) => self.free_removed(removed).await,
            None => Freed::default(),
        }
    }
}
