//! Several who want the last of a lender's memory at once, and where things go that find no room.

use futures_util::future::join_all;

use super::*;
use crate::store::{Owner, Store};

/// The size of the blocks of these tests.
const SIZE: u64 = 200_000;

/// How many of them a lender has room for.
const FIT: u64 = 5;

/// How many each borrower wants to store.
const WANTED: u64 = 8;

fn budget(blocks: u64) -> u64 {
    // Half a block more, which nobody gets.
    blocks * Store::cost_of_lent(SIZE, BlockClass::Pinned) + SIZE / 2
}

fn value(number: u64) -> Bytes {
    Bytes::from(vec![number as u8; SIZE as usize])
}

fn is_no_room(error: &ApiError) -> bool {
    matches!(error.code, ErrorCode::OutOfMemory | ErrorCode::QuotaExceeded)
}

impl TestNode {
    /// Stores several values at once. Returns the ids of those that were acknowledged, after a look whether they can be read.
    async fn race(&self, placement: &Placement, numbers: std::ops::Range<u64>) -> Vec<BlockId> {
        let storing = numbers.map(|number| async move {
            match self.store(value(number), placement.clone()).await {
                Ok(stored) => Some((stored.id, number)),
                Err(error) => {
                    assert!(is_no_room(&error), "{error}");
                    None
                }
            }
        });
        let mut ids = Vec::new();
        for (id, number) in join_all(storing).await.into_iter().flatten() {
            assert_eq!(self.load(id, ByteRange::ALL).await.unwrap(), value(number));
            ids.push(id);
        }
        ids
    }

    /// Takes so much that less than a block of these tests is left.
    fn fill_up(&self) -> crate::store::Reservation {
        let usage = self.service.store.usage();
        let left = usage.budget_bytes - usage.used_bytes;
        self.service.store.reserve(Owner::Local, left - SIZE / 2).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_borrowers_that_want_the_last_of_a_lender_are_both_answered_rightly() {
    let lender = TestNode::start("lender", budget(FIT)).await;
    let first = TestNode::start("first", 64 * MIB).await;
    let second = TestNode::start("second", 64 * MIB).await;
    first.connect(&lender, 64 * MIB).await;
    second.connect(&lender, 64 * MIB).await;
    let there = to(&lender);
    let empty = lender.service.stats().used_bytes;
    for _ in 0..3 {
        let (of_first, of_second) = tokio::join!(
            first.race(&there, 0..WANTED),
            second.race(&there, WANTED..2 * WANTED)
        );
        assert_eq!(
            (of_first.len() + of_second.len()) as u64,
            FIT,
            "all that fits, and no more"
        );
        let lent = |node: &TestNode| lender.service.lent(node.id()).used_bytes;
        let cost = |ids: &[BlockId]| ids.len() as u64 * Store::cost_of_lent(SIZE, BlockClass::Pinned);
        assert_eq!((lent(&first), lent(&second)), (cost(&of_first), cost(&of_second)));
        for (node, ids) in [(&first, of_first), (&second, of_second)] {
            for id in ids {
                node.service.free(vec![id]).await.unwrap();
            }
        }
        assert_eq!(lender.service.stats().used_bytes, empty);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_used_up_exactly_by_stores_at_the_same_time() {
    let lender = TestNode::start("lender", 64 * MIB).await;
    let borrower = TestNode::start("borrower", 64 * MIB).await;
    borrower.connect(&lender, budget(FIT)).await;
    let ids = borrower.race(&to(&lender), 0..WANTED).await;
    assert_eq!(ids.len() as u64, FIT);
    assert_eq!(lender.blocks(), FIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_lender_refuses_the_next_one_gets() {
    let borrower = TestNode::start("borrower", 2 * MIB).await;
    let lenders = [
        TestNode::start("b", budget(FIT)).await,
        TestNode::start("c", budget(FIT)).await,
    ];
    for lender in &lenders {
        borrower.connect(lender, 64 * MIB).await;
    }
    let _held = borrower.fill_up();
    let ids = borrower.race(&Placement::Auto, 0..2 * WANTED).await;
    assert_eq!(ids.len() as u64, 2 * FIT, "both are full");
    assert!(lenders.iter().all(|lender| lender.blocks() == FIT));
    assert_eq!(borrower.service.stats().blocks, 0);
}

#[tokio::test]
async fn a_value_that_still_arrives_goes_to_the_next_lender_too() {
    let borrower = TestNode::start("borrower", 2 * MIB).await;
    let [full, other] = [
        TestNode::start("b", 8 * MIB).await,
        TestNode::start("c", 8 * MIB).await,
    ];
    // The first has the larger grant, and nothing behind it.
    borrower.connect(&full, 64 * MIB).await;
    borrower.connect(&other, 32 * MIB).await;
    let (_held, _full) = (borrower.fill_up(), full.fill_up());
    for len in [SIZE as usize, 5 * MIB as usize] {
        let bytes = pattern(len);
        let (sender, body) = Body::channel(Some(len as u64), |_| {});
        for at in (0..len).step_by(70_000) {
            sender.send(bytes.slice(at..len.min(at + 70_000)));
        }
        sender.finish();
        let stored = borrower.service.store(body, PutOptions::default()).await.unwrap();
        assert!(borrower.load(stored.id, ByteRange::ALL).await.unwrap() == bytes);
    }
    assert_eq!((full.blocks(), other.blocks()), (0, 2));
}

#[tokio::test]
async fn a_stream_goes_to_peers_first_and_stays_only_where_none_has_room() {
    let chunk = Store::cost_of_lent_chunk(STREAM_CHUNK_SIZE as u64, BlockClass::Pinned);
    let writer = TestNode::start("writer", 64 * MIB).await;
    let b = TestNode::start("b", 64 * MIB).await;
    let c = TestNode::start("c", 64 * MIB).await;
    writer.connect(&b, 3 * chunk + 1).await;
    writer.connect(&c, 2 * chunk + 1).await;
    let value = pattern(8 * STREAM_CHUNK_SIZE);
    let small = writer
        .stream(&value.slice(..3 * STREAM_CHUNK_SIZE), Placement::Auto)
        .await
        .unwrap();
    assert_eq!(b.blocks() + c.blocks(), 3, "while a peer has room nothing stays");
    assert_eq!(writer.blocks(), 0);
    writer.service.free(vec![small.id]).await.unwrap();
    let whole = writer.stream(&value, Placement::Auto).await.unwrap();
    assert_eq!((b.blocks(), c.blocks(), writer.blocks()), (3, 2, 3));
    assert!(writer.load(whole.id, ByteRange::ALL).await.unwrap() == value);
    let error = writer.stream(&value, Placement::Remote).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfMemory);
    assert_eq!((b.blocks(), c.blocks(), writer.blocks()), (3, 2, 3));
}
