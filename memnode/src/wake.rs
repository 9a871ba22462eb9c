//! Whether this machine slept, or its wall clock was set: told by clocks that part.
//!
//! A machine that sleeps stops its monotonic clock and not its wall clock. Linux also has a clock that counts sleep and
//! that nobody sets (CLOCK_BOOTTIME), so that there a wall clock that was set is told from sleep.

use std::time::Duration;

use crate::platform;

/// How far two clocks part before that counts as sleep or as a clock that was set. Below it a link is none the worse, and
/// time services move clocks by less at a time.
const PARTED_MIN: Duration = Duration::from_secs(2);

/// How late a look may be before this process counts as one that stood still, stopped by a signal or with its virtual
/// machine. A busy machine is late by less.
const LATE_MIN: Duration = Duration::from_secs(5);

/// The clocks at one moment. Each counts from a moment of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    /// Time in which the machine was awake.
    pub awake: Duration,
    /// Time with sleep, where the system has a clock for it that nobody sets.
    pub with_sleep: Option<Duration>,
    /// The wall clock.
    pub wall: Duration,
}

impl Clocks {
    /// The clocks now.
    pub fn now() -> Self {
        platform::clocks()
    }
}

/// What happened between two looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jump {
    /// The machine slept, or this process stood still, for so long.
    Slept(Duration),
    /// The wall clock was set forward by so much.
    SetForward(Duration),
    /// The wall clock was set back by so much.
    SetBack(Duration),
}

/// Looks at the clocks again and again.
#[derive(Debug)]
pub struct WakeWatch {
    last: Clocks,
    every: Duration,
}

impl WakeWatch {
    /// Begins now. `every` is the time between two looks.
    pub fn new(now: Clocks, every: Duration) -> Self {
        Self { last: now, every }
    }

    /// What happened since the last look. Where sleep and a set clock cannot be told apart it is sleep.
    pub fn look(&mut self, now: Clocks) -> Option<Jump> {
        let last = std::mem::replace(&mut self.last, now);
        let awake = now.awake.saturating_sub(last.awake);
        let with_sleep = match (now.with_sleep, last.with_sleep) {
            (Some(now), Some(last)) => Some(now.saturating_sub(last)),
            _ => None,
        };
        let wall = now.wall.saturating_sub(last.wall);
        let real = with_sleep.unwrap_or(wall);
        if real.saturating_sub(awake) >= PARTED_MIN {
            return Some(Jump::Slept(real - awake));
        }
        if awake.saturating_sub(self.every) >= LATE_MIN {
            return Some(Jump::Slept(awake - self.every));
        }
        // The wall clock may stand before the last look: then the difference above is 0.
        let set_back = (last.wall + awake).saturating_sub(now.wall);
        let set_forward = now.wall.saturating_sub(last.wall + awake);
        match with_sleep {
            Some(_) if set_forward >= PARTED_MIN => Some(Jump::SetForward(set_forward)),
            _ if set_back >= PARTED_MIN => Some(Jump::SetBack(set_back)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    fn clocks(awake: u64, with_sleep: Option<u64>, wall: u64) -> Clocks {
        Clocks {
            awake: Duration::from_secs(awake),
            with_sleep: with_sleep.map(Duration::from_secs),
            wall: Duration::from_secs(wall),
        }
    }

    /// What the second of two looks says.
    fn jump(first: Clocks, second: Clocks) -> Option<Jump> {
        let mut watch = WakeWatch::new(first, EVERY);
        let jump = watch.look(second);
        assert_eq!(watch.look(second), None, "a jump is told once");
        jump
    }

    #[test]
    fn sleep_is_told_from_a_clock_that_was_set() {
        let before = clocks(100, Some(500), 10_000);
        assert_eq!(jump(before, clocks(101, Some(501), 10_001)), None);
        assert_eq!(jump(before, clocks(103, Some(503), 10_003)), None, "a late look");
        let hour = Duration::from_secs(3_600);
        assert_eq!(
            jump(before, clocks(101, Some(4_101), 13_601)),
            Some(Jump::Slept(hour))
        );
        assert_eq!(
            jump(before, clocks(101, Some(501), 13_601)),
            Some(Jump::SetForward(hour))
        );
        assert_eq!(
            jump(before, clocks(101, Some(501), 6_401)),
            Some(Jump::SetBack(hour))
        );
    }

    #[test]
    fn without_a_clock_for_sleep_the_wall_clock_tells() {
        let before = clocks(100, None, 10_000);
        assert_eq!(jump(before, clocks(101, None, 10_001)), None);
        assert_eq!(
            jump(before, clocks(101, None, 10_031)),
            Some(Jump::Slept(Duration::from_secs(30)))
        );
        assert_eq!(
            jump(before, clocks(101, None, 9_991)),
            Some(Jump::SetBack(Duration::from_secs(10)))
        );
    }

    #[test]
    fn a_process_that_stood_still_has_slept() {
        assert_eq!(
            jump(clocks(100, Some(500), 10_000), clocks(131, Some(531), 10_031)),
            Some(Jump::Slept(Duration::from_secs(30)))
        );
    }

    #[test]
    fn this_hosts_clocks_go_on() {
        let first = Clocks::now();
        let second = Clocks::now();
        assert!(second.awake >= first.awake && second.with_sleep >= first.with_sleep);
        assert!(second.wall > Duration::from_secs(1_700_000_000), "{second:?}");
    }
}
