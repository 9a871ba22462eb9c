//! The blocks that lie in this node's RAM, and who pays for them.
//!
//! The store is synchronous: every operation takes one short lock of one shard, or none. Memory is reserved before it is filled
//! ([`Store::reserve`]), put in with [`Store::insert`], and given back when the block was removed *and* the last
//! reader of its bytes is done, so that a slow reader cannot make a node hold more than its budget.
//!
//! The store knows no keys, no streams and no other nodes: those are the directory's. It never waits, spawns or logs.

mod ledger;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use memproto::control::{Freed, GrantUse};
use memproto::error::ApiResult;
use memproto::{ApiError, BlockClass, BlockId, ErrorCode, NodeId};

use crate::expiry::{Expiry, Moment, Queue};
use crate::value::Value;
use ledger::Ledger;
pub use ledger::{Charge, Reservation};

/// What an entry costs beside its bytes: its place in the map of a shard, which is between 44 % and 88 % full, the owner of
/// its memory behind [`Bytes`], and what the allocator adds to two allocations.
///
/// Measured as the growth of resident memory on Linux with glibc, with blocks of 64 bytes: 197 bytes each at 100,000 to 800,000
/// blocks, 266 at 1,000,000, where the maps have just doubled. A block that expires takes 30 more, for its place in the queue.
pub const ENTRY_OVERHEAD: u64 = 256;

/// Number of shards: a power of two, several times the cores of the machines that run a node, so that two threads seldom
/// want the same lock.
pub const SHARDS: usize = 64;

/// Who pays for memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Owner {
    /// Programs of this host.
    Local,
    /// A peer, out of its grant.
    Peer(NodeId),
}

/// How a store is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// The most memory that blocks, keys and the cost of their entries may take together.
    pub budget_bytes: u64,
}

/// A block that is to be kept. Who pays for it is in the [`Reservation`] that comes with it.
#[derive(Clone, Debug)]
pub struct Block {
    /// The bytes.
    ///
    /// In ordinary memory they are kept in an allocation of exactly their length. Bytes that have one of their own (a `Vec`,
    /// a `BytesMut` that was filled for this block alone) are taken over; a slice of a larger or shared buffer is copied out of it,
    /// because ten bytes that hold on to a read buffer of 256 KiB would make the accounts a lie.
    pub bytes: Value,
    /// The class.
    pub class: BlockClass,
    /// The stream whose chunk this is.
    pub chunk_of: Option<BlockId>,
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
    /// The stream whose chunk this is.
    pub chunk_of: Option<BlockId>,
    /// When it expires.
    pub expires: Option<Moment>,
}

/// What of the budget is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Number of blocks.
    pub blocks: u64,
    /// The budget.
    pub budget_bytes: u64,
    /// What is used of it: blocks, reservations, charges, and freed blocks that somebody still reads.
    pub used_bytes: u64,
    /// The part of `used_bytes` that cannot be evicted: all but `cache_bytes`.
    pub pinned_bytes: u64,
    /// The part of `used_bytes` that blocks of class cache take, with the cost of their entries.
    pub cache_bytes: u64,
    /// The part of `used_bytes` that peers pay.
    pub peers_used_bytes: u64,
}

/// Why a block was not put in. Its bytes and its reservation are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InsertError {
    /// There is a block of this id, and it stays.
    #[error("a block of this id exists")]
    AlreadyExists,
    /// The block is larger than what was reserved for it: a fault of the caller.
    #[error("the block has {size} bytes, {reserved} were reserved")]
    NotReserved {
        /// The length of the block.
        size: u64,
        /// What was reserved, without the cost of the entry.
        reserved: u64,
    },
}

impl From<InsertError> for ApiError {
    fn from(error: InsertError) -> Self {
        let code = match error {
            InsertError::AlreadyExists => ErrorCode::InvalidArgument,
            InsertError::NotReserved { .. } => ErrorCode::Internal,
        };
        ApiError::new(code, error.to_string())
    }
}

/// The blocks of this node. Cheap to clone; clones share the blocks.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Arc<Ledger>,
    expiry: Arc<Expiry>,
    shards: [Mutex<Shard>; SHARDS],
}

/// A part of the blocks, and which of them expire.
#[derive(Default)]
struct Shard {
    blocks: HashMap<BlockId, Entry>,
    expiring: Queue,
}

impl Shard {
    /// A block that has not expired.
    fn live(&self, id: BlockId, expiry: &Expiry) -> Option<&Entry> {
        self.blocks.get(&id).filter(|entry| entry.is_live(expiry))
    }
}

