//! What is too large for a slot, or is no value at all.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use memproto::peer::Manifest;
use memproto::{BlockId, NodeId};

use super::ENTRY_OVERHEAD;
use super::charges::Charge;
use super::chunks::HeldChunk;
use super::ledger::Account;
use super::lent::Links;
use super::records::{Chunk, Place};
use super::shard::NoPage;
use crate::span::{SPAN_MIN, Span, memory_len};
use crate::value::Value;

/// A value of an entry that lies outside of the arena.
pub(super) enum Outside {
    /// A block of this node.
    Block {
        /// Their charge lives with them, see [`kept`].
        bytes: Value,
        /// Who pays for it, and for its entry.
        account: Arc<Account>,
        /// The chunk of a stream that it is. `bytes` are its own, with this owner's share of what they cost.
        chunk: Option<(BlockId, Arc<HeldChunk>)>,
        /// Its place among those of its owner, where that is a peer.
        links: Links,
    },
    /// A block that this node placed on a peer.
    At {
        holder: NodeId,
        size: u64,
        _charge: Charge,
    },
    /// A stream.
    Stream {
        manifest: Arc<Manifest>,
        _charge: Charge,
    },
}

impl Outside {
    pub(super) fn size(&self) -> u64 {
        match self {
            Outside::Block { bytes, .. } => bytes.len() as u64,
            Outside::At { size, .. } => *size,
            Outside::Stream { manifest, .. } => manifest.size(),
        }
    }

    /// Bytes of it that lie on peers; this node is `here`.
    pub(super) fn remote_bytes(&self, here: NodeId) -> u64 {
        match self {
            Outside::Block { .. } => 0,
            Outside::At { size, .. } => *size,
            Outside::Stream { manifest, .. } => {
                let chunks = manifest.chunks().iter();
                let remote = chunks.filter(|chunk| manifest.holder(chunk) != here);
                remote.map(|chunk| u64::from(chunk.stored)).sum()
            }
        }
    }

    pub(super) fn place(&self) -> Place {
        match self {
            Outside::Block { .. } => Place::Here,
            Outside::At { holder, .. } => Place::At(*holder),
            Outside::Stream { manifest, .. } => Place::Stream(Arc::clone(manifest)),
        }
    }

    /// Who pays for a block and for its entry; for the others this host's programs do.
    pub(super) fn account(&self) -> Option<&Arc<Account>> {
        match self {
            Outside::Block { account, .. } => Some(account),
            Outside::At { .. } | Outside::Stream { .. } => None,
        }
    }

    /// The peer that stored a block here, and the block's place among those of the peer.
    pub(super) fn lent(&self) -> Option<(NodeId, Links)> {
        match self {
            Outside::Block { account, links, .. } => Some((account.peer()?, *links)),
            Outside::At { .. } | Outside::Stream { .. } => None,
        }
    }

    pub(super) fn chunk(&self) -> Option<Chunk> {
        match self {
            Outside::Block {
                chunk: Some((stream, held)),
                ..
            } => Some(Chunk {
                stream: *stream,
                hash: held.hash(),
                length: held.length(),
                codec: held.codec(),
            }),
            Outside::Block { .. } | Outside::At { .. } | Outside::Stream { .. } => None,
        }
    }

    /// The stream whose chunk it is.
    pub(super) fn chunk_of(&self) -> Option<BlockId> {
        match self {
            Outside::Block { chunk, .. } => chunk.as_ref().map(|(stream, _)| *stream),
            Outside::At { .. } | Outside::Stream { .. } => None,
        }
    }

    /// Counts a chunk to another stream.
    pub(super) fn set_stream(&mut self, of: BlockId) {
        if let Outside::Block {
            chunk: Some((stream, _)),
            ..
        } = self
        {
            *stream = of;
        }
    }

    /// What of a chunk others may have too.
    pub(super) fn held(&self) -> Option<&Arc<HeldChunk>> {
        match self {
            Outside::Block { chunk, .. } => chunk.as_ref().map(|(_, held)| held),
            Outside::At { .. } | Outside::Stream { .. } => None,
        }
    }

    /// What is charged for it beside its entry, whatever it is.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn charged(&self) -> u64 {
        match self {
            Outside::Block { .. } => self.block_charge(),
            Outside::At { _charge: charge, .. } | Outside::Stream { _charge: charge, .. } => charge.bytes(),
        }
    }

    /// What its owner is charged for a block beside its entry; for the others it does not count as a class.
    pub(super) fn block_charge(&self) -> u64 {
        match self {
            Outside::Block {
                chunk: Some((_, held)),
                ..
            } => held.paid().bytes() + ENTRY_OVERHEAD,
            Outside::Block { bytes, .. } => memory_len(bytes.len() as u64) + ENTRY_OVERHEAD,
            Outside::At { .. } | Outside::Stream { .. } => 0,
        }
    }
}

/// The bytes in memory of their own, with the charge for it.
///
/// # Errors
/// Where the system has no memory for a copy.
pub(super) fn kept(bytes: Value, charge: impl Any + Send + Sync) -> Result<Value, NoPage> {
    let bytes = match bytes {
        Value::Heap(bytes) if bytes.len() >= SPAN_MIN => {
            let mut span = Span::new(bytes.len()).ok_or(NoPage)?;
            span.copy_from_slice(&bytes);
            Value::Span(span.into())
        }
        Value::Heap(bytes) => Value::Heap(own_allocation(bytes).into()),
        own @ (Value::Span(_) | Value::File(_)) => own,
    };
    Ok(bytes.keeping(charge))
}

/// The bytes in an allocation of exactly their length: their own, where nobody shares it, else a copy.
pub(super) fn own_allocation(bytes: Bytes) -> Box<[u8]> {
    // A conversion that takes the allocation over where this is its only handle, and copies where it is not.
    let vec = Vec::from(bytes);
    if vec.len() < vec.capacity() / 2 {
        // Shrinking in place would leave the small block at the head of the large buffer's memory, in the allocator's way.
        return vec.as_slice().into();
    }
    vec.into_boxed_slice()
}
