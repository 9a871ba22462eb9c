//! What peers have here: who pays for it, and what of it goes when.

use std::collections::BTreeMap;

use memproto::Ttl;

use super::*;
use crate::expiry::BATCH_MAX;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Blocks of this length are the unit of these tests.
const SIZE: u64 = 1_000;

fn lent(class: BlockClass) -> u64 {
    Store::cost_of_lent(SIZE, class)
}

fn hour() -> Ttl {
    HOUR.try_into().unwrap()
}

/// Stores as a peer does.
fn lend(store: &Store, peer: NodeId, at: u64, class: BlockClass, chunk_of: Option<u64>) -> ApiResult<()> {
    let chunk_of = chunk_of.map(id);
    let reservation = store.reserve_for_peer(peer, SIZE, class, chunk_of)?;
    let bytes = vec![at as u8; SIZE as usize];
    let block = Block {
        class,
        chunk: chunk_of.map(|stream| Chunk::raw(stream, &bytes)),
        ..block(bytes)
    };
    Ok(store.insert(id(at), block, reservation)?)
}

fn lend_cached(store: &Store, peer: NodeId, at: u64) {
    lend(store, peer, at, BlockClass::Cache, None).unwrap();
}

fn lend_pinned(store: &Store, peer: NodeId, at: u64) {
    lend(store, peer, at, BlockClass::Pinned, None).unwrap();
}

/// Which of these ids are there. No read.
fn there(store: &Store, ids: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    ids.filter(|&at| store.meta(id(at)).is_some()).collect()
}

/// A store of one shard, so that the oldest of a shard is the oldest of all.
fn ordered(budget_bytes: u64, quotas: [u64; 2]) -> Store {
    let store = with_shards(budget_bytes, 1);
    for (peer, quota) in PEERS.into_iter().zip(quotas) {
        store.set_quota(peer, Some(quota));
    }
    store
}

#[test]
fn a_peer_pays_for_its_entries_and_their_moments_and_this_host_for_its_own() {
    let (store, [peer, _]) = (ordered(1 << 20, [1 << 20; 2]), PEERS);
    lend_pinned(&store, peer, 1);
    lend_cached(&store, peer, 2);
    let of_peer = lent(BlockClass::Pinned) + lent(BlockClass::Cache);
    assert_eq!(store.grant_use(peer).used_bytes, of_peer);
    assert_eq!(store.usage().used_bytes, of_peer, "nobody else pays for them");
    // A moment that comes later is paid for already.
    store
        .set_expiry(id(1), Some(store.expiry().after(hour())), |_| true)
        .unwrap();
    assert_eq!(store.grant_use(peer).used_bytes, of_peer);

    let entry = |class, expires| Store::cost_of_small(0, 5, class, expires);
    for class in [BlockClass::Pinned, BlockClass::Cache] {
        let before = store.usage();
        let stored = store.store_small(value(b"value", class)).unwrap();
        let used = || store.usage().used_bytes - before.used_bytes;
        let cached = || store.usage().cache_bytes - before.cache_bytes;
        for (expires, paid) in [
            (None, false),
            (Some(store.expiry().after(hour())), true),
            (None, false),
        ] {
            store.set_expiry(stored, expires, |_| true).unwrap();
            assert_eq!(used(), entry(class, paid));
            assert_eq!(cached(), if class == BlockClass::Cache { used() } else { 0 });
            store.audit();
        }
        assert!(entry(class, true) > entry(class, false));
    }
}

