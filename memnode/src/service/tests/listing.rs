//! What a node lists of the keys of the whole pool.

use std::collections::BTreeSet;

use memproto::peer::message::KeyVersion;

use super::*;

/// As [`TestNode::list`], with the keys in order.
async fn names(node: &TestNode, options: KeysOptions, limit: u32) -> (Vec<String>, Vec<String>) {
    let (keys, missing) = node.list(options, limit).await;
    let mut keys: Vec<String> = keys.into_iter().map(String::from).collect();
    keys.sort();
    (keys, missing)
}

const LOCAL: KeysOptions = KeysOptions {
    local: true,
    details: false,
};

const DETAILS: KeysOptions = KeysOptions {
    local: false,
    details: true,
};

#[tokio::test]
async fn each_key_of_three_nodes_comes_once_whatever_the_pages() {
    let nodes = [
        TestNode::start("a", 64 * MIB).await,
        TestNode::start("b", 64 * MIB).await,
        TestNode::start("c", 64 * MIB).await,
    ];
    let [a, b, c] = &nodes;
    a.connect(b, MIB).await;
    a.connect(c, MIB).await;
    b.connect(c, MIB).await;
    let mut expected = BTreeSet::new();
    for (node, count) in nodes.iter().zip([7, 40, 1]) {
        for number in 0..count {
            let key = format!("{}:{number}", node.service.config.name);
            node.set(&key, "v").await;
            expected.insert(key);
        }
    }
    until("c knows of it", || c.knows("a:0")).await;
    // What moves to another node is not listed twice.
    c.set("a:0", "of c").await;
    for limit in [1, 3, 1_000] {
        for node in &nodes {
            let (keys, missing) = names(node, KeysOptions::default(), limit).await;
            assert_eq!(
                keys,
                expected.iter().cloned().collect::<Vec<_>>(),
                "pages of {limit}"
            );
            assert_eq!(missing, [""; 0]);
        }
    }
    assert_eq!(names(c, LOCAL, 1).await.0, ["a:0", "c:0"]);
    let request = KeysRequest {
        patterns: vec!["?:0".to_owned()],
        cursor: 0,
        limit: 1,
        options: LOCAL,
    };
    let page = a.service.keys(&request).await.unwrap();
    assert_eq!((page.keys.len(), page.cursor), (0, 0), "a has lost the only one");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn details_say_who_answers_and_where_the_bytes_lie() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 8 * MIB).await;
    a.set("here", "value").await;
    a.set_for_an_hour("there", to(&b)).await;
    let cached = PutOptions {
        class: BlockClass::Cache,
        ..PutOptions::default()
    };
    let body = Body::from(pattern(100_000));
    a.service.set("cached", body, cached).await.unwrap();
    for node in [&a, &b] {
        let (mut listed, _) = node.list(DETAILS, 10).await;
        listed.sort_by(|one, other| one.key.cmp(&other.key));
        let [cached, here, there] = &listed[..] else {
            panic!("{listed:?}")
        };
        let details = |listed: &ListedKey| listed.details.unwrap();
        let (cached, here, there) = (details(cached), details(here), details(there));
        assert!(
            [cached, here, there]
                .iter()
                .all(|of| of.node == a.id() && !of.is_stream)
        );
        assert_eq!((here.holder, here.size, here.ttl), (a.id(), 5, None));
        assert_eq!(here.class, Some(BlockClass::Pinned));
        assert_eq!((cached.size, cached.class), (100_000, Some(BlockClass::Cache)));
        assert_eq!((there.holder, there.size, there.class), (b.id(), 5, None));
        let left = there.ttl.unwrap().as_millis();
        assert!(left > 0 && left <= HOUR.as_millis() as u64, "{left}");
    }
    let (without, _) = a.list(KeysOptions::default(), 10).await;
    assert!(without.iter().all(|listed| listed.details.is_none()));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_node_that_is_away_is_named_and_the_others_are_listed() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, MIB).await;
    a.connect(&c, MIB).await;
    for (node, key) in [(&a, "of a"), (&b, "of b"), (&c, "of c")] {
        node.set(key, "v").await;
    }
    until("a knows of it", || a.knows("of b")).await;
    b.stop().await;
    until("a lost b", || a.service.peers().connected().len() == 1).await;
    for limit in [1, 10] {
        let (keys, missing) = names(&a, KeysOptions::default(), limit).await;
        assert_eq!(keys, ["of a", "of c"]);
        assert_eq!(missing, ["b"]);
    }
    let (keys, missing) = names(&a, LOCAL, 10).await;
    assert_eq!((keys, missing), (vec!["of a".to_owned()], Vec::new()));
    // Who is forgotten, with all that was known of its keys, is not missed.
    a.service.trust_remove("b", false).unwrap();
    assert_eq!(names(&a, KeysOptions::default(), 10).await.1, [""; 0]);
    a.stop().await;
    c.stop().await;
}

