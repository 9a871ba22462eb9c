//! The protocol between two nodes: handshake, encrypted records and the multiplexed link.
//!
//! Specified in `docs/protocol/peer.md`. Everything here is a state machine without I/O: bytes, a time and random
//! bytes go in, bytes and events come out. Nothing here decides whom to trust; that is the driver's and the person's.
//!
//! A connection passes through the modules in this order, which is also the order in which to read them:
//!
//! - [`handshake`]: who is there, proven; and the keys.
//! - [`record`]: bytes in, sealed records out, and back.
//! - [`frame`]: what lies inside a record.
//! - [`link`]: consent, then many requests at once with bodies both ways over one connection.
//! - [`pairing`]: how a code that a person types makes two nodes trust each other.
//! - [`message`]: what the requests and replies say; [`codec`] has their bytes.

#[cfg(test)]
mod attacks;
mod cipher;
pub mod codec;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod handshake;
pub mod link;
pub mod manifest;
pub mod message;
pub mod pairing;
pub mod record;
#[cfg(test)]
mod secrets;
mod transcript;
#[cfg(test)]
mod vectors;
#[cfg(any(feature = "ring-cipher", test))]
mod wiped;

pub use handshake::{Established, Handshake, HandshakeConfig, HandshakeError, PeerIdentity};
pub use link::{BodySpec, Consent, Event, Goodbye, Link, LinkConfig, LinkError, RequestId};
pub use manifest::{Manifest, ManifestPage, PlacedChunk};
pub use message::{PeerReply, PeerRequest};

/// The lowest version of the peer protocol that this code speaks.
pub const VERSION_MIN: u16 = 1;

/// The highest version of the peer protocol that this code speaks.
pub const VERSION_MAX: u16 = 1;