#[test]
fn an_overwrite_pays_for_its_moment_too() {
    let store = store();
    for class in [BlockClass::Pinned, BlockClass::Cache] {
        for expires in [None, Some(store.expiry().after(hour())), None] {
            let value = SmallValue {
                expires,
                ..value(b"v", class)
            };
            let time = store.key("k").map_or(1, |record| record.version.time + 1);
            store.set_small("k", value, || version(time)).unwrap();
            let cost = Store::cost_of_small(1, 1, class, expires.is_some());
            assert_eq!(store.usage().used_bytes, cost);
            store.audit();
        }
    }
    // Where there is no room for the moment the old value stays.
    let held = fill(&store);
    let moment = store.expiry().after(hour());
    let longer = SmallValue {
        expires: Some(moment),
        ..value(b"w", BlockClass::Pinned)
    };
    set(&store, "k", b"v", 8).unwrap();
    let error = store.set_small("k", longer, || version(9)).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    assert_eq!(get(&store, "k").unwrap(), b"v");
    drop(held);
}

#[test]
fn the_own_cached_data_of_a_peer_makes_room_within_its_grant() {
    let quota = 4 * lent(BlockClass::Cache);
    let (store, [peer, other]) = (ordered(1 << 20, [quota; 2]), PEERS);
    cache(&store, "of this host", &[1; 100], 1).unwrap();
    lend_cached(&store, other, 1);
    for at in 11..=14 {
        lend_cached(&store, peer, at);
    }
    assert!(
        store.block(id(11)).is_some(),
        "this one is read, and stays for that"
    );
    lend_cached(&store, peer, 15);
    assert_eq!(there(&store, 11..=15), [11, 13, 14, 15]);
    // Its pinned data stays, and what is pinned makes room as well.
    lend_pinned(&store, peer, 16);
    lend_pinned(&store, peer, 17);
    assert_eq!(there(&store, 11..=17), [11, 15, 16, 17]);
    lend_pinned(&store, peer, 18);
    lend_pinned(&store, peer, 19);
    assert_eq!(there(&store, 11..=19), [16, 17, 18, 19]);
    let error = lend(&store, peer, 20, BlockClass::Cache, None).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert_eq!(there(&store, 11..=20), [16, 17, 18, 19]);
    assert!(get(&store, "of this host").is_some() && store.block(id(1)).is_some());
    assert_eq!(store.usage().evictions, 5);
    store.audit();
}

#[test]
fn nothing_is_evicted_for_what_the_grant_never_has_room_for() {
    let quota = 4 * lent(BlockClass::Cache);
    let (store, [peer, _]) = (ordered(1 << 20, [quota; 2]), PEERS);
    (1..=3).for_each(|at| lend_cached(&store, peer, at));
    let error = store.reserve(Owner::Peer(peer), quota).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert_eq!(there(&store, 1..=3), [1, 2, 3]);
}

#[test]
fn a_stream_does_not_evict_its_own_chunks_for_the_grant() {
    let quota = 4 * Store::cost_of_lent_chunk(SIZE, BlockClass::Cache);
    let (store, [peer, _]) = (ordered(1 << 20, [quota; 2]), PEERS);
    lend_cached(&store, peer, 1);
    for at in 2..=5 {
        lend(&store, peer, at, BlockClass::Cache, Some(99)).unwrap();
    }
    let error = lend(&store, peer, 6, BlockClass::Cache, Some(99)).unwrap_err();
    assert_eq!(
        error.code,
        ErrorCode::QuotaExceeded,
        "the next one goes elsewhere"
    );
    assert_eq!(there(&store, 1..=6), [2, 3, 4, 5]);
    lend(&store, peer, 7, BlockClass::Cache, Some(100)).unwrap();
    assert_eq!(there(&store, 1..=7), [3, 4, 5, 7]);
}

