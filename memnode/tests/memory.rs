//! The memory of freed data goes back to the system. In a process of its own, for it looks at the whole process.

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use memnode::platform;
use memnode::store::{Block, Owner, SmallValue, Store, StoreConfig};
use memproto::{BlockClass, BlockId, NodeId, Version};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const MIB: u64 = 1024 * 1024;

/// What may stay: pages of the allocator and of the threads.
const SLACK: u64 = 64 * MIB;

/// Two that look at the process at the same time would see each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn store(budget_bytes: u64) -> Store {
    Store::new(StoreConfig {
        budget_bytes,
        node_id: NodeId::from_bytes([1; 16]),
        first_block_id: 1,
    })
}

fn resident() -> u64 {
    platform::resident_bytes().expect("the system tells")
}

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
        chunk: None,
        expires: None,
    };
    store.insert(id(at), block, reservation).expect("the id is new");
}

#[test]
fn freed_blocks_leave_the_process() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    platform::return_freed_memory();
    let store = store(2048 * MIB);
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

/// Sets keys to values of these lengths until so many bytes are used.
fn fill(store: &Store, rng: &mut SmallRng, lens: [u32; 2], until_used: u64, ids: &mut Vec<BlockId>) {
    let bytes = vec![7; 8 * 1024];
    while store.usage().used_bytes < until_used {
        for _ in 0..100 {
            // As many of each power of two: sizes that programs have.
            let len = 2_f64.powf(rng.random_range(f64::from(lens[0]).log2()..f64::from(lens[1]).log2()));
            let value = SmallValue {
                bytes: &bytes[..len as usize],
                class: BlockClass::Pinned,
                expires: None,
            };
            let key = format!("key:{}", rng.random::<u32>());
            let version = Version {
                time: ids.len() as u64 + 1,
                node: NodeId::from_bytes([1; 16]),
            };
            let (set, _) = store
                .set_small(&key, value, || version)
                .expect("the budget has room");
            ids.push(set.id);
        }
    }
}

/// The promise: a tenth and [`SLACK`] beyond what is used.
fn check(store: &Store, start: u64, when: &str) {
    let (used, resident) = (store.usage().used_bytes, resident().saturating_sub(start));
    println!("{when}: {} MiB used, {} MiB resident", used / MIB, resident / MIB);
    assert!(
        resident <= used + used / 10 + SLACK,
        "{when}: {} MiB used, {} MiB resident",
        used / MIB,
        resident / MIB
    );
}

#[test]
fn small_values_of_mixed_sizes_leave_the_process_after_churn() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    platform::return_freed_memory();
    let store = store(1024 * MIB);
    let start = resident();
    let (mut rng, mut ids) = (SmallRng::seed_from_u64(5), Vec::new());
    fill(&store, &mut rng, [64, 8_000], 300 * MIB, &mut ids);
    check(&store, start, "filled");
    for (lens, mib) in [([1_000, 3_000], 300), ([64, 300], 60), ([64, 8_000], 300)] {
        ids.retain(|&id| {
            let stays = rng.random_range(0..10) == 0;
            if !stays {
                store.remove(id);
            }
            stays
        });
        check(&store, start, "nine of ten removed");
        fill(&store, &mut rng, lens, mib * MIB, &mut ids);
        check(&store, start, "filled again");
    }
}
