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
        cursor = store.scan(cursor, page, &mut |scanned| {
            met.push(scanned.key.to_owned());
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
    assert_eq!(store.usage().used_bytes, Store::cost_of_deletion(1));
    store.note("k", by(PEERS[0], 7), KeyNote::Theirs);
    assert_eq!(store.usage().used_bytes, Store::COST_OF_FIRST_NOTES);
    assert_eq!((store.usage().keys, store.usage().blocks), (0, 0));
}

#[test]
fn a_full_budget_remembers_no_new_key_but_drops_what_is_old() {
    let store = store();
    set(&store, "k", b"old", 1).unwrap();
    let full = fill(&store);
    for note in [KeyNote::Theirs, KeyNote::Deleted] {
        let noted = store.note("unknown", by(PEERS[0], 5), note);
        assert!(
            matches!(noted, KeyWrite::NotKept { displaced: None, .. }),
            "{noted:?}"
        );
        assert_eq!(store.key("unknown"), None);
    }
    let noted = store.note("k", by(PEERS[0], 5), KeyNote::Theirs);
    let KeyWrite::NotKept {
        displaced: Some(_), ..
    } = noted
    else {
        panic!("the old value must not be read any more: {noted:?}")
    };
    assert_eq!((store.key("k"), get(&store, "k")), (None, None));
    drop(full);
    store.audit();
}

#[test]
fn data_of_class_cache_makes_room_for_notes() {
    let store = store();
    for number in 0.. {
        if store.usage().evictions > 0 {
            break;
        }
        cache(&store, &number.to_string(), &[1; 100], 1).unwrap();
    }
    let noted = store.note("k", by(PEERS[0], 5), KeyNote::Theirs);
    assert!(
        matches!(noted, KeyWrite::Recorded { displaced: None, .. }),
        "{noted:?}"
    );
    assert!(store.usage().evictions > 1 && store.key("k").is_some());
    store.audit();
}

#[test]
fn notes_take_no_more_than_their_share() {
    let store = sized(1 << 20);
    let mut kept = 0;
    for number in 0..20_000 {
        let noted = store.note(&number.to_string(), by(PEERS[number % 2], 5), KeyNote::Theirs);
        match noted {
            KeyWrite::Recorded { displaced: None, .. } => kept += 1,
            KeyWrite::NotKept { displaced: None, .. } => {}
            noted => panic!("{noted:?}"),
        }
    }
    let used = store.audit().note_bytes;
    assert_eq!(store.usage().used_bytes, used);
    assert!((100 << 10..=128 << 10).contains(&used), "{used}");
    assert!(used <= 32 * kept, "{kept} notes take {used} bytes");
    // What has its place is kept up to date, and an older value goes, note or not.
    store.note("0", by(PEERS[1], 6), KeyNote::Theirs);
    assert_eq!(store.key("0").unwrap().version, by(PEERS[1], 6));
    let full = (0..).map(|number| format!("full:{number}"));
    let full = full.map(|key| (store.note(&key, by(PEERS[0], 5), KeyNote::Theirs), key));
    let (_, key) = full
        .take(1_000)
        .find(|(noted, _)| matches!(noted, KeyWrite::NotKept { .. }))
        .expect("most shards are full");
    set(&store, &key, b"v", 6).unwrap();
    let noted = store.note(&key, by(PEERS[0], 7), KeyNote::Theirs);
    assert!(
        matches!(
            noted,
            KeyWrite::NotKept {
                displaced: Some(_),
                ..
            }
        ),
        "{noted:?}"
    );
    // A deletion stays where a note has no place: what is older must not come back.
    store.note(&key, by(PEERS[0], 8), KeyNote::Deleted);
    let noted = store.note(&key, by(PEERS[0], 9), KeyNote::Theirs);
    assert!(
        matches!(noted, KeyWrite::NotKept { displaced: None, .. }),
        "{noted:?}"
    );
    assert_eq!(store.key(&key).unwrap().version, by(PEERS[0], 8));
    for peer in PEERS {
        store.forget_peer(peer);
    }
    assert_eq!(store.audit().note_bytes, 0);
    assert_eq!(store.usage().used_bytes, Store::cost_of_deletion(key.len()));
}

#[test]
fn keys_of_one_hash_share_a_note_but_never_a_value() {
    let store = store();
    let (other, number) = store.place_of_key("other");
    let one = Key {
        bytes: b"one",
        ..other
    };
    let mut shard = lock(&store.inner.shards[number]);
    assert!(shard.keep_note(one, by(PEERS[0], 5)).unwrap());
    assert_eq!(
        shard.noted(other),
        Some(by(PEERS[0], 5)),
        "it is asked for where it is not, and then everywhere"
    );
    let id = shard.new_id();
    let value = small(value(b"v", BlockClass::Pinned), Some(other), id, 6);
    shard.set_small(None, value).unwrap();
    assert!(matches!(shard.look_up(other), Lookup::Ours(_, Found::Small(at, b"v")) if at == id));
    assert_eq!(
        shard.known(one),
        None,
        "which of both the note was of, nobody knows"
    );
    drop(shard);
    store.remove(id);
    assert_eq!(store.usage().used_bytes, 0);
}

#[test]
fn a_note_follows_the_newest_of_its_writers() {
    let store = store();
    for time in 1..=6 {
        store.note("k", by(PEERS[time as usize % 2], time), KeyNote::Theirs);
        store.audit();
    }
    assert_eq!(store.key("k").unwrap().version, by(PEERS[0], 6));
    store.forget_peer(PEERS[1]);
    assert!(store.key("k").is_some());
    assert!(store.remove_key("k", by(PEERS[0], 6)).is_none() && store.key("k").is_some());
    assert!(store.remove_key("k", by(PEERS[0], 7)).is_none() && store.key("k").is_none());
    store.note("k", by(PEERS[0], 8), KeyNote::Theirs);
    store.forget_peer(PEERS[0]);
    assert_eq!((store.key("k"), store.usage().used_bytes), (None, 0));
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
    let left = Store::COST_OF_FIRST_NOTES + Store::cost_of_small(4, 1, BlockClass::Pinned, false);
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
    let known = |whose: &str| {
        (0..200)
            .filter(|number| store.key(&format!("{whose}:{number}")).is_some())
            .count()
    };
    assert_eq!((known("theirs"), known("others"), known("dead")), (0, 200, 200));
    assert_eq!(scan(&store, usize::MAX, || {}), ["placed"]);
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
fn a_scan_meets_each_key_of_this_node_once_whatever_its_pages() {
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
        .filter(|number| number % 3 == 0)
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
