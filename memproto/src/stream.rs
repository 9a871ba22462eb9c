//! Streams: what a program asks for when it opens one, and how far it has come.
//!
//! A stream is stored in **chunks** of at most [`STREAM_CHUNK_SIZE`](crate::limits::STREAM_CHUNK_SIZE) bytes, each known by
//! the BLAKE3 hash of its bytes. The types with `Serialize` are JSON bodies of control operations; a reader ignores fields it does not know.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::class::BlockClass;
use crate::error::{ApiError, ApiResult};
use crate::id::{BlockId, NodeId};
use crate::key::check_key;
use crate::limits::{PEER_NAME_LEN_MAX, STREAM_PEERS_MAX};
use crate::ttl::Ttl;

/// The BLAKE3 hash of a chunk's bytes, as they are before any compression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkHash([u8; 32]);

impl ChunkHash {
    /// The length in bytes.
    pub const LEN: usize = 32;

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the bytes of a chunk are kept where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// As they are.
    #[default]
    Raw,
    /// As one frame of Zstandard (RFC 8878).
    Zstd,
}

impl Codec {
    /// The byte on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Codec::Raw => 0,
            Codec::Zstd => 1,
        }
    }

    /// The codec of a byte, or `None`.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// A chunk that a program knows without having its bytes at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownChunk {
    /// The hash of its bytes.
    pub hash: ChunkHash,
    /// How many bytes it has, 1 to [`STREAM_CHUNK_SIZE`](crate::limits::STREAM_CHUNK_SIZE).
    pub length: u32,
}

/// Whether chunks are compressed on their way to where they lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Where a sample of the chunk shrinks enough that the link in use gains by it.
    #[default]
    Auto,
    /// Wherever it makes the chunk smaller.
    Always,
    /// Never.
    Never,
}

/// Where the chunks of a stream may lie.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamPlacement {
    /// On peers first, on this node only where no peer has room.
    #[default]
    Auto,
    /// On this node and nowhere else.
    Local,
    /// On any peers, not here.
    Remote,
    /// On the peers of these names, ids or unambiguous prefixes of ids, one at least, and nowhere else.
    Peers(Vec<String>),
}

/// How a stream is to be kept: the body of STREAM_OPEN.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// The key that names the stream, once it is whole.
    pub key: Option<String>,
    /// Whether the key names the stream from its first byte on.
    pub live: bool,
    /// How long it lives, counted from when it is whole; `None` is for good.
    pub ttl: Option<Ttl>,
    /// The class.
    pub class: BlockClass,
    /// Where it may lie.
    pub placement: StreamPlacement,
    /// Whether it is compressed.
    pub compress: Compress,
}

impl StreamOptions {
    /// Checks what JSON leaves open.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad key, for `live` without a key, and for peers that cannot be: none, too many, without a name or with one
    /// that is too long; `TooLarge` for a key that is.
    pub fn check(&self) -> ApiResult<()> {
        match &self.key {
            Some(key) => drop(check_key(key.as_bytes())?),
            None if self.live => {
                return Err(ApiError::invalid(
                    "a stream without a key has nothing that could name it while it is written: give it a key, or read it by its id",
                ));
            }
            None => {}
        }
        let StreamPlacement::Peers(peers) = &self.placement else {
            return Ok(());
        };
        if peers.is_empty() || peers.len() > STREAM_PEERS_MAX {
            return Err(ApiError::invalid(format!(
                "a stream is placed on 1 to {STREAM_PEERS_MAX} peers, not on {}: name some, or leave the choice to the node",
                peers.len()
            )));
        }
        peers.iter().try_for_each(|peer| match peer.len() {
            0 => Err(ApiError::invalid("the name of a peer is empty")),
            1..=PEER_NAME_LEN_MAX => Ok(()),
            len => Err(ApiError::invalid(format!(
                "the name of a peer has {len} bytes, at most {PEER_NAME_LEN_MAX} are allowed"
            ))),
        })
    }
}

/// The reply to STREAM_OPEN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamOpened {
    /// The id, under which the stream can be read as far as it has come.
    pub id: BlockId,
}

/// The body of STREAM_STATUS and STREAM_FINISH.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamName {
    /// The id.
    pub id: BlockId,
}

/// The reply to STREAM_FINISH.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamFinished {
    /// The id.
    pub id: BlockId,
    /// The size of the stream in bytes.
    pub size_bytes: u64,
    /// What the stream takes where it lies, compressed as it is. A chunk that it has twice counts once.
    pub stored_bytes: u64,
    /// Bytes that did not have to be sent or stored, because an equal chunk was there already.
    pub known_bytes: u64,
}

/// How far a stream has come: the reply to STREAM_STATUS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamStatus {
    /// The id.
    pub id: BlockId,
    /// Bytes that were taken from the program.
    pub taken_bytes: u64,
    /// Part of them that lies where it is to stay.
    pub placed_bytes: u64,
    /// Part of `placed_bytes` that did not have to be sent or stored, because an equal chunk was there already.
    pub known_bytes: u64,
    /// What `placed_bytes` takes where it lies, without what was there already.
    pub stored_bytes: u64,
    /// Where the bytes went, this node included, in the order of the names.
    pub holders: Vec<StreamHolder>,
    /// Whether the stream is whole.
    pub finished: bool,
}

/// The part of a stream that one node holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamHolder {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Bytes of the stream that lie there, as they are before any compression.
    pub bytes: u64,
    /// Bytes that are on their way there.
    pub under_way_bytes: u64,
    /// Whether the node can be reached now.
    pub connected: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn on_peers(count: usize, name: &str) -> StreamOptions {
        StreamOptions {
            placement: StreamPlacement::Peers(vec![name.to_owned(); count]),
            ..StreamOptions::default()
        }
    }

    #[test]
    fn options_name_what_can_be() {
        let keyed = |key: String, live| StreamOptions {
            key: Some(key),
            live,
            ..StreamOptions::default()
        };
        for options in [
            StreamOptions::default(),
            keyed("logs".to_owned(), true),
            on_peers(1, "NodeB"),
            on_peers(STREAM_PEERS_MAX, "NodeB"),
        ] {
            assert_eq!(options.check(), Ok(()), "{options:?}");
        }
        let live = StreamOptions {
            live: true,
            ..StreamOptions::default()
        };
        for (options, code) in [
            (live, ErrorCode::InvalidArgument),
            (keyed(String::new(), false), ErrorCode::InvalidArgument),
            (keyed("k".repeat(1025), false), ErrorCode::TooLarge),
            (on_peers(0, ""), ErrorCode::InvalidArgument),
            (
                on_peers(STREAM_PEERS_MAX + 1, "NodeB"),
                ErrorCode::InvalidArgument,
            ),
            (on_peers(1, ""), ErrorCode::InvalidArgument),
            (on_peers(1, &"n".repeat(256)), ErrorCode::InvalidArgument),
        ] {
            assert_eq!(options.check().unwrap_err().code, code, "{options:?}");
        }
    }
}