#[test]
fn a_lowered_grant_evicts_what_is_cached_and_nothing_that_is_pinned() {
    let quota = 8 * lent(BlockClass::Cache);
    let (store, [peer, other]) = (ordered(1 << 20, [quota; 2]), PEERS);
    lend_cached(&store, other, 1);
    (11..=13).for_each(|at| lend_pinned(&store, peer, at));
    (14..=17).for_each(|at| lend_cached(&store, peer, at));
    store.set_quota(
        peer,
        Some(3 * lent(BlockClass::Pinned) + 2 * lent(BlockClass::Cache)),
    );
    // In steps, each of which frees at least one.
    assert_eq!(
        store.evict_over_grant(peer, 1),
        Freed {
            blocks: 1,
            bytes: SIZE
        }
    );
    assert_eq!(
        store.evict_over_grant(peer, u64::MAX),
        Freed {
            blocks: 1,
            bytes: SIZE
        }
    );
    assert_eq!(store.evict_over_grant(peer, u64::MAX), Freed::default());
    assert_eq!(there(&store, 11..=17), [11, 12, 13, 16, 17]);
    store.set_quota(peer, Some(1));
    assert_eq!(store.evict_over_grant(peer, u64::MAX).blocks, 2);
    assert_eq!(store.evict_over_grant(peer, u64::MAX), Freed::default());
    assert_eq!(there(&store, 1..=17), [1, 11, 12, 13]);
    assert_eq!(
        lend(&store, peer, 18, BlockClass::Cache, None).unwrap_err().code,
        ErrorCode::QuotaExceeded
    );
    let grant = store.grant_use(peer);
    assert_eq!(
        (grant.quota_bytes, grant.used_bytes),
        (1, 3 * lent(BlockClass::Pinned))
    );
}

/// A store that is full: the first peer has five pinned blocks, the second two pinned and one cached.
fn full_of_what_is_lent() -> Store {
    let budget = 7 * lent(BlockClass::Pinned) + lent(BlockClass::Cache);
    let (store, [peer, other]) = (ordered(budget, [budget; 2]), PEERS);
    (1..=5).for_each(|at| lend_pinned(&store, peer, at));
    (6..=7).for_each(|at| lend_pinned(&store, other, at));
    lend_cached(&store, other, 8);
    store
}

/// Takes as much as two blocks have.
fn take_two(store: &Store) -> ApiResult<Reservation> {
    store.reserve(Owner::Local, 2 * SIZE)
}

#[test]
fn what_an_absent_peer_has_pinned_goes_last_and_only_when_its_grace_is_over() {
    let (store, [peer, other]) = (full_of_what_is_lent(), PEERS);
    store.note_away(peer, hour());
    assert_eq!(take_two(&store).unwrap_err().code, ErrorCode::OutOfMemory);
    assert_eq!(
        there(&store, 1..=8),
        [1, 2, 3, 4, 5, 6, 7, 8],
        "refused without an eviction"
    );
    store.expiry().advance(HOUR);
    let first = take_two(&store).unwrap();
    assert_eq!(
        there(&store, 1..=8),
        [2, 3, 4, 5, 6, 7],
        "what is cached goes first, then the oldest"
    );
    // What is left is kept again as soon as the peer is back.
    store.note_back(peer);
    assert_eq!(take_two(&store).unwrap_err().code, ErrorCode::OutOfMemory);
    store.note_away(other, hour());
    store.note_away(peer, hour());
    store.expiry().advance(HOUR);
    let second = take_two(&store).unwrap();
    assert_eq!(
        there(&store, 1..=8),
        [2, 3, 4, 5],
        "whoever went first comes first"
    );
    let third = take_two(&store).unwrap();
    let left = there(&store, 1..=8);
    assert_eq!(left, [4, 5]);
    assert_eq!(store.usage().evictions, 6);
    store.audit();
    drop((first, second, third));
    assert_eq!(store.grant_use(peer).used_bytes, 2 * lent(BlockClass::Pinned));
}

#[test]
fn an_absence_in_time_changes_nothing_and_each_absence_has_its_own_grace() {
    let (store, [peer, _]) = (full_of_what_is_lent(), PEERS);
    for _ in 0..3 {
        store.note_away(peer, hour());
        store.expiry().advance(HOUR * 9 / 10);
        store.note_back(peer);
    }
    store.note_away(peer, hour());
    store.expiry().advance(HOUR * 9 / 10);
    assert_eq!(take_two(&store).unwrap_err().code, ErrorCode::OutOfMemory);
    store.expiry().advance(HOUR / 10);
    assert!(take_two(&store).is_ok());
}

