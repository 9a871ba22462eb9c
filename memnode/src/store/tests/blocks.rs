//! Blocks, and what names them.

use std::collections::HashSet;

use super::super::outside::own_allocation;
use super::*;

#[test]
fn a_block_is_read_until_it_is_removed() {
    let store = store();
    let chunk = Block {
        class: BlockClass::Cache,
        chunk: Some(Chunk::raw(id(9), b"hello")),
        ..block("hello")
    };
    let meta = BlockMeta {
        size: 5,
        class: BlockClass::Cache,
        owner: Owner::Local,
        chunk: chunk.chunk,
        expires: None,
    };
    put_block(&store, Owner::Local, 1, chunk).unwrap();
    assert_eq!(store.block(id(1)).unwrap().bytes(), "hello");
    assert_eq!(store.meta(id(1)), Some(meta));
    assert!(
        store
            .remove_recording(id(1), |_| None, |meta| meta.chunk.is_none())
            .is_none()
    );
    let removed = store.remove(id(1)).unwrap();
    assert_eq!((removed.id, removed.size, removed.chunk), (id(1), 5, meta.chunk));
    assert!(store.block(id(1)).is_none() && store.meta(id(1)).is_none() && store.remove(id(1)).is_none());
    assert_eq!(store.usage(), nothing(BUDGET));
}

#[test]
fn an_id_is_taken_once_and_the_first_block_stays() {
    let store = store();
    put(&store, Owner::Local, 1, 10).unwrap();
    let before = store.usage();
    for larger in [3, LARGE] {
        let reservation = store.reserve(Owner::Local, larger as u64).unwrap();
        let inserted = store.insert(id(1), block(vec![0; larger]), reservation);
        assert_eq!(inserted, Err(InsertError::AlreadyExists));
    }
    assert_eq!(
        store.add_object(id(1), on_peer(PEERS[0], 5)),
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
fn a_small_block_of_this_host_lies_next_to_its_entry_and_pays_for_no_more() {
    let store = sized(1 << 20);
    let entry = |len| Store::cost_of_small(0, len, BlockClass::Pinned, false);
    put(&store, Owner::Local, 1, 300).unwrap();
    assert_eq!(store.usage().used_bytes, entry(300));
    let stored = store.store_small(value(&[7; 300], BlockClass::Pinned)).unwrap();
    assert_eq!(store.usage().used_bytes, 2 * entry(300));
    assert_eq!(store.block(stored).unwrap().bytes(), vec![7; 300]);
    store.remove(stored);
    // A chunk, a large block and one of a peer have memory of their own.
    let outside = Store::cost_of_outside(0, BlockClass::Pinned, false);
    store.set_quota(PEERS[0], Some(10_000));
    let chunk = Block {
        chunk: Some(Chunk::raw(id(9), &[0; 300])),
        ..block(vec![0; 300])
    };
    put_block(&store, Owner::Local, 2, chunk).unwrap();
    put(&store, Owner::Local, 3, LARGE).unwrap();
    put(&store, Owner::Peer(PEERS[0]), 4, 300).unwrap();
    let memory = Store::cost_of_memory(300) + CHUNK_OVERHEAD + Store::cost_of_memory(LARGE as u64);
    let lent = Store::cost_of_lent(300, BlockClass::Pinned);
    assert_eq!(store.usage().used_bytes, entry(300) + 2 * outside + memory + lent);
    assert_eq!(store.usage().peers_used_bytes, lent);
    assert_eq!(store.usage().blocks, 4);
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
    for chunk in [None, Some(Chunk::raw(id(9), &[7; 10]))] {
        let alive = Arc::new(());
        let buffer = Bytes::from_owner(Buffer(vec![7; 256 * 1024], Arc::clone(&alive)));
        let slice = Block {
            chunk,
            ..block(buffer.slice(5..15))
        };
        put_block(&store, Owner::Local, 1, slice).unwrap();
        drop(buffer);
        assert_eq!(Arc::strong_count(&alive), 1, "the buffer is gone");
        assert_eq!(store.block(id(1)).unwrap().bytes(), vec![7; 10]);
        store.remove(id(1));
    }
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
        let chunk = Block {
            chunk: (at > 3).then(|| Chunk::raw(id(77), b"four")),
            ..block("four")
        };
        put_block(&store, owner, at, chunk).unwrap();
    }
    set(&store, "k", b"of this host", 1).unwrap();
    let chunks = |_: BlockId, meta: &BlockMeta| meta.chunk.is_some();
    assert_eq!(
        store.remove_owned(Owner::Peer(peer), chunks),
        Freed { blocks: 1, bytes: 4 }
    );
    assert_eq!(
        store.grant_use(peer).used_bytes,
        Store::cost_of_lent(4, BlockClass::Pinned)
    );
    assert_eq!(store.usage().blocks, 6);
    assert_eq!(
        store.remove_owned(Owner::Local, |_, _| true),
        Freed { blocks: 3, bytes: 20 }
    );
    assert_eq!((store.usage().blocks, get(&store, "k")), (3, None));
    store.audit();
}

#[test]
fn ids_differ_and_lead_to_where_their_key_lies() {
    let store = sized(1 << 20);
    let mut made = HashSet::new();
    for number in 0..1_000 {
        let key = format!("key:{number}");
        assert!(made.insert(set(&store, &key, key.as_bytes(), 1).unwrap()));
        assert!(made.insert(store.new_id(Some(&key))));
        assert!(made.insert(store.new_id(None)));
        assert!(made.insert(store.store_small(value(b"v", BlockClass::Pinned)).unwrap()));
    }
    for number in 0..1_000 {
        let key = format!("key:{number}");
        let Some(KeyValue::Ours(id)) = store.key(&key).map(|record| record.value) else {
            panic!("{key} is not known")
        };
        assert_eq!(store.block(id).unwrap().bytes(), key.as_bytes());
    }
}

#[test]
fn an_id_that_a_peer_took_is_not_given_out() {
    let (twin, store) = (sized(1 << 20), sized(1 << 20));
    store.set_quota(PEERS[0], Some(1 << 20));
    let taken: Vec<BlockId> = (0..16).map(|_| twin.new_id(None)).collect();
    for id in &taken {
        put(&store, Owner::Peer(PEERS[0]), id.as_u64(), 3).unwrap();
    }
    for _ in 0..100 {
        let id = store.new_id(None);
        assert!(!taken.contains(&id), "{id} is a peer's");
    }
}
