//! Looks a shard over, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Shard, Sums};
use crate::store::arena::Handle;
use crate::store::chunks::HeldChunk;
use crate::store::entry::{Entry, Kind, Lane};
use crate::store::outside::Outside;
use memproto::{BlockClass, NodeId};

/// Sums over all entries of a shard, made anew.
#[derive(Default)]
pub(in crate::store) struct ShardAudit {
    /// What the entries themselves are charged.
    pub(in crate::store) entry_bytes: u64,
    /// What the blocks of class cache are charged, with their entries, but for chunks.
    pub(in crate::store) cache_bytes: u64,
    /// The chunk of each entry that has one, the class and the owner of the entry.
    pub(in crate::store) chunks: Vec<(Arc<HeldChunk>, BlockClass, Option<NodeId>)>,
    /// What the table of notes is charged.
    pub(in crate::store) note_bytes: u64,
    /// How many notes there are of keys of each node.
    pub(in crate::store) notes: BTreeMap<NodeId, u64>,
    /// Bytes of the pages.
    pub(in crate::store) held_bytes: u64,
    /// How many places of an index the longest search looks at.
    pub(in crate::store) longest_search: usize,
    /// What the entries of each owner and what lies outside of them are charged; this host's programs are `None`.
    pub(in crate::store) owners: BTreeMap<Option<NodeId>, u64>,
}

impl Shard {
    /// Goes through all entries.
    ///
    /// # Panics
    /// Where indexes, pages, queues, moments and sums contradict each other.
    pub(in crate::store) fn audit(&self) -> ShardAudit {
        let mut sums = Sums {
            evictions: self.sums.evictions,
            ..Sums::default()
        };
        let mut audit = ShardAudit::default();
        let (mut outside, mut queued, mut expiring, mut lent) = (BTreeSet::new(), 0, 0, 0);
        let entries = self.all_entries();
        for entry in entries.iter().map(|&handle| self.entry(handle)) {
            let lies_outside = self.outside_of(entry);
            assert_eq!(entry.kind() == Kind::Outside, lies_outside.is_some());
            outside.extend(entry.outside());
            let is_block =
                entry.kind() == Kind::Inline || matches!(lies_outside, Some(Outside::Block { .. }));
            let is_cache = entry.class() == BlockClass::Cache;
            assert_eq!(
                entry.lane() != Lane::None,
                is_cache,
                "what may be evicted stands in a queue"
            );
            queued += usize::from(is_cache);
            expiring += usize::from(entry.expires().is_some());
            sums.blocks += u64::from(is_block);
            sums.keys += u64::from(entry.id().is_some() && !entry.key().is_empty());
            sums.streams += u64::from(matches!(lies_outside, Some(Outside::Stream { .. })));
            sums.remote_bytes += lies_outside.map_or(0, |outside| outside.remote_bytes(self.common.here));
            audit.entry_bytes += self.cost_of(entry);
            let held = lies_outside.and_then(Outside::held);
            let owner = self.account_of(entry).peer();
            audit
                .chunks
                .extend(held.map(|held| (Arc::clone(held), entry.class(), owner)));
            *audit.owners.entry(owner).or_default() +=
                self.cost_of(entry) + lies_outside.map_or(0, Outside::charged);
            lent += usize::from(lies_outside.and_then(Outside::lent).is_some());
            audit.cache_bytes += if is_block && is_cache {
                self.charged(entry) - held.map_or(0, |held| held.paid().bytes())
            } else {
                0
            };
        }
        let arena = self.arena.audit();
        audit.held_bytes = arena.held_bytes as u64;
        assert_eq!(
            arena.live,
            entries.len(),
            "each slot has an entry that is in an index"
        );
        assert_eq!(self.outside.len(), outside.len());
        assert_eq!(
            self.queues
                .audit(&self.arena, |entry: Entry<'_>| self.charged(entry)),
            queued
        );
        assert_eq!(self.expiring.len(), expiring);
        assert_eq!(self.audit_lent(), lent);
        assert_eq!(self.sums, sums);
        audit.note_bytes = self.notes.bytes();
        for (hash, note) in self.notes.all() {
            assert_eq!(self.notes.find(hash), Some(note));
            *audit
                .notes
                .entry(self.common.numbers.node(note.node))
                .or_default() += 1;
        }
        assert_eq!(audit.notes.values().sum::<u64>(), self.notes.len() as u64);
        audit.longest_search = self.by_id.longest_search().max(self.by_key.longest_search());
        audit
    }

    /// Looks the lists of what peers have here over, and counts what stands in them.
    fn audit_lent(&self) -> usize {
        let mut count = 0;
        for owner in self.lent.owners() {
            let before = count;
            for class in [BlockClass::Pinned, BlockClass::Cache] {
                for id in self.lent.ids(&self.outside, owner, class) {
                    let handle = self.find_id(id).expect("what stands in a list has an entry");
                    let entry = self.entry(handle);
                    let is_right = (self.account_of(entry).peer(), entry.class()) == (Some(owner), class);
                    assert!(is_right, "{id} stands in the list of another peer or class");
                    count += 1;
                    assert!(count <= self.outside.len(), "a list goes round in a circle");
                }
            }
            assert!(count > before, "a peer without blocks has no lists");
        }
        count
    }

    /// All entries, each once. Each is found by its names.
    fn all_entries(&self) -> Vec<Handle> {
        let identified = self.identified();
        assert_eq!(identified.len(), self.by_id.len());
        let mut seen = BTreeSet::new();
        for &(handle, id) in &identified {
            assert_eq!(self.find_id(id), Some(handle));
            assert!(seen.insert(handle.to_u32()));
        }
        let keyed = self.keyed();
        assert_eq!(keyed.len(), self.by_key.len());
        for &handle in &keyed {
            let bytes = self.entry(handle).key();
            let hash = self.hash_of_key(bytes);
            let key = super::Key { bytes, hash };
            assert_eq!(self.find_key(key), Some(handle));
            assert_eq!(self.noted(key), None, "what has an entry has no note");
            let has_id = self.entry(handle).id().is_some();
            assert_eq!(seen.insert(handle.to_u32()), !has_id);
        }
        seen.into_iter().filter_map(Handle::from_u32).collect()
    }
}