#[test]
fn many_peers_that_came_once_leave_nothing() {
    let store = sized(1 << 20);
    let peers: Vec<NodeId> = (0..100_u8).map(|n| NodeId::from_bytes([n; 16])).collect();
    for (at, &peer) in peers.iter().enumerate() {
        store.set_quota(peer, Some(10 * SIZE));
        lend_pinned(&store, peer, 1 + at as u64);
        store.note_away(peer, hour());
    }
    for &peer in &peers {
        assert_eq!(store.remove_owned(Owner::Peer(peer), |_, _| true).blocks, 1);
        store.set_quota(peer, None);
    }
    assert_eq!(store.usage(), nothing(1 << 20));
    store.note_away(peers[0], hour());
    assert!(lock_any(&store.inner.absent).is_empty());
    store.audit();
}

/// Three owners do what they like, in an order that a seed gives: after each step the ledger has for each of them what its entries and their
/// bytes are charged, made anew, and in the end nothing.
#[test]
fn the_account_of_each_owner_is_the_sum_of_what_it_has() {
    for seed in 1..=20 {
        let mut play = Play::new(seed);
        for step in 0..600 {
            play.step();
            play.check(seed, step);
        }
        play.end();
    }
}

struct Play {
    store: Store,
    /// An xorshift generator.
    state: u64,
    next_id: u64,
}

impl Play {
    const BUDGET: u64 = 40 * 1024;

