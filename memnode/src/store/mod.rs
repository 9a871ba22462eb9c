//! What this node keeps in RAM and what it knows of keys, and who pays for it.
//!
//! The store is synchronous: every operation takes one short lock of one shard, or none. Memory is reserved before it is filled
//! ([`Store::reserve`]), put in with [`Store::insert`] or [`Store::set`], and given back when it was removed *and* the last
//! reader of its bytes is done, so that a slow reader cannot make a node hold more than its budget. Small values of this host's
//! programs need no reservation: [`Store::set_small`] pays, writes and displaces in one step.
//!
//! - `shard`: what one lock guards. An **entry** is a key with what is known of it, or a block without a key.
//! - `arena`, `pages`, `entry`: entries lie in slots of pages that are the store's own, small values next to their keys, and are moved
//!   together when a page becomes sparse, so that memory that was freed goes back to the system whatever the sizes were.
//! - `outside`: values too large for a slot, blocks that peers pay for, and what lies on peers or in chunks. `lent`: the blocks of each peer.
//! - `chunks`, `adoption`: chunks of streams, each held once whoever has it, found by the hash of its bytes. `shares`: who pays for them.
//! - `prepared`: what is on its way in. `room`: making room for it by eviction. `absent`: peers that are away.
//! - `index`: from hashes to entries, by key and by id. `notes`, `numbers`: which other node answers for a key, in at most
//!   32 bytes. `queues`, `ghosts`: which entry of class cache goes first. `ledger`, `charges`: the accounts, and what was taken from them.
//!
//! The store talks to no other node: what it displaces and lies elsewhere it returns, and the service acts. It never waits, spawns or logs.

mod absent;
mod adoption;
mod arena;
#[cfg(any(test, fuzzing, feature = "simulation"))]
mod audit;
mod charges;
mod chunks;
mod entry;
mod ghosts;
mod index;
mod keys;
mod ledger;
mod lent;
mod notes;
mod numbers;
mod outside;
mod pages;
mod prepared;
mod queues;
mod records;
mod room;
mod shard;
mod shares;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use foldhash::fast::SeedableRandomState;
use memproto::control::{Freed, GrantUse};
use memproto::error::ApiResult;
use memproto::peer::Manifest;
use memproto::{ApiError, BlockClass, BlockId, ErrorCode, NodeId, Version};
use tokio::sync::Notify;

use crate::expiry::{Expiry, Moment};
use crate::ids::BlockIds;
use crate::span::memory_len;
use crate::value::Value;
use absent::Absentee;
pub use adoption::{Adopted, Adoption, FoundChunk};
use arena::Handle;
#[cfg(any(test, fuzzing, feature = "simulation"))]
pub use audit::Audit;
pub use charges::{Charge, Reservation};
pub use chunks::CHUNK_OVERHEAD;
use chunks::ChunkIndex;
use entry::Kind;
pub use keys::SetSmall;
use ledger::Ledger;
use pages::PagePool;
use prepared::Prepared;
pub use records::{
    Block, BlockMeta, Chunk, Content, Found, KeyNote, KeyRecord, KeyValue, KeyWrite, Lookup, Object, Place,
    Removed, Usage,
};
use room::Wanted;
pub use shard::Scanned;
use shard::{Common, Displaced, Key, New, NoPage, Shard, cost_of_lent, fits_inline};

/// What a value that lies outside of the pages costs beside its bytes and its entry: its place in a list, the owner of its memory behind
/// [`Bytes`](bytes::Bytes), and what the allocator adds to two allocations.
pub const ENTRY_OVERHEAD: u64 = 160;

/// What a chunk of a stream of this node's takes beside its place in the manifest: an entry of 72 and one of 48 bytes in the two tables of
/// [`crate::service`]'s own chunks, which are half full at worst.
pub const PLACED_CHUNK_COST: u64 = 240;

/// Shards for each core: two threads seldom want the same lock.
const SHARDS_PER_CORE: usize = 4;

/// The most shards. Each has pages that are not full, of each size of slots that occurs: with 78 sizes that can be 5 MiB, half of it on average, beyond what is
/// used. A lock is held for some hundred nanoseconds, so that sixteen serve tens of millions of requests a second.
const SHARDS_MAX: usize = 16;

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
    /// The node whose store it is.
    pub node_id: NodeId,
    /// A random number: where block ids start.
    pub first_block_id: u64,
}

