//! The code that a person reads and types.

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::NodeId;

/// How many values the public part of a code has: three digits. On a LAN with a dozen nodes one of them shares its label
/// with another one's in about one case of fifteen thousand for each code; the person then names the machine.
pub const LABELS: u16 = 1_000;

/// How many values the secret part has: seven digits. An exchange is one guess and a code serves for one exchange, so that
/// guessing succeeds once in ten million codes.
pub const SECRETS: u32 = 10_000_000;

/// Number of digits of a code: three of the label, seven of the secret.
pub const CODE_DIGITS: usize = 10;

const CONTEXT_LABEL: &str = "MemCloud 2026-11 pairing label";

/// A code: `417-582-9310`. The first three digits are the label of the node that offers it, the rest is secret.
///
/// Its Debug tells nothing of it, and it is wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PairCode {
    label: u16,
    secret: u32,
}

/// What was typed is no code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a pairing code has {CODE_DIGITS} digits, such as 417-582-9310: type it as the other machine shows it"
)]
pub struct CodeError;

impl PairCode {
    /// The code of an offer of this node. `random` are 8 bytes of the system's generator: more than the digits need, so
    /// that no code is likelier than another by more than one part in 2^40.
    pub fn new(node: NodeId, random: [u8; 8]) -> Self {
        Self {
            label: label_of(node),
            secret: (u64::from_le_bytes(random) % u64::from(SECRETS)) as u32,
        }
    }

    /// Whether a node of this id may have made the code. The label is no secret: it says at which node a code is tried.
    pub fn is_of(&self, node: NodeId) -> bool {
        self.label == label_of(node)
    }

    /// The code as people read it. The caller shows it to a person; it is not for logs.
    pub fn show(&self) -> String {
        let (first, second) = (self.secret / 10_000, self.secret % 10_000);
        format!("{:03}-{first:03}-{second:04}", self.label)
    }

    /// The password of the key exchange: the ten digits.
    pub(super) fn password(&self) -> spake2::Password {
        spake2::Password::new(format!("{:03}{:07}", self.label, self.secret))
    }
}

/// Takes what a person typed: ten digits, with spaces and dashes wherever they like.
impl FromStr for PairCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut number = 0_u64;
        let mut digits = 0;
        for c in text.chars().filter(|c| !matches!(c, ' ' | '-')) {
            let digit = c.to_digit(10).ok_or(CodeError)?;
            digits += 1;
            if digits > CODE_DIGITS {
                return Err(CodeError);
            }
            number = number * 10 + u64::from(digit);
        }
        if digits != CODE_DIGITS {
            return Err(CodeError);
        }
        let secrets = u64::from(SECRETS);
        Ok(Self {
            label: (number / secrets) as u16,
            secret: (number % secrets) as u32,
        })
    }
}

/// The public part of the codes of a node, 0 to 999: derived from its id, so that nothing needs to be announced.
pub fn label_of(node: NodeId) -> u16 {
    let hash = blake3::derive_key(CONTEXT_LABEL, node.as_bytes());
    let number = u64::from_le_bytes(hash[..8].try_into().expect("a hash has 32 bytes"));
    (number % u64::from(LABELS)) as u16
}

impl fmt::Debug for PairCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairCode")
    }
}
