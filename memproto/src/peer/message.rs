//! What two nodes say to each other once both sides agreed.
//!
//! These types are the wire: `codec` writes them with bincode, field by field in the order of their
//! declaration, so that a change here is a change of protocol.

use serde::{Deserialize, Serialize};

use crate::class::BlockClass;
use crate::control::GrantUse;
use crate::error::ApiError;
use crate::id::{BlockId, NodeId};
#[cfg(doc)]
use crate::limits::STREAM_CHUNK_SIZE;
use crate::listing::ListedKey;
use crate::stream::{ChunkHash, Codec};
use crate::ttl::{LifetimeChange, Ttl, ValueName};
use crate::version::Version;

/// The most blocks that one [`PeerRequest::Free`] names: the message stays below 64 KiB.
pub const FREE_BATCH_MAX: usize = 4_096;

/// How long a [`PeerRequest::Manifest`] waits for a stream to grow, in milliseconds: seldom enough that a thousand readers of a quiet stream
/// ask a hundred times a second.
pub const GROWTH_WAIT_MS: u64 = 10_000;

/// The most keys in one [`PeerRequest::Reconcile`] and its reply; with keys of 1,024 bytes about 300 KiB.
pub const RECONCILE_BATCH_MAX: usize = 256;

/// A request of one node to another. Each gets exactly one [`PeerReply`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PeerRequest {
    /// Stores a block within the sender's grant. The block's bytes follow as the body.
    Store {
        /// The id, made by the sender.
        id: BlockId,
        /// The exact length of the body in bytes.
        size: u64,
        /// The class.
        class: BlockClass,
        /// The chunk of a stream that it is. Chunks of a sender that restarted are freed, for its manifests are gone.
        chunk: Option<ChunkForm>,
        /// How long it lives, counted from when it was stored; `None` is for good.
        ttl: Option<Ttl>,
    },
    /// Reads a block. What lies on another node, and a stream, is answered with `Elsewhere`.
    Load {
        /// The id.
        id: BlockId,
        /// The first byte wanted.
        offset: u64,
        /// How many bytes at most.
        length: u64,
        /// Whether the receiver is to fetch what lies elsewhere and pass it on: the sender has no link to the holder.
        relay: bool,
    },
    /// Asks where a block lies, as far as the receiver knows without asking others.
    Locate {
        /// The id.
        id: BlockId,
    },
    /// Asks for a page of the manifest of a stream; it comes as the body.
    Manifest {
        /// The id of the stream.
        id: BlockId,
        /// The page begins with the chunk that has this byte.
        offset: u64,
        /// Of a stream that is still being written the page comes once it has more bytes than this, or after
        /// [`GROWTH_WAIT_MS`] without.
        beyond: u64,
    },
    /// Frees blocks and streams, at most [`FREE_BATCH_MAX`].
    Free {
        /// The ids. One that is not there is passed over.
        ids: Vec<BlockId>,
    },
    /// Reads the value of a key that the receiver is responsible for, without asking others. What lies on another
    /// node, and a stream, is answered with `Elsewhere`.
    Read {
        /// The key.
        key: String,
        /// The first byte wanted.
        offset: u64,
        /// How many bytes at most.
        length: u64,
    },
    /// Tells that a key was set or deleted elsewhere. The receiver drops every older value before it replies.
    Outdate {
        /// The key.
        key: String,
        /// The version of the set or the deletion.
        version: Version,
        /// Whether it was a deletion.
        deleted: bool,
    },
    /// Announces keys of the sender that were set or have ended, at most [`RECONCILE_BATCH_MAX`]: all of them after a link came up,
    /// later what is new. The receiver drops what is older and replies with those of which it knows a newer version.
    Reconcile {
        /// The keys. One that is not deleted was written by the sender.
        keys: Vec<KeyVersion>,
        /// Whether the receiver has now been told of all keys of the sender.
        complete: bool,
        /// The sender's hybrid clock, as [`Version::time`].
        clock: u64,
    },
    /// Asks for the sender's grant and what it uses of it.
    Usage,
    /// Finishes a stream: its chunks stay, also when the sender goes away. Chunks of a stream that is not finished are
    /// freed some seconds after their sender went away.
    Finish {
        /// The id of the stream.
        stream: BlockId,
    },
    /// Sets how long blocks live that the sender stored, at most [`FREE_BATCH_MAX`].
    Expire {
        /// The ids. One that is not there is passed over.
        ids: Vec<BlockId>,
        /// How long they live from now on; `None` is for good.
        ttl: Option<Ttl>,
    },
    /// Asks how long a value lives for which the receiver answers, and sets it where that is wanted.
    Lifetime {
        /// The value.
        name: ValueName,
        /// What is done.
        change: LifetimeChange,
    },
    /// Asks for the newest version of a key that the receiver knows of, without asking others.
    Newest {
        /// The key.
        key: String,
    },
    /// Asks to be told of all keys anew: what was told before could not be kept.
    Retell,
    /// Asks for keys that the receiver answers for, without asking others, a page at a time.
    Keys {
        /// Globs, see [`crate::pattern`]; a key that matches any of them comes.
        patterns: Vec<String>,
        /// 0 for the first page, then that of the last reply; below 2^[`OWN_CURSOR_BITS`](crate::listing::OWN_CURSOR_BITS).
        cursor: u64,
        /// How many keys at most, from 1 on; the receiver may return fewer, also none, and a cursor.
        limit: u32,
        /// Whether what is known of the values is to come too.
        details: bool,
    },
    /// Asks for the receiver's wall clock, to compare.
    Clock,
    /// Frees all that the programs of the receiver's own host stored, wherever it lies. Refused unless the person there
    /// allowed it to the sender.
    Flush,
    /// Asks the receiver to keep a chunk of which it has the bytes already, whoever stored them, as if the sender had stored it.
    Offer {
        /// The id, made by the sender.
        id: BlockId,
        /// The stream whose chunk it is.
        stream: BlockId,
        /// The hash of its bytes.
        hash: ChunkHash,
        /// How many bytes it has, 1 to [`STREAM_CHUNK_SIZE`].
        length: u32,
        /// The class.
        class: BlockClass,
    },
    /// Asks which of the sender's chunks are there, at most [`FREE_BATCH_MAX`], and counts those that belong to no finished stream to this one.
    Hold {
        /// The stream that needs them.
        stream: BlockId,
        /// Their ids.
        ids: Vec<BlockId>,
    },
    /// Reads a chunk by the hash of its bytes, whoever stored it. It comes as it is stored.
    Chunk {
        /// The hash.
        hash: ChunkHash,
    },
}

