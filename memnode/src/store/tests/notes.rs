//! What is known of keys whose values are not of this node, and lists of keys.

use std::collections::BTreeSet;
use std::time::Duration;

use memproto::version::VERSION_COUNTER_BITS;

use super::*;

fn by(peer: NodeId, time: u64) -> Version {
    Version { time, node: peer }
}

/// Keys as a scan meets them, with `between` called between its pages.
fn scan(store: &Store, page: usize, mut between: impl FnMut()) -> Vec<String> {
    let (mut met, mut cursor) = (Vec::new(), 0);
    loop {
        let mut left = page;
        cursor = store.scan(cursor, page, &mut |key| {
            met.push(key.to_owned());
            left = left.saturating_sub(1);
            left > 0
        });
        if cursor == 0 {
            return met;
        }
        between();
    }
}

#[test]
fn a_note_says_who_answers_for_a_key() {
    let store = store();
    store.note("k", by(PEERS[0], 5), KeyNote::Theirs);
    let theirs = KeyRecord {
        version: by(PEERS[0], 5),
        value: KeyValue::Theirs,
    };
    assert_eq!(store.key("k"), Some(theirs));
    assert!(store.look_up(
        "k",
        |lookup| matches!(lookup, Lookup::Theirs(version) if version == theirs.version)
    ));
    store.note("k", by(PEERS[1], 6), KeyNote::Deleted);
    assert!(store.look_up("k", |lookup| matches!(lookup, Lookup::Deleted(_))));
    assert!(store.look_up("other", |lookup| matches!(lookup, Lookup::Absent)));
    assert_eq!(store.usage().used_bytes, Store::cost_of_note(1));
    assert_eq!((store.usage().keys, store.usage().blocks), (0, 0));
}

#[test]
fn a_full_budget_remembers_no_new_key_but_drops_what_is_old() {
    let store = store();
    set(&store, "k", b"old", 1).unwrap();
    let full = fill(&store);
    let unknown = store.note("unknown", by(PEERS[0], 5), KeyNote::Theirs);
    assert!(matches!(unknown, KeyWrite::NotKept), "{unknown:?}");
    assert_eq!(store.key("unknown"), None);
    let KeyWrite::Recorded {
        displaced: Some(_), ..
    } = store.note("k", by(PEERS[0], 5), KeyNote::Theirs)
    else {
        panic!("the old value must not be read any more")
    };
    assert_eq!(store.key("k").unwrap().value, KeyValue::Theirs);
    drop(full);
    store.audit();
}

#[test]
fn only_what_is_still_the_same_is_forgotten() {
    let store = store();
    store.note("theirs", by(PEERS[0], 5), KeyNote::Theirs);
    let record = store.key("theirs").unwrap();
    let newer = KeyRecord {
        version: by(PEERS[0], 6),
        ..record
    };
    store.forget_key("theirs", newer);
    assert_eq!(store.key("theirs"), Some(record));
    store.forget_key("theirs", record);
    assert_eq!(store.key("theirs"), None);
    set(&store, "ours", b"v", 1).unwrap();
    store.forget_key("ours", store.key("ours").unwrap());
    assert!(get(&store, "ours").is_some(), "a value is no note");
}

#[test]
fn old_deletions_are_forgotten_and_their_memory_comes_back() {
    let store = store();
    let at = |ms: u64| by(PEERS[0], ms << VERSION_COUNTER_BITS | 7);
    for ms in 1..=20 {
        store.note(&format!("dead:{ms}"), at(ms), KeyNote::Deleted);
    }
    store.note("alive", at(1), KeyNote::Theirs);
    set(&store, "ours", b"v", 1).unwrap();
    store.forget_deletions(Duration::from_millis(50), 60);
    let left = (1..=20).filter(|ms| store.key(&format!("dead:{ms}")).is_some());
    assert_eq!(left.collect::<Vec<_>>(), (11..=20).collect::<Vec<_>>());
    store.forget_deletions(Duration::from_millis(50), 10);
    assert!(
        store.key("dead:11").is_some(),
        "a clock that stands before the span forgets nothing"
    );
    store.forget_deletions(Duration::ZERO, 20);
    let left = Store::cost_of_note(5) + Store::cost_of_small(4, 1, BlockClass::Pinned, false);
    assert_eq!(store.usage().used_bytes, left);
    store.audit();
}

