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

use ledger::Ledger;
pub use ledger::{Charge, Reservation};

/// What an entry costs beside its bytes: its place in the map of a shard, which is between 44 % and 88 % full, the owner of
/// its memory behind [`Bytes`], and what the allocator adds to two allocations.
///
/// Measured as the growth of resident memory on Linux with glibc, with blocks of 64 bytes: 197 bytes each at 100,000 to 800,000
/// blocks, 266 at 1,000,000, where the maps have just doubled.
pub const ENTRY_OVERHEAD: u64 = 256;

/// Number of shards: a power of two, several times the cores of the machines that run a node, so that two threads seldom
/// want the same lock.
const SHARDS: usize = 64;

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
    /// They are kept in an allocation of exactly their length. Bytes that have one of their own (a `Vec`, a `BytesMut` that was
    /// filled for this block alone) are taken over; a slice of a larger or shared buffer is copied out of it, because
    /// ten bytes that hold on to a read buffer of 256 KiB would make the accounts a lie.
    pub bytes: Bytes,
    /// The class.
    pub class: BlockClass,
    /// The stream whose chunk this is.
    pub chunk_of: Option<BlockId>,
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
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<BlockId, Entry>;

/// A block in the map. Its charge lives with its bytes (see [`Kept`]), so that both go together.
struct Entry {
    bytes: Bytes,
    class: BlockClass,
    owner: Owner,
    chunk_of: Option<BlockId>,
}

impl Entry {
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
        }
    }
}

/// The owner of a block's memory behind its [`Bytes`]: when the last handle goes, so does the charge.
struct Kept {
    bytes: Box<[u8]>,
    _charge: Charge,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Store {
    /// An empty store.
    pub fn new(config: StoreConfig) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self {
            inner: Arc::new(Inner {
                ledger: Ledger::new(config.budget_bytes),
                shards,
            }),
        }
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
        let bytes = Bytes::from_owner(Kept {
            bytes: own_allocation(block.bytes),
            _charge: charge,
        });
        let entry = Entry {
            bytes,
            class: block.class,
            owner,
            chunk_of: block.chunk_of,
        };

        let mut shard = self.shard(id);
        match shard.entry(id) {
            std::collections::hash_map::Entry::Occupied(_) => {
                drop(shard);
                Err(InsertError::AlreadyExists)
            }
            std::collections::hash_map::Entry::Vacant(vacant) => {
                self.inner.ledger.entered(entry.class, entry.charged());
                vacant.insert(entry);
                Ok(())
            }
        }
    }

    /// The bytes of a block, without a copy.
    pub fn block(&self, id: BlockId) -> Option<Bytes> {
        self.shard(id).get(&id).map(|entry| entry.bytes.clone())
    }

    /// What is known of a block.
    pub fn meta(&self, id: BlockId) -> Option<BlockMeta> {
        self.shard(id).get(&id).map(Entry::meta)
    }

    /// Removes a block. Its memory goes back to the budget at once, or when the last reader is done.
    pub fn remove(&self, id: BlockId) -> Option<BlockMeta> {
        self.remove_if(id, |_| true)
    }

    /// Removes a block where `condition` holds for it: the look and the removal are one step.
    pub fn remove_if(&self, id: BlockId, condition: impl FnOnce(&BlockMeta) -> bool) -> Option<BlockMeta> {
        let removed = {
            let mut shard = self.shard(id);
            shard.get(&id).filter(|entry| condition(&entry.meta()))?;
            let entry = shard.remove(&id)?;
            self.inner.ledger.left(entry.class, entry.charged());
            entry
        };
        // The bytes are freed here, outside of the lock: unmapping a large block takes its time.
        Some(removed.meta())
    }

    /// Removes the blocks of an owner for which `filter` holds. Looks at every block: a shard's lock is held while its
    /// part (one in 64) is looked at.
    pub fn remove_owned(&self, owner: Owner, filter: impl Fn(BlockId, &BlockMeta) -> bool) -> Freed {
        let mut freed = Freed::default();
        for shard in &self.inner.shards {
            let removed: Vec<(BlockId, Entry)> = {
                let mut shard = lock(shard);
                shard
                    .extract_if(|&id, entry| entry.owner == owner && filter(id, &entry.meta()))
                    .inspect(|(_, entry)| self.inner.ledger.left(entry.class, entry.charged()))
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
