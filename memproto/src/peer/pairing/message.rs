//! The messages of pairing: the payload of a PAIR frame.
//!
//! ```text
//!  0       1                33               65
//! +-------+----------------+----------------+
//! | what  | share 32       | proof 32       |     1 JOIN: share; 2 ANSWER: share, proof; 3 PROOF: proof (from byte 1);
//! |  u8   |                |                |     4 REFUSE: a reason u8 (at byte 1)
//! +-------+----------------+----------------+
//! ```

/// Number of bytes of a share.
pub const SHARE_LEN: usize = 32;

const PROOF_LEN: usize = 32;

/// Number of bytes of the longest message, ANSWER.
pub const PAIR_MESSAGE_MAX: usize = 1 + SHARE_LEN + PROOF_LEN;

/// A share of the key exchange: a point of Edwards25519, compressed. It tells nothing about the code.
pub type PairShare = [u8; SHARE_LEN];

/// Shows that a side has the key of the exchange. Compared in constant time; not a secret once it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof(pub(super) blake3::Hash);

/// Why a side breaks an exchange off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PairRefusal {
    /// No code is offered at this node: it was used, has expired, or never was.
    NoOffer,
    /// Somebody else is trying the code at this moment.
    Busy,
    /// The codes on the two sides are not the same one.
    WrongCode,
    /// A reason that this version does not know.
    Other,
}

/// A message of pairing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PairMessage {
    /// The joining side begins.
    Join(PairShare),
    /// The offering side goes on, and proves that it knows the code.
    Answer(PairShare, Proof),
    /// The joining side proves it as well.
    Proof(Proof),
    /// The sender breaks off.
    Refuse(PairRefusal),
}

impl PairMessage {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            PairMessage::Join(share) => {
                out.push(1);
                out.extend_from_slice(share);
            }
            PairMessage::Answer(share, proof) => {
                out.push(2);
                out.extend_from_slice(share);
                out.extend_from_slice(proof.0.as_bytes());
            }
            PairMessage::Proof(proof) => {
                out.push(3);
                out.extend_from_slice(proof.0.as_bytes());
            }
            PairMessage::Refuse(refusal) => out.extend_from_slice(&[
                4,
                match refusal {
                    PairRefusal::NoOffer => 1,
                    PairRefusal::Busy => 2,
                    PairRefusal::WrongCode => 3,
                    PairRefusal::Other => 255,
                },
            ]),
        }
    }

    /// The message of a payload.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn decode(payload: &[u8]) -> Result<Self, &'static str> {
        let malformed = "a message of pairing has the wrong length or is of an unknown kind";
        let (&what, rest) = payload.split_first().ok_or(malformed)?;
        let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| malformed);
        let proof = |bytes: &[u8]| fixed(bytes).map(|bytes| Proof(blake3::Hash::from_bytes(bytes)));
        match (what, rest) {
            (1, share) => fixed(share).map(PairMessage::Join),
            (2, both) => {
                let (share, rest) = both.split_at_checked(SHARE_LEN).ok_or(malformed)?;
                Ok(PairMessage::Answer(fixed(share)?, proof(rest)?))
            }
            (3, bytes) => proof(bytes).map(PairMessage::Proof),
            (4, &[reason]) => Ok(PairMessage::Refuse(match reason {
                1 => PairRefusal::NoOffer,
                2 => PairRefusal::Busy,
                3 => PairRefusal::WrongCode,
                _ => PairRefusal::Other,
            })),
            _ => Err(malformed),
        }
    }
}
