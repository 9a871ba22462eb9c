//! The handshake: two nodes prove their identities to each other and agree on keys.
//!
//! In the shape of Noise XX, with signatures as in SIGMA-I:
//!
//! ```text
//!   initiator                                                     responder
//!       | -- HELLO  versions, commitment to a nonce, ephemeral key --> |
//!       | <-- HELLO versions, nonce, ephemeral key ------------------- |
//!       | <-- AUTH  sealed: identity, name, grant, signature --------- |
//!       | --  AUTH  sealed: identity, name, grant, nonce, signature -> |
//! ```
//!
//! [`Handshake`] neither reads nor writes: whole messages go into [`Handshake::handle_message`], framed bytes come out
//! of [`Handshake::poll_transmit`]. It has no clock: the driver gives up after a timeout of its own. It knows nobody:
//! whether the proven identity is welcome is decided later, on the [link](super::link).
//!
//! Read next: `auth` and `hello` beside this file for the bytes, `transcript` for what is hashed.

mod auth;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod hello;
mod machine;
#[cfg(test)]
pub(super) mod tests;

use ed25519_dalek::SigningKey;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::record::SessionKeys;
use crate::error::{ApiError, ApiResult};
use crate::id::NodeId;
use crate::limits::NODE_NAME_LEN_MAX;

/// The longest message of the handshake in bytes, without its length prefix. Version 1 needs 224; the rest is room for
/// later versions. It is all that a stranger can make a node hold before it proved an identity.
pub const HANDSHAKE_MESSAGE_MAX: usize = 1024;

pub use super::record::LENGTH_PREFIX_LEN;
pub use machine::Handshake;

/// What this node says of itself in a handshake.
pub struct HandshakeConfig {
    /// The identity.
    pub signing_key: SigningKey,
    /// The name people chose, 1 to 63 bytes.
    pub name: String,
    /// How much of this node's budget the peer may use, as far as it is known before the person answered.
    pub offered_quota_bytes: u64,
    /// A random number drawn at the start of this process.
    pub incarnation: u64,
}

/// The random bytes of one handshake: 64 from the system's generator, never used twice.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct HandshakeRandom {
    nonce: [u8; 32],
    ephemeral: [u8; 32],
}

impl HandshakeRandom {
    /// Takes the bytes.
    pub const fn new(nonce: [u8; 32], ephemeral: [u8; 32]) -> Self {
        Self { nonce, ephemeral }
    }
}

/// Reads the length before a message of the handshake.
///
/// # Errors
/// `Malformed` for 0 and for more than [`HANDSHAKE_MESSAGE_MAX`]: checked before anything is allocated.
pub fn check_length(prefix: [u8; LENGTH_PREFIX_LEN]) -> Result<usize, HandshakeError> {
    match u32::from_le_bytes(prefix) as usize {
        length @ 1..=HANDSHAKE_MESSAGE_MAX => Ok(length),
        _ => Err(HandshakeError::Malformed("a message has an impossible length")),
    }
}

/// Checks a node's name: 1 to 63 bytes, and nothing in it that moves a terminal's cursor or turns text around, for it
/// stands on the screen where a person decides.
///
/// # Errors
/// `InvalidArgument`, which says what is wrong.
pub fn check_node_name(name: &str) -> ApiResult<()> {
    if name.is_empty() || name.len() > NODE_NAME_LEN_MAX {
        return Err(ApiError::invalid(format!(
            "the name of a node has {} bytes: 1 to {NODE_NAME_LEN_MAX} are allowed",
            name.len()
        )));
    }
    match name.chars().find(|&c| is_deceptive(c)) {
        Some(c) => Err(ApiError::invalid(format!(
            "the name of a node holds the invisible character {}",
            c.escape_unicode()
        ))),
        None => Ok(()),
    }
}

/// Whether a character is not seen, or changes how others are: control characters, line ends, the marks of the bidirectional
/// algorithm (UAX 9), and all that is shown as nothing (Default_Ignorable_Code_Point of Unicode 16.0). Two names that differ in
/// such characters alone look the same.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// What the other side proved and said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerIdentity {
    /// Its node id, derived from `public_key`.
    pub node_id: NodeId,
    /// Its Ed25519 public key: it proved that it has the secret one.
    pub public_key: [u8; 32],
    /// The name it gives itself: 1 to 63 bytes without control characters. Nothing proves it.
    pub name: String,
    /// How much of its budget it says it will grant this node.
    pub offered_quota_bytes: u64,
    /// A random number that its process drew at its start.
    pub incarnation: u64,
}

/// A finished handshake.
pub struct Established {
    /// The keys of the records.
    pub keys: SessionKeys,
    /// Who is there.
    pub peer: PeerIdentity,
    /// Six digits, the same on both sides unless somebody sits between.
    pub code: String,
    /// The hash over all messages of the handshake and both identities: the same on both sides, and no other session has it.
    pub transcript: [u8; 32],
    /// Whether this side began the connection.
    pub we_dialled: bool,
    /// The version of the protocol that both speak.
    pub version: u16,
}

/// Why a handshake failed. For the log and the person at this machine: to the other side every failure looks
/// alike, the connection closes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A message is not of the form that it must have, or comes when none is expected.
    #[error("the other side does not speak MemCloud's peer protocol: {0}")]
    Malformed(&'static str),
    /// No version is common to both.
    #[error("the other side speaks versions {min} to {max} of the peer protocol, this node {VERSION_MIN} to {VERSION_MAX}: update the older one", VERSION_MIN = super::VERSION_MIN, VERSION_MAX = super::VERSION_MAX)]
    Version {
        /// The other side's lowest version.
        min: u16,
        /// The other side's highest version.
        max: u16,
    },
    /// Own bytes came back, or the key exchange was forced to a known value.
    #[error("the handshake was tampered with: {0}")]
    Tampered(&'static str),
    /// A seal or a signature is wrong: somebody sits between, or the other side is at fault.
    #[error("the other side could not prove its identity: {0}")]
    Unproven(&'static str),
    /// The other side has this node's own identity: the address is this node's own, or its key was copied.
    #[error(
        "the other side has this node's own identity: the address leads back to this node, or its identity key was copied"
    )]
    OwnIdentity,
    /// The configuration of this side is out of range.
    #[error("this node cannot introduce itself: {0}")]
    Config(&'static str),
}
