//! Two and three nodes in one process, over loopback: what each sees of the others' keys, blocks and streams.

mod absence;
mod authorisation;
mod flush;
mod grants;
mod races;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memproto::control::{ConnectRequest, ConsentAnswer, ConsentDecision, PeerState, PeerWait};
use memproto::error::ErrorCode;
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::listing::ListedKey;
use memproto::local::batch::BatchAnswer;
use memproto::local::keys::{KeysOptions, KeysRequest};
use memproto::pattern::Globs;
use memproto::{BlockId, LifetimeChange, Placement, ValueName};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::home::Home;
use crate::identity::Identity;
use crate::memory_file::MemoryFiles;
use crate::peer::PeersConfig;
use crate::store::{KeyValue, StoreConfig};
use crate::trust::TrustStore;

mod health;
mod listing;
mod streaming;
mod truth;

const MIB: u64 = 1024 * 1024;

/// After how long a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3_600);

struct TestNode {
    service: Arc<Service>,
    address: SocketAddr,
    home: tempfile::TempDir,
    stop: CancellationToken,
}

impl TestNode {
    async fn start(name: &str, budget_bytes: u64) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), name, budget_bytes).await
    }

    /// A node that tells its peers of its keys when they connect, and then not for a long time.
    async fn start_silent(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_announcing(folder, name, 64 * MIB, HOUR).await
    }

    /// A node in a home that may have been used before: its identity and its trust are kept there.
    async fn start_in(folder: tempfile::TempDir, name: &str, budget_bytes: u64) -> Self {
        Self::start_with(folder, name, budget_bytes, |_| ()).await
    }

    async fn start_announcing(
        folder: tempfile::TempDir,
        name: &str,
        budget_bytes: u64,
        announce_interval: Duration,
    ) -> Self {
        Self::start_with(folder, name, budget_bytes, |config| {
            config.announce_interval = announce_interval;
        })
        .await
    }

    /// As [`start_in`](Self::start_in), with a service that `change` sets otherwise.
    async fn start_with(
        folder: tempfile::TempDir,
        name: &str,
        budget_bytes: u64,
        change: impl FnOnce(&mut ServiceConfig),
    ) -> Self {
        let home = Home::open(folder.path().join("home")).unwrap();
        let identity = Identity::load_or_create(&home).unwrap();
        let trust = TrustStore::load(&home).unwrap();
        let mut config = ServiceConfig {
            name: name.to_owned(),
            node_id: identity.node_id(),
            home: home.path().to_owned(),
            socket: home.path().join("memnode.sock"),
            deletion_memory: DELETION_MEMORY,
            announce_interval: ANNOUNCE_INTERVAL,
            abandoned_grace: Duration::from_millis(50),
            absent_grace: HOUR.try_into().unwrap(),
            files: MemoryFiles::new(100),
            allow_flush: FlushAllowed::default(),
            started: StartedAs::default(),
        };
        change(&mut config);
        let peers_config = PeersConfig {
            listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            discovery: false,
            ..PeersConfig::new(name, rand::random(), budget_bytes)
        };
        let peers = Peers::new(peers_config, identity, trust);
        let stop = CancellationToken::new();
        let store = Store::new(StoreConfig {
            budget_bytes,
            node_id: config.node_id,
            first_block_id: rand::random(),
        });
        let service = Service::new(config, store, Arc::clone(&peers), stop.clone());
        let address = peers.start(Arc::clone(&service) as _).await.unwrap()[0];
        Self {
            service,
            address,
            home: folder,
            stop,
        }
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.service.peers().stop().await;
        self.service.finish().await;
        self.home
    }

    fn id(&self) -> NodeId {
        self.service.config.node_id
    }

    /// Connects to another node, which trusts this one and grants it `quota_bytes`.
    async fn connect(&self, other: &TestNode, quota_bytes: u64) {
        let request = ConnectRequest {
            target: other.address.to_string(),
            quota_bytes: None,
            once: false,
            accept_new_key: false,
        };
        let info = self.service.peers().connect(request).await.unwrap();
        assert_eq!(info.state, PeerState::WaitingForTheirConsent);
        let decision = ConsentDecision {
            peer: self.id().to_string(),
            answer: ConsentAnswer::Trust,
            quota_bytes: Some(quota_bytes),
        };
        other.service.peers().decide(decision).unwrap();
        self.wait_for(other, PeerState::Connected).await;
        other.wait_for(self, PeerState::Connected).await;
    }

    /// Connects to a node that trusts this one.
    async fn come_back_to(&self, other: &TestNode) {
        let request = ConnectRequest {
            target: other.address.to_string(),
            quota_bytes: None,
            once: false,
            accept_new_key: false,
        };
        self.service.peers().connect(request).await.unwrap();
        self.wait_for(other, PeerState::Connected).await;
        other.wait_for(self, PeerState::Connected).await;
    }

    async fn wait_for(&self, other: &TestNode, state: PeerState) {
        let peer = other.id().to_string();
        let mut known_state = PeerState::Discovered;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while known_state != state {
            let wait = PeerWait {
                peer: peer.clone(),
                known_state,
                timeout_ms: 1_000,
            };
            known_state = self.service.peers().wait(wait).await.unwrap().state;
            assert!(tokio::time::Instant::now() < deadline, "still {known_state:?}");
        }
    }

    async fn set(&self, key: &str, value: &str) -> Stored {
        self.service
            .set(
                key,
                Body::from(Bytes::from(value.to_owned())),
                PutOptions::default(),
            )
            .await
            .unwrap()
    }

    async fn get(&self, key: &str) -> ApiResult<Option<Bytes>> {
        match self.service.get(key, ByteRange::ALL, false).await? {
            Some(loaded) => loaded.body.collect(u64::MAX).await.map(Some),
            None => Ok(None),
        }
    }

    async fn load(&self, id: BlockId, range: ByteRange) -> ApiResult<Bytes> {
        self.service.load(id, range).await?.body.collect(u64::MAX).await
    }

    async fn store(&self, value: Bytes, placement: Placement) -> ApiResult<Stored> {
        let options = PutOptions {
            placement,
            ..PutOptions::default()
        };
        self.service.store(Body::from(value), options).await
    }

    async fn stream(&self, value: &Bytes, placement: Placement) -> ApiResult<Stored> {
        let options = PutOptions {
            placement,
            ..PutOptions::default()
        };
        let pieces = (0..value.len()).step_by(300_001);
        let pieces = pieces
            .map(|at| value.slice(at..value.len().min(at + 300_001)))
            .collect();
        self.service.stream(Body::from_pieces(pieces), options).await
    }

    /// Sets a key to a value that lives for an hour.
    async fn set_for_an_hour(&self, key: &str, placement: Placement) -> Stored {
        let options = PutOptions {
            placement,
            ..for_an_hour()
        };
        let body = Body::from(Bytes::from_static(b"value"));
        self.service.set(key, body, options).await.unwrap()
    }

    /// Lets an hour pass for the data of this node alone.
    fn let_an_hour_pass(&self) {
        self.service.store.expiry().advance(HOUR);
    }

    /// The keys of the whole pool, in order.
    async fn keys(&self) -> Vec<String> {
        let (listed, missing) = self.list(KeysOptions::default(), 1_000).await;
        assert_eq!(missing, [""; 0]);
        let mut keys: Vec<String> = listed.into_iter().map(String::from).collect();
        keys.sort();
        keys
    }

    /// All pages of a listing, with at most so many keys on each, and the names of the nodes whose keys are missing.
    async fn list(&self, options: KeysOptions, limit: u32) -> (Vec<ListedKey>, Vec<String>) {
        let (mut keys, mut missing, mut cursor) = (Vec::new(), Vec::new(), 0);
        loop {
            let request = KeysRequest {
                patterns: vec!["*".to_owned()],
                cursor,
                limit,
                options,
            };
            let page = self.service.keys(&request).await.unwrap();
            assert!(page.keys.len() <= limit as usize);
            keys.extend(page.keys);
            missing.extend(page.missing.into_iter().map(|missing| missing.name));
            cursor = page.cursor;
            if cursor == 0 {
                return (keys, missing);
            }
        }
    }

    /// The keys that this node answers for, in order.
    fn own_keys(&self) -> Vec<String> {
        let globs = Globs::new(&["*"]).unwrap();
        let (page, next) = self.service.own_keys(&globs, 0, 1_000, false);
        assert_eq!(next, 0, "all keys of a test fit a page");
        let mut keys: Vec<String> = page.into_keys().into_iter().map(String::from).collect();
        keys.sort();
        keys
    }

    /// Whether this node knows of a value of a key, be it its own or not.
    fn knows(&self, key: &str) -> bool {
        let record = self.service.store.key(key);
        record.is_some_and(|record| record.value != KeyValue::Deleted)
    }

    fn blocks(&self) -> u64 {
        self.service.stats().blocks
    }
}

