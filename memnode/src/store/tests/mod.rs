//! Tests of the store, by subject. Sequences of operations that nobody thought of are in [`crate::fuzzing`].

mod blocks;
mod budget;
mod chunks;
mod eviction;
mod expiry;
mod hostile;
mod keys;
mod lending;
mod moving;
mod notes;

use std::sync::Arc;

use bytes::Bytes;
use memproto::ChunkHash;
use memproto::peer::{Manifest, PlacedChunk};

use super::*;

const BUDGET: u64 = 16 * 1024;
const HERE: NodeId = NodeId::from_bytes([9; 16]);
const PEERS: [NodeId; 2] = [NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16])];

/// So long that it never lies next to its entry.
const LARGE: usize = 10_000;

fn store() -> Store {
    sized(BUDGET)
}

fn sized(budget_bytes: u64) -> Store {
    with_shards(budget_bytes, 8)
}

fn with_shards(budget_bytes: u64, shards: usize) -> Store {
    let config = StoreConfig {
        budget_bytes,
        node_id: HERE,
        first_block_id: 0,
    };
    Store::seeded(config, shards, 1)
}

fn id(id: u64) -> BlockId {
    BlockId::new(id).unwrap()
}

fn version(time: u64) -> Version {
    Version { time, node: HERE }
}

fn block(bytes: impl Into<Bytes>) -> Block {
    Block {
        bytes: bytes.into().into(),
        class: BlockClass::Pinned,
        chunk: None,
        expires: None,
    }
}

/// Reserves and inserts.
fn put(store: &Store, owner: Owner, at: u64, size: usize) -> ApiResult<()> {
    put_block(store, owner, at, block(vec![at as u8; size]))
}

fn put_block(store: &Store, owner: Owner, at: u64, block: Block) -> ApiResult<()> {
    let reservation = store.reserve(owner, block.bytes.len() as u64)?;
    Ok(store.insert(id(at), block, reservation)?)
}

fn value(bytes: &[u8], class: BlockClass) -> SmallValue<'_> {
    SmallValue {
        bytes,
        class,
        expires: None,
    }
}

/// Takes all that the budget has left.
fn fill(store: &Store) -> Vec<Reservation> {
    let mut held = Vec::new();
    loop {
        let usage = store.usage();
        let free = usage.budget_bytes - usage.used_bytes;
        if free < ENTRY_OVERHEAD {
            return held;
        }
        // So little that its memory is not rounded, and that what is left is enough for another one.
        let bytes = (free - ENTRY_OVERHEAD).min(4_000);
        let bytes = if free - ENTRY_OVERHEAD - bytes < ENTRY_OVERHEAD {
            free - ENTRY_OVERHEAD
        } else {
            bytes
        };
        held.push(store.reserve(Owner::Local, bytes).unwrap());
    }
}

/// Sets a key to a pinned value.
fn set(store: &Store, key: &str, bytes: &[u8], time: u64) -> ApiResult<BlockId> {
    set_class(store, key, bytes, BlockClass::Pinned, time)
}

/// Sets a key to a value that may be evicted.
fn cache(store: &Store, key: &str, bytes: &[u8], time: u64) -> ApiResult<BlockId> {
    set_class(store, key, bytes, BlockClass::Cache, time)
}

fn set_class(store: &Store, key: &str, bytes: &[u8], class: BlockClass, time: u64) -> ApiResult<BlockId> {
    store
        .set_small(key, value(bytes, class), || version(time))
        .map(|(set, _)| set.id)
}

/// Sets a key to a block in memory of its own.
fn set_large(store: &Store, key: &str, large: Block, time: u64) -> ApiResult<KeyWrite> {
    let reservation = store.reserve(Owner::Local, large.bytes.len() as u64)?;
    let content = Content::Block(large, reservation);
    Ok(store.set(key, version(time), store.new_id(Some(key)), content)?)
}

/// What a key names.
fn get(store: &Store, key: &str) -> Option<Vec<u8>> {
    store.look_up(key, |lookup| match lookup {
        Lookup::Ours(_, Found::Small(_, bytes)) => Some(bytes.to_vec()),
        Lookup::Ours(_, Found::Block(_, value)) => Some(value.as_ref().to_vec()),
        _ => None,
    })
}

fn stream(chunks: &[(u64, NodeId)]) -> Object {
    let mut manifest = Manifest::new();
    for &(chunk, holder) in chunks {
        let hash = ChunkHash::from_bytes([chunk as u8; 32]);
        manifest
            .push(PlacedChunk::raw(id(chunk), holder, 5, hash))
            .unwrap();
    }
    Object {
        size: manifest.size(),
        place: Place::Stream(Arc::new(manifest)),
        expires: None,
    }
}

fn on_peer(holder: NodeId, size: u64) -> Object {
    Object {
        size,
        place: Place::At(holder),
        expires: None,
    }
}

/// Usage of an empty store.
fn nothing(budget_bytes: u64) -> Usage {
    Usage {
        budget_bytes,
        ..Usage::default()
    }
}
