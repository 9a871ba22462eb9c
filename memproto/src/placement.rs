//! Where a new block is to lie.

use crate::error::{ApiError, ApiResult};
use crate::limits::PEER_NAME_LEN_MAX;

/// Where a new block is to lie.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// Blocks: here while the budget has room, else on the peer with the most free grant.
    /// Streams: on peers first, here only where no peer has room.
    #[default]
    Auto,
    /// Here and nowhere else.
    Local,
    /// On any peer, not here.
    Remote,
    /// On the peer of this name, id or unambiguous prefix of an id, and nowhere else.
    Peer(String),
}

impl Placement {
    /// The byte on the wire and, for [`Placement::Peer`], the name behind it.
    pub fn to_wire(&self) -> (u8, &str) {
        match self {
            Placement::Auto => (0, ""),
            Placement::Local => (1, ""),
            Placement::Remote => (2, ""),
            Placement::Peer(name) => (3, name),
        }
    }

    /// The placement of a byte and a name.
    ///
    /// # Errors
    /// `InvalidArgument` where the byte is unknown, a name is missing, too long, or stands where none belongs.
    pub fn from_wire(byte: u8, name: &str) -> ApiResult<Self> {
        if name.len() > PEER_NAME_LEN_MAX {
            return Err(ApiError::invalid(format!(
                "the name of a peer has {} bytes, at most {PEER_NAME_LEN_MAX} are allowed",
                name.len()
            )));
        }
        match (byte, name.is_empty()) {
            (0, true) => Ok(Placement::Auto),
            (1, true) => Ok(Placement::Local),
            (2, true) => Ok(Placement::Remote),
            (3, false) => Ok(Placement::Peer(name.to_owned())),
            (3, true) => Err(ApiError::invalid("the name of the peer is empty")),
            (0..=2, false) => Err(ApiError::invalid(
                "a peer is named, but the placement is not 'peer'",
            )),
            _ => Err(ApiError::invalid(format!("unknown placement {byte}"))),
        }
    }
}
