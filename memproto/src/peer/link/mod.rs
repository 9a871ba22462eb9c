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
//! Read next: [`super::frame`] for the bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::handshake::{Established, PeerIdentity};
use super::message::{PeerReply, PeerRequest};
use super::record::{REKEY_RECORDS, RecordError};
use crate::error::{ApiError, ApiResult};

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

/// Names one request on one link. The side that dialled makes odd ids, the other one even ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(u64);

/// What is known of a body before its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodySpec {
    /// The exact length in bytes where it is known; `Some(0)` means no body at all.
    pub size: Option<u64>,
}

impl BodySpec {
    /// No body.
    pub const NONE: BodySpec = BodySpec { size: Some(0) };

    /// A body of exactly this many bytes; 0 is no body.
    pub const fn exact(size: u64) -> Self {
        Self { size: Some(size) }
    }

    /// A body whose length is not known yet.
    pub const UNKNOWN: BodySpec = BodySpec { size: None };

    /// Whether a body follows, with its data, end or failure.
    pub const fn has_body(self) -> bool {
        !matches!(self.size, Some(0))
    }
}

/// What the person at one side said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consent {
    /// Nothing yet.
    Waiting,
    /// Yes, and this much of that side's budget may be used.
    Agreed {
        /// The grant in bytes.
        quota_bytes: u64,
    },
    /// No.
    Denied,
}

/// Why a side ends a link, as it tells the other one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Goodbye {
    /// The node is stopping.
    Stopping,
    /// A person disconnected the peer.
    Disconnected,
    /// The person said no, or trust was withdrawn.
    Denied,
    /// Another connection between the same two nodes is kept.
    Replaced,
    /// Nobody answered the question for consent in time.
    ConsentExpired,
    /// Too many links are open or waiting.
    Busy,
    /// The receiver of the goodbye broke the protocol.
    ProtocolError,
    /// A reason that this version does not know.
    Other,
}

/// Why a link ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LinkError {
    /// A record did not open.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// Nothing came for too long.
    #[error("the peer has not been heard for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// This side said goodbye.
    #[error("this node ended the link: {0:?}")]
    Closed(Goodbye),
    /// The peer said goodbye.
    #[error("the peer ended the link: {0:?}")]
    ClosedByPeer(Goodbye),
}

/// What happened on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// What the person at the other side said, or its grant changed.
    PeerConsent(Consent),
    /// Both sides agreed: requests may pass. Comes once, behind the `PeerConsent` or `set_consent` that completed it.
    Agreed {
        /// How much of the peer's budget this node may use.
        quota_bytes: u64,
    },
    /// The peer asks for something: [`Link::reply`] is owed exactly once, unless `Cancelled` comes first.
    Request {
        /// The request.
        id: RequestId,
        /// What it asks.
        request: PeerRequest,
        /// What follows it.
        body: BodySpec,
    },
    /// The answer to a request of this side.
    Reply {
        /// The request.
        id: RequestId,
        /// The answer.
        reply: PeerReply,
        /// What follows it. Without a body the request is over.
        body: BodySpec,
    },
    /// A piece of the peer's body of this request. [`Link::consume`] gives its credit back.
    Data {
        /// The request.
        id: RequestId,
        /// The bytes, never empty.
        bytes: Bytes,
    },
    /// The end of the peer's body.
    BodyEnd {
        /// The request.
        id: RequestId,
    },
    /// The peer's body broke off: nothing more comes of it.
    BodyFailed {
        /// The request.
        id: RequestId,
        /// Why.
        error: ApiError,
    },
    /// The peer no longer wants its request answered, or the link ended: forget it.
    Cancelled {
        /// The request.
        id: RequestId,
    },
    /// A request of this side ended without a reply: deadline, denied, or the link ended.
    RequestFailed {
        /// The request.
        id: RequestId,
        /// Why.
        error: ApiError,
    },
    /// [`Link::body_room`] was 0 and is not any more.
    BodyRoom {
        /// The request.
        id: RequestId,
    },
    /// The link is over. The last event.
    Closed {
        /// Why.
        reason: LinkError,
    },
}

/// One side of a link.
pub struct Link {
    peer: PeerIdentity,
    code: String,
    we_dialled: bool,
    events: VecDeque<Event>,
}

impl Link {
    /// A link on a fresh handshake. Consent is `Waiting` on both sides.
    pub fn new(established: Established, config: LinkConfig, now: Instant) -> Self {
        todo!()
    }

    /// Who is there.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The six digits of the handshake.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether this side began the connection.
    pub fn we_dialled(&self) -> bool {
        self.we_dialled
    }

