//! What peers and programs can do on purpose.

use super::*;

/// What peers could multiply by, were ids spread by a number that everybody knows (2^64 divided by the golden ratio).
const WELL_KNOWN: u64 = 0x9e37_79b9_7f4a_7c15;

#[test]
fn ids_that_a_peer_chose_to_fall_together_do_not() {
    let store = sized(64 << 20);
    store.set_quota(PEERS[0], Some(64 << 20));
    let together = (1..)
        .filter(|number: &u64| number.wrapping_mul(WELL_KNOWN) >> 55 == 0)
        .take(3_000);
    let multiples = (1..=3_000).map(|number: u64| number << 32 | 1);
    for at in together.chain(multiples) {
        // A few are in both.
        let _ = put(&store, Owner::Peer(PEERS[0]), at, 1);
    }
    let longest = store.audit().longest_search;
    assert!(longest < 200, "{longest} places are looked at");
}

#[test]
fn ids_and_keys_that_count_up_are_spread() {
    let store = sized(64 << 20);
    for number in 0..20_000 {
        set(&store, &format!("key:{number:08}"), b"v", 1).unwrap();
    }
    let longest = store.audit().longest_search;
    assert!(longest < 300, "{longest} places are looked at");
}

#[test]
fn a_peer_cannot_tear_what_it_does_not_own() {
    let store = sized(64 * 1024);
    store.set_quota(PEERS[0], Some(64 * 1024));
    let ours = set(&store, "ours", b"pinned", 1).unwrap();
    let chunk = Block {
        class: BlockClass::Cache,
        chunk: Some(Chunk::raw(ours, &[0; 30_000])),
        ..block(vec![0; 30_000])
    };
    put_block(&store, Owner::Peer(PEERS[0]), 1, chunk).unwrap();
    put(&store, Owner::Local, 2, 40_000).unwrap();
    assert_eq!(store.usage().evictions, 1);
    assert!(lock_any(&store.inner.torn_streams).is_empty());
}

#[test]
fn keys_and_values_of_the_greatest_length_fit_where_they_are_said_to() {
    let store = sized(1 << 20);
    let key = "k".repeat(1_024);
    for len in [7_128, 7_129] {
        let bytes = vec![5; len];
        if Store::is_small(key.len(), len) {
            set(&store, &key, &bytes, 1).unwrap();
        } else {
            set_large(&store, &key, block(bytes.clone()), 2).unwrap();
        }
        assert_eq!(get(&store, &key).unwrap(), bytes);
        assert_eq!(Store::is_small(key.len(), len), len == 7_128);
        store.audit();
    }
    store.note(&key, version(3), KeyNote::Deleted);
    assert_eq!(store.usage().used_bytes, Store::cost_of_deletion(1_024));
}
