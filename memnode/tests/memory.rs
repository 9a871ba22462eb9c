//! The memory of freed blocks goes back to the system. In a process of its own, for it looks at the whole process.

use bytes::BytesMut;
use memnode::platform;
use memnode::store::{Block, Owner, Store, StoreConfig};
use memproto::{BlockClass, BlockId};

const MIB: u64 = 1024 * 1024;

/// What may stay: pages of the allocator and of the threads.
const SLACK: u64 = 64 * MIB;

fn id(id: u64) -> BlockId {
    BlockId::new(id).expect("the ids of this test are small and positive")
}

fn put(store: &Store, at: u64, size: usize) {
    let reservation = store
        .reserve(Owner::Local, size as u64)
        .expect("the budget has room");
    let mut bytes = BytesMut::with_capacity(size);
    bytes.resize(size, at as u8);
    let block = Block {
        bytes: bytes.freeze().into(),
        class: BlockClass::Pinned,
        chunk_of: None,
        expires: None,
    };
    store.insert(id(at), block, reservation).expect("the id is new");
}

#[test]
fn freed_blocks_leave_the_process() {
    platform::return_freed_memory();
    let resident = || platform::resident_bytes().expect("the system tells");
    let store = Store::new(StoreConfig {
        budget_bytes: 2048 * MIB,
    });
    let start = resident();
    // Twice, for glibc of itself gives back only the first time. Small blocks between the large ones stay.
    for round in 0..2 {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let store = &store;
                scope.spawn(move || {
                    for i in (thread..1024).step_by(4) {
                        put(store, 1 + i, MIB as usize);
                        put(store, 1_000_000 * (1 + round) + i, 1_000);
                    }
                });
            }
        });
        assert!(resident() > start + 1024 * MIB, "the blocks are not in memory");
        for i in 0..1024 {
            store.remove(id(1 + i)).expect("it was stored");
        }
        let left = resident().saturating_sub(start);
        assert!(left < SLACK, "round {round}: {} MiB stayed", left / MIB);
    }
}