/// Waits for what another task of a node is about to bring about, without a guess at how long it takes.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn pattern(len: usize) -> Bytes {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 29) as u8)
        .collect::<Vec<u8>>()
        .into()
}

fn for_an_hour() -> PutOptions {
    PutOptions {
        ttl: Some(HOUR.try_into().unwrap()),
        ..PutOptions::default()
    }
}

fn to(node: &TestNode) -> Placement {
    Placement::Peer(node.id().to_string())
}

#[tokio::test]
async fn a_node_alone_keeps_replaces_and_deletes() {
    let a = TestNode::start("a", 64 * MIB).await;
    let used_before = a.service.stats().used_bytes;
    let first = a.set("k", "one").await;
    let second = a.set("k", "two").await;
    assert_ne!(first.id, second.id);
    assert_eq!(a.get("k").await.unwrap().unwrap(), "two");
    assert_eq!(
        a.load(first.id, ByteRange::ALL).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    assert_eq!(a.blocks(), 1, "what was replaced is freed");
    assert!(a.service.del("k", false).await.unwrap());
    assert!(!a.service.del("k", false).await.unwrap());
    assert_eq!(a.get("k").await.unwrap(), None);
    assert_eq!(a.keys().await, [""; 0]);
    a.service
        .store
        .forget_deletions(Duration::ZERO, a.service.unix_ms());
    assert_eq!(a.service.stats().used_bytes, used_before, "nothing is left of it");
}

#[tokio::test]
async fn a_stream_that_evicts_itself_is_refused_and_leaves_nothing() {
    let a = TestNode::start("a", 16 * MIB).await;
    let held = a
        .store(Bytes::from(vec![1; 12 << 20]), Placement::Local)
        .await
        .unwrap();
    let used_before = a.service.stats().used_bytes;
    let options = PutOptions {
        class: BlockClass::Cache,
        ..PutOptions::default()
    };
    // Chunks that differ: equal ones are held once.
    let chunks = (0..8_u8).map(|chunk| vec![chunk; STREAM_CHUNK_SIZE]);
    let value = Bytes::from(chunks.collect::<Vec<_>>().concat());
    let error = a
        .service
        .stream(Body::from(value.clone()), options.clone())
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory, "{error}");
    assert!(error.message.contains("evicted before its end"), "{error}");
    assert_eq!(a.service.stats().used_bytes, used_before, "nothing is left of it");
    a.service.free(vec![held.id]).await.unwrap();
    let stored = a
        .service
        .stream(Body::from(value.clone()), options)
        .await
        .unwrap();
    assert!(a.load(stored.id, ByteRange::ALL).await.unwrap() == value);
}

