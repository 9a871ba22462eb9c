//! The transcript of a handshake, and everything that is derived from it.
//!
//! All bytes that either side sends or receives go into one BLAKE3 hash, each part as
//!
//! ```text
//! +-----------------+-------+----------------+------+
//! | label len u32LE | label | data len u64LE | data |
//! +-----------------+-------+----------------+------+
//! ```
//!
//! so that no two sequences of parts give the same input. Every derivation has a context of its own (BLAKE3's
//! `derive_key` mode), so that no value serves two purposes.

use zeroize::Zeroize;

use super::cipher::Secret;

const CONTEXT_TRANSCRIPT: &str = "MemCloud 2026-11 peer transcript";
const CONTEXT_COMMITMENT: &str = "MemCloud 2026-11 peer nonce commitment";
const CONTEXT_CODE: &str = "MemCloud 2026-11 peer code";
const CONTEXT_REKEY: &str = "MemCloud 2026-11 peer rekey";

/// Who sends. Each direction has keys of its own, and a signature says in which role it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The side that began the connection.
    Initiator,
    /// The other one.
    Responder,
}

impl Role {
    pub(super) const fn other(self) -> Self {
        match self {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        }
    }

    const fn handshake_context(self) -> &'static str {
        match self {
            Role::Initiator => "MemCloud 2026-11 peer handshake key initiator to responder",
            Role::Responder => "MemCloud 2026-11 peer handshake key responder to initiator",
        }
    }

    const fn traffic_context(self) -> &'static str {
        match self {
            Role::Initiator => "MemCloud 2026-11 peer traffic key initiator to responder",
            Role::Responder => "MemCloud 2026-11 peer traffic key responder to initiator",
        }
    }

    const fn signature_prefix(self) -> &'static [u8] {
        match self {
            Role::Initiator => b"MemCloud 2026-11 peer signature initiator\0",
            Role::Responder => b"MemCloud 2026-11 peer signature responder\0",
        }
    }

    pub(super) const fn hello_label(self) -> &'static str {
        match self {
            Role::Initiator => "initiator hello",
            Role::Responder => "responder hello",
        }
    }

    pub(super) const fn identity_label(self) -> &'static str {
        match self {
            Role::Initiator => "initiator identity",
            Role::Responder => "responder identity",
        }
    }

    pub(super) const fn auth_label(self) -> &'static str {
        match self {
            Role::Initiator => "initiator auth",
            Role::Responder => "responder auth",
        }
    }
}

/// The hash over all that was sent and received so far.
pub(super) struct Transcript(blake3::Hasher);

impl Transcript {
    pub(super) fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(CONTEXT_TRANSCRIPT))
    }

    pub(super) fn append(&mut self, label: &str, data: &[u8]) {
        self.0.update(&(label.len() as u32).to_le_bytes());
        self.0.update(label.as_bytes());
        self.0.update(&(data.len() as u64).to_le_bytes());
        self.0.update(data);
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The key under which `sender` seals its AUTH. `hellos` is the transcript behind both HELLO.
pub(super) fn handshake_key(sender: Role, shared: &Secret, hellos: &[u8; 32]) -> Secret {
    derive(sender.handshake_context(), shared, hellos)
}

/// The key under which `sender` seals its first records. `last` is the transcript behind both AUTH.
pub(super) fn traffic_key(sender: Role, shared: &Secret, last: &[u8; 32]) -> Secret {
    derive(sender.traffic_context(), shared, last)
}

/// The key that follows this one.
pub(super) fn next_key(key: &Secret) -> Secret {
    Secret(blake3::derive_key(CONTEXT_REKEY, &key.0))
}

/// What the signature of an AUTH is made over.
pub(super) fn signed_bytes(signer: Role, transcript: &[u8; 32]) -> Vec<u8> {
    [signer.signature_prefix(), transcript].concat()
}

/// What stands in the initiator's HELLO in place of its nonce.
pub(super) fn commitment(nonce: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(CONTEXT_COMMITMENT, nonce)
}

/// The six digits, from the transcript behind both HELLO and the nonce to which the initiator had committed itself.
///
/// Nothing goes in that a side may still choose when it knows the rest: whoever sits between can guess once, with
/// a chance of one in a million, and cannot search. See "The code" in `docs/protocol/peer.md`.
pub(super) fn code(hellos: &[u8; 32], initiator_nonce: &[u8; 32]) -> String {
    let hash = blake3::derive_key(CONTEXT_CODE, &[*hellos, *initiator_nonce].concat());
    let number = u64::from_le_bytes(hash[..8].try_into().expect("a hash has 32 bytes"));
    format!("{:06}", number % 1_000_000)
}

fn derive(context: &str, shared: &Secret, transcript: &[u8; 32]) -> Secret {
    let mut material = [0; 64];
    material[..32].copy_from_slice(&shared.0);
    material[32..].copy_from_slice(transcript);
    let key = Secret(blake3::derive_key(context, &material));
    material.zeroize();
    key
}
