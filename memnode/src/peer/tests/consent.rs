//! Who may connect, for how long, and what each side is told.

use memproto::control::ConsentRequest;

use super::*;

#[tokio::test]
async fn a_stranger_waits_with_the_same_code_on_both_sides_until_it_is_allowed() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    let info = a.connect(&b, true).await.unwrap();
    assert_eq!(info.state, PeerState::WaitingForTheirConsent);
    let error = a.peers.resolve_link("NodeB").unwrap_err();
    assert_eq!(error.code, ErrorCode::ConsentPending);

    b.sees(a.id(), PeerState::WaitingForOurConsent).await;
    let requests = b.peers.consent_requests();
    let request = &requests[0];
    assert_eq!((request.id, request.name.as_str()), (a.id(), "NodeA"));
    assert_eq!(Some(&request.code), info.code.as_ref());
    assert_eq!(request.code.len(), 6);
    assert_eq!(
        (request.offered_quota_bytes, request.default_quota_bytes),
        (1_000, 1_000)
    );
    assert_eq!(request.fingerprint, a.id().fingerprint());
    assert_eq!(
        b.peers.resolve_link("NodeA").unwrap_err().code,
        ErrorCode::ConsentPending
    );

    b.answer(&a, ConsentAnswer::Allow, Some(77)).await;
    let info = a.sees(b.id(), PeerState::Connected).await;
    assert_eq!(
        info.borrowed,
        Some(GrantUse {
            quota_bytes: 77,
            used_bytes: 0
        })
    );
    assert_eq!(
        info.lent,
        Some(GrantUse {
            quota_bytes: 11,
            used_bytes: 7
        })
    );
    let told = a.told(|told| !told.is_empty()).await;
    let Told::Connected {
        peer, quota_bytes, ..
    } = told[0]
    else {
        panic!("{told:?}")
    };
    assert_eq!((peer, quota_bytes), (b.id(), 1_000));
    let told = b.told(|told| !told.is_empty()).await;
    let Told::Connected {
        peer,
        quota_bytes,
        incarnation,
    } = told[0]
    else {
        panic!("{told:?}")
    };
    assert_eq!((peer, quota_bytes), (a.id(), 77));
    assert_eq!(incarnation, a.peers.config.incarnation);
    assert!(
        a.peers.trusted().is_empty() && b.peers.trusted().is_empty(),
        "once is not for good"
    );
    assert!(b.peers.consent_requests().is_empty());
}

#[tokio::test]
async fn connect_and_trust_last() {
    let (a, b) = pair().await;
    a.until(|peers| (!peers.trusted().is_empty()).then_some(())).await;
    assert_eq!(a.peers.trusted()[0].id, b.id());
    assert_eq!(a.peers.trusted()[0].addresses, [b.address]);
    assert_eq!(b.peers.trusted()[0].id, a.id());
    assert!(a.peers.info(b.id()).unwrap().trusted);
}

#[tokio::test]
async fn a_trusted_peer_needs_no_answer() {
    let (a, b) = pair().await;
    a.peers.disconnect("NodeB").unwrap();
    b.sees(a.id(), PeerState::Discovered).await;
    let info = a.connect_to("NodeB", false).await.unwrap();
    assert_eq!(info.state, PeerState::Connected);
    assert!(b.peers.consent_requests().is_empty());
}

#[tokio::test]
async fn no_is_told_to_the_other_side() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, false).await.unwrap();
    b.answer(&a, ConsentAnswer::Deny, None).await;
    assert_eq!(b.state_of(&a), Some(PeerState::Denied));
    let info = a.sees(b.id(), PeerState::Denied).await;
    assert!(info.last_error.unwrap().contains("said no"));
    assert_eq!(info.last_error_code, Some(ErrorCode::Denied));
    assert_eq!(a.peers.resolve_link("NodeB").unwrap_err().code, ErrorCode::Denied);
    assert!(a.peers.trusted().is_empty(), "who said no is not trusted");
    assert!(a.service.told.borrow().is_empty() && b.service.told.borrow().is_empty());
    // A person may ask again.
    let info = a.connect(&b, false).await.unwrap();
    assert_eq!(info.state, PeerState::WaitingForTheirConsent);
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
}

#[tokio::test]
async fn an_unanswered_question_expires_on_both_sides() {
    let a = TestNode::start("NodeA").await;
    let b = TestNode::start_with("NodeB", |config| {
        config.consent_timeout = Duration::from_millis(50);
    })
    .await;
    // Whether it still waits when this returns, or has expired already, depends on the machine.
    let _ = a.connect(&b, false).await;
    let info = a
        .until(|peers| peers.info(b.id()).filter(|info| info.last_error.is_some()))
        .await;
    assert_eq!(info.state, PeerState::Discovered);
    assert!(info.last_error.unwrap().contains("nobody at 'NodeB' answered"));
    assert_eq!(info.last_error_code, Some(ErrorCode::Timeout));
    assert!(b.peers.consent_requests().is_empty());
    assert!(
        b.peers
            .info(a.id())
            .unwrap()
            .last_error
            .unwrap()
            .contains("nobody here answered")
    );
    let decision = ConsentDecision {
        peer: "NodeA".to_owned(),
        answer: ConsentAnswer::Allow,
        quota_bytes: None,
    };
    assert_eq!(b.peers.decide(decision).unwrap_err().code, ErrorCode::UnknownPeer);
}

#[tokio::test]
async fn connect_answers_a_question_that_waits() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, true).await.unwrap();
    b.sees(a.id(), PeerState::WaitingForOurConsent).await;
    let info = b.connect_to("NodeA", true).await.unwrap();
    assert_eq!(info.state, PeerState::Connected);
    a.sees(b.id(), PeerState::Connected).await;
}

