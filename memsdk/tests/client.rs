//! The client against real sessions in front of a fake node, and against scripted sockets.

#![allow(clippy::unwrap_used)]

#[path = "support/beside.rs"]
#[allow(dead_code)]
mod beside;
mod scripted;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use beside::{Body, Fake, Running};
use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::{join_all, try_join_all};
use memnode::home::Home;
use memnode::local::{ApiPort, ConnectionGauge, TcpApi, TcpConfig};
use memnode::token::Token;
use memproto::control::{ConnectRequest, PeerState, PeerWait};
use memsdk::{
    BlockClass, BlockId, Error, ErrorCode, Lifetime, ListedKey, MemCloud, MissingNode, NodeId, Placement,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[tokio::test]
async fn every_operation_reaches_the_node() {
    let node = Running::start();
    let cloud = node.client().await;
    cloud.ping().await.unwrap();
    let stored = cloud.set("greeting", "Hello from MemCloud!").await.unwrap();
    assert_eq!(stored.size, 20);
    assert_eq!(
        cloud.get("greeting").await.unwrap().unwrap(),
        "Hello from MemCloud!"
    );
    assert_eq!(cloud.get("missing").await.unwrap(), None);
    assert_eq!(cloud.load(stored.id).await.unwrap(), "Hello from MemCloud!");
    assert_eq!(cloud.load_range(stored.id, 6, 4).await.unwrap(), "from");
    let hour = Duration::from_secs(3_600);
    assert_eq!(cloud.ttl("greeting").await.unwrap(), Some(Lifetime::Endless));
    assert_eq!(
        cloud.expire("greeting", hour).await.unwrap(),
        Some(Lifetime::Endless)
    );
    assert_eq!(cloud.ttl("greeting").await.unwrap(), Some(Lifetime::Left(hour)));
    assert_eq!(
        cloud.persist("greeting").await.unwrap(),
        Some(Lifetime::Left(hour))
    );
    assert_eq!(cloud.ttl(BlockId::MAX).await.unwrap(), None);
    for error in [
        cloud.set("k", "v").ttl(Duration::ZERO).await.map(drop),
        cloud.expire("k", Duration::MAX).await.map(drop),
    ] {
        assert_eq!(error.unwrap_err().api_code(), Some(ErrorCode::InvalidArgument));
    }
    assert!(cloud.del("greeting").await.unwrap());
    assert!(!cloud.del("greeting").await.unwrap());
    let empty = cloud.store(Bytes::new()).class(BlockClass::Cache).await.unwrap();
    assert_eq!(cloud.load(empty.id).await.unwrap(), "");
    assert_eq!(cloud.free(empty.id).await.unwrap().blocks, 1);
    assert_eq!(cloud.free(empty.id).await.unwrap().blocks, 0);
    assert_eq!(
        cloud.load(empty.id).await.unwrap_err().api_code(),
        Some(ErrorCode::NotFound)
    );

    assert_eq!(cloud.status().await.unwrap().name, "fake");
    assert_eq!(cloud.stats().await.unwrap().blocks, 0);
    assert_eq!(cloud.peers().await.unwrap().len(), 5_000);
    let request = ConnectRequest {
        target: "NodeB".to_owned(),
        quota_bytes: None,
        once: true,
        accept_new_key: false,
    };
    let peer = cloud.connect_peer(request).await.unwrap();
    assert_eq!(
        (peer.name.as_str(), peer.state),
        ("NodeB", PeerState::WaitingForTheirConsent)
    );
    node.fake.gate.add_permits(1);
    let wait = PeerWait {
        peer: peer.name,
        known_state: peer.state,
        timeout_ms: 1_000,
    };
    assert_eq!(cloud.wait_peer(wait).await.unwrap().state, PeerState::Connected);
    let updated = cloud.update_peer("NodeB", 7 << 30).await.unwrap();
    assert_eq!(
        (updated.name.as_str(), updated.lent.quota_bytes),
        ("NodeB", 7 << 30)
    );
    let error = cloud.disconnect_peer("NodeX").await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().contains("NodeX")),
        ("unknown_peer", true)
    );
    assert!(cloud.consent_requests().await.unwrap().is_empty());
    assert!(cloud.trusted().await.unwrap().is_empty());
    assert_eq!(cloud.distrust("NodeB", true).await.unwrap().blocks, 1);
    cloud.stop_node().await.unwrap();
    assert!(node.fake.stop.is_cancelled());
}

