//! The protocol between two nodes: handshake, encrypted records and the multiplexed link.
//!
//! Specified in `docs/protocol/peer.md`. Everything here is a state machine without I/O.

pub mod message;

pub use message::{PeerReply, PeerRequest};