#[tokio::test]
async fn too_many_questions_are_refused_as_busy() {
    let b = TestNode::start_with("NodeB", |config| config.consents_per_address_max = 1).await;
    let (a, c) = (TestNode::start("NodeA").await, TestNode::start("NodeC").await);
    a.connect(&b, true).await.unwrap();
    b.sees(a.id(), PeerState::WaitingForOurConsent).await;
    let error = c.connect(&b, true).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy);
    assert!(error.message.contains("too many"), "{error}");
    // The refused one cost nobody else anything.
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
}

#[tokio::test]
async fn trust_that_is_withdrawn_ends_the_link_at_once() {
    let (a, b) = pair().await;
    let removed = b.peers.distrust("NodeA").unwrap();
    assert_eq!(removed.id, a.id());
    assert!(b.peers.link(a.id()).is_none());
    assert!(matches!(
        b.service.told.borrow()[..],
        [Told::Connected { .. }, Told::Disconnected { .. }]
    ));
    a.sees(b.id(), PeerState::Denied).await;
    assert_eq!(
        b.peers.distrust("NodeA").unwrap_err().code,
        ErrorCode::UnknownPeer
    );
    // The other side still trusts, but is a stranger here again.
    let info = a.connect_to("NodeB", false).await.unwrap();
    assert_eq!(info.state, PeerState::WaitingForTheirConsent);
}

#[tokio::test]
async fn whoever_asks_learns_whether_it_will_be_asked_again() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, true).await.unwrap();
    b.answer(&a, ConsentAnswer::Allow, None).await;
    let info = a.sees(b.id(), PeerState::Connected).await;
    assert_eq!(info.trusts_us, Some(false));
    let info = b.sees(a.id(), PeerState::Connected).await;
    assert_eq!(info.trusts_us, Some(false), "a connected once");
    // Trust that comes later is told as well.
    a.connect(&b, false).await.unwrap();
    b.until(|peers| peers.info(a.id()).filter(|info| info.trusts_us == Some(true)))
        .await;

    let (a, b) = pair().await;
    for (one, other) in [(&a, &b), (&b, &a)] {
        one.until(|peers| peers.info(other.id()).filter(|info| info.trusts_us == Some(true)))
            .await;
    }
}

#[tokio::test]
async fn what_was_allowed_once_is_asked_again_when_the_link_has_ended() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, false).await.unwrap();
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
    b.sees(a.id(), PeerState::Connected).await;
    let first = b.peers.link(a.id()).unwrap();
    // It breaks without a word, as by a network that is gone; a trusts b and dials again by itself.
    super::links::cut(&a, &b);
    b.until(|peers| {
        let asks = |request: &&ConsentRequest| request.id == a.id();
        peers.consent_requests().iter().find(asks).map(drop)
    })
    .await;
    assert!(b.peers.link(a.id()).is_none());
    assert!(first.request(PeerRequest::Usage, Body::empty()).await.is_err());
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
}

#[tokio::test]
async fn who_knows_a_name_does_not_talk_to_another_key_under_it() {
    let (a, _b) = pair().await;
    a.until(|peers| (!peers.trusted().is_empty()).then_some(())).await;
    let impostor = TestNode::start("NodeB").await;
    let error = a.connect(&impostor, false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Denied);
    for part in [
        &*impostor.id().fingerprint(),
        "memcli trust remove NodeB",
        "--accept-new-key",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(a.peers.info(impostor.id()).is_none());
    assert!(
        impostor.peers.list().is_empty() && impostor.peers.consent_requests().is_empty(),
        "it did not learn who dialled"
    );
    let info = a.connect_though_the_key_is_new(&impostor).await.unwrap();
    assert_eq!(info.warning, Some(ConsentWarning::KnownNameNewKey));
}

#[tokio::test]
async fn a_known_key_under_another_name_is_let_in_and_told() {
    let (a, b) = pair().await;
    a.peers.stop().await;
    let address = a.address;
    let renamed = TestNode::start_in(Arc::clone(&a.home), a.secret, "Desk", |config| {
        config.listen = vec![address];
    })
    .await;
    renamed.connect(&b, false).await.unwrap();
    let info = b
        .until(|peers| {
            peers
                .info(a.id())
                .filter(|info| info.state == PeerState::Connected && info.name == "Desk")
        })
        .await;
    assert_eq!(info.warning, Some(ConsentWarning::KnownKeyNewName));
    b.until(|peers| (peers.trusted()[0].name == "Desk").then_some(()))
        .await;
}

#[tokio::test]
async fn a_known_name_with_a_new_key_is_a_warning() {
    let (_a, b) = pair().await;
    let impostor = TestNode::start("NodeA").await;
    impostor.connect(&b, true).await.unwrap();
    let info = b.sees(impostor.id(), PeerState::WaitingForOurConsent).await;
    assert_eq!(info.warning, Some(ConsentWarning::KnownNameNewKey));
    let request = &b.peers.consent_requests()[0];
    assert_eq!(
        request.warning,
        Some(memproto::control::ConsentWarning::KnownNameNewKey)
    );
    let error = b.peers.resolve("NodeA").unwrap_err();
    assert_eq!(error.code, ErrorCode::AmbiguousPeer);
    assert!(error.message.contains(&impostor.id().to_string()), "{error}");
    // The question can still be answered by its name: only one of that name waits.
    b.answer(&impostor, ConsentAnswer::Deny, None).await;
}
