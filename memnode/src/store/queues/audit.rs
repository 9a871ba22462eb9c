//! Looks the queues over, for tests.

use super::{List, Queues};
use crate::store::arena::Arena;
use crate::store::entry::{Entry, Lane};

impl Queues {
    /// Walks through both queues. Returns how many entries they have. `bytes_of` tells what an entry is charged.
    ///
    /// # Panics
    /// Where neighbours do not know each other, or a sum is another one.
    pub(in crate::store) fn audit(&self, arena: &Arena, bytes_of: impl Fn(Entry<'_>) -> u64) -> usize {
        let walk = |list: &List, lane: Lane| {
            let (mut before, mut at) = (None, list.newest);
            let (mut len, mut bytes) = (0, 0);
            while let Some(handle) = at {
                let entry = Entry(arena.slot(handle));
                assert_eq!((entry.lane(), entry.newer()), (lane, before));
                len += 1;
                bytes += bytes_of(entry);
                (before, at) = (at, entry.older());
            }
            assert_eq!((list.oldest, list.len, list.bytes), (before, len, bytes));
            len
        };
        walk(&self.small, Lane::Small) + walk(&self.main, Lane::Main)
    }
}
