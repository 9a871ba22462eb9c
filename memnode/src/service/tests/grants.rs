//! A grant that a person changes: what the lender keeps to, what it evicts, and what the borrower learns.

use memproto::control::{GrantUse, PeerUpdate, PeerUpdated};

use super::*;

impl TestNode {
    async fn grant(&self, peer: &TestNode, quota_bytes: u64) -> ApiResult<PeerUpdated> {
        let peer = peer.id().to_string();
        self.service.update_peer(PeerUpdate { peer, quota_bytes }).await
    }

    /// What this node knows of its grant at another one.
    fn borrowed(&self, lender: &TestNode) -> Option<GrantUse> {
        let link = self.service.peers().link(lender.id())?;
        Some(link.borrowed())
    }

    /// What another node may use here, as the file of trusted devices has it.
    fn kept_grant(&self, peer: &TestNode) -> Option<u64> {
        let home = Home::open(self.home.path().join("home")).unwrap();
        let device = TrustStore::load(&home).unwrap().by_id(peer.id())?;
        Some(device.quota_bytes)
    }

    async fn store_as(&self, len: u64, placement: Placement, class: BlockClass) -> ApiResult<Stored> {
        let options = PutOptions {
            placement,
            class,
            ..PutOptions::default()
        };
        let value = Bytes::from(vec![7; len as usize]);
        self.service.store(Body::from(value), options).await
    }
}

#[tokio::test]
async fn a_grant_that_is_raised_holds_at_once_on_both_sides_and_is_kept() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, MIB).await;
    let error = a.store_as(2 * MIB, to(&b), BlockClass::Pinned).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(error.message.contains("memcli peer update"), "{error}");
    let updated = b.grant(&a, 4 * MIB).await.unwrap();
    assert_eq!((updated.name.as_str(), updated.id), ("a", a.id()));
    assert_eq!((updated.before_bytes, updated.lent.quota_bytes), (MIB, 4 * MIB));
    assert_eq!((updated.evicted, updated.trusted), (Freed::default(), true));
    let raised = || a.borrowed(&b).is_some_and(|grant| grant.quota_bytes == 4 * MIB);
    until("a knows of it", raised).await;
    a.store_as(2 * MIB, to(&b), BlockClass::Pinned).await.unwrap();
    assert_eq!(b.kept_grant(&a), Some(4 * MIB));
    // The same once more changes nothing.
    assert_eq!(b.grant(&a, 4 * MIB).await.unwrap().before_bytes, 4 * MIB);
    assert_eq!(a.borrowed(&b).unwrap().quota_bytes, 4 * MIB);
}

#[tokio::test]
async fn a_grant_that_is_lowered_evicts_what_is_cached_and_nothing_else() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    a.connect(&b, 16 * MIB).await;
    c.connect(&b, 16 * MIB).await;
    let pinned = a.store_as(2 * MIB, to(&b), BlockClass::Pinned).await.unwrap();
    let mut cached = Vec::new();
    for _ in 0..4 {
        cached.push(a.store_as(MIB, to(&b), BlockClass::Cache).await.unwrap().id);
    }
    let of_c = c.store_as(MIB, to(&b), BlockClass::Cache).await.unwrap();
    let own = b
        .store_as(MIB, Placement::Local, BlockClass::Cache)
        .await
        .unwrap();

    let updated = b.grant(&a, 4 * MIB).await.unwrap();
    assert_eq!(
        updated.evicted,
        Freed {
            blocks: 3,
            bytes: 3 * MIB
        },
        "each costs a little more than its bytes"
    );
    assert!(updated.lent.used_bytes <= 4 * MIB);
    let told = |lent: GrantUse| a.borrowed(&b) == Some(lent);
    until("a knows what it has and uses", || told(updated.lent)).await;
    let error = a.store_as(2 * MIB, to(&b), BlockClass::Pinned).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);

    let updated = b.grant(&a, 0).await.unwrap();
    assert_eq!(updated.evicted.blocks, 1);
    assert!(updated.lent.used_bytes > 2 * MIB, "what is pinned stays");
    until("a knows that nothing is granted", || told(updated.lent)).await;
    let error = a.store_as(1, to(&b), BlockClass::Cache).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert_eq!(
        a.load(pinned.id, ByteRange::ALL).await.unwrap().len(),
        2 * MIB as usize
    );
    for id in cached {
        let error = a.load(id, ByteRange::ALL).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
    }
    assert!(c.load(of_c.id, ByteRange::ALL).await.is_ok());
    assert!(b.load(own.id, ByteRange::ALL).await.is_ok());
    // Reading and sharing keys needs no grant.
    a.set("k", "v").await;
    assert_eq!(b.get("k").await.unwrap().unwrap(), "v");
}