#[tokio::test]
async fn ten_concurrent_gets_each_get_their_own_value() {
    let node = Running::start();
    let cloud = node.client().await;
    let value = |i: usize| pattern(1_000 * i * i * i + i);
    try_join_all((0..10).map(|i| cloud.set(format!("key{i}"), value(i)).into_future()))
        .await
        .unwrap();
    let names: Vec<String> = (0..10).map(|i| format!("key{i}")).collect();
    let values = try_join_all(names.iter().map(|name| cloud.get(name)))
        .await
        .unwrap();
    for (i, got) in values.into_iter().enumerate() {
        assert!(got.unwrap() == value(i), "{i}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_several_threads_share_a_connection() {
    let node = Running::start();
    let cloud = node.client().await;
    let tasks = (0..20).map(|task| {
        let cloud = cloud.clone();
        tokio::spawn(async move {
            for i in 0..50 {
                let (key, value) = (format!("{task}/{i}"), pattern(task * 1_000 + i));
                cloud.set(&*key, value.clone()).await.unwrap();
                assert!(cloud.get(&key).await.unwrap().unwrap() == value);
            }
        })
    });
    try_join_all(tasks).await.unwrap();
    assert_eq!(cloud.keys("7/*").await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_scan_tells_of_values_and_of_nodes_whose_keys_are_missing() {
    let node = Running::start();
    let cloud = node.client().await;
    cloud.set("a", "value").await.unwrap();
    let away = MissingNode {
        node: NodeId::from_bytes([8; 16]),
        name: "away".to_owned(),
    };
    node.fake.missing.lock().unwrap().push(away.clone());
    let mut scan = cloud.scan("*").details();
    assert_eq!(scan.missing(), []);
    let ListedKey { key, details } = scan.next().await.unwrap().unwrap();
    let details = details.unwrap();
    assert_eq!((key.as_str(), details.size, details.is_stream), ("a", 5, false));
    assert_eq!(details.class, Some(BlockClass::Cache));
    assert!(scan.next().await.unwrap().is_none());
    assert_eq!(scan.missing(), [away]);
    let mut scan = cloud.scan("*").local();
    assert_eq!(scan.next_page().await.unwrap().unwrap(), ["a"]);
    assert!(scan.next_page().await.unwrap().is_none());
    assert_eq!(scan.missing(), [], "no other node was to be listed");
}

#[tokio::test]
async fn a_long_list_of_keys_comes_in_pages() {
    let node = Running::start();
    let cloud = node.client().await;
    let id = node.fake.insert(Bytes::new()).id;
    let names: Vec<String> = (0..9_000).map(|i| format!("key{i:05}")).collect();
    node.fake
        .keys
        .lock()
        .unwrap()
        .extend(names.iter().map(|name| (name.clone(), id)));
    assert_eq!(cloud.keys("*").await.unwrap(), names);
    assert!(cloud.keys("none*").await.unwrap().is_empty());
    let several = cloud.keys(["key0000[0-2]", "key00001", "none"]).await.unwrap();
    assert_eq!(several, names[..3]);

    let mut scan = cloud.scan("key0[0-9]*");
    assert_eq!(scan.next().await.unwrap().as_ref(), Some(&names[0]));
    let mut rest = scan.next_page().await.unwrap().unwrap();
    let streamed: Vec<String> = scan.into_stream().try_collect().await.unwrap();
    assert!(!streamed.is_empty(), "it is one page");
    rest.extend(streamed);
    assert_eq!(rest, names[1..]);
}

#[tokio::test]
async fn large_values_go_in_and_out() {
    let node = Running::start();
    let cloud = node.client().await;
    let value = pattern(9 * 1024 * 1024 + 3);
    let id = cloud.store(value.clone()).await.unwrap().id;
    assert!(cloud.load(id).await.unwrap() == value);
    let streamed = cloud.stream(io::Cursor::new(value.clone())).await.unwrap();
    assert_eq!(streamed.size, value.len() as u64);
    let of_size = cloud
        .set_stream("k", io::Cursor::new(value.clone()), Some(5_000_000))
        .await
        .unwrap();
    assert_eq!(of_size.size, 5_000_000);
    let mut object = cloud
        .open_key_range("k", 4_000_000, u64::MAX)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (object.id(), object.size(), object.length()),
        (of_size.id, 5_000_000, 1_000_000)
    );
    let mut read = Vec::new();
    object.read_to_end(&mut read).await.unwrap();
    assert!(read == value[4_000_000..5_000_000]);
    for size in [Some(0), None] {
        let empty = cloud.store_stream(tokio::io::empty(), size).await.unwrap();
        assert_eq!((empty.size, cloud.load(empty.id).await.unwrap().len()), (0, 0));
    }
}

#[tokio::test]
async fn more_uploads_than_the_node_holds_wait_for_each_other() {
    let node = Running::start();
    let cloud = node.client().await;
    let value = pattern(3 * 1024 * 1024);
    let stores = (0..20).map(|_| cloud.store(value.clone()).into_future());
    let small = (0..500).map(|i| {
        cloud
            .set(format!("gated{i}"), value.slice(..200 * 1024))
            .into_future()
    });
    node.fake.gate.add_permits(10_000);
    let (stores, small) = tokio::join!(join_all(stores), join_all(small));
    assert!(stores.iter().chain(&small).all(Result::is_ok));
}

#[tokio::test]
async fn an_object_that_nobody_reads_holds_up_nobody() {
    let node = Running::start();
    let cloud = node.client().await;
    let value = pattern(8 * 1024 * 1024);
    let id = node.fake.insert(value.clone()).id;
    let mut slow = cloud.open(id).await.unwrap();
    let mut other = cloud.open(id).await.unwrap();
    for _ in 0..100 {
        cloud.ping().await.unwrap();
    }
    let mut read = Vec::new();
    other.read_to_end(&mut read).await.unwrap();
    assert!(read == value);
    read.clear();
    let mut piece = vec![0; 10_007];
    loop {
        match slow.read(&mut piece).await.unwrap() {
            0 => break,
            bytes => read.extend_from_slice(&piece[..bytes]),
        }
    }
    assert!(read == value);
}

#[tokio::test]
async fn dropped_calls_are_cancelled_and_harm_nobody() {
    let node = Running::start();
    let cloud = node.client().await;
    let id = node.fake.insert(pattern(8 * 1024 * 1024)).id;
    {
        let get = cloud.get("gated");
        let (mut writer, reader) = tokio::io::duplex(1024);
        let upload = cloud.set_stream("gated", reader, None);
        writer.write_all(b"half").await.unwrap();
        tokio::select! {
            biased;
            _ = get => unreachable!(),
            _ = upload.into_future() => unreachable!(),
            () = node.until_running(2) => {}
        }
    }
    let mut object = cloud.open(id).await.unwrap();
    object.next().await.unwrap();
    drop(object);
    node.until_running(0).await;
    cloud.ping().await.unwrap();
    assert_eq!(cloud.get("gone").await.unwrap(), None);
    assert!(node.fake.keys.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reader_that_fails_or_ends_early_stores_nothing() {
    let node = Running::start();
    let cloud = node.client().await;
    let failing = tokio_test_reader(b"half", io::ErrorKind::BrokenPipe);
    let error = cloud.set_stream("k", failing, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::BrokenPipe),
        "{error:?}"
    );
    let error = cloud
        .set_stream("k", io::Cursor::new("short"), Some(6))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof),
        "{error:?}"
    );
    node.until_running(0).await;
    assert_eq!(cloud.get("k").await.unwrap(), None);
}

/// A reader that yields some bytes and then fails.
fn tokio_test_reader(bytes: &'static [u8], kind: io::ErrorKind) -> impl tokio::io::AsyncRead + Send + Unpin {
    struct Failing(io::ErrorKind);
    impl tokio::io::AsyncRead for Failing {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Err(self.0.into()))
        }
    }
    bytes.chain(Failing(kind))
}

