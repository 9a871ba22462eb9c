//! The blocking client against a real node.

#![cfg(all(unix, feature = "blocking"))]
#![allow(clippy::unwrap_used, reason = "this is all test code")]

#[path = "support/node.rs"]
mod node;

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use memsdk::blocking::MemCloud;
use memsdk::{Error, ErrorCode, Lifetime};
use node::RunningNode;

fn client(node: &RunningNode) -> MemCloud {
    MemCloud::builder()
        .socket(node.socket())
        .connect_blocking()
        .unwrap()
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn large_values_are_mapped_and_given_without_a_runtime() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node);
    let value = pattern(17 << 20);
    let mut file = memsdk::MemoryFile::create(value.len()).unwrap();
    file.copy_from_slice(&value);
    cloud.set_mapped("k", file).send().unwrap();
    let mapped = cloud.get_mapped("k").unwrap().unwrap();
    assert!(mapped.is_mapped() && mapped[..] == value[..]);
    assert!(cloud.load_mapped(mapped.id()).unwrap()[..] == value[..]);
    assert!(cloud.get_mapped("missing").unwrap().is_none());
    // What is dropped between two calls is given back before the second one is answered.
    drop(mapped);
    assert_eq!(cloud.stats().unwrap().mapped_bytes, 0);
}

#[test]
fn every_kind_of_call_works_without_a_runtime() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node);
    cloud.ping().unwrap();
    assert_eq!(cloud.socket(), Some(&*node.socket()));
    let stored = cloud.set("greeting", "hello").send().unwrap();
    assert_eq!(cloud.get("greeting").unwrap().unwrap(), "hello");
    assert_eq!(cloud.get("missing").unwrap(), None);
    assert_eq!(cloud.load(stored.id).unwrap(), "hello");
    assert_eq!(cloud.load_range(stored.id, 1, 3).unwrap(), "ell");
    let hour = Duration::from_secs(3_600);
    assert_eq!(cloud.expire("greeting", hour).unwrap(), Some(Lifetime::Endless));
    assert!(matches!(cloud.ttl("greeting").unwrap(), Some(Lifetime::Left(_))));
    assert!(matches!(
        cloud.persist("greeting").unwrap(),
        Some(Lifetime::Left(_))
    ));
    cloud
        .mset(&[("a", "1".into()), ("b", "2".into())])
        .send()
        .unwrap();
    assert_eq!(cloud.mget(&["a", "c"]).unwrap(), [Some("1".into()), None]);
    assert_eq!(cloud.keys("*").unwrap(), ["a", "b", "greeting"]);
    assert_eq!(cloud.mdel(&["a", "b", "c"]).unwrap(), 2);
    assert!(cloud.del("greeting").unwrap());
    let block = cloud.store("block").ttl(hour).send().unwrap();
    assert_eq!(cloud.free_all(&[block.id]).unwrap().blocks, 1);
    assert_eq!(cloud.stats().unwrap().keys, 0);
    assert_eq!(cloud.peers().unwrap(), []);
    let error = cloud.load(block.id).unwrap_err();
    assert_eq!(error.api_code(), Some(ErrorCode::NotFound));
}

#[test]
fn large_values_go_in_and_out_by_readers() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node);
    let value = pattern(5 * 1024 * 1024 + 3);
    let stored = cloud.stream(io::Cursor::new(value.clone())).send().unwrap();
    let mut read = Vec::new();
    cloud.open(stored.id).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == value);
    cloud
        .set_stream("k", io::Cursor::new(value.clone()), Some(3 << 20))
        .send()
        .unwrap();
    let mut object = cloud.open_key("k").unwrap().unwrap();
    assert_eq!((object.size(), object.length()), (3 << 20, 3 << 20));
    let first = object.next().unwrap().unwrap();
    assert!(value.starts_with(&first));
    // Half read and dropped: the node stops sending, and the connection goes on.
    drop(object);
    assert!(cloud.open_key("k").unwrap().unwrap().collect().unwrap() == value[..3 << 20]);
    assert!(cloud.open_key("none").unwrap().is_none());
}

#[test]
fn a_reader_that_fails_lies_or_does_not_block_is_an_error() {
    struct Wrong(Option<io::ErrorKind>);
    impl Read for Wrong {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0 {
                Some(kind) => Err(kind.into()),
                None => Ok(buffer.len() + 1),
            }
        }
    }
    let node = RunningNode::start("64mb");
    let cloud = client(&node);
    for (given, told) in [
        (io::ErrorKind::BrokenPipe, io::ErrorKind::BrokenPipe),
        (io::ErrorKind::WouldBlock, io::ErrorKind::InvalidInput),
    ] {
        let error = cloud
            .set_stream("k", Wrong(Some(given)), None)
            .send()
            .unwrap_err();
        assert!(
            matches!(&error, Error::Io(error) if error.kind() == told),
            "{error:?}"
        );
    }
    let stored = cloud.set_stream("lies", Wrong(None), Some(100)).send();
    assert_eq!(stored.unwrap().size, 100);
    assert_eq!(cloud.get("k").unwrap(), None);
}

