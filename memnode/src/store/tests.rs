mod accounts;

use super::*;

const BUDGET: u64 = 16 * 1024;
const PEERS: [NodeId; 2] = [NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16])];

fn store() -> Store {
    Store::new(StoreConfig { budget_bytes: BUDGET })
}

fn id(id: u64) -> BlockId {
    BlockId::new(id).unwrap()
}

fn block(bytes: impl Into<Bytes>) -> Block {
    Block {
        bytes: bytes.into().into(),
        class: BlockClass::Pinned,
        chunk_of: None,
        expires: None,
    }
}

/// Reserves and inserts.
fn put(store: &Store, owner: Owner, at: u64, size: usize) -> ApiResult<()> {
    let reservation = store.reserve(owner, size as u64)?;
    Ok(store.insert(id(at), block(vec![0; size]), reservation)?)
}

#[test]
fn a_block_is_read_until_it_is_removed() {
    let store = store();
    let reservation = store.reserve(Owner::Local, 5).unwrap();
    let chunk = Block {
        bytes: Bytes::from_static(b"hello").into(),
        class: BlockClass::Cache,
        chunk_of: Some(id(9)),
        expires: None,
    };
    store.insert(id(1), chunk, reservation).unwrap();

    let meta = BlockMeta {
        size: 5,
        class: BlockClass::Cache,
        owner: Owner::Local,
        chunk_of: Some(id(9)),
        expires: None,
    };
    assert_eq!(store.block(id(1)).unwrap().bytes(), "hello");
    assert_eq!(store.meta(id(1)), Some(meta));
    assert_eq!(store.remove_if(id(1), |meta| meta.chunk_of.is_none()), None);
    assert_eq!(store.remove(id(1)), Some(meta));
    assert_eq!(
        (
            store.block(id(1)).is_some(),
            store.meta(id(1)),
            store.remove(id(1))
        ),
        (false, None, None)
    );
    assert_eq!(
        store.usage(),
        Usage {
            budget_bytes: BUDGET,
            ..Usage::default()
        }
    );
}

#[test]
fn an_id_is_taken_once_and_the_first_block_stays() {
    let store = store();
    put(&store, Owner::Local, 1, 10).unwrap();
    let before = store.usage();
    let reservation = store.reserve(Owner::Local, 3).unwrap();
    assert_eq!(
        store.insert(id(1), block("new"), reservation),
        Err(InsertError::AlreadyExists)
    );
    assert_eq!(store.usage(), before);
    assert_eq!(store.meta(id(1)).unwrap().size, 10);
}

#[test]
fn a_block_larger_than_its_reservation_is_refused() {
    let store = store();
    let reservation = store.reserve(Owner::Local, 2).unwrap();
    let error = store.insert(id(1), block("new"), reservation).unwrap_err();
    assert_eq!(error, InsertError::NotReserved { size: 3, reserved: 2 });
    assert_eq!(store.usage().used_bytes, 0);
}

#[test]
fn a_reservation_grows_shrinks_and_goes_back() {
    let store = store();
    let mut reservation = store.reserve(Owner::Local, 0).unwrap();
    reservation.grow(1_000).unwrap();
    assert_eq!(
        (reservation.bytes(), store.usage().used_bytes),
        (1_000, 1_000 + ENTRY_OVERHEAD)
    );
    assert_eq!(reservation.grow(BUDGET).unwrap_err().code, ErrorCode::OutOfMemory);
    assert_eq!(
        reservation.grow(u64::MAX).unwrap_err().code,
        ErrorCode::OutOfMemory
    );
    reservation.shrink_to(10);
    reservation.shrink_to(20);
    assert_eq!(
        (reservation.bytes(), store.usage().used_bytes),
        (10, 10 + ENTRY_OVERHEAD)
    );
    let charge = reservation.keep();
    assert_eq!(
        (charge.bytes(), charge.owner()),
        (10 + ENTRY_OVERHEAD, Owner::Local)
    );
    assert_eq!(store.usage().pinned_bytes, charge.bytes());
    drop(charge);
    drop(store.reserve(Owner::Local, 7).unwrap());
    assert_eq!(store.usage().used_bytes, 0);
}

#[test]
fn a_full_budget_refuses_with_figures_and_advice() {
    let store = store();
    put(&store, Owner::Local, 1, (BUDGET - ENTRY_OVERHEAD) as usize).unwrap();
    let error = store.reserve(Owner::Local, 1024).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    assert_eq!(
        error.message,
        "1.0 KiB more do not fit: the node has 16.0 KiB of budget, 16.0 KiB used (16.0 KiB pinned, 0 bytes cache). Free \
         blocks with `memcli free ID`, or start the node with a larger --memory"
    );
    assert_eq!(
        store.reserve(Owner::Local, u64::MAX).unwrap_err().code,
        ErrorCode::OutOfMemory
    );
}

