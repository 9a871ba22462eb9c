//! Entries that are moved together: what names them finds them all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// A value that can be told from all others.
fn bytes_of(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; len];
    let head = number.to_le_bytes();
    let marked = len.min(head.len());
    bytes[..marked].copy_from_slice(&head[..marked]);
    bytes
}

struct Kept {
    id: BlockId,
    key: Option<String>,
    len: usize,
    expires: bool,
}

#[test]
fn pages_become_few_and_all_that_is_left_is_found() {
    // Each shard keeps a page or two of each length: with few shards that is little.
    let store = with_shards(256 << 20, 2);
    let mut rng = SmallRng::seed_from_u64(3);
    let hour = Duration::from_secs(3_600);
    let mut kept: BTreeMap<u64, Kept> = BTreeMap::new();
    let count = 30_000;
    for number in 0..count {
        // Few lengths, so that each has several pages in each shard.
        let len = [0, 30, 200, 1_000][number as usize % 4];
        let bytes = bytes_of(number, len);
        let expires = number % 5 == 0;
        let new = SmallValue {
            expires: expires.then(|| store.expiry().after(hour.try_into().unwrap())),
            ..value(
                &bytes,
                if number % 3 == 0 {
                    BlockClass::Cache
                } else {
                    BlockClass::Pinned
                },
            )
        };
        let key = (number % 7 > 0).then(|| format!("key:{number}"));
        let id = match &key {
            Some(key) => store.set_small(key, new, || version(1)).unwrap().0.id,
            None => store.store_small(new).unwrap(),
        };
        kept.insert(
            number,
            Kept {
                id,
                key,
                len,
                expires,
            },
        );
    }
    let full = store.audit();
    kept.retain(|_, kept| {
        let stays = rng.random_range(0..10) == 0;
        if !stays {
            assert!(store.remove(kept.id).is_some());
        }
        stays
    });
    let sparse = store.audit();
    assert_eq!(sparse.entry_bytes, store.usage().used_bytes);
    assert!(sparse.held_bytes * 4 < full.held_bytes, "{sparse:?} of {full:?}");
    check(&store, &kept);

    // Moments and queues name them still.
    store.expiry().advance(hour);
    let mut expired = 0;
    for shard in 0..store.shards() {
        loop {
            let taken = store.take_expired(shard, |_| None);
            if taken.is_empty() {
                break;
            }
            expired += taken.len();
        }
    }
    assert_eq!(expired, kept.values().filter(|kept| kept.expires).count());
    kept.retain(|_, kept| !kept.expires);
    check(&store, &kept);
    let left = store.usage();
    let all = left.budget_bytes - left.pinned_bytes - (1 << 20);
    let _most = store.reserve(Owner::Local, all).unwrap();
    let mut rest = Vec::new();
    while let Ok(more) = store.reserve(Owner::Local, 0) {
        rest.push(more);
    }
    assert!(store.usage().cache_bytes < ENTRY_OVERHEAD, "{:?}", store.usage());
    kept.retain(|number, kept| number % 3 > 0 || store.meta(kept.id).is_some());
    check(&store, &kept);
    assert_eq!(store.usage().blocks, kept.len() as u64);
    kept.values()
        .for_each(|kept| drop(store.remove(kept.id).unwrap()));
    let empty = store.audit();
    assert_eq!(empty.entry_bytes, 0);
    assert!(
        empty.held_bytes <= 2 * 20 * 64 * 1024,
        "a page of each length that occurred in each shard: {empty:?}"
    );
}

fn check(store: &Store, kept: &BTreeMap<u64, Kept>) {
    store.audit();
    for (&number, kept) in kept {
        let bytes = bytes_of(number, kept.len);
        assert_eq!(store.block(kept.id).unwrap().bytes(), bytes);
        if let Some(key) = &kept.key {
            assert_eq!(get(store, key).unwrap(), bytes);
        }
    }
}

#[test]
fn sizes_that_change_all_the_time_do_not_hold_on_to_pages() {
    let store = sized(64 << 20);
    let mut rng = SmallRng::seed_from_u64(4);
    let mut lens: BTreeMap<u64, usize> = BTreeMap::new();
    for time in 1..60_000_u64 {
        let number = rng.random_range(0..3_000_u64);
        // First short ones, then long ones, then short ones.
        let len = rng.random_range(0..[200, 2_000, 90][time as usize / 20_000]);
        set(&store, &format!("key:{number}"), &bytes_of(number, len), time).unwrap();
        lens.insert(number, len);
    }
    let audit = store.audit();
    assert_eq!(audit.entry_bytes, store.usage().used_bytes);
    for (&number, &len) in &lens {
        assert_eq!(
            get(&store, &format!("key:{number}")).unwrap(),
            bytes_of(number, len)
        );
    }
    // Of each length that occurs now at most two pages in each shard are not full, and of the others one is left.
    let wasted = audit.held_bytes - audit.entry_bytes;
    assert!(wasted < 8 * 64 * 64 * 1024, "{wasted} of {audit:?}");
}