#[tokio::test]
async fn the_way_without_waiting_is_the_same_way() {
    let a = TestNode::start("a", 64 * MIB).await;
    let options = PutOptions::default();
    let stored = a.service.set_now("k", b"one", &options).unwrap().unwrap();
    let again = a.service.set_now("k", b"two", &options).unwrap().unwrap();
    let get = |key, range| {
        let owned = |found: ApiResult<Option<Here<'_>>>| found.map(|found| found.map(Loaded::from));
        a.service.get_now(key, range, owned).unwrap()
    };
    let loaded = get("k", ByteRange::ALL).unwrap().unwrap();
    assert_eq!((loaded.id, loaded.size), (again.id, 3));
    assert_eq!(loaded.body.as_whole().unwrap(), "two");
    assert!(a.service.load_now(stored.id, ByteRange::ALL, |_| ()).is_none());
    assert!(get("other", ByteRange::ALL).unwrap().is_none());
    let past_the_end = ByteRange { offset: 4, length: 1 };
    assert_eq!(
        get("k", past_the_end).unwrap_err().code,
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        a.service.set_now("", b"", &options).unwrap().unwrap_err().code,
        ErrorCode::InvalidArgument
    );
}

#[tokio::test]
async fn freeing_the_block_of_a_key_takes_the_key_with_it_everywhere() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, MIB).await;
    let stored = a.set("k", "value").await;
    assert_eq!(b.keys().await, ["k"]);
    assert!(b.knows("k"));
    let freed = b.service.free(vec![stored.id]).await.unwrap();
    assert_eq!((freed.blocks, freed.bytes), (1, 5));
    assert_eq!(a.keys().await, [""; 0]);
    until("b forgets the key", || !b.knows("k")).await;
    assert_eq!(b.get("k").await.unwrap(), None);
    assert_eq!(
        a.service.free(vec![stored.id]).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn an_overwrite_and_a_deletion_are_seen_everywhere_when_they_returned() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, MIB).await;
    a.connect(&c, MIB).await;
    b.connect(&c, MIB).await;
    let nodes = [&a, &b, &c];
    for (round, writer) in nodes.iter().cycle().take(12).enumerate() {
        let value = format!("round {round}");
        writer.set("k", &value).await;
        for reader in nodes {
            assert_eq!(
                reader.get("k").await.unwrap().unwrap(),
                value.as_str(),
                "round {round}"
            );
        }
    }
    let blocks: u64 = nodes.iter().map(|node| node.blocks()).sum();
    assert_eq!(blocks, 1, "the older values are freed");
    assert!(b.service.del("k", false).await.unwrap());
    for reader in nodes {
        assert_eq!(reader.get("k").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_block_lies_where_it_was_asked_to_and_is_read_and_freed_from_anywhere() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 8 * MIB).await;
    a.connect(&c, 8 * MIB).await;
    let value = pattern(100_000);
    let stored = a.store(value.clone(), to(&b)).await.unwrap();
    assert_eq!((a.blocks(), b.blocks()), (0, 1));
    assert_eq!(a.service.stats().remote_bytes, 100_000);
    for reader in [&a, &b, &c] {
        // c has no link to b: a passes the bytes on.
        assert_eq!(reader.load(stored.id, ByteRange::ALL).await.unwrap(), value);
    }
    let part = c
        .load(
            stored.id,
            ByteRange {
                offset: 99_990,
                length: 500,
            },
        )
        .await
        .unwrap();
    assert_eq!(part, value.slice(99_990..));
    c.service.free(vec![stored.id]).await.unwrap();
    assert_eq!((b.blocks(), a.service.stats().remote_bytes), (0, 0));
    assert_eq!(b.service.lent(a.id()).used_bytes, 0);
    for reader in [&a, &b, &c] {
        assert_eq!(
            reader.load(stored.id, ByteRange::ALL).await.unwrap_err().code,
            ErrorCode::NotFound
        );
    }
}

