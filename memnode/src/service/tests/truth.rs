//! What every node sees of every key, and when. Announcements are held back where that shows what happens without them.

use super::*;
use crate::store::{KeyRecord, KeyValue};

/// Nodes that are connected with each other and know of each other's keys, which were none.
async fn connected<const N: usize>(nodes: [TestNode; N]) -> [TestNode; N] {
    for (at, node) in nodes.iter().enumerate() {
        for other in &nodes[at + 1..] {
            node.connect(other, MIB).await;
        }
    }
    for node in &nodes {
        until("they are settled", || {
            node.service.peers().connected().len() == N - 1 && node.service.news.is_settled()
        })
        .await;
    }
    nodes
}

async fn silent<const N: usize>(names: [&str; N]) -> [TestNode; N] {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(TestNode::start_silent(name).await);
    }
    let Ok(nodes) = <[TestNode; N]>::try_from(nodes) else {
        unreachable!("there are as many as names")
    };
    connected(nodes).await
}

impl TestNode {
    async fn value(&self, key: &str) -> Option<String> {
        let value = self.get(key).await.unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    async fn value_strictly(&self, key: &str) -> ApiResult<Option<Bytes>> {
        match self.service.get(key, ByteRange::ALL, true).await? {
            Some(loaded) => loaded.body.collect(u64::MAX).await.map(Some),
            None => Ok(None),
        }
    }

    async fn set_strictly(&self, key: &str, value: &'static str) -> ApiResult<Stored> {
        let options = PutOptions {
            strict: true,
            ..PutOptions::default()
        };
        self.service
            .set(key, Body::from(Bytes::from(value)), options)
            .await
    }

    fn record(&self, key: &str) -> Option<KeyRecord> {
        self.service.store.key(key)
    }

    /// Lets the node's clock go ahead, as that of a machine that is set wrong.
    fn go_ahead(&self, by: Duration) {
        let future = Version {
            time: (self.service.unix_ms() + by.as_millis() as u64) << memproto::version::VERSION_COUNTER_BITS,
            node: NodeId::from_bytes([9; 16]),
        };
        assert!(self.service.observe(future));
    }

    async fn finish(self) {
        drop(self.stop().await);
    }
}

async fn finish<const N: usize>(nodes: [TestNode; N]) {
    for node in nodes {
        node.finish().await;
    }
}

#[tokio::test]
async fn a_new_key_is_seen_before_anybody_was_told() {
    let nodes = silent(["a", "b", "c"]).await;
    let [a, b, c] = &nodes;
    let now = a.service.set_now("k", b"v", &PutOptions::default());
    assert!(now.is_some(), "nobody has to be asked");
    assert_eq!(b.record("k"), None);
    assert_eq!(b.value("k").await.as_deref(), Some("v"));
    // Whoever read it knows where it lies.
    assert_eq!(b.record("k").unwrap().version, a.record("k").unwrap().version);
    // Deleted, and set again by somebody who was not told of either.
    assert_eq!(a.service.del("k", false).await, Ok(true));
    assert_eq!(b.value("k").await, None);
    // Writes within an interval are concurrent, and the clocks of these are as good as equal.
    c.go_ahead(Duration::from_secs(1));
    c.set("k", "w").await;
    for node in &nodes {
        assert_eq!(node.value("k").await.as_deref(), Some("w"));
    }
    finish(nodes).await;
}

#[tokio::test]
async fn an_overwrite_is_seen_through_a_note_that_is_no_longer_true() {
    let nodes = silent(["a", "b", "c"]).await;
    let [a, b, c] = &nodes;
    a.set("k", "of a").await;
    assert_eq!(b.value("k").await.as_deref(), Some("of a"));
    assert_eq!(c.value("k").await.as_deref(), Some("of a"));
    assert_eq!(
        b.service.set_now("k", b"x", &PutOptions::default()),
        None,
        "a has to be told"
    );
    b.set("k", "of b").await;
    assert_eq!(a.record("k").unwrap().value, KeyValue::Theirs);
    assert_eq!(a.blocks(), 0, "the old value is gone before the answer");
    // c was not told: a sends it on.
    assert_eq!(c.record("k").unwrap().version.node, a.id());
    assert_eq!(c.value("k").await.as_deref(), Some("of b"));
    assert_eq!(c.record("k").unwrap().version.node, b.id());
    assert_eq!(a.value("k").await.as_deref(), Some("of b"));
    // A deletion likewise.
    assert_eq!(a.service.del("k", false).await, Ok(true));
    assert_eq!(b.blocks(), 0);
    assert_eq!(c.value("k").await, None);
    assert_eq!(c.service.del("k", false).await, Ok(false));
    finish(nodes).await;
}

#[tokio::test]
async fn a_deletion_finds_a_key_of_which_its_node_knows_nothing() {
    let nodes = silent(["a", "b", "c"]).await;
    let [a, b, c] = &nodes;
    // Even where the writer's clock is ahead.
    a.go_ahead(HOUR);
    a.set("k", "v").await;
    assert_eq!(b.service.del("k", false).await, Ok(true));
    for node in &nodes {
        assert_eq!(node.value("k").await, None);
    }
    assert_eq!(b.service.del("nobody has it", false).await, Ok(false));
    for node in [a, c] {
        assert_eq!(node.record("nobody has it"), None, "it is not worth a record");
    }
    finish(nodes).await;
}

#[tokio::test]
async fn the_later_write_wins_over_a_clock_that_is_ahead() {
    let nodes = silent(["a", "b"]).await;
    let [a, b] = &nodes;
    a.set("k", "1").await;
    assert_eq!(b.value("k").await.as_deref(), Some("1"));
    a.go_ahead(HOUR);
    a.set("k", "2").await;
    // b does not know how far a is ahead until it tells it.
    b.set("k", "3").await;
    for node in &nodes {
        assert_eq!(node.value("k").await.as_deref(), Some("3"));
    }
    assert_eq!(a.blocks(), 0);
    let (at_a, at_b) = (a.record("k").unwrap(), b.record("k").unwrap());
    assert_eq!(at_a.version, at_b.version);
    finish(nodes).await;
}

#[tokio::test]
async fn two_writes_at_the_same_moment_leave_one_value_everywhere() {
    let announcing = [
        TestNode::start("a", 64 * MIB).await,
        TestNode::start("b", 64 * MIB).await,
        TestNode::start("c", 64 * MIB).await,
    ];
    let nodes = connected(announcing).await;
    let [a, b, c] = &nodes;
    for round in 0..50 {
        let key = format!("k{}", round % 7);
        let (of_a, of_b) = (format!("a{round}"), format!("b{round}"));
        tokio::join!(a.set(&key, &of_a), b.set(&key, &of_b));
        until("all know the same version", || {
            let of = |node: &TestNode| node.record(&key).map(|record| record.version);
            of(a) == of(b) && of(b) == of(c)
        })
        .await;
        let value = c.value(&key).await.unwrap();
        assert!(value == of_a || value == of_b, "{value}");
        assert_eq!(a.value(&key).await.as_ref(), Some(&value));
        assert_eq!(b.value(&key).await.as_ref(), Some(&value));
        assert_eq!(
            a.blocks() + b.blocks(),
            (round + 1).min(7),
            "the other one is freed"
        );
    }
    finish(nodes).await;
}

#[tokio::test]
async fn a_strict_write_is_known_everywhere_and_a_strict_read_asks_everybody() {
    let nodes = silent(["a", "b", "c"]).await;
    let [a, b, c] = &nodes;
    a.set_strictly("k", "1").await.unwrap();
    for node in [b, c] {
        assert_eq!(node.record("k").unwrap().version.node, a.id());
    }
    // Two that do not know of each other: the strict read finds the newer one.
    a.set("l", "older").await;
    c.go_ahead(Duration::from_secs(1));
    c.set("l", "newer").await;
    assert_eq!(b.value_strictly("l").await.unwrap().unwrap(), "newer");
    b.set_strictly("l", "newest").await.unwrap();
    for node in &nodes {
        assert_eq!(node.value("l").await.as_deref(), Some("newest"));
    }
    assert_eq!(a.blocks() + b.blocks() + c.blocks(), 2);
    assert_eq!(c.service.del("l", true).await, Ok(true));
    for node in &nodes {
        assert_eq!(node.record("l").unwrap().value, KeyValue::Deleted);
        assert_eq!(node.value_strictly("l").await, Ok(None));
    }
    finish(nodes).await;
}
