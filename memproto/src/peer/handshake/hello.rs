//! HELLO, the first message of either side, in the clear.
//!
//! ```text
//!  0      4            6            8                40                   72
//! +------+------------+------------+----------------+--------------------+-----------+
//! | MEMP | lowest u16 | highest u16| nonce 32       | ephemeral key 32   | ...       |
//! +------+------------+------------+----------------+--------------------+-----------+
//! ```
//!
//! Integers are little-endian. The initiator's `nonce` is a commitment to its nonce, see `transcript::commitment`.
//! What follows byte 72 is for later versions: this one hashes it with the rest and does not read it.

use super::{HANDSHAKE_MESSAGE_MAX, HandshakeError};
use crate::peer::{VERSION_MAX, VERSION_MIN};

const MAGIC: [u8; 4] = *b"MEMP";

/// Number of bytes of a HELLO of version 1.
pub(super) const HELLO_LEN: usize = 72;

/// What a HELLO says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version_min: u16,
    pub(super) version_max: u16,
    pub(super) nonce: [u8; 32],
    pub(super) ephemeral: [u8; 32],
}

impl Hello {
    pub(super) fn new(nonce: [u8; 32], ephemeral: [u8; 32]) -> Self {
        Self {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            nonce,
            ephemeral,
        }
    }

    pub(super) fn encode(&self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&self.version_min.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.version_max.to_le_bytes());
        bytes[8..40].copy_from_slice(&self.nonce);
        bytes[40..72].copy_from_slice(&self.ephemeral);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let malformed = Err(HandshakeError::Malformed("its first message is no HELLO"));
        if bytes.len() > HANDSHAKE_MESSAGE_MAX {
            return malformed;
        }
        let Some((hello, _later)) = bytes.split_first_chunk::<HELLO_LEN>() else {
            return malformed;
        };
        let array = |at: usize| hello[at..at + 32].try_into().expect("within the 72 bytes");
        let decoded = Self {
            version_min: u16::from_le_bytes([hello[4], hello[5]]),
            version_max: u16::from_le_bytes([hello[6], hello[7]]),
            nonce: array(8),
            ephemeral: array(40),
        };
        if hello[..4] != MAGIC || decoded.version_min > decoded.version_max || decoded.version_min == 0 {
            return malformed;
        }
        Ok(decoded)
    }

    /// The highest version that this node and the sender of this HELLO speak.
    pub(super) fn common_version(&self) -> Result<u16, HandshakeError> {
        let version = self.version_max.min(VERSION_MAX);
        if version < self.version_min.max(VERSION_MIN) {
            return Err(HandshakeError::Version {
                min: self.version_min,
                max: self.version_max,
            });
        }
        Ok(version)
    }
}
