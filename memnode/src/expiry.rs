//! When data expires: the clock, moments on it, and the queues of what waits for its moment.
//!
//! Whoever keeps data that may expire has a [`Queue`] beside it, under the same lock, and takes out of it what is due. One
//! task of the node waits in [`Expiry::due`] and then goes through all queues; while nothing expires it sleeps. That
//! expired data is not returned does not hang on that task: a reader looks at the moment itself.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use memproto::ttl::TTL_MS_MAX;
use memproto::{BlockId, Ttl};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The most that is taken out of a queue at a time, so that nobody waits long for its lock.
pub const BATCH_MAX: usize = 256;

/// Bytes that a [`Queue`] takes for a moment: a million that come in their order, as those of one time to live do, take 37 each, allocator
/// included; in no order, or with some gone and others in their place, 28 to 32.
pub const COST: u64 = 37;

/// Nothing is known to expire.
const NEVER: u64 = u64::MAX;

/// A moment on the clock of an [`Expiry`], in microseconds; the clock starts at 1, so that an `Option` takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// The moment as a number that is not 0.
    pub fn as_micros(self) -> u64 {
        self.0.get()
    }

    /// The moment of a number, `None` for 0.
    pub fn from_micros(micros: u64) -> Option<Self> {
        NonZeroU64::new(micros).map(Self)
    }
}

/// The clock of the node's data, and the earliest moment at which any of it expires.
#[derive(Debug)]
pub struct Expiry {
    /// Tokio's clock is the system's monotonic one; tests stop it and move it.
    origin: Instant,
    /// By how much a test has moved this clock alone, in microseconds.
    #[cfg(any(test, fuzzing))]
    ahead: AtomicU64,
    next: AtomicU64,
    earlier: Notify,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            #[cfg(any(test, fuzzing))]
            ahead: AtomicU64::new(0),
            next: AtomicU64::new(NEVER),
            earlier: Notify::new(),
        }
    }
}

impl Expiry {
    /// The moment at which something expires that lives this long from now on.
    pub fn after(&self, ttl: Ttl) -> Moment {
        // At most 2^53 ms: far from the end of 64 bits, even in microseconds.
        Moment(self.now().0.saturating_add(ttl.as_millis().saturating_mul(1_000)))
    }

    /// Whether a moment has come.
    pub fn is_past(&self, moment: Moment) -> bool {
        moment <= self.now()
    }

    /// How long it is until a moment, rounded up to milliseconds; 1 ms where it has come.
    pub fn remaining(&self, moment: Moment) -> Ttl {
        let left_us = moment.0.get().saturating_sub(self.now().0.get());
        Ttl::from_millis(left_us.div_ceil(1_000).clamp(1, TTL_MS_MAX)).expect("it lies within the bounds")
    }

    /// Waits until something in a queue is due. Whoever returns from here has to go through all queues.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing is forgotten.
    pub async fn due(&self) {
        loop {
            let next = self.next.load(Relaxed);
            if next == NEVER {
                self.earlier.notified().await;
                continue;
            }
            let left_us = next.saturating_sub(self.now().0.get());
            if left_us == 0 {
                // Before the queues are looked at: what comes into one behind our back notes its moment anew.
                self.next.store(NEVER, Relaxed);
                return;
            }
            tokio::select! {
                biased;
                () = self.earlier.notified() => {}
                () = tokio::time::sleep(Duration::from_micros(left_us)) => {}
            }
        }
    }

    /// Moves this clock alone, for tests whose other clocks go on.
    #[cfg(any(test, fuzzing))]
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(by.as_micros() as u64, Relaxed);
    }

    fn now(&self) -> Moment {
        let elapsed = self.origin.elapsed().as_micros() as u64;
        #[cfg(any(test, fuzzing))]
        let elapsed = elapsed + self.ahead.load(Relaxed);
        Moment(NonZeroU64::MIN.saturating_add(elapsed))
    }

    /// Takes note of a moment in a queue. Called under the lock of the queue, see [`due`](Self::due).
    fn note(&self, moment: Moment) {
        let moment = moment.0.get();
        if self.next.fetch_min(moment, Relaxed) > moment {
            self.earlier.notify_one();
        }
    }
}

/// What waits to expire, in the order of its moments. Adding and removing take O(log n) of the part that expires at all.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeSet<(Moment, BlockId)>,
}

impl Queue {
    /// Moves an id from one moment to another; `None` is never.
    pub fn change(&mut self, id: BlockId, from: Option<Moment>, to: Option<Moment>, expiry: &Expiry) {
        if let Some(from) = from {
            self.waiting.remove(&(from, id));
        }
        if let Some(to) = to {
            self.waiting.insert((to, id));
            expiry.note(to);
        }
    }

    /// Takes an id out that goes away before its time.
    pub fn remove(&mut self, id: BlockId, moment: Option<Moment>) {
        if let Some(moment) = moment {
            self.waiting.remove(&(moment, id));
        }
    }

    /// How many wait.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out what is due, at most [`BATCH_MAX`]; what is left is noted.
    pub fn take_due(&mut self, expiry: &Expiry) -> Vec<BlockId> {
        let now = expiry.now();
        let mut due = Vec::new();
        while let Some(&(moment, id)) = self.waiting.first() {
            if moment > now || due.len() == BATCH_MAX {
                expiry.note(moment);
                break;
            }
            self.waiting.pop_first();
            due.push(id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn id(number: u64) -> BlockId {
        BlockId::new(number).unwrap()
    }

    fn ttl(ms: u64) -> Ttl {
        Ttl::from_millis(ms).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_moment_wakes_and_the_later_ones_follow() {
        let (expiry, mut queue) = (Arc::new(Expiry::default()), Queue::default());
        let begin = Instant::now();
        let waiting = tokio::spawn({
            let expiry = Arc::clone(&expiry);
            async move { expiry.due().await }
        });
        tokio::task::yield_now().await;
        queue.change(id(1), None, Some(expiry.after(ttl(60_000))), &expiry);
        tokio::task::yield_now().await;
        let second = expiry.after(ttl(10));
        queue.change(id(2), None, Some(second), &expiry);
        waiting.await.unwrap();
        assert!(
            begin.elapsed() < Duration::from_millis(20),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(queue.take_due(&expiry), [id(2)]);
        expiry.due().await;
        assert!(begin.elapsed() >= Duration::from_secs(60));
        assert_eq!(queue.take_due(&expiry), [id(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_batch_is_due_at_once_again() {
        let (expiry, mut queue) = (Expiry::default(), Queue::default());
        for number in 1..=BATCH_MAX as u64 + 1 {
            queue.change(id(number), None, Some(expiry.after(ttl(1))), &expiry);
        }
        expiry.due().await;
        assert_eq!(queue.take_due(&expiry).len(), BATCH_MAX);
        expiry.due().await;
        assert_eq!(queue.take_due(&expiry).len(), 1);
    }

    #[test]
    fn what_is_left_is_rounded_up_and_ends() {
        let expiry = Expiry::default();
        let moment = expiry.after(ttl(1_000_000));
        assert_eq!(expiry.remaining(moment), ttl(1_000_000));
        assert!(!expiry.is_past(moment));
        expiry.advance(Duration::from_secs(1_000));
        assert_eq!(expiry.remaining(moment), ttl(1));
        assert!(expiry.is_past(moment));
        assert!(expiry.after(ttl(TTL_MS_MAX)) > moment);
    }
}
