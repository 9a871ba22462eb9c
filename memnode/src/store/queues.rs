//! In which order cache-class entries are evicted: S3-FIFO.
//!
//! Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023. New entries enter a small queue. One that
//! was read by the time it comes to the end of it goes on to the main queue, the others go, and their keys are remembered
//! for a while; a remembered key enters the main queue at once. At the end of the main queue an entry that was read since begins again
//! at its head, with one read less. So what is not read again passes through a tenth of the memory only. A read costs two bits, an eviction
//! takes constant time on average, for each turn was paid for by a read.
//!
//! The queues are lists through the entries themselves, so that one that is freed or moved leaves no trace.

#[cfg(any(test, fuzzing, feature = "simulation"))]
mod audit;

use super::arena::{Arena, Handle};
use super::entry::{Entry, EntryMut, Lane};
use super::ghosts::Ghosts;

/// The share of the small queue in the bytes of both, from section 4.1 of the paper.
const SMALL_PERCENT: u64 = 10;

/// How many reads carry an entry from the small queue into the main one. The paper's own implementation asks for two. One keeps 0.1 to 2.0 points more
/// hits on all traces of `cargo xtask bench cache` but a loop.
const HITS_TO_STAY: u16 = 1;

/// As many reads as are told apart: two bits.
const HITS_MAX: u16 = 3;

#[derive(Default)]
struct List {
    newest: Option<Handle>,
    oldest: Option<Handle>,
    bytes: u64,
    len: usize,
}

/// See the module's documentation. Bytes are what entries are charged.
#[derive(Default)]
pub(super) struct Queues {
    small: List,
    main: List,
    ghosts: Ghosts,
}

impl Queues {
    /// Adds an entry that is in no queue. `tag` is that of its key; one without a key never comes back.
    pub(super) fn enter(&mut self, arena: &mut Arena, handle: Handle, tag: Option<u32>, bytes: u64) {
        let remembered = self.main.len;
        let is_back = tag.is_some_and(|tag| self.ghosts.take(tag, remembered));
        let lane = if is_back { Lane::Main } else { Lane::Small };
        self.push(arena, handle, lane, bytes);
    }

    /// Adds an entry that is in no queue to the main one.
    pub(super) fn enter_main(&mut self, arena: &mut Arena, handle: Handle, bytes: u64) {
        self.push(arena, handle, Lane::Main, bytes);
    }

    /// Takes an entry out, be it in a queue or not.
    pub(super) fn leave(&mut self, arena: &mut Arena, handle: Handle, bytes: u64) {
        let entry = Entry(arena.slot(handle));
        let (newer, older, lane) = (entry.newer(), entry.older(), entry.lane());
        let Some(list) = self.list(lane) else { return };
        list.bytes -= bytes;
        list.len -= 1;
        match newer {
            Some(newer) => EntryMut(arena.slot_mut(newer)).set_older(older),
            None => list.newest = older,
        }
        match older {
            Some(older) => EntryMut(arena.slot_mut(older)).set_newer(newer),
            None => list.oldest = newer,
        }
        EntryMut(arena.slot_mut(handle)).set_lane(Lane::None);
        self.ghosts.shrink(self.main.len);
    }

    /// Takes note that what an entry of a queue is charged changes.
    pub(super) fn change_bytes(&mut self, lane: Lane, from: u64, to: u64) {
        if let Some(list) = self.list(lane) {
            list.bytes = list.bytes - from + to;
        }
    }

    /// Takes note of a read.
    pub(super) fn hit(arena: &mut Arena, handle: Handle) {
        let hits = Entry(arena.slot(handle)).hits();
        if hits < HITS_MAX {
            EntryMut(arena.slot_mut(handle)).set_hits(hits + 1);
        }
    }

    /// Tells the neighbours that an entry has moved; it was copied already.
    pub(super) fn relocate(&mut self, arena: &mut Arena, to: Handle) {
        let entry = Entry(arena.slot(to));
        let (newer, older, lane) = (entry.newer(), entry.older(), entry.lane());
        let Some(list) = self.list(lane) else { return };
        match newer {
            Some(newer) => EntryMut(arena.slot_mut(newer)).set_older(Some(to)),
            None => list.newest = Some(to),
        }
        match older {
            Some(older) => EntryMut(arena.slot_mut(older)).set_newer(Some(to)),
            None => list.oldest = Some(to),
        }
    }

    /// The entry that is to go next, which stays in its queue; `None` where there is none. `bytes_of` tells what an entry is charged.
    pub(super) fn victim(
        &mut self,
        arena: &mut Arena,
        bytes_of: impl Fn(Entry<'_>) -> u64,
    ) -> Option<Handle> {
        loop {
            let small_is_over =
                self.small.bytes * 100 >= (self.small.bytes + self.main.bytes) * SMALL_PERCENT;
            let lane = match (self.small.oldest, self.main.oldest) {
                (Some(_), None) => Lane::Small,
                (Some(_), Some(_)) if small_is_over => Lane::Small,
                _ => Lane::Main,
            };
            let handle = self.list(lane)?.oldest?;
            let entry = Entry(arena.slot(handle));
            let (hits, bytes) = (entry.hits(), bytes_of(entry));
            if lane == Lane::Small && hits < HITS_TO_STAY || lane == Lane::Main && hits == 0 {
                return Some(handle);
            }
            self.leave(arena, handle, bytes);
            self.push(arena, handle, Lane::Main, bytes);
            // One read is what the turn costs. The others stay with the entry, or those that moved into the main queue together would all look
            // unread there.
            EntryMut(arena.slot_mut(handle)).set_hits(hits - 1);
        }
    }

    /// Remembers the key of an entry that is evicted; of those in the main queue the paper remembers none.
    pub(super) fn remember(&mut self, lane: Lane, tag: u32) {
        if lane == Lane::Small {
            let remembered = self.main.len;
            self.ghosts.note(tag, remembered);
        }
    }

    /// Whether there is nothing to evict.
    pub(super) fn is_empty(&self) -> bool {
        self.small.len + self.main.len == 0
    }

    fn push(&mut self, arena: &mut Arena, handle: Handle, lane: Lane, bytes: u64) {
        let Some(list) = self.list(lane) else { return };
        let before = list.newest.replace(handle);
        list.bytes += bytes;
        list.len += 1;
        match before {
            Some(before) => EntryMut(arena.slot_mut(before)).set_newer(Some(handle)),
            None => list.oldest = Some(handle),
        }
        let mut entry = EntryMut(arena.slot_mut(handle));
        entry.set_lane(lane);
        entry.set_newer(None);
        entry.set_older(before);
    }

    fn list(&mut self, lane: Lane) -> Option<&mut List> {
        match lane {
            Lane::None => None,
            Lane::Small => Some(&mut self.small),
            Lane::Main => Some(&mut self.main),
        }
    }
}
