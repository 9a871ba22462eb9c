//! What the store promises, as plainly as it can be written down: a list of what was put in, and sums that are made anew each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use memproto::control::GrantUse;
use memproto::peer::Manifest;
use memproto::{BlockClass, BlockId, ChunkHash, NodeId, Version};

use crate::store::{
    BlockMeta, Chunk, ENTRY_OVERHEAD, KeyRecord, KeyValue, Owner, PLACED_CHUNK_COST, Store, Usage,
};

/// What a key or an id names.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A value next to its entry.
    Small(Bytes),
    /// A block in memory of its own.
    Block {
        bytes: Bytes,
        owner: Owner,
        /// What it is as a chunk, and the number of the bytes that are held for it.
        chunk: Option<(Chunk, u64)>,
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

    pub(super) fn chunk(&self) -> Option<Chunk> {
        match self.what {
            What::Block { chunk, .. } => chunk.map(|(chunk, _)| chunk),
            _ => None,
        }
    }

    /// The number of the bytes that are held for a chunk, and what the budget pays for them.
    pub(super) fn held(&self) -> Option<(u64, u64)> {
        match &self.what {
            What::Block {
                bytes,
                chunk: Some((_, number)),
                ..
            } => Some((*number, Store::cost_of_chunk(bytes.len() as u64))),
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
            && meta.chunk == self.chunk()
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
            What::Block {
                bytes, chunk: None, ..
            } => Some(Store::cost_of_memory(bytes.len() as u64)),
            What::Block { .. } => self.held().map(|(_, bytes)| bytes + ENTRY_OVERHEAD),
            What::At(..) => Some(ENTRY_OVERHEAD),
            What::Stream(manifest) => {
                let chunks = manifest.chunks().len() as u64 * PLACED_CHUNK_COST;
                Some(manifest.memory_len() as u64 + chunks + ENTRY_OVERHEAD)
            }
            What::Small(_) | What::Theirs | What::Deleted => None,
        }
    }

    /// What its owner pays for it.
    fn cost(&self) -> u64 {
        self.entry_cost() + self.outside_cost().unwrap_or(0)
    }

    fn remote_bytes(&self) -> u64 {
        match &self.what {
            What::At(..) | What::Stream(_) => self.size(),
            _ => 0,
        }
    }
}

/// A value that is read and has no entry any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub(super) owner: Owner,
    /// What its owner pays.
    pub(super) cost: u64,
    /// See [`Known::held`].
    pub(super) held: Option<(u64, u64)>,
}

/// Who has bytes that are held once.
#[derive(Default)]
struct Sharers {
    /// What the budget pays for them.
    bytes: u64,
    /// Shares that are paid by this host's programs, and by peers.
    local: u64,
    lent: u64,
    /// Entries that may not go when room is needed, in the eyes of who asks.
    stay: u64,
    /// Entries that may.
    go: u64,
}

/// Everything that is paid for.
#[derive(Default)]
pub(super) struct Model {
    pub(super) budget_bytes: u64,
    pub(super) now_hours: u64,
    /// What lies in the store, also where it has expired and was not taken out yet.
    pub(super) known: Vec<Known>,
    /// What was removed while somebody reads it: paid for until the reader is done.
    pub(super) orphans: Vec<Orphan>,
    /// What is read by its hash: the number of the bytes that are held, and what the budget pays for them.
    pub(super) read_by_hash: Vec<(u64, u64)>,
    /// Which bytes are found by a hash, where they still are held.
    pub(super) found: BTreeMap<ChunkHash, u64>,
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

    /// The bytes that can be found by a hash, and an entry that has them.
    pub(super) fn find(&self, hash: &ChunkHash) -> Option<(u64, &Known)> {
        let number = *self.found.get(hash)?;
        let is_it = |known: &&Known| known.held().is_some_and(|(held, _)| held == number);
        Some((number, self.known.iter().find(is_it)?))
    }