#[tokio::test]
async fn a_stream_lies_on_the_peer_and_is_read_by_range_from_anywhere() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    a.connect(&c, MIB).await;
    let value = pattern(5 * STREAM_CHUNK_SIZE + 123);
    let stored = a.stream(&value, to(&b)).await.unwrap();
    assert_eq!(stored.size, value.len() as u64);
    assert_eq!((a.blocks(), b.blocks()), (0, 6));
    for reader in [&a, &b, &c] {
        assert!(reader.load(stored.id, ByteRange::ALL).await.unwrap() == value);
        let range = ByteRange {
            offset: STREAM_CHUNK_SIZE as u64 - 5,
            length: 10,
        };
        let part = reader.load(stored.id, range).await.unwrap();
        assert_eq!(part, value.slice(STREAM_CHUNK_SIZE - 5..STREAM_CHUNK_SIZE + 5));
    }
    b.service.free(vec![stored.id]).await.unwrap();
    assert_eq!((b.blocks(), b.service.lent(a.id()).used_bytes), (0, 0));
    let empty = a.stream(&Bytes::new(), Placement::Auto).await.unwrap();
    assert_eq!(c.load(empty.id, ByteRange::ALL).await.unwrap(), "");
}

#[tokio::test]
async fn a_stream_over_the_grant_is_refused_and_leaves_nothing() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 3 * MIB).await;
    let value = pattern(5 * STREAM_CHUNK_SIZE);
    let refused = a.stream(&value, to(&b)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::QuotaExceeded, "{refused}");
    until("b has it back", || {
        b.blocks() == 0 && b.service.lent(a.id()).used_bytes == 0
    })
    .await;
    // Without a name it goes where there is room: the rest stays here.
    let stored = a.stream(&value, Placement::Auto).await.unwrap();
    assert!(a.blocks() > 0 && b.blocks() > 0);
    assert!(a.load(stored.id, ByteRange::ALL).await.unwrap() == value);
}

#[tokio::test]
async fn a_stream_whose_writer_goes_away_leaves_nothing() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let (sender, body) = Body::channel(None, |_| {});
    let options = PutOptions {
        placement: to(&b),
        ..PutOptions::default()
    };
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream(body, options).await });
    sender.send(pattern(3 * STREAM_CHUNK_SIZE));
    until("the chunks arrive", || b.blocks() == 3).await;
    drop(sender);
    assert_eq!(writing.await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    until("they are freed", || {
        b.blocks() == 0 && b.service.lent(a.id()).used_bytes == 0
    })
    .await;

    let (sender, body) = Body::channel(None, |_| {});
    let options = PutOptions {
        placement: to(&b),
        ..PutOptions::default()
    };
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream(body, options).await });
    sender.send(pattern(3 * STREAM_CHUNK_SIZE));
    until("the chunks arrive", || b.blocks() == 3).await;
    writing.abort();
    until("they are freed", || {
        b.blocks() == 0 && b.service.lent(a.id()).used_bytes == 0
    })
    .await;
}

#[tokio::test]
async fn a_full_node_refuses_or_offloads_as_it_was_asked() {
    let a = TestNode::start("a", MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let value = pattern(700_000);
    a.store(value.clone(), Placement::Auto).await.unwrap();
    let refused = a.store(value.clone(), Placement::Local).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::OutOfMemory, "{refused}");
    assert_eq!(
        a.store(value.clone(), Placement::Auto).await.unwrap_err().code,
        ErrorCode::OutOfMemory
    );
    assert_eq!(
        a.store(value.clone(), Placement::Remote).await.unwrap_err().code,
        ErrorCode::PeerUnreachable
    );
    a.connect(&b, 2 * MIB).await;
    let stored = a.store(value.clone(), Placement::Auto).await.unwrap();
    assert_eq!((a.blocks(), b.blocks()), (1, 1));
    assert_eq!(a.load(stored.id, ByteRange::ALL).await.unwrap(), value);
    let over = a.store(pattern(2 * MIB as usize), to(&b)).await.unwrap_err();
    assert_eq!(over.code, ErrorCode::QuotaExceeded, "{over}");
    assert_eq!(
        b.service.stats().peers_used_bytes,
        b.service.lent(a.id()).used_bytes
    );
}

