//! How far a stream can be read, and being told when that changes.
//!
//! Those who wait are woken in the order in which they began to wait, so that a simulation goes the same way each time.

use std::sync::Mutex;
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::service::lock;

/// How far a stream can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::service) struct Growth {
    pub(in crate::service) size: u64,
    /// Nothing is added any more: it is finished, or freed.
    pub(in crate::service) ended: bool,
    /// How often an append was broken off of which readers may have seen more than was placed.
    pub(in crate::service) breaks: u32,
    /// The size that the last of these left.
    pub(in crate::service) left: u64,
}

impl Growth {
    /// Whether bytes before `at` may be others by now than they were after `breaks` breaks.
    pub(in crate::service) fn is_broken(&self, breaks: u32, at: u64) -> bool {
        match self.breaks.wrapping_sub(breaks) {
            0 => false,
            1 => self.left < at,
            // What those before left is not known any more.
            _ => true,
        }
    }
}

/// The growth of a stream, and those who wait for more.
#[derive(Debug, Default)]
pub(super) struct Grown {
    now: Mutex<Growth>,
    changed: Notify,
    #[cfg(test)]
    waiting: AtomicUsize,
}

impl Grown {
    /// How far it is now.
    pub(super) fn now(&self) -> Growth {
        *lock(&self.now)
    }

    /// Changes it, and tells those who wait where that is a change.
    pub(super) fn change(&self, change: impl FnOnce(&mut Growth)) {
        let is_other = {
            let mut now = lock(&self.now);
            let before = *now;
            change(&mut now);
            *now != before
        };
        if is_other {
            self.changed.notify_waiters();
        }
    }

    /// Waits until it is as wanted.
    ///
    /// # Cancel safety
    /// Dropped, nothing is lost.
    pub(super) async fn wait_for(&self, is_wanted: impl Fn(&Growth) -> bool) {
        loop {
            // Before the look: a change behind it is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if is_wanted(&self.now()) {
                return;
            }
            #[cfg(test)]
            let _waiting = Waiting::begin(&self.waiting);
            changed.await;
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Somebody who waits.
#[cfg(test)]
struct Waiting<'a>(&'a AtomicUsize);

#[cfg(test)]
impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

#[cfg(test)]
impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