    /// What all owners pay.
    fn costs(&self) -> impl Iterator<Item = (Owner, u64)> + '_ {
        let known = self.known.iter().map(|known| (known.owner(), known.cost()));
        let orphans = self.orphans.iter().map(|orphan| (orphan.owner, orphan.cost));
        known
            .chain([(Owner::Local, self.note_bytes)])
            .chain(orphans)
            .chain(self.held.iter().copied())
    }

    /// Who has which bytes that are held once.
    fn sharers(&self, may_go: impl Fn(&Known) -> bool) -> BTreeMap<u64, Sharers> {
        let mut all: BTreeMap<u64, Sharers> = BTreeMap::new();
        let mut sharers_of = |(number, bytes): (u64, u64), owner: Option<Owner>, entries: [u64; 2]| {
            let sharers = all.entry(number).or_default();
            sharers.bytes = bytes;
            sharers.local += u64::from(owner == Some(Owner::Local));
            sharers.lent += u64::from(matches!(owner, Some(Owner::Peer(_))));
            sharers.stay += entries[0];
            sharers.go += entries[1];
        };
        for known in &self.known {
            let goes = u64::from(may_go(known));
            if let Some(held) = known.held() {
                sharers_of(held, Some(known.owner()), [1 - goes, goes]);
            }
        }
        for orphan in &self.orphans {
            if let Some(held) = orphan.held {
                sharers_of(held, Some(orphan.owner), [0; 2]);
            }
        }
        for &held in &self.read_by_hash {
            sharers_of(held, None, [0; 2]);
        }
        all
    }

    /// What is paid twice and more often.
    fn shared(&self) -> u64 {
        let sharers = self.sharers(Known::is_cached).into_values();
        sharers
            .map(|of| (of.local + of.lent).saturating_sub(1) * of.bytes)
            .sum()
    }

    pub(super) fn used(&self) -> u64 {
        // What is read by its hash is on nobody's account where it has no entry any more.
        let sharers = self.sharers(Known::is_cached).into_values();
        let of_nobody = sharers.filter(|of| of.local + of.lent == 0);
        let of_nobody: u64 = of_nobody.map(|of| of.bytes).sum();
        self.costs().map(|(_, cost)| cost).sum::<u64>() + of_nobody - self.shared()
    }

    /// What peers use of the budget, without what programs of this host have too.
    fn peers_used(&self) -> u64 {
        let of_peers = self.costs().filter(|(owner, _)| *owner != Owner::Local);
        let sharers = self.sharers(Known::is_cached).into_values();
        let not_alone = sharers.map(|of| match of.local {
            0 => of.lent.saturating_sub(1) * of.bytes,
            _ => of.lent * of.bytes,
        });
        of_peers.map(|(_, cost)| cost).sum::<u64>() - not_alone.sum::<u64>()
    }

    /// What is free of the budget when all go that may.
    fn free_when_gone(&self, may_go: impl Fn(&Known) -> bool) -> u64 {
        let of_entry = |known: &Known| known.cost() - known.held().map_or(0, |(_, bytes)| bytes);
        let entries = self.known.iter().filter(|known| may_go(known)).map(of_entry);
        let entries: u64 = entries.sum();
        let sharers = self.sharers(may_go).into_values();
        let chunks = sharers.filter(|of| of.stay == 0 && of.go > 0);
        entries + chunks.map(|of| of.bytes).sum::<u64>()
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.free_when_gone(Known::is_cached)
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
        self.free_when_gone(|known| self.may_go(known))
    }

    /// Whether anything is read that may have no entry any more, so that what goes does not free what it takes.
    pub(super) fn is_read(&self) -> bool {
        !self.orphans.is_empty() || !self.read_by_hash.is_empty()
    }

    /// What an owner has that may be evicted for its own grant.
    pub(super) fn cache_bytes_of(&self, owner: Owner) -> u64 {
        let cached = self
            .known
            .iter()
            .filter(|known| known.is_cached() && known.owner() == owner);
        cached.map(Known::cost).sum()
    }

    /// The sums, made anew.
    pub(super) fn usage(&self) -> Usage {
        let count = |is_it: fn(&Known) -> bool| self.known.iter().filter(|known| is_it(known)).count() as u64;
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
            peers_used_bytes: self.peers_used(),
            shared_bytes: self.shared(),
            evictions: self.evictions,
        }
    }
}
