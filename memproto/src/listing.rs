//! What a listing of keys tells, over either protocol.

use serde::{Deserialize, Serialize};

use crate::class::BlockClass;
use crate::id::NodeId;
use crate::ttl::Ttl;

/// Bits of the cursor with which a node goes on with a listing of its own keys, as peers ask for it: what is left of 64 bits is for whoever lists the
/// keys of several nodes one after another.
pub const OWN_CURSOR_BITS: u32 = 44;

/// A key in a listing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListedKey {
    /// The key.
    pub key: String,
    /// What is known of its value, where that was asked for.
    pub details: Option<KeyDetails>,
}

/// What is known of the value of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyDetails {
    /// The node that answers for the key: the one on which it was set.
    pub node: NodeId,
    /// The node on which the bytes lie. Those of a stream may lie on several; then it is the node that answers for the key.
    pub holder: NodeId,
    /// The size of the value in bytes.
    pub size: u64,
    /// The class; `None` where the bytes lie on another node, which alone knows it.
    pub class: Option<BlockClass>,
    /// How long the value lives; `None` is for good.
    pub ttl: Option<Ttl>,
    /// Whether it lies in chunks.
    pub is_stream: bool,
}

/// A node whose keys are missing from a listing, because it is not connected or did not answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct MissingNode {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
}

impl From<ListedKey> for String {
    fn from(listed: ListedKey) -> Self {
        listed.key
    }
}