#[tokio::test]
async fn what_lies_on_a_lost_peer_is_unreachable_and_comes_back_with_it() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, MIB).await;
    b.set("theirs", "on b").await;
    a.set("mine", "old").await;
    let stored = a.store(Bytes::from_static(b"block"), to(&b)).await.unwrap();
    b.service.peers().disconnect(&a.id().to_string()).unwrap();
    a.wait_for(&b, PeerState::Discovered).await;
    assert_eq!(
        a.get("theirs").await.unwrap_err().code,
        ErrorCode::PeerUnreachable
    );
    assert_eq!(
        a.load(stored.id, ByteRange::ALL).await.unwrap_err().code,
        ErrorCode::PeerUnreachable
    );
    // Both write while they are apart: the later write wins on both sides.
    b.set("mine", "newer").await;
    a.set("theirs", "newest, on a").await;
    a.come_back_to(&b).await;
    until("both agree", || {
        let value = |node: &TestNode, key: &str| node.service.store.key(key).map(|record| record.version);
        ["mine", "theirs"]
            .iter()
            .all(|key| value(&a, key) == value(&b, key))
    })
    .await;
    for node in [&a, &b] {
        assert_eq!(node.get("mine").await.unwrap().unwrap(), "newer");
        assert_eq!(node.get("theirs").await.unwrap().unwrap(), "newest, on a");
    }
    assert_eq!(a.load(stored.id, ByteRange::ALL).await.unwrap(), "block");
}

#[tokio::test]
async fn a_peer_that_restarts_loses_what_it_held_and_nobody_waits_for_it() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 8 * MIB).await;
    b.set("theirs", "on b").await;
    b.stream(&pattern(2 * STREAM_CHUNK_SIZE), to(&a)).await.unwrap();
    let by_id = b.store(Bytes::from_static(b"kept"), to(&a)).await.unwrap();
    let lost = a.store(Bytes::from_static(b"gone"), to(&b)).await.unwrap();
    assert_eq!(a.blocks(), 3);
    let home = b.stop().await;
    let b = TestNode::start_in(home, "b", 64 * MIB).await;
    b.service
        .peers()
        .connect(ConnectRequest {
            target: a.address.to_string(),
            quota_bytes: None,
            once: false,
            accept_new_key: false,
        })
        .await
        .unwrap();
    b.wait_for(&a, PeerState::Connected).await;
    a.wait_for(&b, PeerState::Connected).await;
    until("a has noticed", || {
        !a.knows("theirs") && a.own_keys().is_empty() && a.service.stats().remote_bytes == 0
    })
    .await;
    assert_eq!(a.get("theirs").await.unwrap(), None);
    assert_eq!(
        a.load(lost.id, ByteRange::ALL).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    assert_eq!(
        a.blocks(),
        1,
        "chunks without a manifest are freed, a block is not"
    );
    assert_eq!(b.load(by_id.id, ByteRange::ALL).await.unwrap(), "kept");
}

#[tokio::test]
async fn a_peer_frees_only_what_is_its_own_or_the_hosts() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 8 * MIB).await;
    c.connect(&b, 8 * MIB).await;
    let stored = a.store(Bytes::from_static(b"of a"), to(&b)).await.unwrap();
    // c has no link to a, and b does not free for c what a stored there.
    assert_eq!(
        c.service.free(vec![stored.id]).await.unwrap_err().code,
        ErrorCode::Denied
    );
    assert_eq!(a.load(stored.id, ByteRange::ALL).await.unwrap(), "of a");
    let freed = b.service.trust_remove(&a.id().to_string(), true).unwrap();
    assert_eq!((freed.blocks, freed.bytes), (1, 4));
    a.wait_for(&b, PeerState::Denied).await;
}

#[tokio::test]
async fn a_value_of_unknown_size_is_gathered_within_the_budget() {
    let a = TestNode::start("a", 4 * MIB).await;
    let put = async |bytes: usize| {
        let (sender, body) = Body::channel(None, |_| {});
        for at in (0..bytes).step_by(100_000) {
            sender.send(pattern(100_000.min(bytes - at)));
        }
        sender.finish();
        a.service.store(body, PutOptions::default()).await
    };
    let stored = put(2_500_000).await.unwrap();
    assert_eq!(stored.size, 2_500_000);
    let used = a.service.stats().used_bytes;
    assert_eq!(put(2_500_000).await.unwrap_err().code, ErrorCode::OutOfMemory);
    assert_eq!(a.service.stats().used_bytes, used);
}

#[tokio::test]
async fn a_block_that_is_freed_while_it_is_stored_does_not_stay() {
    let a = TestNode::start("a", 64 * MIB).await;
    let peer = NodeId::from_bytes([0; 16]);
    a.service.peer_connected(peer, 1, MIB);
    let id = BlockId::from_parts(peer.home_hint(), 7).unwrap();
    let (sender, body) = Body::channel(Some(6), |_| {});
    let request = PeerRequest::Store {
        id,
        size: 6,
        class: BlockClass::Pinned,
        chunk: None,
        ttl: None,
    };
    let mut storing = a.service.handle_peer_request(peer, 1, request, body);
    assert!(futures_util::poll!(&mut storing).is_pending());
    sender.send(Bytes::from_static(b"abcdef"));
    sender.finish();
    let free = PeerRequest::Free { ids: vec![id] };
    let (freed, _) = a.service.handle_peer_request(peer, 1, free, Body::empty()).await;
    assert!(matches!(freed, PeerReply::Freed { blocks: 0, .. }), "{freed:?}");
    let (stored, _) = storing.await;
    assert!(
        matches!(
            stored,
            PeerReply::Failed(ApiError {
                code: ErrorCode::Cancelled,
                ..
            })
        ),
        "{stored:?}"
    );
    assert_eq!((a.blocks(), a.service.lent(peer).used_bytes), (0, 0));
}

