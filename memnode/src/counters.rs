//! What the node counts about its own work.

use std::sync::atomic::{AtomicU64, Ordering};

/// Event counters. Relaxed: each is a figure of its own, no other memory hangs on it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads that found their key or block.
    pub hits: Counter,
    /// Reads that did not.
    pub misses: Counter,
    /// Writes.
    pub writes: Counter,
    /// Requests that were answered with an error.
    pub errors: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
