//! What the store promises, as plainly as it can be written down: a map, and sums that are made anew each time.

use std::collections::BTreeMap;

use bytes::Bytes;
use memproto::control::GrantUse;
use memproto::{BlockClass, BlockId, ErrorCode, NodeId};

use crate::store::{BlockMeta, ENTRY_OVERHEAD, Owner, Usage};

/// What is taken from the budget for a block, or for something else, of this many bytes.
pub(super) const fn charged(bytes: u64) -> u64 {
    bytes + ENTRY_OVERHEAD
}

/// A block that the model knows. Times are in hours on the script's clock.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Another one for each block of a script: ids are used again.
    pub(super) serial: u64,
    pub(super) bytes: Bytes,
    pub(super) class: BlockClass,
    pub(super) owner: Owner,
    pub(super) chunk_of: Option<BlockId>,
    pub(super) expires_hours: Option<u64>,
}

impl Known {
    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn is_live(&self, now_hours: u64) -> bool {
        self.expires_hours.is_none_or(|at| at > now_hours)
    }

    /// Whether the store tells of this block what it is. When it expires is compared by whether it did.
    pub(super) fn is(&self, meta: &BlockMeta) -> bool {
        meta.size == self.size()
            && meta.class == self.class
            && meta.owner == self.owner
            && meta.chunk_of == self.chunk_of
            && meta.expires.is_some() == self.expires_hours.is_some()
    }
}

/// Everything that is paid for.
#[derive(Default)]
pub(super) struct Model {
    pub(super) budget_bytes: u64,
    pub(super) now_hours: u64,
    /// What lies in the store, also where it has expired and was not taken out yet.
    pub(super) blocks: BTreeMap<BlockId, Known>,
    /// What was removed while somebody reads it: paid for until the reader is done.
    pub(super) orphans: Vec<(Owner, u64)>,
    /// Reservations and charges that are held.
    pub(super) held: Vec<(Owner, u64)>,
    pub(super) quotas: BTreeMap<NodeId, u64>,
}

impl Model {
    /// The block, where a reader finds it.
    pub(super) fn live(&self, id: BlockId) -> Option<&Known> {
        self.blocks.get(&id).filter(|known| known.is_live(self.now_hours))
    }

    /// What all that is paid for takes, with whose account pays it.
    fn costs(&self) -> impl Iterator<Item = (Owner, u64)> + '_ {
        let blocks = self.blocks.values();
        blocks
            .map(|known| (known.owner, charged(known.size())))
            .chain(self.orphans.iter().copied())
            .chain(self.held.iter().copied())
    }

    /// What an owner pays.
    fn used(&self, owner: Owner) -> u64 {
        let of_owner = self.costs().filter(|(whose, _)| *whose == owner);
        of_owner.map(|(_, cost)| cost).sum()
    }

    /// How the store is to refuse so many bytes more, the cost of an entry included, or that it is to give them.
    pub(super) fn refusal(&self, owner: Owner, cost: u64) -> Option<ErrorCode> {
        if let Owner::Peer(node) = owner {
            let quota = self.quotas.get(&node).copied().unwrap_or(0);
            if self.used(owner) + cost > quota {
                return Some(ErrorCode::QuotaExceeded);
            }
        }
        let used: u64 = self.costs().map(|(_, cost)| cost).sum();
        (used + cost > self.budget_bytes).then_some(ErrorCode::OutOfMemory)
    }

    /// The sums, made anew.
    pub(super) fn usage(&self) -> Usage {
        let used_bytes = self.costs().map(|(_, cost)| cost).sum();
        let of_peers = self.costs().filter(|(owner, _)| *owner != Owner::Local);
        let cached = self
            .blocks
            .values()
            .filter(|known| known.class == BlockClass::Cache);
        let cache_bytes = cached.map(|known| charged(known.size())).sum();
        Usage {
            blocks: self.blocks.len() as u64,
            budget_bytes: self.budget_bytes,
            used_bytes,
            pinned_bytes: used_bytes - cache_bytes,
            cache_bytes,
            peers_used_bytes: of_peers.map(|(_, cost)| cost).sum(),
        }
    }

    /// A peer's grant.
    pub(super) fn grant_use(&self, node: NodeId) -> GrantUse {
        GrantUse {
            quota_bytes: self.quotas.get(&node).copied().unwrap_or(0),
            used_bytes: self.used(Owner::Peer(node)),
        }
    }
}