    /// Takes one record, without its length prefix, and decrypts it in place.
    ///
    /// # Errors
    /// The link is over: events are still to be taken out (the last is `Closed`), and a goodbye may be waiting in
    /// [`poll_transmit`](Self::poll_transmit). Further records are refused with the same error.
    pub fn handle_record(&mut self, record: &mut [u8], now: Instant) -> Result<(), LinkError> {
        todo!()
    }

    /// Notes that bytes came which are no whole record yet: a peer that is slow is not dead.
    pub fn note_received(&mut self, now: Instant) {
        todo!()
    }

    /// Does what is due: deadlines, pings, and the end of a link that is dead.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), at the latest. It may be early.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Appends sealed records with their length prefixes, about 256 KiB at most. Returns whether it appended any:
    /// write them and call again.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        todo!()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Says what the person at this side said. `Denied` ends every request; the driver then calls
    /// [`close`](Self::close). A repeated `Agreed` changes the grant; there is no way back to `Waiting`.
    pub fn set_consent(&mut self, consent: Consent) {
        todo!()
    }

    /// What this side said.
    pub fn our_consent(&self) -> Consent {
        todo!()
    }

    /// What the other side said.
    pub fn their_consent(&self) -> Consent {
        todo!()
    }

    /// Asks the peer for something. `Reply` or `RequestFailed` follows exactly once, unless [`cancel`](Self::cancel)
    /// comes first.
    ///
    /// When the deadline passes the request is cancelled at the peer; before its reply it fails with `RequestFailed`,
    /// after it the reply's body with `BodyFailed`, both with `Timeout`. See [`set_deadline`](Self::set_deadline).
    ///
    /// # Errors
    /// `ConsentPending` or `Denied` before both sides agreed, `Busy` over [`REQUESTS_MAX`], `TooLarge` where the request
    /// does not fit a message, `PeerUnreachable` on a link that is over.
    pub fn open_request(
        &mut self,
        request: &PeerRequest,
        body: BodySpec,
        deadline: Option<Instant>,
    ) -> ApiResult<RequestId> {
        todo!()
    }

    /// Moves the deadline of a request of this side, such as after progress of its bodies.
    pub fn set_deadline(&mut self, id: RequestId, deadline: Option<Instant>) {
        todo!()
    }

    /// Answers a request of the peer. What is left of the request's body is no longer wanted. Returns false where the
    /// request is gone, which is no error.
    ///
    /// A reply that does not fit a message becomes `Failed` with `TooLarge`, without a body.
    pub fn reply(&mut self, id: RequestId, reply: &PeerReply, body: BodySpec) -> bool {
        todo!()
    }

    /// Appends a piece to the body that this side sends with a request or a reply. A piece may be larger than
    /// [`body_room`](Self::body_room), which must not be 0. Returns false where the body is no longer wanted: also where
    /// the pieces come to more than the size that was announced, the body then fails with `Internal`.
    pub fn push_body(&mut self, id: RequestId, bytes: Bytes) -> bool {
        todo!()
    }

    /// Ends the body that this side sends. Where bytes are missing from the size that was announced, the body fails
    /// instead with `Internal`.
    pub fn finish_body(&mut self, id: RequestId) {
        todo!()
    }

    /// Breaks off the body that this side sends. The reader gets the error.
    pub fn fail_body(&mut self, id: RequestId, error: &ApiError) {
        todo!()
    }

    /// How many bytes the caller may push now: `None` where the body is finished or no longer wanted. After 0 an
    /// [`Event::BodyRoom`] tells when it opens.
    pub fn body_room(&mut self, id: RequestId) -> Option<u64> {
        todo!()
    }

    /// Tells that the reader took this many bytes of the peer's body: credit goes back.
    pub fn consume(&mut self, id: RequestId, bytes: u64) {
        todo!()
    }

    /// Forgets a request of this side: nothing more comes of it.
    pub fn cancel(&mut self, id: RequestId) {
        todo!()
    }

    /// Ends the link. `poll_transmit` has the goodbye, which overtakes all that was queued; write it and close.
    pub fn close(&mut self, reason: Goodbye) {
        todo!()
    }

    /// Whether the link is over.
    pub fn is_closed(&self) -> bool {
        todo!()
    }

    /// The smoothed round trip, once measured.
    pub fn round_trip(&self) -> Option<Duration> {
        todo!()
    }

    /// Number of requests in flight, of both sides.
    pub fn requests_in_flight(&self) -> usize {
        todo!()
    }
}
