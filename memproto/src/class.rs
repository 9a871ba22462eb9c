//! The class of a block.

use serde::{Deserialize, Serialize};

/// What may happen to a block when room is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockClass {
    /// Kept until freed, expired, or its node ends.
    #[default]
    Pinned,
    /// May be evicted when room is needed.
    Cache,
}

impl BlockClass {
    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            BlockClass::Pinned => 0,
            BlockClass::Cache => 1,
        }
    }

    /// The class of a byte, or `None`.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(BlockClass::Pinned),
            1 => Some(BlockClass::Cache),
            _ => None,
        }
    }
}
