//! Chunks: what is held once, who pays for it, and whose word counts.

use std::collections::HashSet;

use memproto::ChunkHash;
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::stream::Codec;
use memproto::{BlockClass::Cache, BlockClass::Pinned};

use super::*;

/// Bytes of a chunk that is stored as it is.
const SIZE: usize = 20_000;

/// A store of one shard in which both peers have a grant that is never full.
fn lender() -> Store {
    let store = with_shards(1 << 20, 1);
    PEERS
        .iter()
        .for_each(|&peer| store.set_quota(peer, Some(1 << 20)));
    store
}

fn bytes(of: u8) -> Vec<u8> {
    vec![of; SIZE]
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

/// What a peer says of these bytes, which they may not be.
fn claim(bytes: &[u8], codec: Codec) -> Chunk {
    Chunk {
        codec,
        ..Chunk::raw(id(77), bytes)
    }
}

/// Stores bytes, under an id, as this chunk.
fn put_chunk(store: &Store, owner: Owner, at: u64, class: BlockClass, stored: &[u8], chunk: Chunk) {
    let stream = Some(chunk.stream);
    let size = stored.len() as u64;
    let reservation = match owner {
        Owner::Local => store.reserve(owner, size).unwrap(),
        Owner::Peer(peer) => store.reserve_for_peer(peer, size, class, stream).unwrap(),
    };
    let block = Block {
        class,
        chunk: Some(chunk),
        ..block(stored.to_vec())
    };
    store.insert(id(at), block, reservation).unwrap();
}

fn put_raw(store: &Store, owner: Owner, at: u64, class: BlockClass, of: u8) {
    put_chunk(store, owner, at, class, &bytes(of), claim(&bytes(of), Codec::Raw));
}

/// Asks for a chunk to be kept that has these bytes.
fn adopt(
    store: &Store,
    owner: Owner,
    at: u64,
    class: BlockClass,
    bytes: &[u8],
) -> ApiResult<Option<Adopted>> {
    let Chunk { hash, length, .. } = claim(bytes, Codec::Raw);
    let adoption = Adoption {
        owner,
        stream: id(78),
        hash,
        length,
        class,
        expires: None,
    };
    store.adopt(id(at), adoption)
}

fn cost(class: BlockClass) -> u64 {
    Store::cost_of_lent_chunk(SIZE as u64, class)
}

/// What the budget pays for one more entry that has a chunk.
fn beside(class: BlockClass) -> u64 {
    cost(class) - Store::cost_of_chunk(SIZE as u64)
}

fn check(store: &Store) {
    let (audit, usage) = (store.audit(), store.usage());
    let told = (usage.shared_bytes, usage.peers_used_bytes, usage.cache_bytes);
    assert_eq!(
        told,
        (audit.shared_bytes, audit.peers_used_bytes, audit.cache_bytes)
    );
    let owners: u64 = audit.owners.values().sum();
    assert_eq!(usage.used_bytes + usage.shared_bytes, owners);
}

#[test]
fn each_owner_pays_in_full_and_the_budget_once() {
    let (store, [peer, other]) = (lender(), PEERS);
    put_raw(&store, Owner::Peer(peer), 1, Pinned, 5);
    assert_eq!(store.usage().used_bytes, cost(Pinned));
    let adopted = adopt(&store, Owner::Peer(other), 2, Pinned, &bytes(5)).unwrap();
    let as_it_is = Adopted {
        stored_len: SIZE as u64,
        codec: Codec::Raw,
    };
    assert_eq!(adopted, Some(as_it_is));
    for node in PEERS {
        assert_eq!(store.grant_use(node).used_bytes, cost(Pinned));
    }
    let usage = store.usage();
    assert_eq!(usage.used_bytes, cost(Pinned) + beside(Pinned));
    assert_eq!(usage.peers_used_bytes, usage.used_bytes);
    assert_eq!(usage.shared_bytes, Store::cost_of_chunk(SIZE as u64));
    check(&store);

    // A program of this host: what it has is no longer what peers alone have here.
    adopt(&store, Owner::Local, 3, Pinned, &bytes(5))
        .unwrap()
        .unwrap();
    let own = ENTRY_OVERHEAD + Store::cost_of_outside(0, Pinned, false);
    let usage = store.usage();
    assert_eq!(usage.used_bytes, cost(Pinned) + beside(Pinned) + own);
    assert_eq!(usage.peers_used_bytes, 2 * beside(Pinned));
    assert_eq!(usage.blocks, 3);
    check(&store);

    // Whoever goes first: what the others pay is the same, to the last of them.
    store.remove(id(1)).unwrap();
    assert_eq!(store.grant_use(peer).used_bytes, 0);
    assert_eq!(store.grant_use(other).used_bytes, cost(Pinned));
    assert_eq!(store.usage().used_bytes, cost(Pinned) + own);
    check(&store);
    store.remove(id(3)).unwrap();
    assert_eq!(store.usage().peers_used_bytes, cost(Pinned));
    assert_eq!(store.block(id(2)).unwrap().as_ref(), bytes(5));
    check(&store);
    store.remove(id(2)).unwrap();
    assert_eq!(store.usage(), nothing(1 << 20));
    assert_eq!(adopt(&store, Owner::Local, 4, Pinned, &bytes(5)), Ok(None));
    check(&store);
}

#[test]
fn bytes_that_come_in_again_are_shared() {
    let (store, [peer, other]) = (lender(), PEERS);
    for (at, owner) in [Owner::Local, Owner::Peer(peer), Owner::Peer(other), Owner::Local]
        .into_iter()
        .enumerate()
    {
        put_raw(&store, owner, 1 + at as u64, [Pinned, Cache][at % 2], 5);
    }
    put_raw(&store, Owner::Peer(peer), 5, Pinned, 6);
    assert_eq!(store.audit().chunks, 2);
    let addresses = (1..=4).map(|at| store.block(id(at)).unwrap().as_ref().as_ptr());
    assert_eq!(HashSet::<_>::from_iter(addresses).len(), 1);
    assert_eq!(store.grant_use(peer).used_bytes, cost(Cache) + cost(Pinned));
    check(&store);
    for owner in [Owner::Peer(peer), Owner::Local, Owner::Peer(other)] {
        store.remove_owned(owner, |_, _| true);
        check(&store);
    }
    assert_eq!(store.usage(), nothing(1 << 20));
}

#[test]
fn nothing_is_adopted_on_the_word_of_a_peer() {
    let (store, [peer, other]) = (lender(), PEERS);
    let (said, sent) = (bytes(5), bytes(6));
    put_chunk(
        &store,
        Owner::Peer(peer),
        1,
        Pinned,
        &sent,
        claim(&said, Codec::Raw),
    );
    assert_eq!(adopt(&store, Owner::Peer(other), 2, Pinned, &said), Ok(None));
    assert!(store.chunk(&claim(&said, Codec::Raw).hash).is_none());
    // It is what its owner sent, and the owner's.
    assert_eq!(store.block(id(1)).unwrap().as_ref(), sent);
    assert_eq!(store.grant_use(peer).used_bytes, cost(Pinned));
    check(&store);
    // Others have what they store, and are found by it, whether anybody asked before or not.
    for (at, of) in [(3, 5), (4, 7)] {
        let lie = Owner::Peer(peer);
        put_chunk(&store, lie, 10 + at, Pinned, &sent, claim(&bytes(of), Codec::Raw));
        put_raw(&store, Owner::Peer(other), at, Pinned, of);
        assert_eq!(store.block(id(at)).unwrap().as_ref(), bytes(of));
        assert!(
            adopt(&store, Owner::Local, 20 + at, Pinned, &bytes(of))
                .unwrap()
                .is_some()
        );
        assert_eq!(store.block(id(20 + at)).unwrap().as_ref(), bytes(of));
    }
    check(&store);
}

#[test]
fn a_chunk_is_kept_in_the_form_in_which_it_came_first() {
    let (store, [peer, other]) = (lender(), PEERS);
    let raw = bytes(5);
    let small = packed(&raw);
    put_chunk(
        &store,
        Owner::Peer(peer),
        1,
        Pinned,
        &small,
        claim(&raw, Codec::Zstd),
    );
    let adopted = adopt(&store, Owner::Peer(other), 2, Pinned, &raw)
        .unwrap()
        .unwrap();
    assert_eq!(
        (adopted.stored_len, adopted.codec),
        (small.len() as u64, Codec::Zstd)
    );
    let meta = store.meta(id(2)).unwrap();
    let chunk = meta.chunk.unwrap();
    assert_eq!((meta.size, chunk.length), (small.len() as u64, SIZE as u32));
    assert_eq!((chunk.stream, chunk.codec), (id(78), Codec::Zstd));
    let found = store.chunk(&chunk.hash).unwrap();
    assert_eq!(
        (found.bytes.as_ref(), found.length, found.codec),
        (&small[..], SIZE as u32, Codec::Zstd)
    );
    // Whoever stores it in another form has it in that form, since that is what it was told.
    put_raw(&store, Owner::Local, 3, Pinned, 5);
    assert_eq!(store.block(id(3)).unwrap().as_ref(), raw);
    assert_eq!(store.audit().chunks, 2);
    // Another length is no such chunk.
    let adoption = Adoption {
        owner: Owner::Local,
        stream: id(78),
        hash: chunk.hash,
        length: SIZE as u32 - 1,
        class: Pinned,
        expires: None,
    };
    assert_eq!(store.adopt(id(4), adoption), Ok(None));
    check(&store);
}

#[test]
fn what_unpacks_to_more_than_a_chunk_is_never_given_out() {
    let (store, [peer, _]) = (lender(), PEERS);
    let huge = vec![0; 2 * STREAM_CHUNK_SIZE];
    let claimed = claim(&huge, Codec::Zstd);
    put_chunk(&store, Owner::Peer(peer), 1, Pinned, &packed(&huge), claimed);
    assert!(store.chunk(&claimed.hash).is_none());
    assert_eq!(adopt(&store, Owner::Local, 2, Pinned, &huge), Ok(None));
    assert!(store.chunk(&ChunkHash::from_bytes([0; 32])).is_none());
    check(&store);
}

#[test]
fn a_reader_pays_as_whoever_it_reads_from_until_it_is_done() {
    let (store, [peer, other]) = (lender(), PEERS);
    put_raw(&store, Owner::Peer(peer), 1, Pinned, 5);
    adopt(&store, Owner::Peer(other), 2, Pinned, &bytes(5))
        .unwrap()
        .unwrap();
    let read = store.block(id(1)).unwrap();
    store.remove(id(1)).unwrap();
    // The entry is given back, the bytes are not.
    let kept = cost(Pinned) - Store::cost_of_lent_entry(Pinned);
    assert_eq!(store.grant_use(peer).used_bytes, kept);
    store.remove(id(2)).unwrap();
    assert_eq!(store.grant_use(other).used_bytes, 0);
    assert_eq!(store.usage().used_bytes, kept);
    assert_eq!(store.usage().shared_bytes, 0);
    assert_eq!(read.as_ref(), bytes(5));
    assert_eq!(adopt(&store, Owner::Local, 3, Pinned, &bytes(5)), Ok(None));
    drop(read);
    assert_eq!(store.usage(), nothing(1 << 20));

    // Whoever reads by the hash is on nobody's account.
    put_raw(&store, Owner::Peer(peer), 4, Pinned, 5);
    let found = store.chunk(&claim(&bytes(5), Codec::Raw).hash).unwrap();
    store.remove(id(4)).unwrap();
    assert_eq!(store.grant_use(peer).used_bytes, 0);
    assert_eq!(store.usage().used_bytes, Store::cost_of_chunk(SIZE as u64));
    drop(found);
    assert_eq!(store.usage(), nothing(1 << 20));
}

#[test]
fn an_adoption_that_has_no_room_takes_nothing() {
    let (store, [peer, other]) = (lender(), PEERS);
    put_raw(&store, Owner::Peer(peer), 1, Pinned, 5);
    let before = store.usage();
    store.set_quota(other, Some(cost(Pinned) - 1));
    let error = adopt(&store, Owner::Peer(other), 2, Pinned, &bytes(5)).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    store.set_quota(other, Some(cost(Pinned)));
    let error = adopt(&store, Owner::Peer(other), 1, Pinned, &bytes(5)).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument, "the id is taken");
    assert_eq!((store.usage(), store.grant_use(other).used_bytes), (before, 0));
    let held = fill(&store);
    let error = adopt(&store, Owner::Peer(other), 2, Pinned, &bytes(5)).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    drop(held);
    assert!(
        adopt(&store, Owner::Peer(other), 2, Pinned, &bytes(5))
            .unwrap()
            .is_some()
    );
    check(&store);
}

