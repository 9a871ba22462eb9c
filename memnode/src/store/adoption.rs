//! Chunks that are here already, for those who have not the bytes but their hash.

use memproto::error::ApiResult;
use memproto::stream::Codec;
use memproto::{BlockClass, BlockId, ChunkHash, ErrorCode};

use super::prepared::Prepared;
use super::records::Chunk;
use super::room::Wanted;
use super::shard::cost_of_lent;
use super::{BlockMeta, ENTRY_OVERHEAD, InsertError, Owner, Store};
use crate::expiry::Moment;
use crate::value::Value;

/// A chunk that is to be kept without its bytes being brought.
#[derive(Clone, Copy, Debug)]
pub struct Adoption {
    /// Who pays for it.
    pub owner: Owner,
    /// The stream whose chunk it is.
    pub stream: BlockId,
    /// The hash of its bytes, before any compression.
    pub hash: ChunkHash,
    /// How many bytes it has, before any compression.
    pub length: u32,
    /// The class.
    pub class: BlockClass,
    /// When it expires.
    pub expires: Option<Moment>,
}

/// In which form a chunk is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adopted {
    /// The length of what is stored, in bytes.
    pub stored_len: u64,
    /// What it is.
    pub codec: Codec,
}

/// A chunk that was asked for by its hash.
#[derive(Clone, Debug)]
pub struct FoundChunk {
    /// What is stored. The budget pays for it for as long as it is in use, also where it is freed meanwhile.
    pub bytes: Value,
    /// What that is.
    pub codec: Codec,
    /// How many bytes the chunk has, before any compression.
    pub length: u32,
}

impl Store {
    /// Puts a block in that shares the bytes of an equal chunk, whoever has that here; `None` where there is none. The owner pays as for one
    /// of its own; the budget pays for the entry alone. Data of class cache makes room, as in [`reserve_for_peer`](Self::reserve_for_peer).
    ///
    /// The first time that the bytes are asked for by their hash they are unpacked and hashed, which takes some 0.3 ms for 1 MiB. Where they do not have it
    /// they are never given out by it.
    ///
    /// # Errors
    /// `QuotaExceeded` where the peer's grant has no room, `OutOfMemory` where the budget has none; `InvalidArgument` where the id is taken.
    pub fn adopt(&self, id: BlockId, adoption: Adoption) -> ApiResult<Option<Adopted>> {
        let Adoption {
            owner,
            stream,
            class,
            expires,
            ..
        } = adoption;
        let held = self.inner.common.chunks.find_right(&adoption.hash);
        let Some(held) = held.filter(|held| held.length() == adoption.length) else {
            return Ok(None);
        };
        let adopted = Adopted {
            stored_len: held.bytes().len() as u64,
            codec: held.codec(),
        };
        let entry_cost = match owner {
            Owner::Local => 0,
            Owner::Peer(_) => cost_of_lent(0, class),
        };
        let own = ENTRY_OVERHEAD + entry_cost;
        let wanted = Wanted {
            owner,
            of_grant: own + held.paid().bytes(),
            of_budget: own,
            chunk_of: Some(stream),
        };
        let mut share = match self.making_room(&wanted, || held.paid().adopt(owner, own)) {
            // It went itself to make room for this, in vain.
            Err(error) if error.code == ErrorCode::OutOfMemory && !held.paid().is_kept() => return Ok(None),
            share => share?,
        };
        let entry = share.split_off(entry_cost);
        let prepared = Prepared::chunk(id, stream, held, (share, entry), (class, expires));
        let mut shard = self.shard_of_id(id);
        if shard.find_id(id).is_some() {
            drop(shard);
            return Err(InsertError::AlreadyExists.into());
        }
        prepared
            .put(&mut shard, None, None, id, 0)
            .map_err(InsertError::from)?;
        Ok(Some(adopted))
    }

    /// The chunk of this hash, whoever stored it here. It has that hash: see [`adopt`](Self::adopt). No read of a block, so that nothing stays
    /// longer for it.
    pub fn chunk(&self, hash: &ChunkHash) -> Option<FoundChunk> {
        let held = self.inner.common.chunks.find_right(hash)?;
        Some(FoundChunk {
            bytes: held.bytes().clone(),
            codec: held.codec(),
            length: held.length(),
        })
    }

    /// Counts a chunk to another stream, where `condition` holds for it: the look and the change are one step. Returns what was known of it before.
    pub fn set_stream(
        &self,
        id: BlockId,
        stream: BlockId,
        condition: impl FnOnce(&BlockMeta, &Chunk) -> bool,
    ) -> Option<BlockMeta> {
        let mut shard = self.shard_of_id(id);
        let handle = shard.find_id(id).filter(|&handle| shard.is_live(handle))?;
        let before = shard.meta(handle)?;
        before.chunk.filter(|chunk| condition(&before, chunk))?;
        shard.set_stream(handle, stream);
        Some(before)
    }
}
