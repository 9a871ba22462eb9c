//! The store of a node as a cache: values of class cache under keys, in a small budget, set and read as programs of this host do it.
//!
//! All that a change of the store's calls would touch is here.

use bytes::Bytes;
use memnode::store::{Block, Content, Lookup, Owner, SmallValue, Store, StoreConfig};
use memproto::version::HybridClock;
use memproto::{BlockClass, BlockId, NodeId};

use super::policy::{Object, Policy};

/// The node whose store it is.
const NODE: NodeId = NodeId::from_bytes([1; 16]);

/// The first id of a block. It makes no difference.
const FIRST_BLOCK_ID: u64 = 1;

/// A store whose values may be evicted.
#[derive(Debug)]
pub(super) struct StoreCache {
    store: Store,
    clock: HybridClock,
}

impl StoreCache {
    /// An empty store with a budget of this many bytes.
    pub(super) fn new(budget_bytes: u64) -> Self {
        Self {
            store: Store::new(StoreConfig {
                budget_bytes,
                node_id: NODE,
                first_block_id: FIRST_BLOCK_ID,
            }),
            clock: HybridClock::new(NODE),
        }
    }

    /// The same store for another thread, which sets keys of its own: it has a clock of its own.
    pub(super) fn share(&self) -> Self {
        Self {
            store: self.store.clone(),
            clock: HybridClock::new(NODE),
        }
    }

    /// Whether the key of this number has a value; then it is used.
    pub(super) fn has(&self, number: u64) -> bool {
        let is_ours = |found: Lookup<'_>| matches!(found, Lookup::Ours(..));
        self.store.look_up(&key(number), is_ours)
    }

    /// Sets the key of this number, for which the store makes room. Returns the id of the value, or `None` where it has no room.
    pub(super) fn insert(&mut self, number: u64, bytes: Vec<u8>) -> Option<BlockId> {
        let (key, class) = (key(number), BlockClass::Cache);
        if Store::is_small(key.len(), bytes.len()) {
            let value = SmallValue {
                bytes: &bytes,
                class,
                expires: None,
            };
            let set = self.store.set_small(&key, value, || self.clock.tick(0));
            return Some(set.ok()?.0.id);
        }
        let reservation = self.store.reserve(Owner::Local, bytes.len() as u64).ok()?;
        let id = self.store.new_id(Some(&key));
        let block = Block {
            bytes: Bytes::from(bytes).into(),
            class,
            chunk: None,
            expires: None,
        };
        let content = Content::Block(block, reservation);
        self.store.set(&key, self.clock.tick(0), id, content).ok()?;
        Some(id)
    }

    /// Removes a value, and its key.
    pub(super) fn remove(&self, id: BlockId) {
        self.store.remove(id);
    }

    /// How many values were evicted.
    pub(super) fn evictions(&self) -> u64 {
        self.store.usage().evictions
    }
}

impl Policy for StoreCache {
    fn get(&mut self, object: Object) -> bool {
        self.has(object.id)
    }

    fn put(&mut self, object: Object) -> bool {
        self.insert(object.id, vec![0; object.size as usize]).is_some()
    }
}

/// What the store takes from its budget for a value of this size: what all caches count, so that they compare.
#[derive(Debug)]
pub(super) struct Charges {
    store: StoreCache,
}

impl Charges {
    pub(super) fn new() -> Self {
        Self {
            store: StoreCache::new(u64::MAX),
        }
    }

    /// In bytes.
    pub(super) fn of(&mut self, size: u32) -> u32 {
        let id = self.store.insert(0, vec![0; size as usize]);
        let charged = self.store.store.usage().cache_bytes;
        self.store.remove(id.expect("a budget without an end has room"));
        u32::try_from(charged).expect("a value is smaller than 4 GiB")
    }
}

/// All keys have one length, so that values of one size are charged the same.
fn key(number: u64) -> String {
    format!("object:{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::keeps_to_its_capacity;
    use super::*;

    #[test]
    fn charges_are_those_of_the_store() {
        let mut charges = Charges::new();
        let (small, large) = (charges.of(64), charges.of(100_000));
        assert!((64..400).contains(&small), "{small}");
        // Rounded up to pages.
        assert!((102_400..102_900).contains(&large), "{large}");
        assert_eq!(charges.of(64), small);
    }

    #[test]
    fn it_makes_room_and_keeps_to_its_budget() {
        keeps_to_its_capacity(StoreCache::new(1_000_000), 1_000_000);
    }
}