#[tokio::test]
async fn a_stream_whose_node_goes_away_in_the_middle_leaves_nothing_on_its_holder() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    // Other bytes than below: what is there already is not stored again.
    let finished = a.stream(&pattern(1_000), to(&b)).await.unwrap();
    let (sender, body) = Body::channel(None, |_| {});
    let options = PutOptions {
        placement: to(&b),
        ..PutOptions::default()
    };
    let service = Arc::clone(&a.service);
    let writing = tokio::spawn(async move { service.stream(body, options).await });
    sender.send(pattern(3 * STREAM_CHUNK_SIZE));
    until("the chunks arrive", || b.blocks() == 4).await;
    b.service.peers().disconnect(&a.id().to_string()).unwrap();
    until("the half stream is freed, the whole one is not", || {
        b.blocks() == 1
    })
    .await;
    // The writer comes back too late: it is told, and does not take the stream for whole.
    a.come_back_to(&b).await;
    sender.finish();
    assert_eq!(
        writing.await.unwrap().unwrap_err().code,
        ErrorCode::PeerUnreachable
    );
    assert_eq!(a.load(finished.id, ByteRange::ALL).await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn a_batch_finds_sets_and_deletes_what_lies_on_either_node() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let keys = |count: usize| (0..count).map(|i| format!("k{i}")).collect::<Vec<_>>();
    let value = |i: usize| pattern(i * 10);
    let (evens, odds): (Vec<_>, Vec<_>) = (0..300)
        .map(|i| (format!("k{i}"), value(i)))
        .enumerate()
        .partition(|(i, _)| i % 2 == 0);
    let pairs = |half: Vec<(usize, (String, Bytes))>| half.into_iter().map(|(_, pair)| pair).collect();
    assert!(
        a.service
            .mset(pairs(evens), PutOptions::default())
            .await
            .iter()
            .all(Result::is_ok)
    );
    assert!(
        b.service
            .mset(pairs(odds), PutOptions::default())
            .await
            .iter()
            .all(Result::is_ok)
    );
    for node in [&a, &b] {
        let answers = node.service.mget(keys(301), usize::MAX, false).await;
        for (i, answer) in answers.iter().take(300).enumerate() {
            assert_eq!(answer, &Ok(BatchAnswer::Done(value(i))), "{i}");
        }
        assert_eq!(answers[300].as_ref().unwrap_err().code, ErrorCode::NotFound);
        // Without room each value is answered with its size, and the empty one needs none.
        let answers = node.service.mget(keys(3), 0, false).await;
        assert_eq!(answers[0], Ok(BatchAnswer::Done(Bytes::new())));
        assert_eq!(answers[1], Ok(BatchAnswer::Later { size: 10 }));
        assert_eq!(answers[2], Ok(BatchAnswer::Later { size: 20 }));
    }
    // Of several values for one key the last one stays, wherever the key lay.
    let twice = ["k1", "k2", "k1", "k2", "k1"]
        .iter()
        .zip(["1", "2", "3", "4", "5"]);
    let twice = twice.map(|(key, value)| ((*key).to_owned(), Bytes::from(value)));
    assert_eq!(
        a.service.mset(twice.collect(), PutOptions::default()).await,
        vec![Ok(()); 5]
    );
    assert_eq!(b.get("k1").await.unwrap().unwrap(), "5");
    assert_eq!(b.get("k2").await.unwrap().unwrap(), "4");
    let mut deleted = a.service.mdel(keys(301), false).await;
    assert_eq!(deleted.pop(), Some(Ok(false)));
    assert_eq!(deleted, vec![Ok(true); 300]);
    for node in [&a, &b] {
        until("they know of it", || !node.knows("k1") && !node.knows("k300")).await;
        assert_eq!(node.keys().await, [""; 0]);
        assert_eq!(node.blocks(), 0);
    }
    let peers = a.service.stats().peers;
    assert_eq!(
        peers.iter().map(|peer| peer.id).collect::<Vec<_>>(),
        [Some(b.id())]
    );
    assert!(peers[0].sent_bytes > 0 && peers[0].received_bytes > 0);
    // A key that lies on a peer that is away fails alone.
    b.set("theirs", "value").await;
    a.set("ours", "value").await;
    until("a knows of it", || a.knows("theirs")).await;
    b.stop().await;
    until("a lost b", || a.service.peers().connected().is_empty()).await;
    assert!(a.service.stats().peers.is_empty());
    let answers = a
        .service
        .mget(vec!["theirs".to_owned(), "ours".to_owned()], 100, false)
        .await;
    assert_eq!(answers[0].as_ref().unwrap_err().code, ErrorCode::PeerUnreachable);
    assert_eq!(answers[1], Ok(BatchAnswer::Done(Bytes::from("value"))));
    a.stop().await;
}

