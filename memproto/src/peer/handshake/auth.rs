//! AUTH, the second message of either side, sealed.
//!
//! ```text
//!  0               32         40            48           80           81          144            208   224
//! +---------------+----------+-------------+------------+------------+-----------+--------------+-----+
//! | public key 32 | quota u64| incarn. u64 | nonce 32   | name len u8| name 63   | signature 64 | tag |
//! +---------------+----------+-------------+------------+------------+-----------+--------------+-----+
//! | <------------------------ identity -------------------------------------->  |
//! ```
//!
//! Integers are little-endian. `nonce` is what the initiator's HELLO was a commitment to; the responder's is 32 zero
//! bytes. The name is filled up with zero bytes, so that the length of the message tells nothing about it.

use super::{HandshakeConfig, HandshakeError, PeerIdentity, check_node_name};
use crate::id::NodeId;
use crate::limits::NODE_NAME_LEN_MAX;
use crate::peer::cipher::TAG_LEN;

/// Number of bytes of the part that the signature covers beside what went before.
pub(super) const IDENTITY_LEN: usize = 144;

/// Number of bytes of a signature.
pub(super) const SIGNATURE_LEN: usize = 64;

/// Number of bytes before they are sealed.
pub(super) const PLAINTEXT_LEN: usize = IDENTITY_LEN + SIGNATURE_LEN;

/// Number of bytes of the whole message.
pub(super) const AUTH_LEN: usize = PLAINTEXT_LEN + TAG_LEN;

const NAME_AT: usize = IDENTITY_LEN - NODE_NAME_LEN_MAX;

/// The identity part of this node's own AUTH.
pub(super) fn encode_identity(config: &HandshakeConfig, nonce: &[u8; 32]) -> [u8; IDENTITY_LEN] {
    let mut bytes = [0; IDENTITY_LEN];
    bytes[..32].copy_from_slice(config.signing_key.verifying_key().as_bytes());
    bytes[32..40].copy_from_slice(&config.offered_quota_bytes.to_le_bytes());
    bytes[40..48].copy_from_slice(&config.incarnation.to_le_bytes());
    bytes[48..80].copy_from_slice(nonce);
    bytes[80] = config.name.len() as u8;
    bytes[NAME_AT..NAME_AT + config.name.len()].copy_from_slice(config.name.as_bytes());
    bytes
}

/// What an identity part says, and the nonce in it.
pub(super) fn decode_identity(
    bytes: &[u8; IDENTITY_LEN],
) -> Result<(PeerIdentity, [u8; 32]), HandshakeError> {
    let array = |at: usize| -> [u8; 32] { bytes[at..at + 32].try_into().expect("within the 144 bytes") };
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("within the 144 bytes"));
    let public_key = array(0);
    let peer = PeerIdentity {
        node_id: NodeId::from_public_key(&public_key),
        public_key,
        name: decode_name(bytes[80], &bytes[NAME_AT..]).ok_or(HandshakeError::Malformed("its name"))?,
        offered_quota_bytes: number(32),
        incarnation: number(40),
    };
    Ok((peer, array(48)))
}

fn decode_name(len: u8, padded: &[u8]) -> Option<String> {
    let (name, padding) = padded.split_at_checked(usize::from(len))?;
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| check_node_name(name).is_ok())?;
    padding.iter().all(|&byte| byte == 0).then(|| name.to_owned())
}
