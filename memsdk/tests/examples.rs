//! The programs under `examples`, part by part against a real node.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "this is all test code")]

#[path = "support/node.rs"]
#[allow(dead_code)]
mod node;

#[path = "../examples/big_file.rs"]
#[allow(dead_code)]
mod big_file;
#[path = "../examples/cache_aside.rs"]
#[allow(dead_code)]
mod cache_aside;
#[path = "../examples/pipelining.rs"]
#[allow(dead_code)]
mod pipelining;
#[path = "../examples/watch_stats.rs"]
#[allow(dead_code)]
mod watch_stats;

use memsdk::{Lifetime, MemCloud};
use node::RunningNode;

async fn client(node: &RunningNode) -> MemCloud {
    MemCloud::builder().socket(node.socket()).connect().await.unwrap()
}

#[tokio::test]
async fn a_report_is_computed_once() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node).await;
    let report = cache_aside::report(&cloud, "2026-11").await.unwrap();
    assert_eq!(report, "all the figures of 2026-11");
    // Had it been computed again it would not be this.
    cloud.set("report:2026-11", "from the cache").await.unwrap();
    let report = cache_aside::report(&cloud, "2026-11").await.unwrap();
    assert_eq!(report, "from the cache");
    cache_aside::report(&cloud, "2026-12").await.unwrap();
    let ttl = cloud.ttl("report:2026-12").await.unwrap();
    assert!(matches!(ttl, Some(Lifetime::Left(left)) if left <= cache_aside::FRESH));
}

#[tokio::test]
async fn a_file_comes_back_as_it_went() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("file"), folder.path().join("copy"));
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let stored = big_file::put(&cloud, &file).await.unwrap();
    assert_eq!(stored.size, bytes.len() as u64);
    assert_eq!(
        big_file::get(&cloud, stored.id, &copy).await.unwrap(),
        stored.size
    );
    assert!(std::fs::read(&copy).unwrap() == bytes, "other bytes came back");
}

#[tokio::test]
async fn ways_of_reading_are_compared_and_leave_nothing() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node).await;
    let times = pipelining::compare(&cloud).await.unwrap();
    assert!(times.iter().all(|time| !time.is_zero()));
    assert_eq!(cloud.keys("*").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_line_tells_of_the_node() {
    let node = RunningNode::start("64mb");
    let cloud = client(&node).await;
    cloud.set("k", vec![0; 2 << 20]).await.unwrap();
    cloud.get("k").await.unwrap();
    let line = watch_stats::line(&cloud).await.unwrap();
    assert!(
        line.starts_with("2 of 64 MiB used, 1 keys, 1 hits, 0 misses, "),
        "{line}"
    );
    assert!(line.ends_with(" 0 peers"), "{line}");
}
