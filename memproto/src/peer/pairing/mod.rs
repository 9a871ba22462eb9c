//! Pairing: two nodes come to trust each other because a person read a code on one screen and typed it at the other.
//!
//! ```text
//!   joining side (the code was typed there)                        offering side (it shows the code)
//!       | -- JOIN    its share of SPAKE2 ------------------------------> |
//!       | <- ANSWER  the other share, proof that it knows the code ----- |
//!       | -- PROOF   the same from this side --------------------------> |
//!       | <= CONSENT of both sides ====================================> |
//! ```
//!
//! It runs inside of a link that is encrypted already, and is bound to that link's transcript: whoever sits between holds two links,
//! with two transcripts, and the proofs of one do not fit the other. SPAKE2 lets neither side, nor anybody who impersonates one,
//! test more than one code for each exchange; whoever drives [`Offer`] lets each code serve for one exchange.
//!
//! Nothing here knows links, offers that expire, or trust: see `memnode::peer::pairing`. Specified in `docs/protocol/peer.md`.

mod code;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod machine;
mod message;
#[cfg(test)]
mod tests;

pub use code::{CODE_DIGITS, CodeError, LABELS, PairCode, SECRETS, label_of};
pub use machine::{Joiner, Offer, PairError, PairRandom, Parties};
pub use message::{PAIR_MESSAGE_MAX, PairMessage, PairRefusal, PairShare, Proof, SHARE_LEN};