/// A small value of a program of this host, as it is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct SmallValue<'a> {
    /// The bytes; see [`Store::is_small`].
    pub bytes: &'a [u8],
    /// The class.
    pub class: BlockClass,
    /// When it expires.
    pub expires: Option<Moment>,
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
    /// The system gives no memory, though the budget has room.
    #[error("the system has no memory left for the node: start it with a smaller --memory")]
    SystemIsFull,
}

impl From<InsertError> for ApiError {
    fn from(error: InsertError) -> Self {
        let code = match error {
            InsertError::AlreadyExists => ErrorCode::InvalidArgument,
            InsertError::NotReserved { .. } => ErrorCode::Internal,
            InsertError::SystemIsFull => ErrorCode::OutOfMemory,
        };
        ApiError::new(code, error.to_string())
    }
}

impl From<NoPage> for InsertError {
    fn from(NoPage: NoPage) -> Self {
        InsertError::SystemIsFull
    }
}

/// The entries of this node. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    common: Common,
    /// As many as a power of two.
    shards: Box<[Mutex<Shard>]>,
    /// The shard that evicts next: they take turns.
    evicts_next: AtomicUsize,
    /// Streams of which a chunk was evicted, and who waits for them.
    torn_streams: Mutex<Vec<BlockId>>,
    torn: Notify,
    /// Peers that are away and have data here.
    absent: Mutex<Vec<Absentee>>,
}

