//! What entries are charged, what lies where, and whether the parts of a store say the same: for tests, fuzzing and simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use memproto::{BlockClass, BlockId, NodeId};

use super::chunks::{CHUNK_OVERHEAD, HeldChunk};
use super::entry::{DELETION_LEN, HEADER_LEN, OUTSIDE_LEN};
use super::notes;
use super::shard::{cost_of_lent, entry_cost};
use super::{ENTRY_OVERHEAD, Owner, Place, Store, StoreConfig, lock};
use crate::span::memory_len;

/// Sums over all entries of a store, made anew.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// What the entries themselves are charged.
    pub entry_bytes: u64,
    /// What is free when all blocks of class cache go: these with their entries, without chunks that somebody has pinned too.
    pub cache_bytes: u64,
    /// Number of chunks that differ, or are held twice because nobody could tell that they do not.
    pub chunks: u64,
    /// What entries are charged for chunks beyond what these take, because several have them.
    pub shared_bytes: u64,
    /// What peers pay of the budget, without chunks that programs of this host have too.
    pub peers_used_bytes: u64,
    /// What the notes of keys of other nodes are charged.
    pub note_bytes: u64,
    /// Bytes of all pages that have entries.
    pub held_bytes: u64,
    /// How many places of an index the longest search looks at.
    pub longest_search: usize,
    /// What the entries of each owner and what lies outside of them are charged; this host's programs are `None`.
    pub owners: BTreeMap<Option<NodeId>, u64>,
}

/// The entries that have a chunk.
struct SharedBy {
    held: Arc<HeldChunk>,
    /// How many are pinned, and of class cache.
    entries: [u32; 2],
    /// How many are of peers.
    lent: u64,
}

impl Store {
    /// A store of so many shards, a power of two, in which the same keys fall to the same shards each time.
    pub fn seeded(config: StoreConfig, shards: usize, seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self::with(config, shards, hasher)
    }

    /// What a small value of a program of this host is charged in all; `key_len` is 0 without a key.
    pub fn cost_of_small(key_len: usize, value_len: usize, class: BlockClass, expires: bool) -> u64 {
        entry_cost(
            HEADER_LEN + key_len + value_len,
            key_len > 0,
            true,
            class,
            expires,
        )
    }

    /// What the entry is charged of a block of this host that lies outside, or of an object, beside what its reservation pays.
    pub fn cost_of_outside(key_len: usize, class: BlockClass, expires: bool) -> u64 {
        entry_cost(
            HEADER_LEN + key_len + OUTSIDE_LEN,
            key_len > 0,
            true,
            class,
            expires,
        )
    }

    /// What a peer is charged in all for a block of so many bytes.
    pub fn cost_of_lent(bytes: u64, class: BlockClass) -> u64 {
        Self::cost_of_memory(bytes) + Self::cost_of_lent_entry(class)
    }

    /// The same for a chunk.
    pub fn cost_of_lent_chunk(stored_bytes: u64, class: BlockClass) -> u64 {
        Self::cost_of_lent(stored_bytes, class) + CHUNK_OVERHEAD
    }

    /// The part of it that is for the bytes, and that the budget pays once.
    pub fn cost_of_chunk(stored_bytes: u64) -> u64 {
        memory_len(stored_bytes) + CHUNK_OVERHEAD
    }

    /// The part of it that is for the entry.
    pub fn cost_of_lent_entry(class: BlockClass) -> u64 {
        cost_of_lent(0, class)
    }

    /// What the owner of a block pays for memory of so many bytes outside of the pages.
    pub fn cost_of_memory(bytes: u64) -> u64 {
        memory_len(bytes) + ENTRY_OVERHEAD
    }

    /// What is charged for a key that was deleted.
    pub fn cost_of_deletion(key_len: usize) -> u64 {
        entry_cost(
            HEADER_LEN + key_len + DELETION_LEN,
            true,
            false,
            BlockClass::Pinned,
            false,
        )
    }

