//! Values under keys.

use super::*;

#[test]
fn a_value_is_replaced_by_one_of_any_size_and_class() {
    let store = sized(1 << 20);
    let key = "a key of some length";
    let mut seen = Vec::new();
    let sizes = [0, 5, 5, 4, 100, 101, 5_000, 0, 8_000];
    for (time, size) in sizes.into_iter().enumerate() {
        for class in [BlockClass::Pinned, BlockClass::Cache] {
            let bytes = vec![time as u8; size];
            let id = set_class(&store, key, &bytes, class, 10 * time as u64 + class as u64 + 1).unwrap();
            assert_eq!(get(&store, key).unwrap(), bytes);
            assert_eq!(store.block(id).unwrap().bytes(), bytes);
            assert_eq!(store.meta(id).unwrap().class, class);
            assert!(
                seen.iter().all(|&before| store.block(before).is_none()),
                "what it held before is gone"
            );
            seen.push(id);
            let usage = store.usage();
            assert_eq!((usage.blocks, usage.keys), (1, 1));
            assert_eq!(
                usage.used_bytes,
                Store::cost_of_small(key.len(), size, class, false)
            );
            let cached = if class == BlockClass::Cache {
                usage.used_bytes
            } else {
                0
            };
            assert_eq!(usage.cache_bytes, cached);
            store.audit();
        }
    }
}

#[test]
fn the_newest_version_wins_in_whatever_order_it_arrives() {
    let store = store();
    set(&store, "k", b"second", 2).unwrap();
    let before = store.usage();
    for stale in [1, 2] {
        let id = set(&store, "k", b"of before", stale).unwrap();
        assert!(store.block(id).is_none());
        let object = Content::Object(on_peer(PEERS[0], 5));
        let written = store
            .set("k", version(stale), store.new_id(Some("k")), object)
            .unwrap();
        assert!(matches!(written, KeyWrite::Stale(record) if record.version == version(2)));
        assert!(matches!(
            store.note("k", version(stale), KeyNote::Deleted),
            KeyWrite::Stale(_)
        ));
    }
    assert_eq!(
        (get(&store, "k").unwrap(), store.usage()),
        (b"second".to_vec(), before)
    );
    // Equal times are decided by the node.
    let smaller = Version {
        time: 2,
        node: PEERS[0],
    };
    assert!(matches!(
        store.note("k", smaller, KeyNote::Theirs),
        KeyWrite::Stale(_)
    ));
    let greater = Version {
        time: 2,
        node: NodeId::from_bytes([10; 16]),
    };
    let KeyWrite::Recorded {
        displaced: Some(removed),
        ..
    } = store.note("k", greater, KeyNote::Theirs)
    else {
        panic!("it is newer")
    };
    assert_eq!((removed.size, removed.key), (6, None));
    assert_eq!(get(&store, "k"), None);
}

#[test]
fn what_is_not_small_is_displaced_and_returned() {
    let store = sized(1 << 20);
    let large = block(vec![3; LARGE]);
    assert!(matches!(
        set_large(&store, "k", large, 1),
        Ok(KeyWrite::Recorded {
            displaced: None,
            before: None
        })
    ));
    assert_eq!(get(&store, "k").unwrap(), vec![3; LARGE]);
    let contents = [on_peer(PEERS[0], 70), stream(&[(50, PEERS[0]), (51, PEERS[1])])];
    for (time, object) in contents.into_iter().enumerate() {
        let id = store.new_id(Some("k"));
        store
            .set("k", version(2 + time as u64), id, Content::Object(object))
            .unwrap();
        assert!(store.object(id).is_some() && store.meta(id).is_none() && store.block(id).is_none());
    }
    assert_eq!(
        (
            store.usage().streams,
            store.usage().remote_bytes,
            store.usage().blocks
        ),
        (1, 10, 0)
    );
    // A small value over it gives it back, so that what lies elsewhere can be freed.
    let (small, by) = store
        .set_small("k", value(b"v", BlockClass::Pinned), || version(9))
        .unwrap();
    let removed = small.displaced.unwrap();
    assert_eq!((by, removed.size), (version(9), 10));
    assert!(matches!(removed.place, Place::Stream(manifest) if manifest.holders().len() == 2));
    assert_eq!(
        store.usage().used_bytes,
        Store::cost_of_small(1, 1, BlockClass::Pinned, false)
    );
    // And a large block over the small value.
    let KeyWrite::Recorded { displaced, .. } = set_large(&store, "k", block(vec![4; LARGE]), 10).unwrap()
    else {
        panic!("it is newer")
    };
    assert_eq!(displaced.unwrap().id, small.id);
    store.audit();
}