#[test]
fn a_peer_keeps_to_its_grant_and_a_stranger_gets_nothing() {
    let (store, [peer, stranger]) = (store(), PEERS);
    let error = store.reserve(Owner::Peer(stranger), 0).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(error.message.contains("there is no grant"), "{error}");

    store.set_quota(peer, Some(2 * ENTRY_OVERHEAD));
    put(&store, Owner::Peer(peer), 1, ENTRY_OVERHEAD as usize).unwrap();
    let full = GrantUse {
        quota_bytes: 2 * ENTRY_OVERHEAD,
        used_bytes: 2 * ENTRY_OVERHEAD,
    };
    assert_eq!(store.grant_use(peer), full);
    assert_eq!(store.usage().peers_used_bytes, full.used_bytes);
    let error = put(&store, Owner::Peer(peer), 2, 0).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(
        error
            .message
            .contains("the grant: 512 bytes, 512 bytes of it used"),
        "{error}"
    );

    // The grant goes, the block stays until somebody frees it; then nothing is remembered of the peer.
    store.set_quota(peer, None);
    assert_eq!(
        store.grant_use(peer),
        GrantUse {
            quota_bytes: 0,
            ..full
        }
    );
    assert_eq!(
        store.remove_owned(Owner::Peer(peer), |_, _| true),
        Freed {
            blocks: 1,
            bytes: ENTRY_OVERHEAD
        }
    );
    assert_eq!(store.grant_use(peer), GrantUse::default());
    store.set_quota(stranger, None);
    assert!(!format!("{:?}", store.inner.ledger).contains("Peer("));
}

#[test]
fn what_is_still_read_is_still_paid() {
    let (store, [peer, _]) = (store(), PEERS);
    store.set_quota(peer, Some(1_000 + ENTRY_OVERHEAD));
    put(&store, Owner::Peer(peer), 1, 1_000).unwrap();
    let reader = store.block(id(1)).unwrap().bytes().slice(10..20);
    store.remove(id(1)).unwrap();
    assert_eq!(store.usage().blocks, 0);
    assert_eq!(
        put(&store, Owner::Peer(peer), 2, 1_000).unwrap_err().code,
        ErrorCode::QuotaExceeded
    );
    drop(reader);
    put(&store, Owner::Peer(peer), 2, 1_000).unwrap();
}

#[test]
fn a_small_slice_does_not_keep_a_large_buffer() {
    /// A buffer that tells when it is gone.
    struct Buffer(
        Vec<u8>,
        #[expect(dead_code, reason = "dropped with the buffer")] Arc<()>,
    );
    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let store = store();
    let alive = Arc::new(());
    let buffer = Bytes::from_owner(Buffer(vec![7; 256 * 1024], Arc::clone(&alive)));
    let reservation = store.reserve(Owner::Local, 10).unwrap();
    store
        .insert(id(1), block(buffer.slice(5..15)), reservation)
        .unwrap();
    drop(buffer);
    assert_eq!(Arc::strong_count(&alive), 1, "the buffer is gone");
    assert_eq!(store.block(id(1)).unwrap().bytes(), vec![7; 10]);
}

#[test]
fn bytes_are_kept_in_an_allocation_of_their_length() {
    let whole = Bytes::from(vec![1; 1_000]);
    let address = whole.as_ptr();
    let kept = own_allocation(whole);
    assert_eq!(kept.as_ptr(), address, "bytes of their own are taken over");

    let mut roomy = Vec::with_capacity(1_100);
    roomy.resize(1_000, 2);
    assert_eq!(own_allocation(roomy.into()).as_ref(), vec![2; 1_000]);

    let mut read = bytes::BytesMut::zeroed(4_096);
    read[100] = 3;
    let _head = read.split_to(100);
    let value = read.split_to(10).freeze();
    let kept = own_allocation(value.clone());
    assert!(kept[0] == 3 && kept.len() == 10 && kept.as_ptr() != value.as_ptr());
    assert!(own_allocation(Bytes::new()).is_empty());
}