    /// What the first notes of a shard are charged together.
    pub const COST_OF_FIRST_NOTES: u64 = notes::BYTES_MIN;

    /// Goes through all entries.
    ///
    /// # Panics
    /// Where the parts of a shard contradict each other.
    pub fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        let mut notes = BTreeMap::new();
        let mut chunks = Vec::new();
        for shard in &self.inner.shards {
            let of_shard = lock(shard).audit();
            audit.entry_bytes += of_shard.entry_bytes;
            audit.cache_bytes += of_shard.cache_bytes;
            audit.note_bytes += of_shard.note_bytes;
            audit.held_bytes += of_shard.held_bytes;
            chunks.extend(of_shard.chunks);
            for (node, count) in of_shard.notes {
                *notes.entry(node).or_default() += count;
            }
            audit.longest_search = audit.longest_search.max(of_shard.longest_search);
            for (owner, charged) in of_shard.owners {
                *audit.owners.entry(owner).or_default() += charged;
            }
        }
        assert_eq!(
            self.inner.common.numbers.counts(),
            notes,
            "each number has its notes"
        );
        self.audit_chunks(chunks, &mut audit);
        audit
    }

    /// Looks over what entries have in common. Nobody else is at it meanwhile.
    fn audit_chunks(&self, of_entries: Vec<(Arc<HeldChunk>, BlockClass, Option<NodeId>)>, audit: &mut Audit) {
        let lent = audit.owners.iter().filter(|(owner, _)| owner.is_some());
        audit.peers_used_bytes = lent.map(|(_, charged)| charged).sum();
        let mut chunks: BTreeMap<*const HeldChunk, SharedBy> = BTreeMap::new();
        for (held, class, owner) in of_entries {
            let by = chunks.entry(Arc::as_ptr(&held)).or_insert(SharedBy {
                held,
                entries: [0; 2],
                lent: 0,
            });
            by.entries[usize::from(class == BlockClass::Cache)] += 1;
            by.lent += u64::from(owner.is_some());
        }
        for SharedBy { held, entries, lent } in chunks.values() {
            assert_eq!(held.paid().entries(), *entries, "pinned, cache");
            let (bytes, all) = (held.paid().bytes(), u64::from(entries.iter().sum::<u32>()));
            audit.shared_bytes += (all - 1) * bytes;
            // Each of them was added above.
            audit.peers_used_bytes -= if *lent == all { lent - 1 } else { *lent } * bytes;
            if let [0, _] = entries {
                audit.cache_bytes += bytes;
            }
        }
        audit.chunks = chunks.len() as u64;
        for found in self.inner.common.chunks.all() {
            let is_had = chunks.contains_key(&Arc::as_ptr(&found));
            assert!(is_had, "chunk {} has no entry and is found", found.hash());
        }
    }

    /// The blocks of this store that peers pay for: who, which, and what each is charged.
    pub fn lent_blocks(&self) -> Vec<(NodeId, BlockId, u64)> {
        let mut lent = Vec::new();
        for shard in &self.inner.shards {
            let shard = lock(shard);
            for (handle, id) in shard.with_outside() {
                if let Some(meta) = shard.meta(handle)
                    && let Owner::Peer(peer) = meta.owner
                {
                    lent.push((peer, id, shard.charged(shard.entry(handle))));
                }
            }
        }
        lent.sort_unstable();
        lent
    }

    /// The blocks that this store knows to lie on peers: on whom, and which. Chunks of streams are not among them.
    pub fn placed_blocks(&self) -> Vec<(NodeId, BlockId)> {
        let mut placed = Vec::new();
        for shard in &self.inner.shards {
            let shard = lock(shard);
            for (handle, id) in shard.with_outside() {
                if let Some(Place::At(holder)) = shard.place_of(handle) {
                    placed.push((holder, id));
                }
            }
        }
        placed.sort_unstable();
        placed
    }
}