#[tokio::test]
async fn a_cursor_of_a_peer_that_went_goes_on_with_the_next() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, MIB).await;
    a.connect(&c, MIB).await;
    for node in [&b, &c] {
        for number in 0..10 {
            let key = format!("{}:{number}", node.service.config.name);
            node.set(&key, "v").await;
        }
    }
    let request = |cursor| KeysRequest {
        patterns: vec!["*".to_owned()],
        cursor,
        limit: 4,
        options: KeysOptions::default(),
    };
    until("a knows of them", || a.knows("b:9") && a.knows("c:9")).await;
    let first = a.service.keys(&request(0)).await.unwrap();
    assert_eq!(first.keys.len(), 4);
    let whose = first.keys[0].key.split(':').next().unwrap().to_owned();
    let (goes, stays) = if whose == "b" { (b, c) } else { (c, b) };
    goes.stop().await;
    until("it is gone", || a.service.peers().connected().len() == 1).await;
    let (mut keys, mut missing, mut cursor) = (BTreeSet::new(), Vec::new(), first.cursor);
    while cursor != 0 {
        let page = a.service.keys(&request(cursor)).await.unwrap();
        keys.extend(page.keys.into_iter().map(String::from));
        missing.extend(page.missing.into_iter().map(|missing| missing.name));
        cursor = page.cursor;
    }
    let left = &stays.service.config.name;
    let expected: BTreeSet<String> = (0..10).map(|number| format!("{left}:{number}")).collect();
    assert_eq!(keys, expected);
    assert_eq!(missing, [whose]);
    // Numbers that nobody gave out end, too.
    for cursor in [u64::MAX, 1 << 63, 3 << 44 | 5, 77 << 44] {
        let mut cursor = cursor;
        for _ in 0..100 {
            cursor = a.service.keys(&request(cursor)).await.unwrap().cursor;
        }
        assert_eq!(cursor, 0);
    }
    a.stop().await;
    stays.stop().await;
}

#[tokio::test]
async fn a_key_that_its_node_evicted_is_not_there_though_others_have_it_in_mind() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, MIB).await;
    a.connect(&c, MIB).await;
    b.connect(&c, MIB).await;
    let stored = a.set("k", "value").await;
    until("both know of it", || b.knows("k") && c.knows("k")).await;
    // As an eviction does: nothing is recorded, and nobody is told.
    a.service.store.remove(stored.id).unwrap();
    assert_eq!(b.get("k").await.unwrap(), None);
    assert_eq!(b.keys().await, [""; 0]);
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test]
async fn nobody_drops_a_value_on_the_strength_of_a_note() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, MIB).await;
    let version = |time| Version {
        time,
        node: NodeId::from_bytes([9; 16]),
    };
    let newer = a.service.tick();
    let told = |version, deleted| KeyVersion {
        key: "k".to_owned(),
        version,
        deleted,
    };
    // A key of another node, of which only a hash is known: it may be another key.
    assert!(
        a.service
            .outdate(&told(version(newer.time), false))
            .newer
            .is_none()
    );
    let reconcile = |time| {
        let keys = vec![KeyVersion {
            version: Version { time, node: b.id() },
            ..told(version(0), false)
        }];
        PeerRequest::Reconcile {
            keys,
            complete: false,
            clock: time,
        }
    };
    let ask = |request| async {
        let link = b.service.peers().link(a.id()).unwrap();
        match link.request(request, Body::empty()).await.unwrap().0 {
            PeerReply::Reconciled { newer, .. } => newer,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(reconcile(newer.time - 1)).await, []);
    // A deletion is known by the whole key.
    let deleted = told(version(newer.time + 1), true);
    a.service.outdate(&deleted);
    assert_eq!(ask(reconcile(newer.time - 1)).await, [deleted]);
    a.stop().await;
    b.stop().await;
}
