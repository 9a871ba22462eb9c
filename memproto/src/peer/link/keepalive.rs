//! Whether the peer is alive, and how far away it is.

use std::time::{Duration, Instant};

use super::LinkConfig;

/// When to ping and when to give up.
pub(super) struct Keepalive {
    config: LinkConfig,
    heard_at: Instant,
    last_ping_at: Option<Instant>,
    ping: Ping,
    next_token: u64,
    round_trip: Option<Duration>,
    check: Option<Check>,
}

/// A doubt whether the peer is still there, which only the answer to a ping that was sent after it arose can end: what
/// arrives before that may have waited in the socket while this machine slept.
#[derive(Clone, Copy)]
struct Check {
    /// By when the answer must be there.
    due: Instant,
    within: Duration,
    /// The ping whose answer ends the doubt, once sent.
    token: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ping {
    None,
    Due,
    Sent { token: u64, at: Instant },
}

impl Keepalive {
    /// The first ping is due at once: it measures the round trip, and its answer shows that the keys fit.
    pub(super) fn new(config: LinkConfig, now: Instant) -> Self {
        Self {
            config,
            heard_at: now,
            last_ping_at: None,
            ping: Ping::Due,
            next_token: 1,
            round_trip: None,
            check: None,
        }
    }

    /// Asks for a sign of life that was not under way already, and gives the peer up where none comes `within` the time.
    pub(super) fn check(&mut self, now: Instant, within: Duration) {
        self.check = Some(Check {
            due: now + within,
            within,
            token: None,
        });
        if self.ping == Ping::None {
            self.ping = Ping::Due;
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = self.heard_at.max(now);
    }

    /// For how long nothing came, where that is too long.
    pub(super) fn is_dead(&self, now: Instant) -> Option<Duration> {
        let unchecked = self.check.filter(|check| now >= check.due);
        match unchecked {
            Some(check) => Some(check.within),
            None => (now >= self.dead_at()).then_some(self.config.dead_after),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.ping == Ping::None && now >= self.ping_at() {
            self.ping = Ping::Due;
        }
    }

    /// When the next ping or the end is due.
    pub(super) fn next(&self) -> Instant {
        let next = match self.ping {
            Ping::None => self.ping_at().min(self.dead_at()),
            Ping::Due | Ping::Sent { .. } => self.dead_at(),
        };
        self.check.map_or(next, |check| check.due.min(next))
    }

    /// The token of a ping that is to be sent now.
    pub(super) fn take_ping(&mut self, now: Instant) -> Option<u64> {
        if self.ping != Ping::Due {
            return None;
        }
        let token = self.next_token;
        self.next_token += 1;
        self.last_ping_at = Some(now);
        self.ping = Ping::Sent { token, at: now };
        if let Some(check) = &mut self.check {
            check.token.get_or_insert(token);
        }
        Some(token)
    }

    /// Takes an answer. Returns false where nobody had asked.
    pub(super) fn handle_pong(&mut self, token: u64, now: Instant) -> bool {
        let Ping::Sent { token: expected, at } = self.ping else {
            return false;
        };
        if token != expected {
            return false;
        }
        self.ping = Ping::None;
        match self.check {
            Some(check) if check.token == Some(token) => self.check = None,
            // This one was under way before the doubt arose: another ping has to answer it.
            Some(_) => self.ping = Ping::Due,
            None => {}
        }
        let sample = now.saturating_duration_since(at);
        // Smoothed as in RFC 6298, 2.3.
        self.round_trip = Some(self.round_trip.map_or(sample, |old| old * 7 / 8 + sample / 8));
        true
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    fn ping_at(&self) -> Instant {
        let when_idle = self.heard_at + self.config.ping_after;
        self.last_ping_at
            .map_or(when_idle, |at| when_idle.min(at + self.config.round_trip_every))
    }

    fn dead_at(&self) -> Instant {
        self.heard_at + self.config.dead_after
    }
}
