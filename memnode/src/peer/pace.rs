//! How fast strangers may begin something.
//!
//! Two people compare a code of six digits. Somebody between their nodes who shakes hands with both needs two equal codes, and
//! learns the code of a handshake before he has to finish it, so that he can begin again and again. A pace for all
//! strangers together leaves him a few hundred attempts in the minutes for which a code stands on a screen, of the million
//! that he needs.

use std::time::{Duration, Instant};

/// A burst, then one at a time: the generic cell rate algorithm (ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pause: Duration,
    burst: u32,
    /// When those so far would be through if they had come one at a time.
    through_at: Option<Instant>,
}

impl Pace {
    /// At most `burst` at once, and one more after each `pause`.
    pub(super) fn new(burst: usize, pause: Duration) -> Self {
        Self {
            pause,
            burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1),
            through_at: None,
        }
    }

    /// Counts one more, or refuses it.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let through_at = self.through_at.map_or(now, |at| at.max(now));
        if through_at > now + self.pause.saturating_mul(self.burst - 1) {
            return false;
        }
        self.through_at = Some(through_at + self.pause);
        true
    }

    /// Takes back one that was admitted: it was no stranger.
    pub(super) fn refund(&mut self) {
        self.through_at = self.through_at.and_then(|at| at.checked_sub(self.pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let begin = Instant::now();
        let mut pace = Pace::new(3, Duration::from_secs(6));
        let mut admit = |secs| pace.admit(begin + Duration::from_secs(secs));
        assert!(admit(0) && admit(0) && admit(0));
        assert!(!admit(0) && !admit(5));
        assert!(admit(6));
        assert!(!admit(11));
        assert!(admit(1_000) && admit(1_000) && admit(1_000) && !admit(1_000));
    }

    #[test]
    fn what_was_no_stranger_does_not_count() {
        let now = Instant::now();
        let mut pace = Pace::new(1, Duration::from_secs(6));
        for _ in 0..5 {
            assert!(pace.admit(now));
            pace.refund();
        }
        assert!(pace.admit(now));
        assert!(!pace.admit(now));
    }
}