#[tokio::test]
async fn expired_data_is_gone_at_once_and_its_memory_comes_back() {
    let a = TestNode::start("a", 64 * MIB).await;
    let used_before = a.service.stats().used_bytes;
    let set_now = a
        .service
        .set_now("now", b"value", &for_an_hour())
        .unwrap()
        .unwrap();
    let set = a.set_for_an_hour("later", Placement::Auto).await;
    let stored = a.service.store_now(b"value", &for_an_hour()).unwrap().unwrap();
    let body = Body::from(pattern(3 * STREAM_CHUNK_SIZE));
    let stream = a.service.stream(body, for_an_hour()).await.unwrap();
    assert_eq!(a.get("now").await.unwrap().unwrap(), "value");
    assert_eq!(a.blocks(), 6);

    a.let_an_hour_pass();
    for key in ["now", "later"] {
        assert_eq!(a.get(key).await.unwrap(), None);
    }
    for id in [set_now.id, set.id, stored.id, stream.id] {
        let error = a.load(id, ByteRange::ALL).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
    }
    a.service.drop_expired().await;
    assert_eq!(a.keys().await, [""; 0]);
    assert_eq!((a.blocks(), a.service.stats().streams), (0, 0));
    assert_eq!(a.service.stats().used_bytes, used_before);
}

#[tokio::test]
async fn a_key_outlives_the_value_that_it_had_before() {
    let a = TestNode::start("a", 64 * MIB).await;
    a.set_for_an_hour("k", Placement::Auto).await;
    a.set("k", "stays").await;
    a.let_an_hour_pass();
    a.service.drop_expired().await;
    assert_eq!(a.get("k").await.unwrap().unwrap(), "stays");
}

#[tokio::test(start_paused = true)]
async fn nobody_needs_to_ask_for_the_memory_of_what_expired() {
    let a = TestNode::start("a", 64 * MIB).await;
    let used_before = a.service.stats().used_bytes;
    let service = Arc::clone(&a.service);
    let sweep = tokio::spawn(async move { service.sweep_expired().await });
    for key in 0..1_000 {
        let options = for_an_hour();
        a.service
            .set_now(&key.to_string(), b"value", &options)
            .unwrap()
            .unwrap();
    }
    tokio::time::advance(HOUR - Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    assert_eq!(a.blocks(), 1_000);
    until("all of it is back", || {
        a.service.stats().used_bytes == used_before
    })
    .await;
    a.stop.cancel();
    sweep.await.unwrap();
}

#[tokio::test]
async fn keys_and_streams_on_a_peer_expire_on_both_sides() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    a.set_for_an_hour("here", Placement::Local).await;
    a.set_for_an_hour("there", to(&b)).await;
    let options = PutOptions {
        placement: to(&b),
        ..for_an_hour()
    };
    let body = Body::from(pattern(3 * STREAM_CHUNK_SIZE));
    let stream = a.service.stream(body, options).await.unwrap();
    assert_eq!(b.get("here").await.unwrap().unwrap(), "value");
    assert_eq!(b.get("there").await.unwrap().unwrap(), "value");
    assert_eq!((b.keys().await.len(), b.blocks()), (2, 4));

    // The peer counts for itself: it needs no word from the node that stored there.
    b.let_an_hour_pass();
    b.service.drop_expired().await;
    assert_eq!((b.blocks(), b.service.lent(a.id()).used_bytes), (0, 0));

    a.let_an_hour_pass();
    for key in ["here", "there"] {
        assert_eq!(b.get(key).await.unwrap(), None, "{key}");
    }
    let error = a.load(stream.id, ByteRange::ALL).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    a.set("other", "stays").await;
    a.service.drop_expired().await;
    until("the peer is told of the keys", || {
        b.knows("other") && !b.knows("here") && !b.knows("there")
    })
    .await;
    assert_eq!(b.keys().await, ["other"]);
    assert_eq!(a.service.stats().remote_bytes, 0);
}

