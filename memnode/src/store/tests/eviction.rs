//! Data of class cache makes room.

use std::time::Duration;

use super::*;

const MIB: u64 = 1 << 20;

fn cached(size: usize) -> Block {
    Block {
        class: BlockClass::Cache,
        ..block(vec![0; size])
    }
}

#[test]
fn cached_data_makes_room_and_pinned_data_stays() {
    let store = sized(64 * 1024);
    for number in 0..50 {
        set(&store, &format!("pinned:{number}"), &[1; 400], 1).unwrap();
    }
    for number in 0..2_000 {
        cache(&store, &format!("cached:{number}"), &[2; 300], 1).unwrap();
        assert!(store.usage().used_bytes <= 64 * 1024);
    }
    let usage = store.usage();
    assert!(
        usage.evictions > 1_500 && usage.cache_bytes > 30 * 1024,
        "{usage:?}"
    );
    assert_eq!(usage.evictions + usage.keys, 2_050);
    store.audit();
    // Pinned data takes all of it, to the last.
    let mut number = 50;
    while set(&store, &format!("pinned:{number}"), &[1; 400], 1).is_ok() {
        number += 1;
    }
    let usage = store.usage();
    assert_eq!((usage.cache_bytes, usage.keys), (0, number));
    for number in 0..number {
        assert_eq!(get(&store, &format!("pinned:{number}")).unwrap(), [1; 400]);
    }
    assert_eq!(
        cache(&store, "cached", &[2; 400], 1).unwrap_err().code,
        ErrorCode::OutOfMemory
    );
    store.audit();
}

#[test]
fn large_blocks_and_reservations_evict_too() {
    let store = sized(MIB);
    for number in 0..100 {
        set_large(&store, &format!("cached:{number}"), cached(20_000), 1).unwrap();
    }
    store.audit();
    let mut reservation = store.reserve(Owner::Local, MIB / 2).unwrap();
    store.grow(&mut reservation, MIB / 2 - 4_096).unwrap();
    assert_eq!(store.usage().cache_bytes, 0);
    assert_eq!(
        store.reserve(Owner::Local, MIB).unwrap_err().code,
        ErrorCode::OutOfMemory
    );
    drop(reservation);
    assert_eq!(store.usage().used_bytes, 0);
}

#[test]
fn a_reservation_that_grows_past_where_memory_is_rounded_has_room_made() {
    let store = sized(64 * 1024);
    let mut reservation = store.reserve(Owner::Local, 8_100).unwrap();
    for number in 0..1_000 {
        cache(&store, &format!("cached:{number}"), &[2; 40], 1).unwrap();
    }
    store.grow(&mut reservation, 200).unwrap();
    assert_eq!(reservation.bytes(), 8_300);
    assert_eq!(
        store.grow(&mut reservation, u64::MAX).unwrap_err().code,
        ErrorCode::OutOfMemory
    );
}

#[test]
fn what_cannot_be_reached_evicts_nothing() {
    let store = sized(64 * 1024);
    set(&store, "pinned", &[1; 4_000], 1).unwrap();
    cache(&store, "cached", &[2; 4_000], 1).unwrap();
    for too_much in [62 * 1024, MIB, u64::MAX] {
        assert_eq!(
            store.reserve(Owner::Local, too_much).unwrap_err().code,
            ErrorCode::OutOfMemory
        );
    }
    assert!(get(&store, "cached").is_some());
}

#[test]
fn what_is_read_often_survives_keys_that_nobody_reads() {
    let store = sized(256 * 1024);
    let hot = |number: usize| format!("hot:{number}");
    for number in 0..100 {
        cache(&store, &hot(number), &[1; 200], 1).unwrap();
    }
    for round in 0..5_000 {
        let _ = get(&store, &hot(round % 100));
        // A program that looks for each value once sets it when it missed it, and comes for no second time.
        cache(&store, &format!("once:{round}"), &[2; 200], 1).unwrap();
    }
    let left = (0..100)
        .filter(|&number| get(&store, &hot(number)).is_some())
        .count();
    assert!(left >= 95, "{left} of 100");
    store.audit();
}

#[test]
fn what_came_back_soon_is_kept_longer() {
    let store = sized(256 * 1024);
    for number in 0..3_000 {
        cache(&store, &format!("warm:{number}"), &[1; 100], 1).unwrap();
        let _ = get(&store, &format!("warm:{number}"));
        let _ = get(&store, &format!("warm:{number}"));
    }
    cache(&store, "back", &[3; 100], 1).unwrap();
    let mut number = 0;
    while get_quietly(&store, "back") {
        cache(&store, &format!("once:{number}"), &[2; 100], 1).unwrap();
        number += 1;
    }
    cache(&store, "back", &[3; 100], 1).unwrap();
    for again in 0..2 * number {
        cache(&store, &format!("then:{again}"), &[2; 100], 1).unwrap();
    }
    assert!(
        get_quietly(&store, "back"),
        "it was to outlive twice as many as at first, {number}"
    );
}