#[test]
fn an_id_is_used_for_one_value_only() {
    let store = store();
    let id = set(&store, "k", b"v", 1).unwrap();
    let object = || Content::Object(on_peer(PEERS[0], 5));
    let written = store.set("k", version(2), id, object());
    assert_eq!(written.err(), Some(InsertError::AlreadyExists));
    assert_eq!(get(&store, "k").unwrap(), b"v");
    assert_eq!(
        store.usage().used_bytes,
        Store::cost_of_small(1, 1, BlockClass::Pinned, false)
    );
}

#[test]
fn a_value_over_a_note_takes_its_place() {
    let store = store();
    for (time, note) in [(1, KeyNote::Theirs), (3, KeyNote::Deleted)] {
        store.note("k", version(time), note);
        let cost = match note {
            KeyNote::Theirs => Store::COST_OF_FIRST_NOTES,
            KeyNote::Deleted => Store::cost_of_deletion(1),
        };
        assert_eq!(store.usage().used_bytes, cost);
        let id = set(&store, "k", &[5; 60], time + 1).unwrap();
        assert_eq!(
            store.usage().used_bytes,
            Store::cost_of_small(1, 60, BlockClass::Pinned, false)
        );
        assert_eq!(store.key("k").unwrap().value, KeyValue::Ours(id));
    }
    store.audit();
}

#[test]
fn a_budget_full_of_pinned_data_keeps_what_the_key_held() {
    let store = store();
    let mut count = 0;
    while set(&store, &format!("{count:04}"), &[1; 100], 1).is_ok() {
        count += 1;
    }
    assert!(store.usage().used_bytes > BUDGET - 200 && count > 50);
    let full = store.usage();
    for size in [1_000, 8_000] {
        let error = set(&store, "0007", &vec![2; size], 2).unwrap_err();
        assert_eq!(error.code, ErrorCode::OutOfMemory);
    }
    let error = set_large(&store, "0007", block(vec![2; LARGE]), 2).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    assert_eq!(
        (get(&store, "0007").unwrap(), store.usage()),
        (vec![1; 100], full)
    );
    // What does not grow is replaced, be it in place or not.
    for (time, size) in [(3, 100), (4, 99), (5, 20), (6, 0)] {
        set(&store, "0007", &vec![3; size], time).unwrap();
        assert_eq!(get(&store, "0007").unwrap(), vec![3; size]);
        assert!(store.usage().used_bytes <= full.used_bytes);
    }
    store.audit();
}

#[test]
fn removing_by_id_ends_the_key_or_records_its_end() {
    let store = store();
    let first = set(&store, "k", b"v", 1).unwrap();
    let removed = store.remove(first).unwrap();
    assert_eq!((removed.key.as_deref(), store.key("k")), (Some("k"), None));
    let second = set(&store, "k", b"value", 1).unwrap();
    let removed = store
        .remove_recording(second, Some(version(2)), |meta| meta.size == 5)
        .unwrap();
    assert_eq!((removed.key.as_deref(), removed.size), (Some("k"), 5));
    let record = KeyRecord {
        version: version(2),
        value: KeyValue::Deleted,
    };
    assert_eq!(store.key("k"), Some(record));
    assert!(store.look_up("k", |lookup| matches!(lookup, Lookup::Deleted(_))));
    assert_eq!(store.usage().used_bytes, Store::cost_of_deletion(1));
    // What has no key leaves no trace.
    put(&store, Owner::Local, 1, 10).unwrap();
    store.remove_recording(id(1), Some(version(3)), |_| true).unwrap();
    assert_eq!(store.usage().used_bytes, Store::cost_of_deletion(1));
}

#[test]
fn what_this_node_wrote_or_deleted_can_be_given_a_later_version() {
    let store = store();
    set(&store, "k", b"v", 3).unwrap();
    assert!(
        !store.raise("k", version(2), version(9)),
        "it has another version"
    );
    assert!(!store.raise("k", version(3), version(3)), "it is not later");
    assert!(store.raise("k", version(3), version(9)));
    assert_eq!(store.key("k").unwrap().version, version(9));
    assert_eq!(get(&store, "k").unwrap(), b"v");
    store.note("k", version(10), KeyNote::Deleted);
    assert!(store.raise("k", version(10), version(12)));
    assert_eq!(store.key("k").unwrap().version, version(12));
    assert!(!store.raise("unknown", version(1), version(2)));
    store.audit();
}