#[tokio::test]
async fn a_value_that_is_refused_is_not_waited_for() {
    let node = Running::start();
    let cloud = node.client().await;
    // Nothing ever comes out of this reader.
    let (_writer, reader) = tokio::io::duplex(64);
    let error = cloud
        .stream(reader)
        .placement(Placement::Remote)
        .await
        .unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::OutOfMemory));
    let error = cloud
        .store(pattern(9_000_000))
        .placement(Placement::Remote)
        .await
        .unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::OutOfMemory));
    cloud.ping().await.unwrap();
}

#[tokio::test]
async fn wrong_arguments_do_not_reach_the_wire() {
    let node = Running::start();
    let cloud = node.client().await;
    let too_long = "k".repeat(70_000);
    assert_eq!(
        cloud.get(&too_long).await.unwrap_err().api_code(),
        Some(ErrorCode::TooLarge)
    );
    assert_eq!(
        cloud.set("", "v").await.unwrap_err().api_code(),
        Some(ErrorCode::InvalidArgument)
    );
    assert_eq!(
        cloud.keys(&too_long).await.unwrap_err().api_code(),
        Some(ErrorCode::TooLarge)
    );
    assert_eq!(
        cloud.keys([""; 0]).await.unwrap_err().api_code(),
        Some(ErrorCode::InvalidArgument)
    );
    let put = cloud.store("v").placement(Placement::Peer(too_long));
    assert_eq!(
        put.await.unwrap_err().api_code(),
        Some(ErrorCode::InvalidArgument)
    );
    assert_eq!(cloud.free_all(&[]).await.unwrap().blocks, 0);
    let ids: Vec<_> = (1..10_000).map(|id| BlockId::new(id).unwrap()).collect();
    assert_eq!(cloud.free_all(&ids).await.unwrap().blocks, 0);
}