#[test]
fn clones_are_used_on_several_threads_at_the_same_time() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cloud = cloud.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let (key, value) = (format!("{thread}/{i}"), pattern(thread * 1_000 + i));
                    cloud.set(&*key, value.clone()).send().unwrap();
                    assert_eq!(cloud.get(&key).unwrap().unwrap(), value);
                }
            });
        }
    });
    assert_eq!(cloud.keys("3/*").unwrap().len(), 50);
}

#[test]
fn inside_a_runtime_a_call_is_an_error_and_a_drop_is_none() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node);
    let id = cloud.set("k", pattern(3 << 20)).send().unwrap().id;
    let object = cloud.open(id).unwrap();
    let runtimes = [
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap(),
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap(),
    ];
    for runtime in runtimes {
        runtime.block_on(async {
            for error in [
                MemCloud::builder()
                    .socket(node.socket())
                    .connect_blocking()
                    .map(drop),
                cloud.get("k").map(drop),
                cloud.set("k", "v").send().map(drop),
                cloud.set_stream("k", io::empty(), None).send().map(drop),
            ] {
                let error = error.unwrap_err();
                assert!(matches!(error, Error::InsideRuntime), "{error:?}");
                assert_eq!(error.code(), "inside_runtime");
            }
        });
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async move {
        drop(object);
        drop(cloud);
    });
}

#[test]
fn outside_a_runtime_the_asynchronous_client_is_an_error() {
    let node = RunningNode::start("64mb");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connect = || memsdk::MemCloud::builder().socket(node.socket()).connect();
    let cloud = runtime.block_on(connect()).unwrap();
    let mut object = runtime.block_on(async {
        let id = cloud.store(pattern(5 << 20)).await.unwrap().id;
        cloud.open(id).await.unwrap()
    });
    let outside = |error: Error| {
        assert!(matches!(error, Error::NoRuntime), "{error:?}");
        assert_eq!(error.code(), "no_runtime");
    };
    outside(wait(connect()).unwrap_err());
    outside(wait(cloud.get("k")).unwrap_err());
    outside(wait(cloud.set("k", pattern(1 << 20)).into_future()).unwrap_err());
    drop(runtime);
    // What has come already is read; then there is nothing that brings more.
    let error = loop {
        match wait(object.next()) {
            Ok(piece) => assert!(piece.is_some(), "the object is cut off"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::NoRuntime | Error::ConnectionLost),
        "{error:?}"
    );
}

/// Polls a future that does not wait for anything.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::yield_now();
    }
}

#[test]
fn after_a_pause_a_node_that_was_started_anew_is_found() {
    let home = node::new_home();
    let socket = node::socket_in(&home);
    let path = home.path().to_owned();
    let first = RunningNode::start_in(home, "64mb");
    let cloud = MemCloud::builder().socket(&socket).connect_blocking().unwrap();
    cloud.set("k", "v").send().unwrap();
    drop(first);
    assert!(cloud.ping().is_err());
    std::fs::create_dir_all(&path).unwrap();
    let second = RunningNode::start("64mb");
    std::os::unix::fs::symlink(second.socket(), &socket).unwrap();
    // Attempts that follow failed ones wait a little; none of them takes a second.
    cloud.ping().unwrap();
    assert_eq!(cloud.get("k").unwrap(), None);
}

#[test]
fn settings_at_the_edge_are_no_reason_to_panic() {
    let node = RunningNode::start("64mb");
    let builder = || MemCloud::builder().socket(node.socket());
    let cloud = builder()
        .timeout(Duration::MAX)
        .name("ü".repeat(1_000))
        .connect_blocking()
        .unwrap();
    let id = cloud.store(pattern(5 << 20)).send().unwrap().id;
    assert_eq!(cloud.open(id).unwrap().collect().unwrap().len(), 5 << 20);
    assert_eq!(cloud.load_range(id, u64::MAX, u64::MAX).unwrap_or_default(), "");
    // A node that is quick enough answers even within no time.
    let _ = builder().timeout(Duration::ZERO).connect_blocking();
    for key in ["", &"k".repeat(1_025)] {
        assert!(cloud.get(key).is_err());
        assert!(cloud.set(key, "v").send().is_err());
    }
    assert!(cloud.keys(&"*".repeat(1 << 20)).is_err());
}
