//! Versions of keys: a hybrid logical clock's time with the writer as tie-break.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Number of low bits of [`Version::time`] that count events within one millisecond.
pub const VERSION_COUNTER_BITS: u32 = 16;

/// The version of a `set` or a deletion. The greater one wins, on all nodes alike.
///
/// Source: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks", OPODIS 2014.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Unix time in milliseconds (high 48 bits) and a counter (low [`VERSION_COUNTER_BITS`] bits).
    pub time: u64,
    /// The node that wrote it.
    pub node: NodeId,
}

/// How far ahead of this node's own clock a peer's version may be before the peer is not believed: one day.
/// Without a bound one machine with a wrong date would win every write until its date comes.
pub const CLOCK_SKEW_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// A hybrid logical clock: never goes back, stays close to the wall clock, and is ahead of all it has seen.
#[derive(Debug)]
pub struct HybridClock {
    node: NodeId,
    last: u64,
}

impl HybridClock {
    /// A clock of this node that has seen nothing.
    pub const fn new(node: NodeId) -> Self {
        Self { node, last: 0 }
    }

    /// The version of an event now. `unix_ms` is the wall clock.
    pub fn tick(&mut self, unix_ms: u64) -> Version {
        self.last = (unix_ms << VERSION_COUNTER_BITS).max(self.last + 1);
        Version {
            time: self.last,
            node: self.node,
        }
    }

    /// The time that it shows, as [`Version::time`]: what it has seen, or the wall clock where that is ahead. No event.
    pub fn reading(&self, unix_ms: u64) -> u64 {
        self.last.max(unix_ms << VERSION_COUNTER_BITS)
    }

    /// Takes note of a version that came from elsewhere, so that the next [`tick`](Self::tick) is greater.
    ///
    /// Returns false, and takes no note, where the version is more than [`CLOCK_SKEW_MAX_MS`] ahead of the wall clock.
    pub fn observe(&mut self, version: Version, unix_ms: u64) -> bool {
        if version.time >> VERSION_COUNTER_BITS > unix_ms + CLOCK_SKEW_MAX_MS {
            return false;
        }
        self.last = self.last.max(version.time);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back_and_passes_what_it_has_seen() {
        let mut ours = HybridClock::new(NodeId::from_bytes([1; 16]));
        let mut theirs = HybridClock::new(NodeId::from_bytes([2; 16]));
        let first = ours.tick(1_000);
        assert!(ours.tick(1_000) > first);
        let after_a_jump_back = ours.tick(10);
        assert!(after_a_jump_back > first);
        assert_eq!(ours.reading(10), after_a_jump_back.time);
        assert_eq!(ours.reading(9_000), 9_000 << VERSION_COUNTER_BITS);
        assert!(theirs.observe(after_a_jump_back, 5));
        assert!(theirs.tick(5) > after_a_jump_back);
    }

    #[test]
    fn a_version_of_the_far_future_is_not_believed() {
        let mut ours = HybridClock::new(NodeId::from_bytes([1; 16]));
        let future = Version {
            time: u64::MAX,
            node: NodeId::from_bytes([2; 16]),
        };
        assert!(!ours.observe(future, 1_000));
        assert!(ours.tick(1_000) < future);
    }
}