#[tokio::test]
async fn without_a_node_the_error_says_so() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("memnode.sock");
    let connect = || MemCloud::builder().socket(&socket).connect();
    assert!(matches!(connect().await, Err(Error::NotRunning { socket: tried }) if tried == socket));
    // A stale one.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = connect().await.unwrap_err();
    assert_eq!(error.code(), "not_running");
    assert!(error.to_string().contains("memcli node start"), "{error}");
}

#[tokio::test]
async fn a_node_that_comes_back_is_found_again() {
    let mut node = Running::start();
    let cloud = node.client().await;
    let call = tokio::spawn({
        let cloud = cloud.clone();
        async move { cloud.get("gated").await }
    });
    node.until_running(1).await;
    node.stop().await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::ShuttingDown));
    for _ in 0..4 {
        assert!(matches!(cloud.get("k").await, Err(Error::NotRunning { .. })));
    }
    let again = Running::start_at(node.socket.clone());
    again.fake.insert(Bytes::new());
    cloud.set("k", "v").await.unwrap();
    assert_eq!(cloud.get("k").await.unwrap().unwrap(), "v");
}

#[tokio::test(start_paused = true)]
async fn every_call_has_a_deadline() {
    let node = Running::start();
    let second = Duration::from_secs(1);
    let cloud = MemCloud::builder()
        .socket(&node.socket)
        .timeout(second)
        .connect()
        .await
        .unwrap();
    let before = tokio::time::Instant::now();
    assert!(matches!(cloud.get("gated").await, Err(Error::Timeout)));
    assert!(matches!(
        cloud.set("gated", pattern(3_000_000)).await,
        Err(Error::Timeout)
    ));
    let (_sender, body) = Body::channel(Some(6), |_| {});
    let id = BlockId::new(77).unwrap();
    node.fake.bodies.lock().unwrap().insert(id, body);
    let mut object = cloud.open(id).await.unwrap();
    assert!(matches!(object.next().await, Err(Error::Timeout)));
    assert!(object.next().await.is_err());
    assert!(before.elapsed() >= 3 * second && before.elapsed() < 4 * second);
    node.until_running(0).await;
    cloud.ping().await.unwrap();
}