#[tokio::test]
async fn the_values_of_a_batch_are_kept_as_its_options_say() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let pairs = |names: [&str; 2]| {
        let pairs = names.map(|name| (name.to_owned(), Bytes::from("value")));
        pairs.to_vec()
    };
    let cache = PutOptions {
        class: BlockClass::Cache,
        ..for_an_hour()
    };
    let there = PutOptions {
        placement: to(&b),
        ..PutOptions::default()
    };
    assert_eq!(a.service.mset(pairs(["c1", "c2"]), cache).await, [Ok(()), Ok(())]);
    let pinned_bytes = a.service.stats().pinned_bytes;
    assert!(a.service.stats().cache_bytes >= 10);
    assert_eq!(a.service.mset(pairs(["p1", "p2"]), there).await, [Ok(()), Ok(())]);
    assert_eq!((a.blocks(), b.blocks()), (2, 2));
    assert!(a.service.stats().remote_bytes >= 10 && a.service.stats().pinned_bytes >= pinned_bytes);
    a.let_an_hour_pass();
    a.service.drop_expired().await;
    assert_eq!(a.own_keys(), ["p1", "p2"]);
    assert_eq!(a.service.stats().cache_bytes, 0);
}

#[tokio::test]
async fn only_the_node_that_stored_a_block_says_how_long_it_lives() {
    let a = TestNode::start("a", 64 * MIB).await;
    let peer = NodeId::from_bytes([0; 16]);
    let own = a
        .service
        .store_now(b"mine", &PutOptions::default())
        .unwrap()
        .unwrap();
    let request = PeerRequest::Expire {
        ids: vec![own.id],
        ttl: for_an_hour().ttl,
    };
    let (reply, _) = a
        .service
        .handle_peer_request(peer, 1, request, Body::empty())
        .await;
    assert_eq!(reply, PeerReply::Expiring { blocks: 0 });
    a.let_an_hour_pass();
    assert_eq!(a.load(own.id, ByteRange::ALL).await.unwrap(), "mine");
}

async fn left(node: &TestNode, name: impl Into<ValueName>) -> Option<Duration> {
    let left = node.service.lifetime(&name.into(), LifetimeChange::Tell).await;
    left.unwrap().map(Duration::from)
}

/// Whether it is this long, less what the test itself took.
fn is_about(left: Option<Duration>, wanted: Duration) -> bool {
    left.is_some_and(|left| left <= wanted && left + PATIENCE > wanted)
}

#[tokio::test]
async fn how_long_a_value_lives_is_told_and_changed_from_either_side() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    a.set_for_an_hour("here", Placement::Local).await;
    a.set_for_an_hour("there", to(&b)).await;
    let block = a.store(Bytes::from_static(b"block"), to(&b)).await.unwrap();
    let stream = a.stream(&pattern(3 * STREAM_CHUNK_SIZE), to(&b)).await.unwrap();
    let (day, week) = (24 * HOUR, 7 * 24 * HOUR);
    for node in [&a, &b] {
        for key in ["here", "there"] {
            assert!(is_about(left(node, key).await, HOUR), "{key}");
        }
        for id in [block.id, stream.id] {
            assert_eq!(left(node, id).await, None);
        }
    }
    let names = ["here", "there"].map(ValueName::from).into_iter();
    let names: Vec<_> = names.chain([block.id, stream.id].map(ValueName::from)).collect();
    for (node, ttl) in [(&a, day), (&b, week), (&a, day), (&b, week)] {
        let change = LifetimeChange::Expire(ttl.try_into().unwrap());
        for name in &names {
            node.service.lifetime(name, change).await.unwrap();
            assert!(is_about(left(&a, name.clone()).await, ttl), "{name:?}");
            assert!(is_about(left(&b, name.clone()).await, ttl), "{name:?}");
        }
    }
    for name in &names[1..] {
        let before = b.service.lifetime(name, LifetimeChange::Persist).await.unwrap();
        assert!(is_about(before.map(Duration::from), week), "{name:?}");
        assert_eq!(left(&a, name.clone()).await, None);
    }
    for node in [&a, &b] {
        node.service.store.expiry().advance(week);
        node.service.drop_expired().await;
    }
    assert_eq!(b.get("here").await.unwrap(), None);
    assert_eq!(b.get("there").await.unwrap().unwrap(), "value");
    assert_eq!(b.load(block.id, ByteRange::ALL).await.unwrap(), "block");
    assert_eq!(
        a.load(stream.id, ByteRange::ALL).await.unwrap().len(),
        3 * STREAM_CHUNK_SIZE
    );
    for name in [ValueName::from("here"), "nobody".into(), BlockId::MAX.into()] {
        for change in [LifetimeChange::Tell, LifetimeChange::Persist] {
            let error = b.service.lifetime(&name, change).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::NotFound, "{name:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_whose_holder_is_away_lives_no_longer_than_its_chunks() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 32 * MIB).await;
    let options = PutOptions {
        placement: to(&b),
        ..for_an_hour()
    };
    let body = Body::from(pattern(3 * STREAM_CHUNK_SIZE));
    let stream = a.service.stream(body, options).await.unwrap();
    b.stop().await;
    until("the link is gone", || a.service.peers.connected().is_empty()).await;
    let name = ValueName::from(stream.id);
    let day = LifetimeChange::Expire((24 * HOUR).try_into().unwrap());
    for change in [day, LifetimeChange::Persist] {
        let error = a.service.lifetime(&name, change).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PeerUnreachable);
        assert!(is_about(left(&a, stream.id).await, HOUR));
    }
}
