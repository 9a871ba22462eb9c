//! The store of a node as a cache: blocks of class cache in a small budget.
//!
//! All that a change of the store's calls would touch here is [`StoreCache::has`] and [`StoreCache::insert`].

use bytes::Bytes;
use memnode::store::{Block, Owner, Store, StoreConfig};
use memproto::{BlockClass, BlockId};

use super::policy::{Object, Policy};

/// A store whose blocks may be evicted. Clones share the blocks.
#[derive(Clone, Debug)]
pub(super) struct StoreCache {
    store: Store,
}

impl StoreCache {
    /// An empty store with a budget of this many bytes.
    pub(super) fn new(budget_bytes: u64) -> Self {
        Self {
            store: Store::new(StoreConfig { budget_bytes }),
        }
    }

    /// Whether the block is there; then it is used.
    pub(super) fn has(&self, id: BlockId) -> bool {
        self.store.block(id).is_some()
    }

    /// Puts a block in, for which the store makes room. `false` where it does not.
    pub(super) fn insert(&self, id: BlockId, bytes: Vec<u8>) -> bool {
        let Ok(reservation) = self.store.reserve(Owner::Local, bytes.len() as u64) else {
            return false;
        };
        let block = Block {
            bytes: Bytes::from(bytes),
            class: BlockClass::Cache,
            chunk_of: None,
            expires: None,
        };
        self.store.insert(id, block, reservation).is_ok()
    }

    /// Removes a block.
    pub(super) fn remove(&self, id: BlockId) {
        self.store.remove(id);
    }

    /// How many blocks are there.
    pub(super) fn blocks(&self) -> u64 {
        self.store.usage().blocks
    }
}

impl Policy for StoreCache {
    fn get(&mut self, object: Object) -> bool {
        self.has(block_id(object.id))
    }

    fn put(&mut self, object: Object) -> bool {
        self.insert(block_id(object.id), vec![0; object.size as usize])
    }
}

/// The id of a block for an object's number, counted from 0: the ids that a node makes count up as well.
pub(super) fn block_id(number: u64) -> BlockId {
    BlockId::new(number + 1).expect("a trace has fewer objects than there are ids")
}