#[tokio::test]
async fn a_failure_in_the_middle_of_an_object_is_its_error() {
    let node = Running::start();
    let cloud = node.client().await;
    let (sender, body) = Body::channel(Some(6), |_| {});
    let id = BlockId::new(77).unwrap();
    node.fake.bodies.lock().unwrap().insert(id, body);
    let mut object = cloud.open(id).await.unwrap();
    sender.send(Bytes::from_static(b"abc"));
    sender.fail(memsdk::ApiError::new(ErrorCode::PeerUnreachable, "it went away"));
    let mut read = Vec::new();
    let error = object.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(read, b"abc");
    let error = error.downcast::<Error>().unwrap();
    assert_eq!(error.api_code(), Some(ErrorCode::PeerUnreachable));
    assert!(object.read_to_end(&mut read).await.is_err());
    cloud.ping().await.unwrap();
}

#[tokio::test]
async fn batches_of_any_length_and_size_come_back_in_order() {
    let node = Running::start();
    let cloud = node.client().await;
    // More keys than one request takes, values that fill several replies, and two that no reply has room for.
    let mut pairs: Vec<(String, Bytes)> = (0..2_500).map(|i| (format!("k{i}"), pattern(i % 700))).collect();
    pairs[7].1 = pattern(300_000);
    pairs[8].1 = pattern(3_000_000);
    pairs[9].1 = pattern(262_144);
    cloud.mset(&pairs).await.unwrap();
    let mut keys: Vec<&str> = pairs.iter().map(|(key, _)| &key[..]).collect();
    keys.insert(1, "nowhere");
    let values = cloud.mget(&keys).await.unwrap();
    assert_eq!(values[1], None);
    let values: Vec<Bytes> = values.into_iter().flatten().collect();
    assert!(values.iter().eq(pairs.iter().map(|(_, value)| value)));
    assert_eq!(cloud.mdel(&keys).await.unwrap(), 2_500);
    assert_eq!(cloud.mdel(&keys).await.unwrap(), 0);
    assert_eq!(cloud.mget(&keys).await.unwrap(), vec![None; 2_501]);
    assert!(cloud.mget::<&str>(&[]).await.unwrap().is_empty());
    cloud.mset::<&str>(&[]).await.unwrap();
    assert_eq!(cloud.mdel::<&str>(&[]).await.unwrap(), 0);
}

#[tokio::test]
async fn every_value_of_a_batch_is_kept_as_the_batch_says() {
    let node = Running::start();
    let cloud = node.client().await;
    node.fake.gate.add_permits(100);
    // One that is answered at once, one that waits, and one that fits no frame.
    let pairs = [("now", 1), ("gated", 2), ("large", 3_000_000)].map(|(key, len)| (key, pattern(len)));
    let hour = Duration::from_secs(3_600);
    let peer = Placement::Peer("büro".to_owned());
    let put = cloud.mset(&pairs).ttl(hour).class(BlockClass::Cache);
    put.placement(peer.clone()).await.unwrap();
    let noted = node.fake.options.lock().unwrap().clone();
    assert_eq!(noted.len(), 3);
    for (key, options) in noted {
        assert_eq!(options.ttl.map(Duration::from), Some(hour), "{key}");
        assert_eq!(
            (options.class, options.placement),
            (BlockClass::Cache, peer.clone()),
            "{key}"
        );
    }
    let error = cloud.mset(&pairs).ttl(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::InvalidArgument));
    let nobody = Placement::Peer(String::new());
    let error = cloud.mset(&pairs).placement(nobody).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::InvalidArgument));
}

