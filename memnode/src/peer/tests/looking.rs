//! Asking together, and waiters that read their replies themselves.

use futures_util::FutureExt;

use super::super::{Heard, Looking, together};
use super::*;

#[tokio::test]
async fn what_is_asked_together_leaves_together() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let mut requests: Vec<_> = (0..3)
        .map(|_| Box::pin(link.request(load(10), Body::empty())))
        .collect();
    // No task runs meanwhile: it is the thread of this test.
    let before = link.traffic().0;
    together(|| {
        for request in &mut requests {
            assert!(request.now_or_never().is_none());
        }
        // Also within another call.
        together(|| assert_eq!(link.traffic().0, before));
        assert_eq!(link.traffic().0, before);
    });
    assert!(link.traffic().0 > before);
    for request in requests {
        let (_, body) = within(request).await.unwrap();
        assert_eq!(body.as_whole().unwrap(), pattern(0, 10));
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn who_looks_reads_the_reply_and_the_reader_is_not_told_of_it() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let mut request = Box::pin(link.request(load(10), Body::empty()));
    let mut looking = Looking::default();
    assert_eq!(looking.hear(), Heard::Nobody, "nothing was asked");
    together(|| assert!((&mut request).now_or_never().is_none()));
    // The peer has had no turn yet.
    assert_eq!(looking.hear(), Heard::Nothing);
    within(async {
        // Read by the link's reader, it would be nobody who is waited for.
        while looking.hear() != Heard::Something {
            assert!(link.wire().is_awaited());
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (_, body) = (&mut request)
        .now_or_never()
        .expect("it was handed over")
        .unwrap();
    assert_eq!(body.as_whole().unwrap(), pattern(0, 10));
    assert_eq!(looking.hear(), Heard::Nobody);
}

#[tokio::test]
async fn who_looks_no_more_is_woken_by_the_reader() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    for _ in 0..10 {
        let mut request = Box::pin(link.request(load(10), Body::empty()));
        together(|| assert!((&mut request).now_or_never().is_none()));
        let mut looking = Looking::default();
        looking.hear();
        // The reply may be there already, or come later.
        tokio::task::yield_now().await;
        looking.stop();
        within(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_link_that_looks_again_answers_and_keeps_its_timers() {
    let haste = |config: &mut PeersConfig| config.look_again = Duration::from_millis(1);
    let a = TestNode::start_with("NodeA", haste).await;
    let b = TestNode::start_with("NodeB", haste).await;
    a.connect(&b, false).await.unwrap();
    b.answer(&a, ConsentAnswer::Trust, None).await;
    a.sees(b.id(), PeerState::Connected).await;
    b.sees(a.id(), PeerState::Connected).await;
    let link = a.peers.link(b.id()).unwrap();
    for length in 0..300 {
        let (_, body) = within(link.request(load(length), Body::empty())).await.unwrap();
        assert_eq!(within(check(body)).await, Ok(length));
    }
    // A request that is not answered ends with its link, while the others go on.
    let mut unanswered = Box::pin(link.request(PeerRequest::Usage, Body::empty()));
    assert!((&mut unanswered).now_or_never().is_none());
    within(link.request(load(1), Body::empty())).await.unwrap();
    b.peers.stop().await;
    assert_eq!(
        within(unanswered).await.unwrap_err().code,
        ErrorCode::PeerUnreachable
    );
}