/// What a chunk is besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChunkForm {
    /// The stream.
    pub stream: BlockId,
    /// The hash of the chunk's bytes, before any compression. The receiver believes it for the sender's own use alone.
    pub hash: ChunkHash,
    /// How many bytes it has, before any compression: 1 to [`STREAM_CHUNK_SIZE`].
    pub length: u32,
    /// In which form it comes, and is kept.
    pub codec: Codec,
}

/// The answer to a [`PeerRequest`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PeerReply {
    /// The request failed.
    Failed(ApiError),
    /// To `Store`: the block is kept.
    Stored(GrantUse),
    /// To `Load`, `Read` and `Lifetime`: it is not there, and nothing is known of it.
    Missing,
    /// To `Load`, `Read` and `Manifest`: bytes follow as the body.
    Loaded {
        /// The id.
        id: BlockId,
        /// The size of the whole object in bytes.
        size: u64,
        /// The exact length of the body in bytes.
        length: u64,
        /// To `Read`: the version of the key.
        version: Option<Version>,
    },
    /// To `Load` and `Read`: the object is there, its bytes are not, or not in one piece.
    Elsewhere {
        /// The id.
        id: BlockId,
        /// Where it lies.
        location: Location,
        /// To `Read`: the version of the key.
        version: Option<Version>,
    },
    /// To `Locate`.
    Located(Option<Location>),
    /// To `Free` and `Flush`.
    Freed {
        /// How many of the ids were there; of a `Flush` the keys, blocks and streams.
        blocks: u64,
        /// Their bytes.
        bytes: u64,
        /// The sender's grant after it.
        usage: GrantUse,
    },
    /// To `Outdate`: what is older is gone.
    Outdated {
        /// Whether an older value was there.
        dropped: bool,
        /// A newer version of the key, where the receiver knows one.
        newer: Option<KeyVersion>,
    },
    /// To `Reconcile`.
    Reconciled {
        /// The keys of which the receiver knows a newer version.
        newer: Vec<KeyVersion>,
        /// The hybrid clock of the one that replies.
        clock: u64,
    },
    /// To `Usage`.
    Usage(GrantUse),
    /// To `Finish`.
    Finished {
        /// How many chunks of the stream the receiver holds.
        chunks: u64,
    },
    /// To `Expire`.
    Expiring {
        /// How many of the ids were there.
        blocks: u64,
    },
    /// To `Lifetime`: how long it had to live, before any change; `None` is for good.
    Lives(Option<Ttl>),
    /// To `Read`: the receiver does not answer for the key, but knows of this version of it.
    Moved(KeyState),
    /// To `Newest`; `None` where nothing is known of the key.
    Newest(Option<KeyState>),
    /// To `Retell`: it is going to.
    Retelling,
    /// To `Keys`: as many as a [`KeysPage`](crate::local::keys::KeysPage) has room for.
    Keys {
        /// The keys, in no order: all with details or none.
        keys: Vec<ListedKey>,
        /// With which cursor to ask for the next page, greater than the one before; 0 where this was the last.
        cursor: u64,
    },
    /// To `Clock`.
    Clock {
        /// Milliseconds since 1970, as the responder's wall clock has it.
        unix_ms: u64,
    },
    /// To `Offer`; `None` where the bytes are needed.
    Adopted(Option<AdoptedChunk>),
    /// To `Hold`: of each whether it is there.
    Held(Vec<bool>),
    /// To `Chunk`: it follows as the body, as it is stored.
    ChunkLoaded {
        /// How many bytes it has, before any compression.
        length: u32,
        /// In which form it comes.
        codec: Codec,
    },
}

/// A chunk that did not have to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdoptedChunk {
    /// The length of what is stored.
    pub stored: u32,
    /// In which form.
    pub codec: Codec,
    /// The sender's grant after it.
    pub usage: GrantUse,
}

/// Where a block lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Location {
    /// The node that holds the bytes; of a stream, the node that holds the manifest.
    pub holder: NodeId,
    /// The size of the object in bytes.
    pub size: u64,
    /// Whether it is a stream.
    pub is_stream: bool,
}

/// A key and the version of its last write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyVersion {
    /// The key.
    pub key: String,
    /// The version.
    pub version: Version,
    /// Whether the last write was a deletion.
    pub deleted: bool,
}

/// What is known of a key: the version of its last write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyState {
    /// The version, whose node answers for the value.
    pub version: Version,
    /// Whether the last write was a deletion.
    pub deleted: bool,
}
