//! A borrower that is away for long: what the lender may do then, and what the borrower is told when it is back.

use super::*;

/// What fits a lender of 8 MiB beside what `borrowed` leaves there, and what does not.
const BUDGET: u64 = 8 * MIB;

impl TestNode {
    /// Ends the link to another node, and waits until both know.
    async fn part_from(&self, other: &TestNode) {
        self.service.peers().disconnect(&other.id().to_string()).unwrap();
        until("the link is gone", || {
            let linked = |node: &TestNode, to: &TestNode| node.service.peers().link(to.id()).is_some();
            !linked(self, other) && !linked(other, self)
        })
        .await;
    }

    async fn store_there(&self, other: &TestNode) -> BlockId {
        self.store(Bytes::from(vec![1; MIB as usize]), to(other))
            .await
            .unwrap()
            .id
    }
}

/// A lender whose memory is full of what a borrower has pinned: a key, and five blocks.
async fn lender_and_borrower() -> (TestNode, TestNode, Vec<BlockId>) {
    let lender = TestNode::start("lender", BUDGET).await;
    let borrower = TestNode::start("borrower", 64 * MIB).await;
    borrower.connect(&lender, BUDGET).await;
    let options = PutOptions {
        placement: to(&lender),
        ..PutOptions::default()
    };
    let value = Body::from(pattern(MIB as usize));
    borrower.service.set("first", value, options).await.unwrap();
    let mut blocks = Vec::new();
    for _ in 0..5 {
        blocks.push(borrower.store_there(&lender).await);
    }
    (lender, borrower, blocks)
}

async fn take(lender: &TestNode, mib: u64) -> ApiResult<Stored> {
    lender
        .store(Bytes::from(vec![2; (mib * MIB) as usize]), Placement::Local)
        .await
}

#[tokio::test]
async fn a_borrower_that_is_back_in_time_finds_everything() {
    let (lender, borrower, blocks) = lender_and_borrower().await;
    borrower.part_from(&lender).await;
    lender.service.store.expiry().advance(HOUR - PATIENCE);
    assert_eq!(take(&lender, 3).await.unwrap_err().code, ErrorCode::OutOfMemory);
    borrower.come_back_to(&lender).await;
    lender.let_an_hour_pass();
    assert_eq!(take(&lender, 3).await.unwrap_err().code, ErrorCode::OutOfMemory);
    for id in blocks {
        assert!(borrower.load(id, ByteRange::ALL).await.is_ok());
    }
    assert!(borrower.get("first").await.unwrap().is_some());
}

#[tokio::test]
async fn a_borrower_that_is_back_late_keeps_what_is_left_and_is_told_what_is_gone() {
    let (lender, borrower, _) = lender_and_borrower().await;
    borrower.part_from(&lender).await;
    let away = borrower.get("first").await.unwrap_err();
    assert_eq!(away.code, ErrorCode::PeerUnreachable);
    lender.let_an_hour_pass();
    assert_eq!(
        lender.service.stats().blocks,
        6,
        "nothing goes before room is needed"
    );
    take(&lender, 7).await.unwrap();
    assert_eq!(lender.service.stats().evictions, 6);
    borrower.come_back_to(&lender).await;

    let gone = borrower.get("first").await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
    assert!(
        gone.message.contains("it lay on 'lender', which has it no more"),
        "{gone}"
    );
    assert_eq!(
        borrower.get("first").await.unwrap(),
        None,
        "it is said once, and then forgotten"
    );
    assert_eq!(borrower.keys().await, [""; 0]);
}

#[tokio::test]
async fn what_is_left_of_a_late_borrower_is_pinned_again() {
    let (lender, borrower, blocks) = lender_and_borrower().await;
    borrower.part_from(&lender).await;
    lender.let_an_hour_pass();
    take(&lender, 3).await.unwrap();
    let went = lender.service.stats().evictions;
    assert!((1..=2).contains(&went), "no more than is needed: {went}");
    borrower.come_back_to(&lender).await;
    lender.let_an_hour_pass();
    assert_eq!(take(&lender, 1).await.unwrap_err().code, ErrorCode::OutOfMemory);
    let mut lost = u64::from(borrower.get("first").await.is_err());
    for id in blocks {
        match borrower.load(id, ByteRange::ALL).await {
            Ok(value) => assert_eq!(value.len(), MIB as usize),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::NotFound);
                assert!(error.message.contains("has it no more"), "{error}");
                lost += 1;
            }
        }
    }
    assert_eq!(lost, went);
    let used = lender.service.lent(borrower.id()).used_bytes;
    assert!(used > (6 - lost) * MIB && used < (7 - lost) * MIB);
    // What a read found lost is no object of the borrower's any more.
    assert_eq!(borrower.service.stats().remote_bytes, (6 - lost) * MIB);
}

#[tokio::test]
async fn whoever_is_connected_loses_nothing_and_a_device_that_is_trusted_no_longer_counts_as_away() {
    let (lender, borrower, _) = lender_and_borrower().await;
    lender.let_an_hour_pass();
    assert_eq!(take(&lender, 3).await.unwrap_err().code, ErrorCode::OutOfMemory);
    lender
        .service
        .trust_remove(&borrower.id().to_string(), false)
        .unwrap();
    assert_eq!(take(&lender, 3).await.unwrap_err().code, ErrorCode::OutOfMemory);
    lender.let_an_hour_pass();
    take(&lender, 3).await.unwrap();
}
