//! What the store promises, as plainly as it can be written down: a list of what was put in, and sums that are made anew each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use memproto::control::GrantUse;
use memproto::peer::Manifest;
use memproto::{BlockClass, BlockId, NodeId, Version};

use crate::store::{BlockMeta, ENTRY_OVERHEAD, KeyRecord, KeyValue, Owner, Store, Usage};

/// What a key or an id names.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A value next to its entry.
    Small(Bytes),
    /// A block in memory of its own.
    Block {
        bytes: Bytes,
        owner: Owner,
        chunk_of: Option<BlockId>,
    },
    /// An object on a peer.
    At(NodeId, u64),
    /// A stream.
    Stream(Arc<Manifest>),
    /// A key whose value another node has.
    Theirs,
    /// A key that was deleted.
    Deleted,
}

/// Something that the store knows. Times are in hours on the script's clock.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Another one for each that a script puts in.
    pub(super) serial: u64,
    pub(super) key: Option<String>,
    pub(super) id: Option<BlockId>,
    /// Of the key.
    pub(super) version: Version,
    pub(super) class: BlockClass,
    pub(super) expires_hours: Option<u64>,
    pub(super) what: What,
}

impl Known {
    pub(super) fn is_block(&self) -> bool {
        matches!(self.what, What::Small(_) | What::Block { .. })
    }

    /// Whether it may go when room is needed.
    pub(super) fn is_cached(&self) -> bool {
        self.class == BlockClass::Cache && self.is_block()
    }

    pub(super) fn is_note(&self) -> bool {
        matches!(self.what, What::Theirs | What::Deleted)
    }

    pub(super) fn is_live(&self, now_hours: u64) -> bool {
        self.expires_hours.is_none_or(|at| at > now_hours)
    }

    pub(super) fn owner(&self) -> Owner {
        match self.what {
            What::Block { owner, .. } => owner,
            _ => Owner::Local,
        }
    }

