//! Values that are mapped, and memory files that are given, between a client and a real node.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

use std::time::Duration;

use bytes::Bytes;
use memnode::config::Settings;
use memnode::home::Home;
use memnode::identity::Identity;
use memnode::node::Node;
use memnode::trust::TrustStore;
use memproto::control::Stats;
use memsdk::{BlockClass, Error, ErrorCode, Mapped, MemCloud, MemoryFile, Opened, Placement};
use tokio_util::sync::CancellationToken;

const MIB: usize = 1024 * 1024;

/// How long a state may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node of 64 MiB in this process.
struct Running {
    cloud: MemCloud,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
    home: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let args = [
            "memnode",
            "--home",
            home.to_str().unwrap(),
            "--memory=64mb",
            "--port=0",
            "--listen=127.0.0.1",
            "--no-discovery",
            "--api-port=0",
        ];
        let args = args.iter().chain(flags).copied();
        let settings = Settings::load(args, |_| None).unwrap();
        let home = Home::open(&settings.home).unwrap();
        let identity = Identity::load_or_create(&home).unwrap();
        let trust = TrustStore::load(&home).unwrap();
        let stop = CancellationToken::new();
        let node = Node::start(&settings, &home, identity, trust, stop.clone())
            .await
            .unwrap();
        let served = tokio::spawn(node.run_until_stopped());
        let cloud = MemCloud::builder()
            .socket(&settings.socket)
            .connect()
            .await
            .unwrap();
        Self {
            cloud,
            stop,
            served,
            home: folder,
        }
    }

    /// Another client of the node.
    async fn client(&self) -> MemCloud {
        let socket = self.cloud.socket().unwrap();
        MemCloud::builder().socket(socket).connect().await.unwrap()
    }

    /// Waits until the statistics are as wanted.
    async fn stats_when(&self, wanted: impl Fn(&Stats) -> bool) -> Stats {
        let wait = async {
            loop {
                let stats = self.cloud.stats().await.unwrap();
                if wanted(&stats) {
                    return stats;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        self.home
    }
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn file(bytes: &[u8]) -> MemoryFile {
    let mut file = MemoryFile::create(bytes.len()).unwrap();
    file.copy_from_slice(bytes);
    file
}

#[tokio::test]
async fn what_was_set_as_bytes_is_mapped_and_what_was_given_is_read() {
    let node = Running::start().await;
    let cloud = &node.cloud;
    for len in [MIB, 3 * MIB + 7] {
        let value = pattern(len);
        let stored = cloud.set("bytes", value.clone()).await.unwrap();
        let mapped = cloud.get_mapped("bytes").await.unwrap().unwrap();
        assert!(mapped.is_mapped() && mapped[..] == value[..]);
        assert_eq!((mapped.id(), mapped.size()), (stored.id, len as u64));

        let given = cloud.store_mapped(file(&value)).await.unwrap();
        assert_eq!(given.size, len as u64);
        assert!(cloud.load(given.id).await.unwrap() == value);
        let mapped = cloud.load_mapped(given.id).await.unwrap();
        assert!(mapped.is_mapped() && mapped[..] == value[..]);
        let part = cloud.load_range(given.id, 5, 10).await.unwrap();
        assert_eq!(part, value.slice(5..15));
        let bytes = Bytes::from(mapped);
        assert!(bytes == value);
        assert_eq!(cloud.free(given.id).await.unwrap().bytes, len as u64);
    }
    assert!(cloud.get_mapped("nothing").await.unwrap().is_none());
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_mapped_is_read_in_the_same_call() {
    let node = Running::start().await;
    let cloud = &node.cloud;
    for len in [0, 1, 300_000, MIB - 1] {
        let value = pattern(len);
        cloud.set_mapped("small", file(&value)).await.unwrap();
        let read = cloud.get_mapped("small").await.unwrap().unwrap();
        assert!(!read.is_mapped() && read[..] == value[..], "{len}");
        assert!(Bytes::from(read) == value);
    }
    let value = pattern(3 * MIB);
    let stream = cloud.stream(std::io::Cursor::new(value.clone())).await.unwrap();
    let Opened::Object(object) = cloud.open_mapped(stream.id).await.unwrap() else {
        panic!("a stream lies in chunks")
    };
    assert!(object.collect().await.unwrap() == value);
    assert!(cloud.load_mapped(stream.id).await.unwrap()[..] == value[..]);
    node.stop().await;
}

#[tokio::test]
async fn what_is_mapped_outlives_block_key_and_node() {
    let node = Running::start().await;
    let cloud = &node.cloud;
    let (first, second) = (pattern(2 * MIB), Bytes::from(vec![9; 2 * MIB]));
    let stored = cloud.set_mapped("k", file(&first)).await.unwrap();
    let freed = cloud.load_mapped(stored.id).await.unwrap();
    cloud.set("k", second.clone()).await.unwrap();
    let overwritten = cloud.get_mapped("k").await.unwrap().unwrap();
    cloud.del("k").await.unwrap();
    // Memory of the same size is used again, but not this.
    for i in 0..4 {
        cloud
            .set("again", Bytes::from(vec![100 + i; 2 * MIB]))
            .await
            .unwrap();
    }
    assert!(freed[..] == first[..] && overwritten[..] == second[..]);
    node.stop().await;
    assert!(freed[..] == first[..] && overwritten[..] == second[..]);
}

#[tokio::test]
async fn what_is_mapped_is_paid_for_until_it_is_dropped() {
    let node = Running::start().await;
    let cloud = &node.cloud;
    let empty = cloud.stats().await.unwrap().used_bytes;
    cloud.set("k", vec![1; 40 * MIB]).await.unwrap();
    let (mapped, again) = (
        cloud.get_mapped("k").await.unwrap().unwrap(),
        cloud.get_mapped("k").await.unwrap().unwrap(),
    );
    let stats = cloud.stats().await.unwrap();
    assert_eq!(
        (stats.mapped_bytes, stats.mapped_freed_bytes),
        (40 * MIB as u64, 0)
    );

    cloud.del("k").await.unwrap();
    drop(again);
    let stats = node.stats_when(|stats| stats.mapped_freed_bytes > 0).await;
    assert_eq!(
        (stats.mapped_bytes, stats.mapped_freed_bytes),
        (40 * MIB as u64, 40 * MIB as u64)
    );
    assert!(stats.used_bytes >= 40 * MIB as u64);
    let refused = cloud
        .set_mapped("other", file(&vec![2; 30 * MIB]))
        .await
        .unwrap_err();
    assert_eq!(refused.api_code(), Some(ErrorCode::OutOfMemory));

    drop(mapped);
    node.stats_when(|stats| stats.mapped_bytes == 0 && stats.used_bytes < empty + MIB as u64)
        .await;
    cloud.set_mapped("other", file(&vec![2; 30 * MIB])).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_lets_go_of_everything() {
    let node = Running::start().await;
    node.cloud.set("k", vec![1; 2 * MIB]).await.unwrap();
    let other = node.client().await;
    let mapped = other.get_mapped("k").await.unwrap().unwrap();
    drop(other);
    node.cloud.del("k").await.unwrap();
    // The mapping keeps its client's connection.
    assert_eq!(
        node.cloud.stats().await.unwrap().mapped_freed_bytes,
        2 * MIB as u64
    );
    let bytes = Bytes::from(mapped).slice(10..20);
    assert_eq!(
        node.cloud.stats().await.unwrap().mapped_freed_bytes,
        2 * MIB as u64
    );
    assert_eq!(bytes, [1; 10][..]);
    drop(bytes);
    // The one goes a moment before the other.
    node.stats_when(|stats| stats.mapped_bytes == 0 && stats.used_bytes < MIB as u64)
        .await;
    node.stop().await;
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_mapped() {
    let node = Running::start().await;
    let cloud = &node.cloud;
    cloud.set("k", vec![1; MIB]).await.unwrap();
    for polls in 0..20 {
        let call = cloud.get_mapped("k");
        let mut call = std::pin::pin!(call);
        for _ in 0..polls {
            let polled = futures_util::poll!(call.as_mut());
            if polled.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    node.stats_when(|stats| stats.mapped_bytes == 0).await;
    assert!(cloud.get_mapped("k").await.unwrap().unwrap().is_mapped());
    node.stop().await;
}

#[tokio::test]
async fn past_the_limit_on_files_bytes_flow() {
    let node = Running::start_with(&["--memory-files-max=1"]).await;
    let cloud = &node.cloud;
    let (first, second) = (pattern(MIB), pattern(MIB + 1));
    cloud.set("first", first.clone()).await.unwrap();
    cloud.set("second", second.clone()).await.unwrap();
    cloud.set_mapped("third", file(&second)).await.unwrap();
    let is_mapped = async |key, value: &Bytes| {
        let mapped = cloud.get_mapped(key).await.unwrap().unwrap();
        assert!(mapped[..] == value[..]);
        mapped.is_mapped()
    };
    assert!(is_mapped("first", &first).await);
    assert!(!is_mapped("second", &second).await);
    assert!(!is_mapped("third", &second).await);
    node.stop().await;
}

#[tokio::test]
async fn on_tcp_bytes_flow() {
    let node = Running::start().await;
    let address = node.cloud.status().await.unwrap().api_address.unwrap();
    let token = std::fs::read_to_string(node.home.path().join("home/token")).unwrap();
    let tcp = MemCloud::builder()
        .tcp(address)
        .token(token)
        .connect()
        .await
        .unwrap();
    let value = pattern(2 * MIB);
    tcp.set_mapped("k", file(&value)).await.unwrap();
    let read = tcp.get_mapped("k").await.unwrap().unwrap();
    assert!(!read.is_mapped() && read[..] == value[..]);
    assert!(node.cloud.get_mapped("k").await.unwrap().unwrap().is_mapped());
    node.stop().await;
}

#[tokio::test]
async fn options_of_a_write_hold_for_memory_files() {
    let node = Running::start().await;
    let cloud = &node.cloud;
    cloud
        .set_mapped("k", file(&pattern(MIB)))
        .ttl(Duration::from_secs(1_000))
        .class(BlockClass::Cache)
        .placement(Placement::Local)
        .await
        .unwrap();
    let memsdk::Lifetime::Left(left) = cloud.ttl("k").await.unwrap().unwrap() else {
        panic!("it does not expire")
    };
    assert!(left > Duration::from_secs(900));
    assert!(cloud.stats().await.unwrap().cache_bytes >= MIB as u64);
    let nowhere = cloud
        .store_mapped(file(&pattern(MIB)))
        .placement(Placement::Remote)
        .await;
    assert!(matches!(nowhere, Err(Error::Api(error)) if error.code == ErrorCode::PeerUnreachable));
    node.stop().await;
}

#[tokio::test]
async fn many_are_mapped_at_once_and_each_is_its_own() {
    let node = Running::start().await;
    let keys: Vec<String> = (0..20).map(|i| format!("k{i}")).collect();
    for (i, key) in keys.iter().enumerate() {
        node.cloud.set(key, vec![i as u8; MIB + i]).await.unwrap();
    }
    let gets = keys.iter().cycle().take(200).enumerate().map(|(i, key)| {
        let cloud = node.cloud.clone();
        async move {
            if i % 3 == 0 {
                cloud.ping().await.unwrap();
            }
            cloud.get_mapped(key).await.unwrap().unwrap()
        }
    });
    let mapped: Vec<Mapped> = futures_util::future::join_all(gets).await;
    for (i, mapped) in mapped.iter().enumerate() {
        let which = i % 20;
        assert!(mapped.is_mapped());
        assert!(mapped.len() == MIB + which && mapped.iter().all(|&byte| byte == which as u8));
    }
    drop(mapped);
    node.stats_when(|stats| stats.mapped_bytes == 0).await;
    node.stop().await;
}
