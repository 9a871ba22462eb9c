//! The link: consent first, then many requests at once, with bodies both ways, over one connection.
//!
//! [`Link`] neither reads nor writes and has no clock. The driver around it does, in a loop:
//!
//! 1. gives each record that arrived to [`Link::handle_record`], and calls [`Link::handle_timeout`] when
//!    [`Link::poll_timeout`] has come;
//! 2. takes every event out of [`Link::poll_event`];
//! 3. lets [`Link::poll_transmit`] fill a buffer and writes it, until there is nothing more to write.
//!
//! Every call may make events and bytes to send; what any call queues is bounded by what the protocol lets the peer
//! have under way, as long as events are taken out after each record.
//!
//! Read next: [`super::frame`] for the bytes, then `machine` and `requests` beside this file, `receive` for what comes in and `transmit`
//! for what goes out.

mod body;
mod event;
mod keepalive;
mod machine;
mod receive;
mod requests;
#[cfg(test)]
mod tests;
mod transmit;

use std::time::Duration;

use super::record::REKEY_RECORDS;

pub use event::{BodySpec, Consent, Event, Goodbye, LinkError, RequestId};
pub use machine::Link;

/// Bytes of one body that may be under way or unread in one direction: 2 MiB cover 1 Gbit/s over 16 ms and
/// 10 Gbit/s over 1.6 ms, more than any LAN's round trip.
pub const BODY_WINDOW: u64 = 2 * 1024 * 1024;

/// The most requests of one side in flight.
pub const REQUESTS_MAX: usize = 256;

/// The most bytes of request bodies that the peer may make this side hold unread: the sum over its requests of what
/// their windows allow. A request beyond it is refused with `Busy`.
pub const PEER_BODIES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes that may lie queued in a body that is being sent before [`Link::body_room`] is 0.
pub const BODY_QUEUE_MAX: u64 = 512 * 1024;

/// After how long without a byte from the peer a ping is sent.
pub const PING_AFTER: Duration = Duration::from_secs(3);

/// After how long without a byte from the peer the link is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);

/// How often the round trip is measured on a busy link.
pub const ROUND_TRIP_EVERY: Duration = Duration::from_secs(10);

/// A body of at most this size overtakes larger ones.
pub const SMALL_BODY_MAX: u64 = 16 * 1024;

/// The most pings of the peer that wait for their answer. An honest peer has one under way.
const PONGS_MAX: usize = 4;

/// The most messages of pairing that wait to be sent. One exchange has at most one of a side under way; a peer that asks again and
/// again and does not read the answers is at fault.
const PAIRS_MAX: usize = 4;

/// The most messages of pairing that a peer may send before both sides agreed: a stranger gets a few tries at finding an
/// offer, each of which costs the code, and then has to shake hands anew, at the pace of strangers.
const PAIRS_BEFORE_CONSENT_MAX: u32 = 8;

/// Settings of a link. All but the times must be the same on both sides; they are settings for tests alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkConfig {
    /// After how long without a byte from the peer a ping is sent.
    pub ping_after: Duration,
    /// After how long without a byte from the peer the link is dead.
    pub dead_after: Duration,
    /// How often the round trip is measured on a busy link.
    pub round_trip_every: Duration,
    /// After how many records the key of a direction is replaced.
    pub rekey_records: u64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            ping_after: PING_AFTER,
            dead_after: DEAD_AFTER,
            round_trip_every: ROUND_TRIP_EVERY,
            rekey_records: REKEY_RECORDS,
        }
    }
}