    pub(super) fn chunk_of(&self) -> Option<BlockId> {
        match self.what {
            What::Block { chunk_of, .. } => chunk_of,
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&Bytes> {
        match &self.what {
            What::Small(bytes) | What::Block { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn size(&self) -> u64 {
        match &self.what {
            What::Small(bytes) | What::Block { bytes, .. } => bytes.len() as u64,
            What::At(_, size) => *size,
            What::Stream(manifest) => manifest.size(),
            What::Theirs | What::Deleted => 0,
        }
    }

    /// Whether the store tells of this block what it is. When it expires is compared by whether it did.
    pub(super) fn is(&self, meta: &BlockMeta) -> bool {
        meta.size == self.size()
            && meta.class == self.class
            && meta.owner == self.owner()
            && meta.chunk_of == self.chunk_of()
            && meta.expires.is_some() == self.expires_hours.is_some()
    }

    /// What the store is to tell of its key.
    pub(super) fn record(&self) -> KeyRecord {
        let value = match (&self.what, self.id) {
            (What::Theirs, _) => KeyValue::Theirs,
            (What::Deleted, _) | (_, None) => KeyValue::Deleted,
            (_, Some(id)) => KeyValue::Ours(id),
        };
        KeyRecord {
            version: self.version,
            value,
        }
    }

    /// What its entry costs, which its owner pays.
    pub(super) fn entry_cost(&self) -> u64 {
        let key_len = self.key.as_ref().map_or(0, String::len);
        let expires = self.expires_hours.is_some();
        match &self.what {
            What::Small(bytes) => Store::cost_of_small(key_len, bytes.len(), self.class, expires),
            What::Deleted => Store::cost_of_deletion(key_len),
            // It is no entry.
            What::Theirs => 0,
            What::Block { .. } if self.owner() != Owner::Local => Store::cost_of_lent_entry(self.class),
            What::Block { .. } | What::At(..) | What::Stream(_) => {
                Store::cost_of_outside(key_len, self.class, expires)
            }
        }
    }

    /// What is taken for what lies outside, from its owner.
    pub(super) fn outside_cost(&self) -> Option<u64> {
        match &self.what {
            What::Block { bytes, .. } => Some(Store::cost_of_memory(bytes.len() as u64)),
            What::At(..) => Some(ENTRY_OVERHEAD),
            What::Stream(manifest) => Some(manifest.encoded_len() as u64 + ENTRY_OVERHEAD),
            What::Small(_) | What::Theirs | What::Deleted => None,
        }
    }

    fn remote_bytes(&self) -> u64 {
        match &self.what {
            What::At(..) | What::Stream(_) => self.size(),
            _ => 0,
        }
    }
}

/// Everything that is paid for.
#[derive(Default)]
pub(super) struct Model {
    pub(super) budget_bytes: u64,
    pub(super) now_hours: u64,
    /// What lies in the store, also where it has expired and was not taken out yet.
    pub(super) known: Vec<Known>,
    /// What was removed while somebody reads it: paid for until the reader is done.
    pub(super) orphans: Vec<(Owner, u64)>,
    /// Reservations that are held.
    pub(super) held: Vec<(Owner, u64)>,
    pub(super) quotas: BTreeMap<NodeId, u64>,
    pub(super) evictions: u64,
    /// Peers that are away with data here, and when what they have pinned may go.
    pub(super) absent: BTreeMap<NodeId, u64>,
    /// What the notes of keys of other nodes take together, as the store said last: the model knows only between which bounds that is.
    pub(super) note_bytes: u64,
}

impl Model {
    pub(super) fn of_key(&self, key: &str) -> Option<&Known> {
        self.known.iter().find(|known| known.key.as_deref() == Some(key))
    }

    pub(super) fn of_id(&self, id: BlockId) -> Option<&Known> {
        self.known.iter().find(|known| known.id == Some(id))
    }

    /// One of those that have an id.
    pub(super) fn any_id(&self, which: u8) -> Option<&Known> {
        let all: Vec<&Known> = self.known.iter().filter(|known| known.id.is_some()).collect();
        all.get(usize::from(which).checked_rem(all.len())?).copied()
    }

    pub(super) fn remove(&mut self, serial: u64) {
        self.known.retain(|known| known.serial != serial);
    }

    /// What all that is paid for takes, with whose account pays it.
    fn costs(&self) -> impl Iterator<Item = (Owner, u64)> + '_ {
        let entries = self.known.iter().map(|known| (known.owner(), known.entry_cost()));
        let outside = self
            .known
            .iter()
            .filter_map(|known| Some((known.owner(), known.outside_cost()?)));
        entries
            .chain([(Owner::Local, self.note_bytes)])
            .chain(outside)
            .chain(self.orphans.iter().copied())
            .chain(self.held.iter().copied())
    }

    pub(super) fn used(&self) -> u64 {
        self.costs().map(|(_, cost)| cost).sum()
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        let cached = self.known.iter().filter(|known| known.is_cached());
        cached
            .map(|known| known.entry_cost() + known.outside_cost().unwrap_or(0))
            .sum()
    }

    /// How much is missing for so many bytes more.
    pub(super) fn missing(&self, more: u64) -> u64 {
        (self.used() + more).saturating_sub(self.budget_bytes)
    }

    /// A peer's grant.
    pub(super) fn grant_use(&self, node: NodeId) -> GrantUse {
        let of_peer = self.costs().filter(|(owner, _)| *owner == Owner::Peer(node));
        GrantUse {
            quota_bytes: self.quotas.get(&node).copied().unwrap_or(0),
            used_bytes: of_peer.map(|(_, cost)| cost).sum(),
        }
    }

    /// By how much an owner's grant has too little room for so much more.
    pub(super) fn missing_of_grant(&self, owner: Owner, more: u64) -> u64 {
        match owner {
            Owner::Local => 0,
            Owner::Peer(node) => {
                let grant = self.grant_use(node);
                (grant.used_bytes + more).saturating_sub(grant.quota_bytes)
            }
        }
    }

    /// Whether it may go when room is needed: what is cached, and what a peer left that has been away for too long.
    pub(super) fn may_go(&self, known: &Known) -> bool {
        let is_left = match known.owner() {
            Owner::Local => false,
            Owner::Peer(node) => self.absent.get(&node).is_some_and(|&at| at <= self.now_hours),
        };
        known.is_cached() || is_left
    }

    /// What may go when room is needed.
    pub(super) fn evictable_bytes(&self) -> u64 {
        let evictable = self.known.iter().filter(|known| self.may_go(known));
        evictable
            .map(|known| known.entry_cost() + known.outside_cost().unwrap_or(0))
            .sum()
    }

    /// What an owner has that may be evicted for its own grant.
    pub(super) fn cache_bytes_of(&self, owner: Owner) -> u64 {
        let cached = self
            .known
            .iter()
            .filter(|known| known.is_cached() && known.owner() == owner);
        cached
            .map(|known| known.entry_cost() + known.outside_cost().unwrap_or(0))
            .sum()
    }

    /// The sums, made anew.
    pub(super) fn usage(&self) -> Usage {
        let count = |is_it: fn(&Known) -> bool| self.known.iter().filter(|known| is_it(known)).count() as u64;
        let of_peers = self.costs().filter(|(owner, _)| *owner != Owner::Local);
        let (used_bytes, cache_bytes) = (self.used(), self.cache_bytes());
        Usage {
            blocks: count(Known::is_block),
            keys: count(|known| known.key.is_some() && !known.is_note()),
            streams: count(|known| matches!(known.what, What::Stream(_))),
            remote_bytes: self.known.iter().map(Known::remote_bytes).sum(),
            budget_bytes: self.budget_bytes,
            used_bytes,
            pinned_bytes: used_bytes - cache_bytes,
            cache_bytes,
            peers_used_bytes: of_peers.map(|(_, cost)| cost).sum(),
            evictions: self.evictions,
        }
    }
}
