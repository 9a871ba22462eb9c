//! The protocol between two nodes: handshake, encrypted records and the multiplexed link.
//!
//! Specified in `docs/protocol/peer.md`. Everything here is a state machine without I/O.

pub mod manifest;
pub mod message;

pub use manifest::Manifest;
pub use message::{PeerReply, PeerRequest};
