//! What entries are charged, and whether the parts of a store say the same: for tests and fuzzing.

use std::collections::BTreeMap;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use memproto::{BlockClass, NodeId};

use super::entry::{HEADER_LEN, NOTE_LEN, OUTSIDE_LEN};
use super::shard::{cost_of_lent, entry_cost};
use super::{ENTRY_OVERHEAD, Store, StoreConfig, lock};
use crate::span::memory_len;

/// Sums over all entries of a store, made anew.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Audit {
    /// What the entries themselves are charged.
    pub(crate) entry_bytes: u64,
    /// What the blocks of class cache are charged, with their entries.
    pub(crate) cache_bytes: u64,
    /// Bytes of all pages that have entries.
    pub(crate) held_bytes: u64,
    /// How many places of an index the longest search looks at.
    pub(crate) longest_search: usize,
    /// What the entries of each owner and what lies outside of them are charged.
    pub(crate) owners: BTreeMap<Option<NodeId>, u64>,
}

impl Store {
    /// A store of so many shards, a power of two, in which the same keys fall to the same shards each time.
    pub(crate) fn seeded(config: StoreConfig, shards: usize, seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self::with(config, shards, hasher)
    }

    /// What a small value of a program of this host is charged in all; `key_len` is 0 without a key.
    pub(crate) fn cost_of_small(key_len: usize, value_len: usize, class: BlockClass, expires: bool) -> u64 {
        entry_cost(
            HEADER_LEN + key_len + value_len,
            key_len > 0,
            true,
            class,
            expires,
        )
    }

    /// What the entry is charged of a block of this host that lies outside, or of an object, beside what its reservation pays.
    pub(crate) fn cost_of_outside(key_len: usize, class: BlockClass, expires: bool) -> u64 {
        entry_cost(
            HEADER_LEN + key_len + OUTSIDE_LEN,
            key_len > 0,
            true,
            class,
            expires,
        )
    }

    /// What a peer is charged in all for a block of so many bytes.
    pub(crate) fn cost_of_lent(bytes: u64, class: BlockClass) -> u64 {
        Self::cost_of_memory(bytes) + Self::cost_of_lent_entry(class)
    }

    /// The part of it that is for the entry.
    pub(crate) fn cost_of_lent_entry(class: BlockClass) -> u64 {
        cost_of_lent(0, class)
    }

    /// What the owner of a block pays for memory of so many bytes outside of the pages.
    pub(crate) fn cost_of_memory(bytes: u64) -> u64 {
        memory_len(bytes) + ENTRY_OVERHEAD
    }

    /// What is charged for what is known of a key that has no value of this node.
    pub(crate) fn cost_of_note(key_len: usize) -> u64 {
        entry_cost(
            HEADER_LEN + key_len + NOTE_LEN,
            true,
            false,
            BlockClass::Pinned,
            false,
        )
    }

    /// Goes through all entries.
    ///
    /// # Panics
    /// Where the parts of a shard contradict each other.
    pub(crate) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for shard in &self.inner.shards {
            let of_shard = lock(shard).audit();
            audit.entry_bytes += of_shard.entry_bytes;
            audit.cache_bytes += of_shard.cache_bytes;
            audit.held_bytes += of_shard.held_bytes;
            audit.longest_search = audit.longest_search.max(of_shard.longest_search);
            for (owner, charged) in of_shard.owners {
                *audit.owners.entry(owner).or_default() += charged;
            }
        }
        audit
    }
}
