//! What goes where room is needed: of everybody in the order of the queues, of one peer in that in which it came.

use memproto::{BlockClass, BlockId, NodeId};

use super::costs::charged;
use super::{Displaced, Shard};
use crate::store::entry::EntryMut;

impl Shard {
    /// Evicts until so many bytes are free, or nothing is left to evict. Returns what was freed, and what is to be dropped outside of the
    /// lock.
    pub(in crate::store) fn evict(&mut self, wanted: u64) -> (u64, Vec<Displaced>) {
        let (mut freed, mut evicted) = (0, Vec::new());
        while freed < wanted && !self.queues.is_empty() {
            let (outside, arena, queues) = (&self.outside, &mut self.arena, &mut self.queues);
            let Some(handle) = queues.victim(arena, |entry| charged(entry, outside)) else {
                break;
            };
            let entry = self.entry(handle);
            let (lane, key) = (entry.lane(), entry.key());
            let tag = (!key.is_empty()).then(|| self.tag_of_key(key));
            if let Some(tag) = tag {
                self.queues.remember(lane, tag);
            }
            self.sums.evictions += 1;
            let displaced = self.remove(handle);
            freed += displaced.freed;
            if displaced.outside.is_some() {
                evicted.push(displaced);
            }
        }
        (freed, evicted)
    }

    /// Evicts blocks of one peer in one class, the oldest first, until so many bytes are free or none is left. One of class cache that was
    /// read begins again as the newest, with one read less. At a chunk of the stream `but` that was not read it ends: that stream is being
    /// written, and what is behind the chunk is hardly older. Returns what was freed, and what is to be dropped outside of the lock.
    ///
    /// What is of class cache goes for the grant of the peer, and what it was charged counts. What is pinned goes for the budget, and of a
    /// chunk that somebody else has too only the entry counts.
    pub(in crate::store) fn evict_lent(
        &mut self,
        owner: NodeId,
        class: BlockClass,
        wanted: u64,
        but: Option<BlockId>,
    ) -> (u64, Vec<Displaced>) {
        let (mut freed, mut evicted) = (0, Vec::new());
        while freed < wanted
            && let Some(number) = self.lent.oldest(owner, class)
        {
            let found = self.outside.get(number).and_then(|outside| {
                let (_, links) = outside.lent()?;
                Some((self.find_id(links.id)?, outside.chunk_of()))
            });
            let (handle, chunk_of) = found.expect("what stands in a list of a peer has an entry");
            let entry = self.entry(handle);
            let (charged, hits) = (self.charged(entry), entry.hits());
            if hits > 0 {
                EntryMut(self.arena.slot_mut(handle)).set_hits(hits - 1);
                self.lent.leave(&mut self.outside, number, class);
                self.lent.enter(&mut self.outside, number, class);
                continue;
            }
            if chunk_of.is_some() && chunk_of == but {
                break;
            }
            self.sums.evictions += 1;
            let displaced = self.remove(handle);
            freed += match class {
                BlockClass::Cache => charged,
                BlockClass::Pinned => displaced.freed,
            };
            evicted.push(displaced);
        }
        (freed, evicted)
    }

    /// The ids of all blocks of a peer, those of each class in the order in which they came.
    pub(in crate::store) fn lent_to(&self, owner: NodeId) -> Vec<BlockId> {
        let of = |class| self.lent.ids(&self.outside, owner, class);
        of(BlockClass::Pinned).chain(of(BlockClass::Cache)).collect()
    }
}
