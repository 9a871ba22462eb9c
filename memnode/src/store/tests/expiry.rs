//! Data that ends by itself.

use std::time::Duration;

use super::*;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

fn in_hours(store: &Store, ttl_hours: u64) -> Option<Moment> {
    Some(store.expiry().after(hours(ttl_hours).try_into().unwrap()))
}

/// Reserves and inserts a block that lives some hours.
fn put_for(store: &Store, at: u64, ttl_hours: u64) {
    let expiring = Block {
        expires: in_hours(store, ttl_hours),
        ..block("four")
    };
    put_block(store, Owner::Local, at, expiring).unwrap();
}

fn set_for(store: &Store, key: &str, ttl_hours: u64, time: u64) -> BlockId {
    let expiring = SmallValue {
        expires: in_hours(store, ttl_hours),
        ..value(b"value", BlockClass::Cache)
    };
    store.set_small(key, expiring, || version(time)).unwrap().0.id
}

fn take_expired(store: &Store, mut tick: impl FnMut() -> Option<Version>) -> Vec<(Removed, Option<Version>)> {
    (0..store.shards())
        .flat_map(|shard| store.take_expired(shard, &mut tick))
        .collect()
}

fn ids(taken: &[(Removed, Option<Version>)]) -> Vec<BlockId> {
    taken.iter().map(|(removed, _)| removed.id).collect()
}

#[test]
fn what_has_expired_is_gone_and_its_memory_comes_back() {
    let store = store();
    put_for(&store, 1, 1);
    put_for(&store, 2, 3);
    put(&store, Owner::Local, 3, 4).unwrap();
    let entry = |expires| Store::cost_of_small(0, 4, BlockClass::Pinned, expires);
    assert_eq!(store.usage().used_bytes, 2 * entry(true) + entry(false));
    store.expiry().advance(hours(1));
    assert!(store.block(id(1)).is_none() && store.meta(id(1)).is_none());
    assert!(store.has_expired(id(1)) && !store.has_expired(id(2)) && !store.has_expired(id(3)));
    assert_eq!(ids(&take_expired(&store, || None)), [id(1)]);
    assert!(!store.has_expired(id(1)));
    assert_eq!(store.usage().used_bytes, entry(true) + entry(false));
    store.expiry().advance(hours(2));
    assert!(store.remove(id(2)).is_none(), "nobody is told that it was there");
    assert_eq!(store.usage().used_bytes, entry(false));
    assert!(take_expired(&store, || None).is_empty());
}

#[test]
fn a_moment_can_be_moved_while_the_block_lives() {
    let store = store();
    put_for(&store, 1, 1);
    let later = in_hours(&store, 5);
    assert_eq!(store.set_expiry(id(1), later, |meta| meta.size == 0), None);
    let before = store.set_expiry(id(1), later, |_| true).unwrap();
    assert!(before.expires < later);
    store.expiry().advance(hours(2));
    assert!(take_expired(&store, || None).is_empty());
    assert!(store.block(id(1)).is_some());
    store.set_expiry(id(1), None, |_| true).unwrap();
    store.expiry().advance(hours(9));
    assert!(take_expired(&store, || None).is_empty());
    assert_eq!(store.meta(id(1)).unwrap().expires, None);
    put_for(&store, 2, 1);
    store.expiry().advance(hours(1));
    assert_eq!(store.set_expiry(id(2), None, |_| true), None, "it is too late");
}

#[test]
fn a_key_ends_with_its_value_and_is_remembered_where_there_is_a_version() {
    let store = store();
    set_for(&store, "forgotten", 1, 1);
    store.expiry().advance(hours(1));
    assert_eq!(get(&store, "forgotten"), None);
    let taken = take_expired(&store, || None);
    assert_eq!(taken[0].0.key.as_deref(), Some("forgotten"));
    assert_eq!((taken.len(), taken[0].1, store.key("forgotten")), (1, None, None));
    assert_eq!(store.usage(), nothing(BUDGET));

    set_for(&store, "remembered", 1, 1);
    put_for(&store, 1, 1);
    store.expiry().advance(hours(1));
    let mut ticks = 0;
    let taken = take_expired(&store, || {
        ticks += 1;
        Some(version(10 + ticks))
    });
    assert_eq!(
        (taken.len(), ticks),
        (2, 1),
        "a block without a key asks for no version"
    );
    assert!(
        taken
            .iter()
            .all(|(removed, by)| removed.key.is_some() == by.is_some())
    );
    assert_eq!(store.key("remembered").unwrap().version, version(11));
    assert_eq!(store.usage().used_bytes, Store::cost_of_deletion(10));
    store.audit();
}

#[test]
fn a_new_value_has_a_moment_of_its_own() {
    let store = store();
    let first = set_for(&store, "k", 1, 1);
    // In place, as it is of equal size.
    let second = set_for(&store, "k", 5, 2);
    store.expiry().advance(hours(2));
    assert!(take_expired(&store, || None).is_empty());
    assert!(store.block(first).is_none() && store.block(second).is_some());
    set(&store, "k", b"for good", 3).unwrap();
    store.expiry().advance(hours(9));
    assert!(take_expired(&store, || None).is_empty());
    assert_eq!(get(&store, "k").unwrap(), b"for good");
    // What has expired is replaced like anything else.
    set_for(&store, "k", 1, 4);
    store.expiry().advance(hours(1));
    set(&store, "k", b"again", 5).unwrap();
    assert!(take_expired(&store, || None).is_empty());
    assert_eq!(get(&store, "k").unwrap(), b"again");
}

#[test]
fn objects_expire_too() {
    let store = store();
    let object = Object {
        expires: in_hours(&store, 1),
        ..on_peer(PEERS[0], 10)
    };
    store.add_object(id(1), object.clone()).unwrap();
    store.add_object(id(2), object).unwrap();
    assert_eq!(store.set_expiry(id(1), None, |_| true), None, "it is no block");
    store.set_object_expiry(id(1), in_hours(&store, 3));
    put_for(&store, 3, 1);
    store.set_object_expiry(id(3), None);
    store.expiry().advance(hours(2));
    let mut taken = ids(&take_expired(&store, || None));
    taken.sort();
    assert_eq!(taken, [id(2), id(3)]);
    assert!(store.object(id(1)).is_some() && store.object(id(2)).is_none());
    store.expiry().advance(hours(2));
    store.set_object_expiry(id(1), None);
    assert_eq!(ids(&take_expired(&store, || None)), [id(1)], "it was too late");
    assert_eq!(store.usage(), nothing(BUDGET));
}
