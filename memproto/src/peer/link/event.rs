//! The words of the link's interface: what its calls take and what it tells.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::error::ApiError;
use crate::peer::message::{PeerReply, PeerRequest};
use crate::peer::pairing::PairMessage;
use crate::peer::record::RecordError;

/// Names one request on one link. The side that dialled makes odd ids, the other one even ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub(super) u64);

impl RequestId {
    /// The number on the wire.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

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
        /// Whether the other side is trusted for good there. Otherwise the consent ends with the link.
        for_good: bool,
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
    /// Another process has shown the same identity, and a link to it is kept: the home of a node was copied.
    SharedIdentity,
    /// A reason that this version does not know.
    Other,
}

impl fmt::Display for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Goodbye::Stopping => "the node is stopping",
            Goodbye::Disconnected => "a person disconnected it",
            Goodbye::Denied => "the link is not allowed",
            Goodbye::Replaced => "another connection between the two nodes is kept",
            Goodbye::ConsentExpired => "nobody answered the question for consent in time",
            Goodbye::Busy => "too many links are open or waiting",
            Goodbye::ProtocolError => "the protocol was broken",
            Goodbye::SharedIdentity => "another node has the same identity",
            Goodbye::Other => "for a reason that this version does not know",
        })
    }
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
    #[error("this node ended the link: {0}")]
    Closed(Goodbye),
    /// The peer said goodbye.
    #[error("the peer ended the link: {0}")]
    ClosedByPeer(Goodbye),
}

/// What happened on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// What the person at the other side said, or its grant changed.
    PeerConsent(Consent),
    /// A message of pairing. It says nothing of consent: the driver gives that when an exchange has succeeded.
    Pair(PairMessage),
    /// Both sides agreed: requests may pass. Comes once, behind the `PeerConsent` or `set_consent` that completed it.
    Agreed {
        /// How much of the peer's budget this node may use.
        quota_bytes: u64,
    },
    /// The peer asks for something: [`Link::reply`](super::Link::reply) is owed exactly once, unless `Cancelled` comes first.
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
    /// A piece of the peer's body of this request. [`Link::consume`](super::Link::consume) gives its credit back.
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
    /// [`Link::body_room`](super::Link::body_room) was 0 and is not any more.
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