#[tokio::test]
async fn each_key_of_a_batch_has_its_own_answer() {
    let node = Running::start();
    let cloud = node.client().await;
    node.fake.gate.add_permits(100);
    let pairs = ["a", "gated b", "gated refused", "c", "c"].map(|key| (key, Bytes::from(key)));
    let answers = cloud.mset(&pairs).each().await.unwrap();
    let refused: Vec<_> = answers.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, false, true, false, false]);
    let error = cloud.mset(&pairs).await.unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::OutOfMemory));
    let values = cloud.mget_each(&["gated b", "gated nowhere", "a"]).await.unwrap();
    let values: Vec<_> = values.into_iter().map(|value| value.unwrap()).collect();
    assert_eq!(values, [Some("gated b".into()), None, Some("a".into())]);
    let deleted = cloud.mdel_each(&["gated b", "gated nowhere"]).await.unwrap();
    assert_eq!(deleted, [Ok(true), Ok(false)]);
    for keys in [["a", ""], ["a", &"k".repeat(1_025)]] {
        assert!(cloud.mget(&keys).await.is_err());
        assert!(cloud.mdel(&keys).await.is_err());
        assert!(cloud.mset(&keys.map(|key| (key, Bytes::new()))).await.is_err());
    }
    cloud.ping().await.unwrap();
}

#[tokio::test]
async fn every_answer_is_timed_whether_it_came_at_once_or_waited() {
    let node = Running::start();
    let cloud = node.client().await;
    cloud.set("k", "v").await.unwrap();
    node.fake.gate.add_permits(1);
    let gets = ["k", "nowhere", "gated", "k"].map(|key| cloud.get(key));
    try_join_all(gets).await.unwrap();
    cloud.ping().await.unwrap();
    let stats = node.fake.timings.stats();
    let counts: Vec<_> = stats
        .iter()
        .map(|stats| (&stats.operation[..], stats.count))
        .collect();
    assert_eq!(counts, [("set", 1), ("get", 4)]);
    assert!(stats.iter().all(|stats| stats.p50_ns <= stats.p99_ns));
}

#[tokio::test]
async fn the_same_calls_go_over_tcp_with_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("home")).unwrap();
    let config = TcpConfig {
        listen: std::net::Ipv4Addr::LOCALHOST.into(),
        port: ApiPort::Port(0),
        connections_max: 10,
    };
    let token = Token::load_or_create(&home).unwrap();
    let api = TcpApi::bind(&config, token, ConnectionGauge::default())
        .await
        .unwrap()
        .unwrap();
    let (address, stop) = (api.address(), CancellationToken::new());
    let served = tokio::spawn(api.serve(Arc::new(Fake::new()), stop.clone()));
    let token = std::fs::read_to_string(home.token_file()).unwrap();
    let cloud = MemCloud::builder()
        .tcp(address)
        .token(token)
        .connect()
        .await
        .unwrap();
    let value = Bytes::from(vec![7; 5 * 1024 * 1024 + 3]);
    cloud.set("large", value.clone()).await.unwrap();
    assert_eq!(cloud.get("large").await.unwrap().unwrap(), value);
    assert_eq!(cloud.socket(), None);
    for wrong in ["", &"0".repeat(64)] {
        let refused = MemCloud::builder().tcp(address).token(wrong).connect().await;
        let error = refused.unwrap_err();
        assert_eq!(error.api_code(), Some(ErrorCode::Denied), "{error}");
    }
    stop.cancel();
    served.await.unwrap();
    let gone = MemCloud::builder().tcp(address).connect().await.unwrap_err();
    assert!(matches!(gone, Error::NotRunning { .. }), "{gone}");
    assert!(gone.to_string().contains(&address.to_string()), "{gone}");
}
