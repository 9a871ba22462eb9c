//! Ids of blocks and nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{ApiError, ErrorCode};

/// Number of bits of a [`BlockId`]. An integer below 2^53 is exact in every language's JSON number.
pub const BLOCK_ID_BITS: u32 = 53;

/// Number of low bits of a [`BlockId`] that its maker counts up; the bits above them are the [`HomeHint`].
///
/// 39 bits are 5.5e11 ids. A node starts counting at a random place, so that two runs of one node, or two nodes
/// whose hints are equal, meet with a chance of about (ids made) / 2^39.
pub const BLOCK_ID_SEQUENCE_BITS: u32 = 39;

/// Number of bits of a [`HomeHint`]: with 64 nodes in a pool, 88 % of pools have no two equal hints. An equal hint
/// costs one more question, never a wrong answer.
pub const HOME_HINT_BITS: u32 = BLOCK_ID_BITS - BLOCK_ID_SEQUENCE_BITS;

/// The id of a block or of a stream: an integer from 1 to 2^53 - 1, shown in decimal.
///
/// ```text
///  52            39 38                                0
/// +----------------+-----------------------------------+
/// |   home hint    |             sequence              |
/// +----------------+-----------------------------------+
/// ```
///
/// The home hint names the node that made the id, see [`NodeId::home_hint`], so that any node knows whom to ask first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct BlockId(u64);

impl BlockId {
    /// The largest id, 2^53 - 1.
    pub const MAX: BlockId = BlockId((1 << BLOCK_ID_BITS) - 1);

    /// An id from its number, or `None` where it is 0 or not below 2^53.
    pub const fn new(id: u64) -> Option<Self> {
        if id == 0 || id > Self::MAX.0 {
            None
        } else {
            Some(Self(id))
        }
    }

    /// An id from its two parts. The low [`BLOCK_ID_SEQUENCE_BITS`] bits of `sequence` count; a sequence whose low
    /// bits are all 0 gives `None`, so that no id is ever 0.
    pub const fn from_parts(home: HomeHint, sequence: u64) -> Option<Self> {
        let low = sequence & ((1 << BLOCK_ID_SEQUENCE_BITS) - 1);
        if low == 0 {
            None
        } else {
            Some(Self(((home.0 as u64) << BLOCK_ID_SEQUENCE_BITS) | low))
        }
    }

    /// The number itself.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The hint of the node that made this id.
    pub const fn home_hint(self) -> HomeHint {
        HomeHint((self.0 >> BLOCK_ID_SEQUENCE_BITS) as u16)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockId({})", self.0)
    }
}

impl From<BlockId> for u64 {
    fn from(id: BlockId) -> Self {
        id.0
    }
}

impl TryFrom<u64> for BlockId {
    type Error = ApiError;

    fn try_from(id: u64) -> Result<Self, ApiError> {
        Self::new(id).ok_or_else(|| invalid_block_id(&id.to_string()))
    }
}

impl FromStr for BlockId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        text.parse::<u64>()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| invalid_block_id(text))
    }
}

fn invalid_block_id(text: &str) -> ApiError {
    ApiError::new(
        ErrorCode::InvalidArgument,
        format!(
            "'{text}' is no block id: an id is a whole number from 1 to {}",
            BlockId::MAX
        ),
    )
}

/// The high bits of a [`BlockId`]: which node made it, up to rare collisions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HomeHint(u16);

/// The id of a node: the first 16 bytes of a BLAKE3 key derivation over its Ed25519 public key.
///
/// 128 bits make a second key with the same id infeasible (2^128 attempts), so the id doubles as the fingerprint that
/// people compare. In JSON it is text, between nodes its 16 bytes. It is shown as
/// 32 lower-case hexadecimal digits, shortened to the first 8 in tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The context of the key derivation (BLAKE3's `derive_key` mode), which separates node ids from every other hash.
    pub const CONTEXT: &'static str = "MemCloud 2026-11 node id";

    /// The id of the node that has this Ed25519 public key.
    #[cfg(feature = "peer")]
    pub fn from_public_key(public_key: &[u8; 32]) -> Self {
        let hash = blake3::derive_key(Self::CONTEXT, public_key);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }

    /// An id from its bytes, as they come off a wire.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The hint that ids of this node's blocks carry: its first two bytes, little-endian, cut to [`HOME_HINT_BITS`].
    pub const fn home_hint(&self) -> HomeHint {
        HomeHint(u16::from_le_bytes([self.0[0], self.0[1]]) & ((1 << HOME_HINT_BITS) - 1))
    }

    /// The first 8 hexadecimal digits, for tables and logs.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }

    /// The id as people compare it: eight groups of four hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let hex = self.to_string();
        let groups: Vec<&str> = (0..hex.len()).step_by(4).map(|at| &hex[at..at + 4]).collect();
        groups.join(" ")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

impl FromStr for NodeId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let mut id = [0; 16];
        let valid = text.len() == 32
            && text.is_ascii()
            && id.iter_mut().enumerate().all(|(i, byte)| {
                u8::from_str_radix(&text[2 * i..2 * i + 2], 16)
                    .map(|value| *byte = value)
                    .is_ok()
            });
        if valid {
            Ok(Self(id))
        } else {
            Err(ApiError::new(
                ErrorCode::InvalidArgument,
                format!("'{text}' is no node id: an id is 32 hexadecimal digits"),
            ))
        }
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 16]>::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_ids_are_positive_and_exact_as_json_numbers() {
        assert_eq!(BlockId::new(0), None);
        assert_eq!(BlockId::new(1 << 53), None);
        assert_eq!(BlockId::MAX.as_u64(), 9_007_199_254_740_991);
        for text in [
            "0",
            "-1",
            "9007199254740992",
            "12a",
            "",
            " 1",
            "18446744073709551616",
        ] {
            assert_eq!(
                text.parse::<BlockId>().unwrap_err().code,
                ErrorCode::InvalidArgument,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_block_id_tells_its_home() {
        let node = NodeId::from_public_key(&[7; 32]);
        let id = BlockId::from_parts(node.home_hint(), u64::MAX).unwrap();
        assert_eq!(id.home_hint(), node.home_hint());
        assert!(id <= BlockId::MAX);
        assert_eq!(
            BlockId::from_parts(node.home_hint(), 1 << BLOCK_ID_SEQUENCE_BITS),
            None
        );
    }

    #[test]
    fn node_ids_survive_their_text() {
        let id = NodeId::from_public_key(&[1; 32]);
        assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
        assert_eq!(id.fingerprint().replace(' ', ""), id.to_string());
        for text in [
            "",
            "00",
            "zz000000000000000000000000000000",
            "0000000000000000000000000000000é",
        ] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
    }
}
