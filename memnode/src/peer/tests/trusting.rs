//! Trust in devices by their keys.

use memproto::control::TrustAddition;

use super::*;
use crate::hex;

fn addition(key: &str, name: &str, quota_bytes: Option<u64>) -> TrustAddition {
    TrustAddition {
        public_key: key.to_owned(),
        name: name.to_owned(),
        quota_bytes,
    }
}

fn key_of(node: &TestNode) -> String {
    hex::encode(&node.peers.public_key())
}

#[tokio::test]
async fn a_fleet_that_was_told_its_keys_connects_without_a_question() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    let added = a
        .peers
        .trust_add(&addition(&key_of(&b), "desk", Some(70)))
        .unwrap();
    assert!(!added.was_trusted);
    assert_eq!((added.device.id, added.device.quota_bytes), (b.id(), 70));
    b.peers.trust_add(&addition(&key_of(&a), "lap", None)).unwrap();
    assert_eq!(
        a.state_of(&b),
        Some(PeerState::Discovered),
        "known, but not where it is"
    );

    let info = a.connect(&b, false).await.unwrap();
    assert_eq!(info.state, PeerState::Connected);
    let info = b.sees(a.id(), PeerState::Connected).await;
    assert_eq!(info.borrowed.map(|grant| grant.quota_bytes), Some(70));
    assert_eq!(info.trusts_us, Some(true));
    assert!(a.peers.consent_requests().is_empty() && b.peers.consent_requests().is_empty());
}

#[tokio::test]
async fn who_waits_is_let_in_when_its_key_is_trusted() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, true).await.unwrap();
    b.sees(a.id(), PeerState::WaitingForOurConsent).await;
    b.peers
        .trust_add(&addition(&key_of(&a), "NodeA", Some(9)))
        .unwrap();
    let info = a.sees(b.id(), PeerState::Connected).await;
    assert_eq!(
        (info.borrowed.map(|grant| grant.quota_bytes), info.trusts_us),
        (Some(9), Some(true))
    );
}

#[tokio::test]
async fn a_device_is_updated_and_keeps_what_is_not_named() {
    let (a, b) = pair().await;
    let before = b.peers.trusted()[0].clone();
    let key = key_of(&a).to_uppercase();
    let added = b.peers.trust_add(&addition(&key, "lap", Some(5))).unwrap();
    assert!(added.was_trusted);
    let added = b.peers.trust_add(&addition(&key, "lap", None)).unwrap();
    assert_eq!(added.device.quota_bytes, 5);
    assert_eq!(added.device.trusted_at_unix_secs, before.trusted_at_unix_secs);
    assert_eq!(added.device.public_key, before.public_key);
    assert_eq!(b.peers.trusted(), [added.device]);
    assert_eq!(b.state_of(&a), Some(PeerState::Connected), "the link goes on");
}

#[tokio::test]
async fn who_was_refused_before_is_dialled_again() {
    let (a, b) = pair().await;
    a.until(|peers| (!peers.trusted().is_empty()).then_some(())).await;
    a.peers.disconnect("NodeB").unwrap();
    a.peers.trust_add(&addition(&key_of(&b), "NodeB", None)).unwrap();
    a.sees(b.id(), PeerState::Connected).await;
}

#[tokio::test]
async fn what_is_no_key_or_name_is_refused_and_changes_nothing() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    let (own, other) = (key_of(&a), key_of(&b));
    for (key, name, said) in [
        ("", "desk", "64 hexadecimal digits"),
        (&other[1..], "desk", "64 hexadecimal digits"),
        ("\u{1b}[2J", "desk", "64 hexadecimal digits"),
        // The identity of the curve: a key of small order, with which anything is signed.
        (&format!("01{}", "00".repeat(31)), "desk", "no public key"),
        // No point of the curve.
        (&format!("02{}", "00".repeat(31)), "desk", "no public key"),
        (&own, "desk", "this node itself"),
        (&other, "", "1 to 63"),
        (&other, "de\u{202e}sk", "invisible"),
    ] {
        let error = a.peers.trust_add(&addition(key, name, None)).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{key} {name:?}");
        assert!(error.message.contains(said), "{error}");
        assert!(!error.message.contains('\u{1b}'));
    }
    assert!(a.peers.trusted().is_empty() && a.peers.list().is_empty());
}