#[test]
fn the_blocks_of_one_owner_are_removed_by_their_marks() {
    let (store, [peer, other]) = (store(), PEERS);
    store.set_quota(peer, Some(BUDGET));
    store.set_quota(other, Some(BUDGET));
    for at in 1..=6 {
        let owner = [Owner::Local, Owner::Peer(peer), Owner::Peer(other)][at as usize % 3];
        let reservation = store.reserve(owner, 4).unwrap();
        let chunk = Block {
            chunk_of: (at > 3).then(|| id(77)),
            ..block("four")
        };
        store.insert(id(at), chunk, reservation).unwrap();
    }
    let chunks = |_: BlockId, meta: &BlockMeta| meta.chunk_of.is_some();
    assert_eq!(
        store.remove_owned(Owner::Peer(peer), chunks),
        Freed { blocks: 1, bytes: 4 }
    );
    assert_eq!(store.grant_use(peer).used_bytes, 4 + ENTRY_OVERHEAD);
    assert_eq!(store.usage().blocks, 5);
}

#[test]
fn threads_together_never_pass_budget_or_grant() {
    let (store, [peer, _]) = (store(), PEERS);
    let grant = BUDGET / 3;
    store.set_quota(peer, Some(grant));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..2_000_u64 {
                    let at = 1 + (round * 7 + thread) % 40;
                    let owner = if round % 2 == 0 {
                        Owner::Local
                    } else {
                        Owner::Peer(peer)
                    };
                    if put(store, owner, at, (round % 900) as usize).is_err() {
                        store.remove(id(at));
                    }
                    let usage = store.usage();
                    assert!(
                        usage.used_bytes <= BUDGET && store.grant_use(peer).used_bytes <= grant,
                        "{usage:?}"
                    );
                }
            });
        }
    });
    for at in 1..=40 {
        store.remove(id(at));
    }
    assert_eq!(
        store.usage(),
        Usage {
            budget_bytes: BUDGET,
            ..Usage::default()
        }
    );
    assert_eq!(
        store.grant_use(peer),
        GrantUse {
            quota_bytes: grant,
            used_bytes: 0
        }
    );
}

fn hours(hours: u64) -> std::time::Duration {
    std::time::Duration::from_secs(hours * 3_600)
}

/// Reserves and inserts a block that lives some hours.
fn put_for(store: &Store, at: u64, ttl_hours: u64) {
    let expiring = Block {
        expires: Some(store.expiry().after(hours(ttl_hours).try_into().unwrap())),
        ..block("four")
    };
    store
        .insert(id(at), expiring, store.reserve(Owner::Local, 4).unwrap())
        .unwrap();
}

fn take_expired(store: &Store) -> Vec<BlockId> {
    (0..SHARDS).flat_map(|shard| store.take_expired(shard)).collect()
}

#[test]
fn what_has_expired_is_gone_and_its_memory_comes_back() {
    let store = store();
    put_for(&store, 1, 1);
    put_for(&store, 2, 3);
    put(&store, Owner::Local, 3, 4).unwrap();
    store.expiry().advance(hours(1));
    assert_eq!((store.block(id(1)).is_some(), store.meta(id(1))), (false, None));
    assert!(store.has_expired(id(1)) && !store.has_expired(id(2)) && !store.has_expired(id(3)));
    assert_eq!(take_expired(&store), [id(1)]);
    assert!(!store.has_expired(id(1)));
    assert_eq!(store.usage().used_bytes, 2 * (4 + ENTRY_OVERHEAD));
    store.expiry().advance(hours(2));
    assert_eq!(store.remove(id(2)), None, "nobody is told that it was there");
    assert_eq!(store.usage().used_bytes, 4 + ENTRY_OVERHEAD);
    assert!(take_expired(&store).is_empty());
}

#[test]
fn a_moment_can_be_moved_while_the_block_lives() {
    let store = store();
    put_for(&store, 1, 1);
    let later = store.expiry().after(hours(5).try_into().unwrap());
    assert_eq!(store.set_expiry(id(1), Some(later), |meta| meta.size == 0), None);
    let before = store.set_expiry(id(1), Some(later), |_| true).unwrap();
    assert!(before.expires.unwrap() < later);
    store.expiry().advance(hours(2));
    assert!(take_expired(&store).is_empty());
    assert!(store.block(id(1)).is_some());
    store.set_expiry(id(1), None, |_| true).unwrap();
    store.expiry().advance(hours(9));
    assert!(take_expired(&store).is_empty());
    assert_eq!(store.meta(id(1)).unwrap().expires, None);
    put_for(&store, 2, 1);
    store.expiry().advance(hours(1));
    assert_eq!(store.set_expiry(id(2), None, |_| true), None, "it is too late");
}