/// A block in the map. Its charge lives with its bytes (see [`Value::keeping`]), so that both go together.
struct Entry {
    bytes: Value,
    class: BlockClass,
    owner: Owner,
    chunk_of: Option<BlockId>,
    expires: Option<Moment>,
}

impl Entry {
    fn is_live(&self, expiry: &Expiry) -> bool {
        self.expires.is_none_or(|moment| !expiry.is_past(moment))
    }

    /// What is taken from the budget for it.
    fn charged(&self) -> u64 {
        self.bytes.len() as u64 + ENTRY_OVERHEAD
    }

    fn meta(&self) -> BlockMeta {
        BlockMeta {
            size: self.bytes.len() as u64,
            class: self.class,
            owner: self.owner,
            chunk_of: self.chunk_of,
            expires: self.expires,
        }
    }
}

impl Store {
    /// An empty store.
    pub fn new(config: StoreConfig) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self {
            inner: Arc::new(Inner {
                ledger: Ledger::new(config.budget_bytes),
                expiry: Arc::default(),
                shards,
            }),
        }
    }

    /// The clock by which blocks expire.
    pub fn expiry(&self) -> &Arc<Expiry> {
        &self.inner.expiry
    }

    /// Takes memory for one block of this length, or for something else of it (see [`Reservation::keep`]):
    /// `bytes` and [`ENTRY_OVERHEAD`].
    ///
    /// # Errors
    /// `QuotaExceeded` where the peer's grant has no room, `OutOfMemory` where the budget has none. Nothing is taken then.
    pub fn reserve(&self, owner: Owner, bytes: u64) -> ApiResult<Reservation> {
        self.inner.ledger.reserve(owner, bytes)
    }

    /// Charges this host's programs for something small that is kept in any case, such as the record of a block that
    /// lies on a peer: `bytes` and [`ENTRY_OVERHEAD`]. It may take the use above the budget: a node that is full must
    /// still be able to offload. The next reservation is refused then.
    pub fn charge(&self, bytes: u64) -> Charge {
        self.inner.ledger.charge(bytes)
    }

    /// Puts a block in. What was reserved beyond its length is given back. See [`Block::bytes`] for when bytes are copied.
    ///
    /// # Errors
    /// `AlreadyExists` where the id is taken; `NotReserved` where the block is larger than its reservation.
    pub fn insert(&self, id: BlockId, block: Block, reservation: Reservation) -> Result<(), InsertError> {
        let mut reservation = reservation;
        let (size, reserved) = (block.bytes.len() as u64, reservation.bytes());
        if size > reserved {
            return Err(InsertError::NotReserved { size, reserved });
        }
        reservation.shrink_to(size);
        let charge = reservation.keep();
        let owner = charge.owner();
        // Outside of the lock: it may copy.
        let bytes = match block.bytes {
            Value::Heap(bytes) => Value::Heap(own_allocation(bytes).into()),
            file @ Value::File(_) => file,
        };
        let bytes = bytes.keeping(charge);
        let entry = Entry {
            bytes,
            class: block.class,
            owner,
            chunk_of: block.chunk_of,
            expires: block.expires,
        };

        let mut guard = self.shard(id);
        let shard = &mut *guard;
        match shard.blocks.entry(id) {
            std::collections::hash_map::Entry::Occupied(_) => {
                drop(guard);
                Err(InsertError::AlreadyExists)
            }
            std::collections::hash_map::Entry::Vacant(vacant) => {
                self.inner.ledger.entered(entry.class, entry.charged());
                shard.expiring.change(id, None, entry.expires, &self.inner.expiry);
                vacant.insert(entry);
                Ok(())
            }
        }
    }

    /// The bytes of a block, without a copy. One that has expired is not there.
    pub fn block(&self, id: BlockId) -> Option<Value> {
        let shard = self.shard(id);
        shard
            .live(id, &self.inner.expiry)
            .map(|entry| entry.bytes.clone())
    }

    /// What is known of a block.
    pub fn meta(&self, id: BlockId) -> Option<BlockMeta> {
        self.shard(id).live(id, &self.inner.expiry).map(Entry::meta)
    }

    /// Whether a block has expired and was not taken out yet.
    pub fn has_expired(&self, id: BlockId) -> bool {
        let shard = self.shard(id);
        shard
            .blocks
            .get(&id)
            .is_some_and(|entry| !entry.is_live(&self.inner.expiry))
    }

    /// Sets when a block expires, where `condition` holds for it; `None` is never. Returns what was known of it before.
    pub fn set_expiry(
        &self,
        id: BlockId,
        expires: Option<Moment>,
        condition: impl FnOnce(&BlockMeta) -> bool,
    ) -> Option<BlockMeta> {
        let mut guard = self.shard(id);
        let Shard { blocks, expiring } = &mut *guard;
        let entry = blocks.get_mut(&id)?;
        let before = entry.meta();
        if !entry.is_live(&self.inner.expiry) || !condition(&before) {
            return None;
        }
        expiring.change(id, entry.expires, expires, &self.inner.expiry);
        entry.expires = expires;
        Some(before)
    }

    /// Takes out blocks of one shard, counted from 0, that have expired, at most [`BATCH_MAX`](crate::expiry::BATCH_MAX).
    /// Returns their ids.
    pub fn take_expired(&self, shard: usize) -> Vec<BlockId> {
        let (due, removed) = {
            let mut shard = lock(&self.inner.shards[shard]);
            let due = shard.expiring.take_due(&self.inner.expiry);
            let removed: Vec<Entry> = due.iter().filter_map(|id| shard.blocks.remove(id)).collect();
            for entry in &removed {
                self.inner.ledger.left(entry.class, entry.charged());
            }
            if shard.blocks.len() < shard.blocks.capacity() / 8 {
                shard.blocks.shrink_to_fit();
            }
            (due, removed)
        };
        // As in `remove_if`: the bytes are freed outside of the lock.
        drop(removed);
        due
    }

    /// Removes a block. Its memory goes back to the budget at once, or when the last reader is done.
    pub fn remove(&self, id: BlockId) -> Option<BlockMeta> {
        self.remove_if(id, |_| true)
    }

    /// Removes a block where `condition` holds for it: the look and the removal are one step.
    pub fn remove_if(&self, id: BlockId, condition: impl FnOnce(&BlockMeta) -> bool) -> Option<BlockMeta> {
        let removed = {
            let mut shard = self.shard(id);
            shard.blocks.get(&id).filter(|entry| condition(&entry.meta()))?;
            let entry = shard.blocks.remove(&id)?;
            shard.expiring.remove(id, entry.expires);
            self.inner.ledger.left(entry.class, entry.charged());
            entry
        };
        // The bytes are freed here, outside of the lock: unmapping a large block takes its time.
        removed.is_live(&self.inner.expiry).then(|| removed.meta())
    }

    /// Removes the blocks of an owner for which `filter` holds. Looks at every block: a shard's lock is held while its
    /// part (one in 64) is looked at.
    pub fn remove_owned(&self, owner: Owner, filter: impl Fn(BlockId, &BlockMeta) -> bool) -> Freed {
        let mut freed = Freed::default();
        for shard in &self.inner.shards {
            let removed: Vec<(BlockId, Entry)> = {
                let mut guard = lock(shard);
                let Shard { blocks, expiring } = &mut *guard;
                blocks
                    .extract_if(|&id, entry| entry.owner == owner && filter(id, &entry.meta()))
                    .inspect(|(id, entry)| {
                        expiring.remove(*id, entry.expires);
                        self.inner.ledger.left(entry.class, entry.charged());
                    })
                    .collect()
            };
            freed.blocks += removed.len() as u64;
            freed.bytes += removed
                .iter()
                .map(|(_, entry)| entry.bytes.len() as u64)
                .sum::<u64>();
        }
        freed
    }

    /// Grants a peer this much of the budget, or nothing more (`None`). What it has stays, also where it is more.
    pub fn set_quota(&self, node: NodeId, quota_bytes: Option<u64>) {
        self.inner.ledger.set_quota(node, quota_bytes);
    }

    /// A peer's grant and what it uses of it, with the cost of its entries.
    pub fn grant_use(&self, node: NodeId) -> GrantUse {
        self.inner.ledger.grant_use(node)
    }

    /// What of the budget is in use.
    pub fn usage(&self) -> Usage {
        self.inner.ledger.usage()
    }

    fn shard(&self, id: BlockId) -> MutexGuard<'_, Shard> {
        // The low bits of an id count up, so that the blocks of one maker spread evenly.
        lock(&self.inner.shards[id.as_u64() as usize % SHARDS])
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.usage()).finish()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().expect("no code panics while it holds a shard")
}

/// The bytes in an allocation of exactly their length: their own, where nobody shares it, else a copy.
fn own_allocation(bytes: Bytes) -> Box<[u8]> {
    // A conversion that takes the allocation over where this is its only handle, and copies where it is not.
    let vec = Vec::from(bytes);
    if vec.len() < vec.capacity() / 2 {
        // Shrinking in place would leave the small block at the head of the large buffer's memory, in the allocator's way.
        return vec.as_slice().into();
    }
    vec.into_boxed_slice()
}