#[test]
fn a_peer_that_is_forgotten_takes_its_keys_with_it_and_names_our_objects_there() {
    let (store, [peer, other]) = (sized(1 << 20), PEERS);
    for number in 0..200 {
        store.note(&format!("theirs:{number}"), by(peer, 1), KeyNote::Theirs);
        store.note(&format!("others:{number}"), by(other, 1), KeyNote::Theirs);
        store.note(&format!("dead:{number}"), by(peer, 1), KeyNote::Deleted);
    }
    store.add_object(id(1), on_peer(peer, 10)).unwrap();
    store.add_object(id(2), on_peer(other, 10)).unwrap();
    store
        .add_object(id(3), stream(&[(10, other), (11, peer)]))
        .unwrap();
    let keyed = store.new_id(Some("placed"));
    store
        .set("placed", version(1), keyed, Content::Object(on_peer(peer, 7)))
        .unwrap();
    put(&store, Owner::Local, 5, 10).unwrap();
    assert_eq!(store.usage().remote_bytes, 37);
    let mut gone = store.forget_peer(peer);
    gone.sort();
    let mut expected = [id(1), id(3), keyed];
    expected.sort();
    assert_eq!(gone, expected);
    let known = scan(&store, usize::MAX, || {});
    assert_eq!(known.iter().filter(|key| key.starts_with("others:")).count(), 200);
    assert_eq!(known.len(), 201);
    assert_eq!(store.key("dead:0").unwrap().value, KeyValue::Deleted);
    store.audit();
}

#[test]
fn versions_tell_of_our_keys_and_of_deletions() {
    let store = store();
    set(&store, "ours", b"v", 3).unwrap();
    store.note("dead", by(PEERS[0], 4), KeyNote::Deleted);
    store.note("theirs", by(PEERS[0], 5), KeyNote::Theirs);
    put(&store, Owner::Local, 1, 10).unwrap();
    let (told, mut cursor) = store.versions(0, 1);
    let mut all = told;
    while cursor != 0 {
        let (told, next) = store.versions(cursor, 1);
        all.extend(told);
        cursor = next;
    }
    let mut told: Vec<_> = all
        .into_iter()
        .map(|told| (told.key, told.version, told.deleted))
        .collect();
    told.sort();
    let expected = [
        ("dead".to_owned(), by(PEERS[0], 4), true),
        ("ours".to_owned(), version(3), false),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_scan_meets_each_key_once_whatever_its_pages() {
    let store = sized(1 << 20);
    assert_eq!(scan(&store, 10, || {}), Vec::<String>::new());
    for number in 0..300 {
        match number % 3 {
            0 => drop(set(&store, &format!("{number:03}"), b"v", 1)),
            1 => drop(store.note(&format!("{number:03}"), by(PEERS[0], 1), KeyNote::Theirs)),
            _ => drop(store.note(&format!("{number:03}"), by(PEERS[0], 1), KeyNote::Deleted)),
        }
        put(&store, Owner::Local, 1 + number, 3).unwrap();
    }
    let expected: Vec<String> = (0..300)
        .filter(|number| number % 3 < 2)
        .map(|number| format!("{number:03}"))
        .collect();
    for page in [0, 1, 7, 1_000] {
        let mut met = scan(&store, page, || {});
        met.sort();
        assert_eq!(met, expected, "pages of {page}");
    }
}

#[test]
fn what_is_there_all_the_time_is_met_while_others_come_and_go() {
    let store = sized(8 << 20);
    let stays = |number: u64| format!("stays:{number}");
    for number in 0..500 {
        set(&store, &stays(number), b"v", 1).unwrap();
    }
    let mut round = 0;
    let met = scan(&store, 5, || {
        // The indexes grow a few times, then shrink.
        round += 1;
        for number in 0..40 {
            match round {
                0..100 => drop(set(&store, &format!("comes:{round}:{number}"), &[1; 30], 1).unwrap()),
                _ => {
                    let key = format!("comes:{}:{number}", round - 99);
                    if let Some(KeyValue::Ours(id)) = store.key(&key).map(|record| record.value) {
                        store.remove(id);
                    }
                }
            }
        }
    });
    let met: BTreeSet<String> = met.into_iter().collect();
    for number in 0..500 {
        assert!(met.contains(&stays(number)), "{number} was left out");
    }
}

#[test]
fn cursors_that_nobody_gave_out_end() {
    let store = store();
    set(&store, "k", b"v", 1).unwrap();
    for cursor in [
        u64::MAX,
        1 << 63,
        (store.shards() as u64) << 32,
        u64::from(u32::MAX),
        7,
    ] {
        let (mut cursor, mut pages) = (cursor, 0);
        while cursor != 0 {
            cursor = store.scan(cursor, 1, &mut |_| true);
            pages += 1;
            assert!(pages < 1_000);
        }
    }
}