impl Store {
    /// An empty store.
    pub fn new(config: StoreConfig) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = (cores * SHARDS_PER_CORE).next_power_of_two().min(SHARDS_MAX);
        Self::with(config, shards, SeedableRandomState::random())
    }

    /// `shards` is a power of two.
    fn with(config: StoreConfig, shards: usize, hasher: SeedableRandomState) -> Self {
        let common = Common {
            here: config.node_id,
            ledger: Ledger::new(config.budget_bytes),
            expiry: Arc::default(),
            chunks: ChunkIndex::new(&hasher),
            hasher,
            numbers: Arc::default(),
        };
        let pool = Arc::new(PagePool::default());
        let shard = |number: usize| {
            let ids = BlockIds::new(
                config.node_id,
                config.first_block_id,
                number as u64,
                shards as u64,
            );
            Mutex::new(Shard::new(common.clone(), Arc::clone(&pool), ids))
        };
        Self {
            inner: Arc::new(Inner {
                shards: (0..shards).map(shard).collect(),
                common,
                evicts_next: AtomicUsize::new(0),
                torn_streams: Mutex::default(),
                torn: Notify::new(),
                absent: Mutex::default(),
            }),
        }
    }

    /// The clock by which data expires.
    pub fn expiry(&self) -> &Arc<Expiry> {
        &self.inner.common.expiry
    }

    /// Number of shards, for those who go through all of them.
    pub fn shards(&self) -> usize {
        self.inner.shards.len()
    }

    /// Whether a value lies next to its entry where a program of this host stores it; `key_len` is 0 without a key.
    pub fn is_small(key_len: usize, value_len: usize) -> bool {
        fits_inline(key_len, value_len)
    }

    /// Takes memory for one block of this length, or for something else of it (see [`Reservation::keep`]):
    /// `bytes` and [`ENTRY_OVERHEAD`], and from a peer what the entry of a pinned block costs. Data of class cache makes room.
    ///
    /// # Errors
    /// `QuotaExceeded` where the peer's grant has no room, `OutOfMemory` where the budget has none. Nothing is taken then.
    pub fn reserve(&self, owner: Owner, bytes: u64) -> ApiResult<Reservation> {
        let entry_cost = match owner {
            Owner::Local => 0,
            Owner::Peer(_) => cost_of_lent(0, BlockClass::Pinned),
        };
        self.reserve_with(owner, bytes, entry_cost, None)
    }

    /// Takes memory from a peer's grant for a block of this length and class, for its entry and, of a chunk, for [`CHUNK_OVERHEAD`]. Where the grant is full, data of class cache of
    /// that peer makes room, and where the budget is, that of anybody; but no chunk of the stream of which this is one does
    /// for the grant.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn reserve_for_peer(
        &self,
        peer: NodeId,
        bytes: u64,
        class: BlockClass,
        chunk_of: Option<BlockId>,
    ) -> ApiResult<Reservation> {
        let of_chunk = if chunk_of.is_some() { CHUNK_OVERHEAD } else { 0 };
        let entry_cost = cost_of_lent(0, class) + of_chunk;
        self.reserve_with(Owner::Peer(peer), bytes, entry_cost, chunk_of)
    }

    fn reserve_with(
        &self,
        owner: Owner,
        bytes: u64,
        entry_cost: u64,
        chunk_of: Option<BlockId>,
    ) -> ApiResult<Reservation> {
        let memory = memory_len(bytes.min(u64::MAX / 2)).saturating_add(ENTRY_OVERHEAD + entry_cost);
        let wanted = Wanted {
            owner,
            of_grant: memory,
            of_budget: memory,
            chunk_of,
        };
        self.making_room(&wanted, || self.ledger().reserve(owner, bytes, entry_cost))
    }

    /// Takes more for a value whose size is not known beforehand. Data of class cache makes room.
    ///
    /// # Errors
    /// `OutOfMemory` or `QuotaExceeded`; then it is as large as before.
    pub fn grow(&self, reservation: &mut Reservation, bytes: u64) -> ApiResult<()> {
        let growth = reservation.growth(bytes);
        let wanted = Wanted {
            owner: reservation.owner(),
            of_grant: growth,
            of_budget: growth,
            chunk_of: None,
        };
        self.making_room(&wanted, || reservation.grow(bytes))
    }

    /// Stores a small value as a block of a program of this host.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn store_small(&self, value: SmallValue<'_>) -> ApiResult<BlockId> {
        // Threads that store at the same time do so in different shards.
        let shard = self.inner.evicts_next.fetch_add(1, Ordering::Relaxed) % self.shards();
        self.making_room_for_entry(|| {
            let mut shard = lock(&self.inner.shards[shard]);
            let id = shard.new_id();
            shard.set_small(None, small(value, None, id, 0)).map(|_| id)
        })
    }

    /// A new id, for something that is going to be put in under it; with a key, one that this key can name.
    pub fn new_id(&self, key: Option<&str>) -> BlockId {
        let shard = match key {
            Some(key) => self.place_of_key(key).1,
            None => self.inner.evicts_next.fetch_add(1, Ordering::Relaxed) % self.shards(),
        };
        lock(&self.inner.shards[shard]).new_id()
    }

    /// Puts a block in that has no key. What was reserved beyond its length is given back. See [`Block::bytes`] for when bytes are copied.
    /// A chunk of which the same bytes are held shares them: they are compared where one of its hash is here.
    ///
    /// # Errors
    /// `AlreadyExists` where the id is taken; `NotReserved` where the block is larger than its reservation; `SystemIsFull`.
    pub fn insert(&self, id: BlockId, block: Block, reservation: Reservation) -> Result<(), InsertError> {
        let prepared = Prepared::block(&self.inner.common.chunks, block, reservation, id, 0)?;
        let mut shard = self.shard_of_id(id);
        if shard.find_id(id).is_some() {
            drop(shard);
            return Err(InsertError::AlreadyExists);
        }
        prepared.put(&mut shard, None, None, id, 0)?;
        Ok(())
    }

    /// Adds an object that lies elsewhere, or in chunks, and has no key.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn add_object(&self, id: BlockId, object: Object) -> Result<(), InsertError> {
        let prepared = self.prepare_object(object);
        let mut shard = self.shard_of_id(id);
        if shard.find_id(id).is_some() {
            return Err(InsertError::AlreadyExists);
        }
        prepared.put(&mut shard, None, None, id, 0)?;
        Ok(())
    }

    /// What an id names, which counts as a read. What has expired is not there. `read` is called under the lock of a shard: it may
    /// copy a small value, and no more.
    pub fn look_up_id<R>(&self, id: BlockId, read: impl FnOnce(Option<Found<'_>>) -> R) -> R {
        read(self.shard_of_id(id).look_up_id(id))
    }

    /// The bytes of a block of this node's memory. One that has expired is not there.
    pub fn block(&self, id: BlockId) -> Option<Value> {
        self.look_up_id(id, |found| match found? {
            Found::Small(_, value) => Some(bytes::Bytes::copy_from_slice(value).into()),
            Found::Block(_, bytes) => Some(bytes),
            Found::Object(..) => None,
        })
    }

    /// What is known of a block of this node's memory.
    pub fn meta(&self, id: BlockId) -> Option<BlockMeta> {
        self.live(id, Shard::meta)
    }

    /// An object that this node answers for and that is no block of its memory.
    pub fn object(&self, id: BlockId) -> Option<Object> {
        self.live(id, Shard::object)
    }

    /// Whether something has expired and was not taken out yet.
    pub fn has_expired(&self, id: BlockId) -> bool {
        let shard = self.shard_of_id(id);
        shard.find_id(id).is_some_and(|handle| !shard.is_live(handle))
    }

    /// Sets when a block expires, where `condition` holds for it; `None` is never. Returns what was known of it before.
    pub fn set_expiry(
        &self,
        id: BlockId,
        expires: Option<Moment>,
        condition: impl FnOnce(&BlockMeta) -> bool,
    ) -> Option<BlockMeta> {
        let mut shard = self.shard_of_id(id);
        let handle = shard.find_id(id).filter(|&handle| shard.is_live(handle))?;
        let before = shard.meta(handle).filter(condition)?;
        shard.set_expiry(handle, expires);
        Some(before)
    }

    /// Sets when an object expires that is no block; `None` is never. One that has expired, or is not there, stays as it is.
    pub fn set_object_expiry(&self, id: BlockId, expires: Option<Moment>) {
        let mut shard = self.shard_of_id(id);
        if let Some(handle) = shard.find_id(id).filter(|&handle| shard.is_live(handle))
            && shard.object(handle).is_some()
        {
            shard.set_expiry(handle, expires);
        }
    }

    /// Gives a stream that is there already, under its id and its key, another manifest and moment. False where there is no such stream any more.
    pub fn replace_stream(&self, id: BlockId, manifest: Arc<Manifest>, expires: Option<Moment>) -> bool {
        let manifest = self.stream(manifest);
        let mut shard = self.shard_of_id(id);
        let Some(handle) = shard.find_id(id).filter(|&handle| shard.is_live(handle)) else {
            return false;
        };
        let is_replaced = shard.replace_stream(handle, manifest);
        if is_replaced {
            shard.set_expiry(handle, expires);
        }
        is_replaced
    }

    /// Takes out what has expired in one shard, counted from 0, at most [`BATCH_MAX`](crate::expiry::BATCH_MAX). A key that named it is
    /// recorded as deleted in the version that `end` gives for that of the value, or forgotten where it gives none. The versions are returned.
    pub fn take_expired(
        &self,
        shard: usize,
        end: impl FnMut(Version) -> Option<Version>,
    ) -> Vec<(Removed, Option<Version>)> {
        let taken = lock(&self.inner.shards[shard]).take_expired(end);
        // The bytes are dropped here, outside of the lock.
        taken
            .into_iter()
            .filter_map(|(displaced, version)| Some((displaced.removed?, version)))
            .collect()
    }

    /// Removes a block or object, and forgets the key that names it. Memory goes back to the budget at once, or when the last reader is done.
    /// What had expired is removed, and nobody is told that it was there.
    pub fn remove(&self, id: BlockId) -> Option<Removed> {
        self.remove_recording(id, |_| None, |_| true)
    }

    /// Removes a block or object where `condition` holds for the block: the look and the removal are one step. The key that names it is
    /// recorded as deleted in the version that `end` gives for that of the value, or forgotten where it gives none.
    pub fn remove_recording(
        &self,
        id: BlockId,
        end: impl FnOnce(Version) -> Option<Version>,
        condition: impl FnOnce(&BlockMeta) -> bool,
    ) -> Option<Removed> {
        let (displaced, was_live) = {
            let mut shard = self.shard_of_id(id);
            let handle = shard.find_id(id)?;
            if shard.meta(handle).is_some_and(|meta| !condition(&meta)) {
                return None;
            }
            let was_live = shard.is_live(handle);
            (shard.remove_recording(handle, end), was_live)
        };
        // The bytes are freed here, outside of the lock: unmapping a large block takes its time.
        drop(displaced.outside);
        displaced.removed.filter(|_| was_live)
    }

    /// Removes the blocks of an owner for which `filter` holds. Looks at all that the owner has, and for this host's programs at every entry
    /// with an id: a shard's lock is held while its part is looked at.
    pub fn remove_owned(&self, owner: Owner, filter: impl Fn(BlockId, &BlockMeta) -> bool) -> Freed {
        let mut freed = Freed::default();
        for shard in &self.inner.shards {
            let mut removed: Vec<Displaced> = Vec::new();
            let mut shard = lock(shard);
            let owned = match owner {
                Owner::Local => shard.identified().into_iter().map(|(_, id)| id).collect(),
                Owner::Peer(node) => shard.lent_to(node),
            };
            for id in owned {
                // Removing one may move another.
                let Some(handle) = shard.find_id(id) else { continue };
                let is_it = |meta: crate::store::BlockMeta| meta.owner == owner && filter(id, &meta);
                if shard.meta(handle).is_some_and(is_it) {
                    removed.push(shard.remove(handle));
                }
            }
            drop(shard);
            freed.blocks += removed.len() as u64;
            let sizes = removed.iter().filter_map(|displaced| displaced.removed.as_ref());
            freed.bytes += sizes.map(|removed| removed.size).sum::<u64>();
        }
        freed
    }

    /// The ids of all that programs of this host stored, one shard at a time: `shard` counts from 0, `None` is behind the last. Chunks are
    /// left out: they belong to their streams.
    pub fn ids_of_programs(&self, shard: usize) -> Option<Vec<BlockId>> {
        let shard = lock(self.inner.shards.get(shard)?);
        let is_of_programs = |handle| {
            // What lies elsewhere has no block here, and is always this node's own.
            shard
                .meta(handle)
                .is_none_or(|meta| meta.owner == Owner::Local && meta.chunk.is_none())
        };
        let all = shard.identified().into_iter();
        Some(
            all.filter(|&(handle, _)| is_of_programs(handle))
                .map(|(_, id)| id)
                .collect(),
        )
    }

    /// Grants a peer this much of the budget, or nothing more (`None`). What it has stays, also where it is more.
    pub fn set_quota(&self, node: NodeId, quota_bytes: Option<u64>) {
        self.ledger().set_quota(node, quota_bytes);
    }

    /// A peer's grant and what it uses of it.
    pub fn grant_use(&self, node: NodeId) -> GrantUse {
        self.ledger().grant_use(node)
    }

    /// What of the budget is in use.
    pub fn usage(&self) -> Usage {
        let mut usage = self.ledger().usage();
        for shard in &self.inner.shards {
            let sums = lock(shard).sums();
            usage.blocks += sums.blocks;
            usage.keys += sums.keys;
            usage.streams += sums.streams;
            usage.remote_bytes += sums.remote_bytes;
            usage.evictions += sums.evictions;
        }
        usage
    }

    fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.common.ledger
    }

    fn live<R>(&self, id: BlockId, look: impl FnOnce(&Shard, Handle) -> Option<R>) -> Option<R> {
        let shard = self.shard_of_id(id);
        let handle = shard.find_id(id).filter(|&handle| shard.is_live(handle))?;
        look(&shard, handle)
    }

    fn shard_of_id(&self, id: BlockId) -> MutexGuard<'_, Shard> {
        // The shards of a power of two: ids of ours were made for it, those of others spread evenly.
        lock(&self.inner.shards[id.as_u64() as usize % self.shards()])
    }

    /// A key with its hash, and its shard.
    fn place_of_key<'a>(&self, key: &'a str) -> (Key<'a>, usize) {
        let bytes = key.as_bytes();
        let hash = hash_of_key(&self.inner.common.hasher, bytes);
        (Key { bytes, hash }, (hash >> 32) as usize % self.shards())
    }
}

fn small<'a>(value: SmallValue<'a>, key: Option<Key<'a>>, id: BlockId, time: u64) -> New<'a> {
    New {
        key,
        id: Some(id),
        time,
        expires: value.expires,
        class: value.class,
        kind: Kind::Inline,
        payload: value.bytes,
    }
}

fn hash_of_key(hasher: &SeedableRandomState, key: &[u8]) -> u64 {
    hasher.hash_one(key)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.usage()).finish()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().expect("no code panics while it holds a shard")
}

fn lock_any<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