#[test]
fn the_own_cached_chunks_of_a_peer_make_room_for_an_adoption() {
    let (store, [peer, other]) = (lender(), PEERS);
    put_raw(&store, Owner::Peer(other), 1, Pinned, 5);
    store.set_quota(peer, Some(2 * cost(Cache)));
    for (at, of) in [(2, 5), (3, 6), (4, 7)] {
        // Of a stream each, for none evicts its own.
        let chunk = Chunk {
            stream: id(100 + at),
            ..claim(&bytes(of), Codec::Raw)
        };
        put_chunk(&store, Owner::Peer(peer), at, Cache, &bytes(of), chunk);
    }
    // The oldest went, though the budget has next to nothing of it: the grant has all.
    assert!(store.meta(id(2)).is_none() && store.meta(id(3)).is_some());
    adopt(&store, Owner::Peer(peer), 5, Cache, &bytes(5))
        .unwrap()
        .unwrap();
    assert!(store.meta(id(3)).is_none() && store.meta(id(5)).is_some());
    assert_eq!(store.usage().evictions, 2);
    check(&store);
}

#[test]
fn what_somebody_has_pinned_is_not_evicted_for_room_and_what_all_have_cached_is() {
    let (store, [peer, other]) = (lender(), PEERS);
    put_raw(&store, Owner::Peer(peer), 1, Cache, 5);
    put_raw(&store, Owner::Peer(other), 2, Cache, 5);
    let both = store.usage();
    assert_eq!(both.cache_bytes, both.used_bytes);
    // While one has it pinned, only the entries are of class cache.
    put_raw(&store, Owner::Local, 3, Pinned, 5);
    assert_eq!(store.usage().cache_bytes, 2 * beside(Cache));
    let held = fill(&store);
    assert_eq!(
        store.reserve(Owner::Local, SIZE as u64).unwrap_err().code,
        ErrorCode::OutOfMemory
    );
    assert_eq!(store.usage().evictions, 0, "it would not have been enough");
    assert_eq!((store.usage().blocks, store.audit().chunks), (3, 1));
    store.remove(id(3)).unwrap();
    assert_eq!(store.usage().cache_bytes, both.cache_bytes);
    drop(store.reserve(Owner::Local, SIZE as u64).unwrap());
    assert_eq!(store.usage().cache_bytes, 0);
    assert_eq!(store.usage().evictions, 2, "it was free when both had gone");
    drop(held);
    assert_eq!(store.usage().used_bytes, 0);
    check(&store);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_this_host_that_lost_its_share_of_a_chunk_is_torn() {
    let (store, [peer, _]) = (lender(), PEERS);
    put_raw(&store, Owner::Local, 1, Cache, 5);
    put_raw(&store, Owner::Peer(peer), 2, Pinned, 5);
    let held = fill(&store);
    drop(store.reserve(Owner::Local, 0).unwrap());
    assert_eq!(store.torn_streams().await, [id(77)]);
    assert_eq!(store.block(id(2)).unwrap().as_ref(), bytes(5));
    drop(held);
    check(&store);
}

#[test]
fn what_expires_leaves_the_others_what_they_have() {
    let (store, [peer, other]) = (lender(), PEERS);
    put_raw(&store, Owner::Peer(peer), 1, Pinned, 5);
    put_raw(&store, Owner::Peer(other), 2, Pinned, 5);
    let second = std::time::Duration::from_secs(1);
    let moment = store.expiry().after(second.try_into().unwrap());
    store.set_expiry(id(1), Some(moment), |_| true).unwrap();
    store.expiry().advance(2 * second);
    assert_eq!(store.take_expired(0, |_| None).len(), 1);
    assert_eq!(store.grant_use(peer).used_bytes, 0);
    assert_eq!(store.usage().used_bytes, cost(Pinned));
    assert_eq!(store.block(id(2)).unwrap().as_ref(), bytes(5));
    check(&store);
}

#[test]
fn a_chunk_can_be_counted_to_another_stream() {
    let (store, [peer, other]) = (lender(), PEERS);
    put_raw(&store, Owner::Peer(peer), 1, Pinned, 5);
    put_raw(&store, Owner::Peer(other), 2, Pinned, 5);
    put(&store, Owner::Peer(peer), 3, 10).unwrap();
    let of_peer = |meta: &BlockMeta, chunk: &Chunk| meta.owner == Owner::Peer(peer) && chunk.stream == id(77);
    let before = store.set_stream(id(1), id(99), of_peer).unwrap();
    assert_eq!(before.chunk.map(|chunk| chunk.stream), Some(id(77)));
    let stream = |at| store.meta(id(at)).unwrap().chunk.map(|chunk| chunk.stream);
    assert_eq!(
        [stream(1), stream(2), stream(3)],
        [Some(id(99)), Some(id(77)), None]
    );
    for at in [1, 2, 3, 4] {
        assert!(store.set_stream(id(at), id(100), of_peer).is_none());
    }
    check(&store);
}

#[test]
fn threads_that_share_and_part_leave_no_trace() {
    let store = with_shards(64 << 20, 4);
    PEERS
        .iter()
        .for_each(|&peer| store.set_quota(peer, Some(64 << 20)));
    let owners = [
        Owner::Local,
        Owner::Peer(PEERS[0]),
        Owner::Peer(PEERS[1]),
        Owner::Peer(PEERS[0]),
    ];
    std::thread::scope(|scope| {
        for (thread, owner) in (0_u64..).zip(owners) {
            let store = &store;
            scope.spawn(move || {
                for round in 0..400 {
                    let (at, of) = (1 + 1_000 * thread + round, (round % 3) as u8);
                    let class = [Pinned, Cache][(round + thread) as usize % 2];
                    if adopt(store, owner, at, class, &bytes(of)).unwrap().is_none() {
                        put_raw(store, owner, at, class, of);
                    }
                    assert_eq!(store.block(id(at)).unwrap().as_ref(), bytes(of));
                    if round % 4 > 0 {
                        store.remove(id(at)).unwrap();
                    }
                }
            });
        }
    });
    check(&store);
    for owner in owners {
        store.remove_owned(owner, |_, _| true);
    }
    assert_eq!(store.usage(), nothing(64 << 20));
    check(&store);
}