    fn new(seed: u64) -> Self {
        Self {
            store: with_shards(Self::BUDGET, 4),
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            next_id: 1,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    fn any_id(&mut self) -> BlockId {
        id(1 + self.draw(self.next_id))
    }

    fn class(&mut self) -> BlockClass {
        [BlockClass::Pinned, BlockClass::Cache][self.draw(2) as usize]
    }

    fn moment(&mut self) -> Option<Moment> {
        (self.draw(3) == 0).then(|| self.store.expiry().after(hour()))
    }

    fn step(&mut self) {
        let peer = PEERS[self.draw(2) as usize];
        match self.draw(22) {
            0..=6 => self.lend(peer),
            20 | 21 => self.adopt(peer),
            7..=9 => self.set(),
            10..=12 => {
                let id = self.any_id();
                self.store.remove(id);
            }
            13 | 14 => {
                let (id, moment) = (self.any_id(), self.moment());
                self.store.set_expiry(id, moment, |_| true);
            }
            15 => {
                let id = self.any_id();
                self.store.block(id);
            }
            16 => self.pass_time(),
            17 => {
                let quota = self.draw(Self::BUDGET / 2);
                self.store.set_quota(peer, Some(quota));
                while self.store.evict_over_grant(peer, 2_000).blocks > 0 {}
            }
            // It is gone: with its grant, for a while, or for good with all that it had.
            18 => match self.draw(3) {
                0 => self.store.set_quota(peer, None),
                1 => self.store.note_away(peer, hour()),
                _ => {
                    self.store.remove_owned(Owner::Peer(peer), |_, _| true);
                }
            },
            _ => self.store.note_back(peer),
        }
    }

    fn lend(&mut self, peer: NodeId) {
        let class = self.class();
        let chunk_of = (self.draw(4) == 0).then(|| id(1 << 40));
        let size = match chunk_of {
            // So few that they meet.
            Some(_) => self.size_of_chunk(),
            None => self.draw(3_000),
        };
        let Ok(reservation) = self.store.reserve_for_peer(peer, size, class, chunk_of) else {
            return;
        };
        // Now and then the bytes never come, or under an id that is taken.
        match self.draw(8) {
            0 => return,
            1 => {}
            _ => self.next_id += 1,
        }
        let bytes = vec![0; size as usize];
        let block = Block {
            class,
            chunk: chunk_of.map(|stream| Chunk::raw(stream, &bytes)),
            expires: self.moment(),
            ..block(bytes)
        };
        let _ = self.store.insert(id(self.next_id), block, reservation);
        // What was reserved is all that it takes.
        let grant = self.store.grant_use(peer);
        assert!(grant.used_bytes <= grant.quota_bytes, "{grant:?}");
    }

    fn size_of_chunk(&mut self) -> u64 {
        1_000 * (1 + self.draw(3))
    }

    /// Has what somebody has already, if so.
    fn adopt(&mut self, peer: NodeId) {
        let of_chunk = Chunk::raw(id(1 << 41), &vec![0; self.size_of_chunk() as usize]);
        let adoption = Adoption {
            owner: [Owner::Local, Owner::Peer(peer), Owner::Peer(peer)][self.draw(3) as usize],
            stream: of_chunk.stream,
            hash: of_chunk.hash,
            length: of_chunk.length,
            class: self.class(),
            expires: self.moment(),
        };
        self.next_id += self.draw(8).min(1);
        let before = self.store.grant_use(peer);
        let adopted = self.store.adopt(id(self.next_id), adoption);
        let grant = self.store.grant_use(peer);
        assert!(
            grant.used_bytes <= grant.quota_bytes.max(before.used_bytes),
            "{grant:?}"
        );
        if let Ok(Some(adopted)) = adopted {
            assert_eq!(adopted.stored_len, u64::from(of_chunk.length));
        }
    }

    fn set(&mut self) {
        let (key, size) = (format!("key:{}", self.draw(10)), self.draw(200));
        let value = SmallValue {
            bytes: &vec![0; size as usize],
            class: self.class(),
            expires: self.moment(),
        };
        let time = self.store.key(&key).map_or(1, |record| record.version.time + 1);
        let _ = self.store.set_small(&key, value, || version(time));
    }

    fn pass_time(&mut self) {
        self.store.expiry().advance(HOUR / 2);
        for shard in 0..self.store.shards() {
            assert!(self.store.take_expired(shard, |_| None).len() < BATCH_MAX);
        }
    }

    fn check(&self, seed: u64, step: u64) {
        let (audit, usage) = (self.store.audit(), self.store.usage());
        let of = |owner| audit.owners.get(&owner).copied().unwrap_or(0);
        let of_peers: u64 = PEERS.iter().map(|&peer| of(Some(peer))).sum();
        let ledger: BTreeMap<NodeId, u64> = PEERS
            .iter()
            .map(|&peer| (peer, self.store.grant_use(peer).used_bytes))
            .collect();
        for peer in PEERS {
            assert_eq!(ledger[&peer], of(Some(peer)), "seed {seed}, step {step}");
        }
        let told = (
            usage.peers_used_bytes,
            usage.used_bytes + usage.shared_bytes,
            usage.shared_bytes,
            usage.cache_bytes,
        );
        let counted = (
            audit.peers_used_bytes,
            of_peers + of(None),
            audit.shared_bytes,
            audit.cache_bytes,
        );
        assert_eq!(told, counted, "seed {seed}, step {step}");
    }

    fn end(self) {
        for owner in [Owner::Local, Owner::Peer(PEERS[0]), Owner::Peer(PEERS[1])] {
            self.store.remove_owned(owner, |_, _| true);
        }
        let evictions = self.store.usage().evictions;
        assert!(evictions > 0, "the script met no limit");
        assert_eq!(
            self.store.usage(),
            Usage {
                evictions,
                ..nothing(Self::BUDGET)
            }
        );
        assert!(
            PEERS
                .iter()
                .all(|&peer| self.store.grant_use(peer).used_bytes == 0)
        );
    }
}