#[tokio::test]
async fn the_grant_of_a_peer_that_was_allowed_once_changes_until_its_link_ends() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let request = ConnectRequest {
        target: b.address.to_string(),
        quota_bytes: Some(3 * MIB),
        once: true,
        accept_new_key: false,
    };
    a.service.peers().connect(request).await.unwrap();
    let waits = b.grant(&a, MIB).await.unwrap_err();
    assert_eq!(waits.code, ErrorCode::ConsentPending);
    assert!(waits.message.contains("memcli consent"), "{waits}");
    // Whoever waits for the other side may change its mind as well.
    let updated = a.grant(&b, 5 * MIB).await.unwrap();
    assert_eq!((updated.before_bytes, updated.trusted), (3 * MIB, false));
    let decision = ConsentDecision {
        peer: a.id().to_string(),
        answer: ConsentAnswer::Allow,
        quota_bytes: Some(MIB),
    };
    b.service.peers().decide(decision).unwrap();
    a.wait_for(&b, PeerState::Connected).await;
    b.wait_for(&a, PeerState::Connected).await;
    assert_eq!(b.borrowed(&a).unwrap().quota_bytes, 5 * MIB);
    assert_eq!(a.service.lent(b.id()).quota_bytes, 5 * MIB);

    let updated = b.grant(&a, 2 * MIB).await.unwrap();
    assert_eq!((updated.before_bytes, updated.trusted), (MIB, false));
    assert_eq!((a.kept_grant(&b), b.kept_grant(&a)), (None, None));
    b.service.peers().disconnect(&a.id().to_string()).unwrap();
    let error = b.grant(&a, MIB).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("neither connected nor trusted"), "{error}");
    let peer = "nobody".to_owned();
    let update = PeerUpdate { peer, quota_bytes: 1 };
    let error = b.service.update_peer(update).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownPeer);
}

#[tokio::test]
async fn the_grant_of_a_trusted_peer_that_is_away_changes_too() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, 8 * MIB).await;
    for _ in 0..3 {
        a.store_as(MIB, to(&b), BlockClass::Cache).await.unwrap();
    }
    a.service.peers().disconnect(&b.id().to_string()).unwrap();
    until("b noticed", || b.service.peers().connected().is_empty()).await;
    let updated = b.grant(&a, 2 * MIB).await.unwrap();
    assert_eq!((updated.before_bytes, updated.evicted.blocks), (8 * MIB, 2));
    assert_eq!(b.kept_grant(&a), Some(2 * MIB));
    a.come_back_to(&b).await;
    assert_eq!(a.borrowed(&b).unwrap().quota_bytes, 2 * MIB);
    assert_eq!(b.blocks(), 1);
}

#[tokio::test]
async fn of_changes_at_the_same_time_both_sides_keep_the_same_one() {
    let a = TestNode::start("a", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    a.connect(&b, MIB).await;
    for round in 1..=10 {
        let changes = (0..8).map(|change| b.grant(&a, round * MIB + change));
        futures_util::future::join_all(changes).await;
        let lent = b.service.lent(a.id());
        assert!(lent.quota_bytes >= round * MIB);
        until("a knows the one that holds", || a.borrowed(&b) == Some(lent)).await;
    }
}
