//! Whether a task that finds nothing to read looks again at once or sleeps.
//!
//! A program that sends one request after the other is answered within microseconds and sends the next one as soon, and so does a peer. Sleeping in between costs
//! more than the rest: the system has to take the thread off its core, to notice what arrives, and to wake it, and on another core that is idle
//! that alone takes tens of microseconds. So a session whose program was quick the last time looks again for a little while, and lets
//! whatever else wants the core go first each time ([`sched_yield(2)`](https://man7.org/linux/man-pages/man2/sched_yield.2.html)). With program
//! and node on one core that is as good as a direct switch from one to the other and back.
//!
//! It is given up at once where it does not pay: one wait that is longer ends it, until the program is quick again; on a core that others want,
//! the session goes back to sleep, which the scheduler rewards; and of the sessions of a thread one at a time looks again, and of the links of
//! a node, for with more of them there is always something to do. An idle node does nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a session looks again before it sleeps, unless a setting says otherwise: about what it takes to wake a thread on an idle core, so that at
/// worst it costs twice as much as sleeping (Karlin, Manasse, McGeoch, Owicki, "Competitive randomized algorithms for nonuniform problems", 1990).
pub const LOOK_AGAIN_DEFAULT: Duration = Duration::from_micros(50);

/// Whoever gets the core for longer than this meanwhile is no program that answers, but one that computes.
const CROWDED: Duration = Duration::from_micros(200);

/// How long a session does not look again on a core that was crowded.
const CROWDED_REST: Duration = Duration::from_millis(100);

thread_local! {
    /// Whether a session of this thread looks again.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// Beside whom one looks again.
#[derive(Debug)]
enum Turn {
    /// Beside everyone.
    Free,
    /// One of its thread at a time.
    OfThread,
    /// One of those at a time that share this.
    Shared(Arc<AtomicBool>),
}

impl Turn {
    /// Takes the turn, where nobody has it.
    fn take(&self) -> bool {
        match self {
            Turn::Free => true,
            Turn::OfThread => !LOOKING.replace(true),
            Turn::Shared(taken) => !taken.swap(true, Ordering::Relaxed),
        }
    }

    /// Gives it back.
    fn give_back(&self) {
        match self {
            Turn::Free => {}
            Turn::OfThread => LOOKING.set(false),
            Turn::Shared(taken) => taken.store(false, Ordering::Relaxed),
        }
    }
}

/// The habits of whom one waits for.
#[derive(Debug)]
pub(crate) struct Patience {
    /// How long it looks again; 0 is not at all.
    look_max: Duration,
    /// A wait that was shorter than this makes it look again the next time.
    quick_max: Duration,
    turn: Turn,
    /// Whether the last wait was a short one.
    is_quick: bool,
    /// Since when nothing is there to read.
    waits_since: Option<Instant>,
    /// Whether it has the turn.
    is_looking: bool,
    rests_until: Option<Instant>,
}

impl Patience {
    /// For a session that waits for requests of its program. It stays on its thread.
    pub(crate) fn for_requests(look_max: Duration) -> Self {
        Self::new(look_max, Turn::OfThread)
    }

    /// For a session that waits for the replies of peers. It stays on its thread.
    pub(crate) fn for_replies(look_again: Duration) -> Self {
        Self::new(look_again, Turn::OfThread).across_network()
    }

    /// For a session that waits for room to write: its program reads at this moment, so that there soon is some, and as long as there is
    /// something to write the thread has work.
    pub(crate) fn for_room(look_max: Duration) -> Self {
        Self::new(look_max, Turn::Free)
    }

    /// For a link that waits for requests of its peer. One of all that share `looking` looks again.
    pub(crate) fn for_link(look_again: Duration, looking: Arc<AtomicBool>) -> Self {
        Self::new(look_again, Turn::Shared(looking)).across_network()
    }

    /// Whoever waits for another host waits for two or three others that may sleep as well: their being woken is in the times until they look
    /// again too. So it takes a longer wait for a sign of haste than it then waits itself.
    fn across_network(mut self) -> Self {
        self.quick_max = 4 * self.look_max;
        self.look_max *= 2;
        self
    }

    fn new(look_max: Duration, turn: Turn) -> Self {
        Self {
            look_max,
            quick_max: look_max,
            turn,
            is_quick: false,
            waits_since: None,
            is_looking: false,
            rests_until: None,
        }
    }

    /// Whether to look without having been told that something is there.
    pub(crate) fn is_looking(&self) -> bool {
        self.is_looking
    }

    /// There was something.
    pub(crate) fn found(&mut self) {
        if let Some(since) = self.waits_since.take() {
            self.is_quick = since.elapsed() < self.quick_max;
        }
        self.stop_looking();
    }

    /// There was nothing. Returns whether to look again at once; others have had the core then.
    pub(crate) fn look_again(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.waits_since.get_or_insert(now);
        if !self.is_quick || now - since >= self.look_max || self.rests_until.is_some_and(|until| now < until)
        {
            self.stop_looking();
            return false;
        }
        if !self.is_looking {
            if !self.turn.take() {
                return false;
            }
            self.is_looking = true;
        }
        std::thread::yield_now();
        if now.elapsed() > CROWDED {
            self.rests_until = Some(now + CROWDED_REST);
        }
        true
    }

    fn stop_looking(&mut self) {
        if std::mem::take(&mut self.is_looking) {
            self.turn.give_back();
        }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.stop_looking();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any pause of the machine that runs the tests.
    const LONG: Duration = Duration::from_secs(600);

    /// One whose program was quick the last time.
    fn quick(mut patience: Patience) -> Patience {
        assert!(!patience.look_again(), "nobody knows yet whether it is quick");
        patience.found();
        patience
    }

    #[test]
    fn one_session_of_a_thread_looks_again_where_its_program_was_quick() {
        let mut one = quick(Patience::for_requests(LONG));
        let mut other = quick(Patience::for_requests(LONG));
        assert!(one.look_again() && one.is_looking());
        assert!(!other.look_again() && !other.is_looking());
        let mut writes = quick(Patience::for_room(LONG));
        assert!(
            writes.look_again(),
            "what is to be written is work for the thread"
        );
        drop(one);
        assert!(other.look_again());
        other.found();
        assert!(!other.is_looking());
        assert!(!LOOKING.get());
    }

    #[test]
    fn one_of_those_that_share_a_turn_looks_again() {
        let turn = Arc::new(AtomicBool::new(false));
        let mut one = quick(Patience::for_link(LONG, Arc::clone(&turn)));
        let mut other = quick(Patience::for_link(LONG, Arc::clone(&turn)));
        assert!(one.look_again());
        assert!(!other.look_again());
        one.found();
        assert!(other.look_again());
        drop(other);
        assert!(!turn.load(Ordering::Relaxed));
    }

    #[test]
    fn who_is_not_quick_or_may_not_is_let_sleep() {
        let mut never = Patience::for_requests(Duration::ZERO);
        assert!(!never.look_again());
        never.found();
        assert!(!never.look_again());
        let mut slow = Patience::for_requests(Duration::from_nanos(1));
        assert!(!slow.look_again());
        std::thread::yield_now();
        slow.found();
        assert!(!slow.look_again());
        assert!(!LOOKING.get());
    }
}
