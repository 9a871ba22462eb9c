//! What the store tells of keys and objects.

use std::sync::Arc;

use memproto::peer::Manifest;
use memproto::stream::{ChunkHash, Codec};
use memproto::{BlockClass, BlockId, NodeId, Version};

use super::{Owner, Reservation};
use crate::chunk;
use crate::expiry::Moment;
use crate::value::Value;

/// What a block is as the chunk of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The stream.
    pub stream: BlockId,
    /// The hash of its bytes, before any compression. Of [`Owner::Local`] it is believed: this node has made it. Of a peer it is looked
    /// at before the bytes are given to anybody who asks by it.
    pub hash: ChunkHash,
    /// How many bytes it has, before any compression: 1 to [`STREAM_CHUNK_SIZE`](memproto::limits::STREAM_CHUNK_SIZE).
    pub length: u32,
    /// In which form the bytes of the block are.
    pub codec: Codec,
}

impl Chunk {
    /// A chunk of these bytes, which are kept as they are; at most [`STREAM_CHUNK_SIZE`](memproto::limits::STREAM_CHUNK_SIZE).
    pub fn raw(stream: BlockId, bytes: &[u8]) -> Self {
        Self {
            stream,
            hash: chunk::hash(bytes),
            length: bytes.len() as u32,
            codec: Codec::Raw,
        }
    }
}

/// A block that is to be kept. Who pays for it is in the [`Reservation`] that comes with it.
#[derive(Clone, Debug)]
pub struct Block {
    /// The bytes.
    ///
    /// Those of a small block of this host's programs are copied next to its entry. Others lie in a memory file, or in an allocation of
    /// exactly their length: bytes that have one of their own (a `Vec`, a `BytesMut` that was filled for this block alone) are taken over; a slice of
    /// a larger or shared buffer is copied out of it, because ten bytes that hold on to a read buffer of 256 KiB would make the
    /// accounts a lie.
    pub bytes: Value,
    /// The class.
    pub class: BlockClass,
    /// The chunk of a stream that it is. Its bytes are in the form that this says.
    pub chunk: Option<Chunk>,
    /// When it expires.
    pub expires: Option<Moment>,
}

/// What is known of a block without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockMeta {
    /// The length of the block in bytes.
    pub size: u64,
    /// The class.
    pub class: BlockClass,
    /// Who pays.
    pub owner: Owner,
    /// The chunk of a stream that it is.
    pub chunk: Option<Chunk>,
    /// When it expires.
    pub expires: Option<Moment>,
}

/// Where the bytes of an object lie that this node answers for.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this node's memory.
    Here,
    /// On a peer, placed there by this node.
    At(NodeId),
    /// In chunks.
    Stream(Arc<Manifest>),
}

/// An object that this node answers for and that is no block of its own memory.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its size in bytes.
    pub size: u64,
    /// Where it lies: [`Place::At`] or [`Place::Stream`].
    pub place: Place,
    /// When it expires.
    pub expires: Option<Moment>,
}

/// What a write brings.
#[derive(Debug)]
pub enum Content {
    /// Bytes for this node's memory.
    Block(Block, Reservation),
    /// An object that lies elsewhere, or in chunks.
    Object(Object),
}

/// What this node knows of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// The newest version heard of.
    pub version: Version,
    /// What that version was.
    pub value: KeyValue,
}

/// The value of a key as far as this node knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyValue {
    /// This node wrote it and answers for it under this id.
    Ours(BlockId),
    /// The node that wrote the version answers for it.
    Theirs,
    /// It was deleted.
    Deleted,
}

/// What this node has heard of a key whose value is not its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyNote {
    /// The node that wrote the version answers for it.
    Theirs,
    /// It was deleted.
    Deleted,
}

/// The outcome of a write to a key.
#[derive(Debug)]
pub enum KeyWrite {
    /// The version is the newest now. What the key held here before is no longer reachable; what of it lies elsewhere is to be freed.
    Recorded {
        /// What the key held here before.
        displaced: Option<Removed>,
        /// What was known of the key before.
        before: Option<KeyRecord>,
    },
    /// A version at least as new was known; nothing changed. What was to be written is to be freed where it lies elsewhere.
    ///
    /// Where the value is [`KeyValue::Theirs`] this rests on a hash of the key (see the module `notes`): no other node is to drop a value on the
    /// strength of it.
    Stale(KeyRecord),
    /// The version is newer than what was known, but there is no room to remember it: the key is found by asking. What it held here before is no longer
    /// reachable, as for `Recorded`.
    NotKept {
        /// What the key held here before.
        displaced: Option<Removed>,
        /// What was known of the key before.
        before: Option<KeyRecord>,
    },
}

/// Something that was taken out.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Its id.
    pub id: BlockId,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes lie.
    pub place: Place,
    /// The key that named it.
    pub key: Option<Box<str>>,
    /// The chunk of a stream that it was.
    pub chunk: Option<Chunk>,
}

/// What a look-up found.
#[derive(Debug)]
pub enum Found<'a> {
    /// A small value, which is here while the look-up lasts.
    Small(BlockId, &'a [u8]),
    /// A block.
    Block(BlockId, Value),
    /// An object that lies elsewhere, or in chunks.
    Object(BlockId, Object),
}

/// What a look-up of a key found.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// Nothing is known of the key, or what it named has expired.
    Absent,
    /// The node that wrote this version answers for it.
    Theirs(Version),
    /// It was deleted, in this version.
    Deleted(Version),
    /// The value of this node, in this version.
    Ours(Version, Found<'a>),
}

/// What of the budget is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Number of blocks.
    pub blocks: u64,
    /// Number of keys whose value this node answers for.
    pub keys: u64,
    /// Number of streams whose manifest lies here.
    pub streams: u64,
    /// Bytes of objects and streams that this node has placed on peers.
    pub remote_bytes: u64,
    /// The budget.
    pub budget_bytes: u64,
    /// What is used of it: entries, blocks, reservations, charges, and freed blocks that somebody still reads.
    pub used_bytes: u64,
    /// The part of `used_bytes` that cannot be evicted: all but `cache_bytes`.
    pub pinned_bytes: u64,
    /// The part of `used_bytes` that blocks of class cache take, with the cost of their entries. A chunk that somebody else has pinned is not in
    /// it, its entry is.
    pub cache_bytes: u64,
    /// The part of `used_bytes` that peers pay and no program of this host.
    pub peers_used_bytes: u64,
    /// What equal chunks would take more, had each owner its own. With `used_bytes` it is what all accounts pay together, and what chunks take that
    /// were freed while somebody reads them by their hash.
    pub shared_bytes: u64,
    /// Blocks that made room for others since the start: of class cache, or of a peer that had been away for too long.
    pub evictions: u64,
}
