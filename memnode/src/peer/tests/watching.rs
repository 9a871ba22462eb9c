//! Waiting for questions.

use memproto::control::ConsentWait;
use tokio::sync::mpsc;

use super::*;
use crate::notify;

fn wait(known_revision: Option<u64>, timeout_ms: u64) -> ConsentWait {
    ConsentWait {
        known_revision,
        timeout_ms,
    }
}

#[tokio::test]
async fn who_watches_sees_a_question_come_and_go() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    let none = within(b.peers.consent_wait(wait(None, u64::MAX))).await;
    assert!(none.requests.is_empty());
    let still = within(b.peers.consent_wait(wait(Some(none.revision), 1))).await;
    assert_eq!(still, none, "the time was over");

    let (one, info) = tokio::join!(
        within(b.peers.consent_wait(wait(Some(none.revision), u64::MAX))),
        a.connect(&b, true)
    );
    assert_eq!(one.requests[0].id, a.id());
    assert_eq!(Some(&one.requests[0].code), info.unwrap().code.as_ref());
    assert_ne!(one.revision, none.revision);
    assert!(one.revision < 1 << 53);

    let (gone, _) = tokio::join!(
        within(b.peers.consent_wait(wait(Some(one.revision), u64::MAX))),
        async { a.peers.disconnect("NodeB") }
    );
    assert_eq!(gone, none, "as before it asked");

    // The same peer with another code is another question.
    a.connect(&b, true).await.unwrap();
    let again = within(b.peers.consent_wait(wait(Some(none.revision), u64::MAX))).await;
    assert_ne!(again.revision, one.revision);
    assert_ne!(again.requests[0].code, "");
}

#[tokio::test]
async fn who_watches_is_answered_when_the_node_stops() {
    let a = TestNode::start("NodeA").await;
    let known = a.peers.consent_state().revision;
    let (state, ()) = tokio::join!(
        within(a.peers.consent_wait(wait(Some(known), u64::MAX))),
        a.peers.stop()
    );
    assert!(state.requests.is_empty());
}

#[tokio::test]
async fn each_question_is_told_to_the_desktop_once() {
    let (a, b, c) = (
        TestNode::start("NodeA").await,
        TestNode::start("NodeB").await,
        TestNode::start("NodeC").await,
    );
    let (notices, mut told) = mpsc::unbounded_channel();
    let show = move |notice| {
        let _ = notices.send(notice);
        std::future::ready(())
    };
    let peers = Arc::clone(&b.peers);
    let telling =
        tokio::spawn(async move { notify::tell(&peers, "memcli consent", Duration::ZERO, show).await });
    a.connect(&b, true).await.unwrap();
    let first = within(told.recv()).await.unwrap();
    assert_eq!(first.title, "'NodeA' asks to connect");
    c.connect(&b, true).await.unwrap();
    let second = within(told.recv()).await.unwrap();
    assert_eq!(
        second.title, "'NodeC' asks to connect",
        "the other one was told of"
    );
    // A peer that went away and asks anew is another question.
    a.peers.disconnect("NodeB").unwrap();
    b.until(|peers| (peers.consent_requests().len() == 1).then_some(()))
        .await;
    a.connect(&b, true).await.unwrap();
    let third = within(told.recv()).await.unwrap();
    assert_eq!(third.title, "'NodeA' asks to connect");
    b.peers.stop().await;
    within(telling).await.unwrap();
    assert!(told.recv().await.is_none(), "nothing was told twice");
}
