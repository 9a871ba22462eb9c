//! Freeing all that programs stored.

use super::*;

fn allowing(names: &[&str]) -> FlushAllowed {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    FlushAllowed::new(&names)
}

async fn start_allowing(name: &str, allow_flush: FlushAllowed) -> TestNode {
    TestNode::start_with(tempfile::tempdir().unwrap(), name, 64 * MIB, |config| {
        config.allow_flush = allow_flush
    })
    .await
}

#[tokio::test]
async fn a_node_alone_is_as_empty_as_at_its_start() {
    let a = TestNode::start("a", 64 * MIB).await;
    let empty = a.service.stats();
    for n in 0..1_000 {
        a.set(&format!("key {n}"), "12345").await;
    }
    a.set("large", &"x".repeat(100_000)).await;
    a.store(Bytes::from_static(b"block"), Placement::Auto)
        .await
        .unwrap();
    a.stream(&pattern(3_000_000), Placement::Auto).await.unwrap();
    let freed = a.service.flush().await.unwrap();
    assert_eq!(
        (freed.blocks, freed.bytes),
        (1_003, 5_000 + 100_000 + 5 + 3_000_000)
    );
    let flushed = a.service.stats();
    assert_eq!(
        (flushed.keys, flushed.blocks, flushed.streams),
        (empty.keys, empty.blocks, empty.streams)
    );
    assert_eq!(flushed.used_bytes, empty.used_bytes);
    assert_eq!(a.service.flush().await.unwrap(), Freed::default());
}

#[tokio::test]
async fn what_lies_on_peers_goes_and_what_is_of_peers_stays() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 16 * MIB).await;
    a.set("mine", "on a").await;
    a.store(Bytes::from(vec![1; 1_000]), to(&b)).await.unwrap();
    a.stream(&pattern(2_000_000), to(&b)).await.unwrap();
    b.set("theirs", "on b").await;
    let of_b = b.store(Bytes::from_static(b"of b"), to(&a)).await.unwrap();
    assert_eq!(b.get("mine").await.unwrap().unwrap(), "on a");

    a.service.flush().await.unwrap();
    assert_eq!(b.get("mine").await.unwrap(), None);
    assert_eq!(a.get("mine").await.unwrap(), None);
    until("what lay on b is freed", || {
        b.service.stats().peers_used_bytes == 0
    })
    .await;
    assert_eq!(a.get("theirs").await.unwrap().unwrap(), "on b");
    assert_eq!(b.load(of_b.id, ByteRange::ALL).await.unwrap(), "of b");
    assert_eq!(a.service.stats().remote_bytes, 0);
}

#[tokio::test]
async fn a_peer_flushes_a_node_whose_owner_allows_that() {
    for (allowed, may) in [
        (allowing(&[]), false),
        (allowing(&["c"]), false),
        (allowing(&["a"]), true),
        (allowing(&["c", "all"]), true),
    ] {
        let a = TestNode::start("a", 64 * MIB).await;
        let b = start_allowing("b", allowed.clone()).await;
        a.connect(&b, 8 * MIB).await;
        b.set("of b", "value").await;
        let of_a = a.store(Bytes::from_static(b"of a"), to(&b)).await.unwrap();
        let flushed = a.service.flush_peer("b").await;
        if may {
            assert_eq!(flushed.unwrap(), Freed { blocks: 1, bytes: 5 }, "{allowed:?}");
        } else {
            let error = flushed.unwrap_err();
            assert_eq!(error.code, ErrorCode::Denied, "{allowed:?}");
            assert!(error.message.contains(&a.id().to_string()), "{error}");
        }
        assert_eq!(b.get("of b").await.unwrap().is_none(), may, "{allowed:?}");
        assert_eq!(a.load(of_a.id, ByteRange::ALL).await.unwrap(), "of a");
    }
}

#[tokio::test]
async fn a_name_counts_only_for_the_one_trusted_device_that_has_it() {
    let b = start_allowing("b", allowing(&["desk"])).await;
    let desk = TestNode::start("desk", 64 * MIB).await;
    let impostor = TestNode::start("desk", 64 * MIB).await;
    desk.connect(&b, MIB).await;
    b.set("of b", "value").await;
    // It has the name, and is trusted as well: whom the name means is no longer certain.
    impostor.connect(&b, MIB).await;
    for node in [&impostor, &desk] {
        assert_eq!(
            node.service.flush_peer("b").await.unwrap_err().code,
            ErrorCode::Denied
        );
    }
    b.service.trust_remove(&impostor.id().to_string(), false).unwrap();
    desk.service.flush_peer("b").await.unwrap();
    assert_eq!(b.get("of b").await.unwrap(), None);
}
