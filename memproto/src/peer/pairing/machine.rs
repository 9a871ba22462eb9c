//! The two sides of an exchange, and the one place that knows the library of SPAKE2.

use std::convert::Infallible;

use spake2::rand_core::{TryCryptoRng, TryRng};
use spake2::{Ed25519Group, Identity, Spake2};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::code::PairCode;
use super::message::{PairMessage, PairShare, Proof, SHARE_LEN};
use crate::peer::cipher::Secret;

const CONTEXT_RANDOM: &str = "MemCloud 2026-11 pairing random";
const CONTEXT_KEY: &str = "MemCloud 2026-11 pairing key";
const CONTEXT_JOINING: &str = "MemCloud 2026-11 pairing proof of the joining side";
const CONTEXT_OFFERING: &str = "MemCloud 2026-11 pairing proof of the offering side";

/// What the library puts before a share to say whose it is. On our wire the message says so already.
const SIDE_JOINING: u8 = b'A';
const SIDE_OFFERING: u8 = b'B';

/// The random bytes of one side of one exchange: 32 from the system's generator, never used twice.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PairRandom([u8; 32]);

impl PairRandom {
    /// Takes the bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Between whom an exchange runs: it fits nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parties {
    /// The identity key of the side where the code is typed.
    pub joining: [u8; 32],
    /// The identity key of the side that shows it.
    pub offering: [u8; 32],
    /// The transcript of the handshake of their link: [`Link::transcript`](crate::peer::Link::transcript).
    pub transcript: [u8; 32],
}

impl Parties {
    fn identities(&self) -> (Identity, Identity) {
        (Identity::new(&self.joining), Identity::new(&self.offering))
    }
}

/// Why an exchange failed. It is over then, and so is the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PairError {
    /// The other side's share is no point of the curve.
    #[error("the other side's share is malformed")]
    Malformed,
    /// The other side does not know the code, or somebody sits between.
    #[error("the codes on the two sides are not the same")]
    WrongCode,
}

/// The joining side, which waits for the answer.
pub struct Joiner {
    exchange: Spake2<Ed25519Group>,
    transcript: [u8; 32],
}

impl Joiner {
    /// Begins an exchange. The message is to be sent.
    pub fn begin(code: &PairCode, parties: &Parties, random: &PairRandom) -> (Self, PairMessage) {
        let (joining, offering) = parties.identities();
        let (exchange, message) =
            Spake2::start_a_with_rng(&code.password(), &joining, &offering, Stream::new(random));
        let joiner = Self {
            exchange,
            transcript: parties.transcript,
        };
        (joiner, PairMessage::Join(share_of(&message)))
    }

    /// Takes the answer, which proves that the other side knows the code. The message is to be sent: it proves the same of
    /// this side.
    ///
    /// # Errors
    /// The other side does not know the code. It has used up its one guess.
    pub fn finish(self, share: &PairShare, proof: &Proof) -> Result<PairMessage, PairError> {
        let key = key(self.exchange, SIDE_OFFERING, share, &self.transcript)?;
        if *proof != proof_of(CONTEXT_OFFERING, &key) {
            return Err(PairError::WrongCode);
        }
        Ok(PairMessage::Proof(proof_of(CONTEXT_JOINING, &key)))
    }
}

/// The offering side, which waits for the proof.
pub struct Offer {
    expected: Proof,
}

impl Offer {
    /// Answers a JOIN. The message is to be sent; whatever becomes of it, the code has been used now.
    ///
    /// # Errors
    /// `Malformed`. The code has been used all the same: nobody honest sends such a share.
    pub fn answer(
        code: &PairCode,
        parties: &Parties,
        random: &PairRandom,
        share: &PairShare,
    ) -> Result<(Self, PairMessage), PairError> {
        let (joining, offering) = parties.identities();
        let (exchange, message) =
            Spake2::start_b_with_rng(&code.password(), &joining, &offering, Stream::new(random));
        let key = key(exchange, SIDE_JOINING, share, &parties.transcript)?;
        let offer = Self {
            expected: proof_of(CONTEXT_JOINING, &key),
        };
        let proof = proof_of(CONTEXT_OFFERING, &key);
        Ok((offer, PairMessage::Answer(share_of(&message), proof)))
    }

    /// Takes the proof: with it both sides know that the same code was read and typed.
    ///
    /// # Errors
    /// `WrongCode`.
    pub fn finish(self, proof: &Proof) -> Result<(), PairError> {
        if *proof == self.expected {
            Ok(())
        } else {
            Err(PairError::WrongCode)
        }
    }
}

/// The key of an exchange, bound to the link over which it runs.
fn key(
    exchange: Spake2<Ed25519Group>,
    their_side: u8,
    share: &PairShare,
    transcript: &[u8; 32],
) -> Result<Secret, PairError> {
    let mut message = [their_side; 1 + SHARE_LEN];
    message[1..].copy_from_slice(share);
    let mut material = exchange.finish(&message).map_err(|_| PairError::Malformed)?;
    material.extend_from_slice(transcript);
    let key = Secret(blake3::derive_key(CONTEXT_KEY, &material));
    material.zeroize();
    Ok(key)
}

fn proof_of(context: &str, key: &Secret) -> Proof {
    Proof(blake3::Hash::from_bytes(blake3::derive_key(context, &key.0)))
}

/// The share without the byte that names the side.
fn share_of(message: &[u8]) -> PairShare {
    let share = message
        .last_chunk()
        .expect("a share of Edwards25519 has 32 bytes");
    *share
}

/// The generator that the library asks: as many bytes as it wants, from 32.
struct Stream(blake3::OutputReader);

impl Stream {
    fn new(random: &PairRandom) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT_RANDOM);
        hasher.update(&random.0);
        let stream = Self(hasher.finalize_xof());
        hasher.zeroize();
        stream
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Stream {}