/// Whether a key is known, which counts as no read.
fn get_quietly(store: &Store, key: &str) -> bool {
    store.key(key).is_some()
}

#[test]
fn a_cached_block_of_a_peer_goes_and_its_grant_has_room_again() {
    let (store, [peer, _]) = (sized(64 * 1024), PEERS);
    store.set_quota(peer, Some(64 * 1024));
    put_block(&store, Owner::Peer(peer), 1, cached(30_000)).unwrap();
    let charged = Store::cost_of_lent(30_000, BlockClass::Cache);
    assert_eq!(store.grant_use(peer).used_bytes, charged);
    let usage = store.usage();
    assert_eq!(usage.cache_bytes, usage.used_bytes);
    put(&store, Owner::Local, 2, 40_000).unwrap();
    assert_eq!(
        (store.grant_use(peer).used_bytes, store.usage().peers_used_bytes),
        (0, 0)
    );
    assert!(store.block(id(1)).is_none() && store.usage().evictions == 1);
}

#[test]
fn bytes_that_are_still_read_are_paid_and_eviction_ends() {
    let store = sized(128 * 1024);
    (1..=5).for_each(|at| put_block(&store, Owner::Local, at, cached(20_000)).unwrap());
    let readers: Vec<_> = (1..=5).map(|at| store.block(id(at)).unwrap().bytes()).collect();
    let error = put(&store, Owner::Local, 9, 60_000).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    let usage = store.usage();
    assert!(
        usage.used_bytes >= 5 * 20_000,
        "they are still in memory: {usage:?}"
    );
    assert!(
        usage.evictions >= 4 && usage.blocks + usage.evictions == 5,
        "{usage:?}"
    );
    drop(readers);
    assert_eq!(store.usage().used_bytes, usage.cache_bytes);
    put(&store, Owner::Local, 9, 60_000).unwrap();
}

#[test]
fn the_only_shard_that_has_something_to_evict_is_found() {
    for number in 0..32 {
        let store = sized(64 * 1024);
        set_large(&store, &format!("key:{number}"), cached(50_000), 1).unwrap();
        for _ in 0..number {
            store.new_id(None);
        }
        put(&store, Owner::Local, 1, 30_000).unwrap();
        assert_eq!(store.usage().evictions, 1);
    }
}

#[test]
fn what_was_charged_beyond_the_budget_is_made_up_for() {
    let store = sized(64 * 1024);
    for number in 0..400 {
        cache(&store, &format!("cached:{number}"), &[2; 100], 1).unwrap();
    }
    // What is known of things elsewhere is charged whether there is room or not.
    (1..=150).for_each(|at| store.add_object(id(at), on_peer(PEERS[0], 10)).unwrap());
    let usage = store.usage();
    assert!(usage.used_bytes > usage.budget_bytes + 10_000, "{usage:?}");
    set(&store, "k", b"v", 1).unwrap();
    let usage = store.usage();
    assert!(
        usage.used_bytes <= usage.budget_bytes && usage.cache_bytes > 1_000,
        "{usage:?}"
    );
}

#[test]
fn threads_that_cache_at_a_full_budget_never_pass_it_and_never_fail() {
    let store = sized(256 * 1024);
    set(&store, "pinned", &[1; 8_000], 1).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let store = &store;
            scope.spawn(move || {
                for round in 0..3_000_usize {
                    let size = round * 37 % 900;
                    // Some keys are another thread's too.
                    let key = format!("{}:{}", thread % 3, round % 700);
                    cache(store, &key, &vec![thread as u8; size], round as u64 + 1).unwrap();
                    let used = store.ledger().usage().used_bytes;
                    assert!(used <= 256 * 1024, "{used}");
                }
            });
        }
    });
    assert_eq!(get(&store, "pinned").unwrap(), [1; 8_000]);
    let audit = store.audit();
    assert_eq!(audit.entry_bytes, store.usage().used_bytes);
    assert!(store.usage().evictions > 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_lost_a_chunk_is_told_of() {
    let store = sized(64 * 1024);
    store.set_quota(PEERS[0], Some(64 * 1024));
    let chunk = |stream: u64| Block {
        chunk: Some(Chunk::raw(id(stream), &[0; 10_000])),
        ..cached(10_000)
    };
    put_block(&store, Owner::Local, 1, chunk(70)).unwrap();
    put_block(&store, Owner::Peer(PEERS[0]), 2, chunk(71)).unwrap();
    put_block(&store, Owner::Local, 3, cached(10_000)).unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.torn_streams().await }
    });
    tokio::task::yield_now().await;
    put(&store, Owner::Local, 9, 60_000).unwrap();
    assert_eq!(store.usage().evictions, 3);
    // Not the peer's: whatever that calls its stream, here it may be anything.
    assert_eq!(waiting.await.unwrap(), [id(70)]);
    let nothing_more = tokio::time::timeout(Duration::from_secs(1), store.torn_streams()).await;
    assert!(nothing_more.is_err());
}
