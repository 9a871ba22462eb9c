//! One link between two nodes, whatever happens to it.

use super::*;

#[tokio::test]
async fn a_lost_peer_is_dialled_until_it_is_back() {
    let (a, b) = pair().await;
    b.peers.stop().await;
    let info = a.sees(b.id(), PeerState::Lost).await;
    assert!(info.last_error.is_some());
    a.told(|told| told.len() == 2).await;
    let again = b.restart().await;
    a.sees(b.id(), PeerState::Connected).await;
    let told = a.told(|told| told.len() == 3).await;
    let Told::Connected { incarnation, .. } = told[2] else {
        panic!("{told:?}")
    };
    assert_eq!(incarnation, again.peers.config.incarnation);
    assert_ne!(incarnation, b.peers.config.incarnation);
}

#[tokio::test]
async fn what_only_a_broken_peer_holds_is_out_of_reach() {
    let (a, b) = pair().await;
    cut(&a, &b);
    a.told(|told| told.contains(&Told::Disconnected { peer: b.id() }))
        .await;
    // Whoever reconnects first, it is one link in the end.
    a.sees(b.id(), PeerState::Connected).await;
    assert!(a.peers.unreachable().is_empty());
    b.sees(a.id(), PeerState::Connected).await;
    // A peer that said goodbye took its data with it.
    b.peers.stop().await;
    a.sees(b.id(), PeerState::Lost).await;
    assert!(a.peers.unreachable().is_empty());
}

#[tokio::test]
async fn a_peer_that_vanished_is_unreachable() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, true).await.unwrap();
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
    cut(&a, &b);
    a.told(|told| told.len() == 2).await;
    assert_eq!(a.peers.unreachable(), [b.id()]);
    assert_eq!(
        a.peers.resolve_link("NodeB").unwrap_err().code,
        ErrorCode::PeerUnreachable
    );
    a.peers.disconnect("NodeB").unwrap();
    assert!(a.peers.unreachable().is_empty(), "the person gave it up");
}

/// Breaks the connection as a cable that is pulled and a system that notices.
pub(super) fn cut(a: &TestNode, b: &TestNode) {
    let link = a.peers.link(b.id()).unwrap();
    let socket = std::os::fd::AsFd::as_fd(&link.wire().stream);
    rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
}

#[tokio::test]
async fn a_disconnected_peer_is_not_dialled_again() {
    let (a, b) = pair().await;
    let info = a.peers.disconnect("NodeB").unwrap();
    assert_eq!(info.state, PeerState::Discovered);
    let info = b.sees(a.id(), PeerState::Discovered).await;
    assert!(info.last_error.unwrap().contains("ended the connection"));
    for node in [&a, &b] {
        assert!(node.peers.state().redials.is_empty());
        assert!(node.peers.unreachable().is_empty());
    }
}

#[tokio::test]
async fn a_restarted_peer_replaces_its_old_link_at_once() {
    let (a, b) = pair().await;
    let old = b.peers.link(a.id()).unwrap();
    // The old process is not told to stop: it hangs, as far as b knows.
    let (home, secret) = (Arc::clone(&a.home), a.secret);
    let again = TestNode::start_in(home, secret, "NodeA", |_| ()).await;
    again.sees(b.id(), PeerState::Connected).await;
    let told = b.told(|told| told.len() >= 3).await;
    assert_eq!(told[1], Told::Disconnected { peer: a.id() });
    let Told::Connected { incarnation, .. } = told[2] else {
        panic!("{told:?}")
    };
    assert_eq!(incarnation, again.peers.config.incarnation);
    let error = within(old.request(store(0), Body::empty())).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_at_once_have_one_link() {
    for round in 0..40 {
        let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
        let (to_b, to_a) = tokio::join!(a.connect(&b, false), b.connect(&a, false));
        for info in [to_b, to_a] {
            let state = info.unwrap().state;
            assert!(
                matches!(state, PeerState::Connected | PeerState::WaitingForTheirConsent),
                "round {round}: {state:?}"
            );
        }
        a.sees(b.id(), PeerState::Connected).await;
        b.sees(a.id(), PeerState::Connected).await;
        // Requests both ways pass. One that met the link that was given up fails, and passes when it is tried again.
        for (node, peer) in [(&a, &b), (&b, &a)] {
            within(async {
                loop {
                    node.sees(peer.id(), PeerState::Connected).await;
                    let Some(link) = node.peers.link(peer.id()) else {
                        continue;
                    };
                    match link.request(load(10), Body::empty()).await {
                        Ok((_, body)) => break assert_eq!(check(body).await, Ok(10)),
                        Err(error) => assert_eq!(error.code, ErrorCode::PeerUnreachable),
                    }
                }
            })
            .await;
        }
        assert_eq!(a.peers.connected().len(), 1);
        let (at_a, at_b) = (a.peers.link(b.id()).unwrap(), b.peers.link(a.id()).unwrap());
        assert_ne!(
            at_a.facts().we_dialled,
            at_b.facts().we_dialled,
            "round {round}: two ends of one link"
        );
        assert_eq!(
            at_a.facts().code,
            at_b.facts().code,
            "round {round}: two ends of one link"
        );
        tokio::join!(a.peers.stop(), b.peers.stop());
    }
}

#[tokio::test]
async fn connecting_again_keeps_the_link() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    for target in [
        "NodeB".to_owned(),
        b.address.to_string(),
        b.id().to_string()[..6].to_owned(),
    ] {
        let info = a.connect_to(&target, false).await.unwrap();
        assert_eq!(info.state, PeerState::Connected);
    }
    let info = b.connect(&a, false).await.unwrap();
    assert_eq!(info.state, PeerState::Connected);
    assert!(Arc::ptr_eq(&link, &a.peers.link(b.id()).unwrap()));
    assert_eq!(a.service.told.borrow().len(), 1);
    let request = ConnectRequest {
        target: "NodeB".to_owned(),
        quota_bytes: Some(5),
        once: false,
        accept_new_key: false,
    };
    assert_eq!(
        a.peers.connect(request).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );
}

#[tokio::test]
async fn three_nodes_know_each_other_by_name_and_id() {
    let (a, b) = pair().await;
    a.until(|peers| (!peers.trusted().is_empty()).then_some(())).await;
    let c = TestNode::start("NodeB").await;
    a.connect_though_the_key_is_new(&c).await.unwrap();
    c.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(c.id(), PeerState::Connected).await;
    assert_eq!(a.peers.connected().len(), 2);
    assert_eq!(
        a.peers.resolve_link("NodeB").unwrap_err().code,
        ErrorCode::AmbiguousPeer
    );
    for peer in [&b, &c] {
        assert_eq!(a.peers.resolve(&peer.id().to_string()), Ok(peer.id()));
        assert_eq!(a.peers.name_of(peer.id()), "NodeB");
    }
    assert_eq!(a.peers.resolve("NodeX").unwrap_err().code, ErrorCode::UnknownPeer);
    assert_eq!(a.peers.list().len(), 2);
}

#[tokio::test]
async fn a_configured_address_is_dialled_until_it_answers() {
    let b = TestNode::start("NodeB").await;
    b.peers.stop().await;
    let a = TestNode::start_with("NodeA", |config| config.dial = vec![b.address.to_string()]).await;
    let b = b.restart().await;
    // Dialling is no consent: both persons are asked.
    a.sees(b.id(), PeerState::WaitingForOurConsent).await;
    b.sees(a.id(), PeerState::WaitingForOurConsent).await;
    a.answer(&b, ConsentAnswer::Allow, None).await;
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
}

#[tokio::test]
async fn wait_tells_of_a_change_and_of_none() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, true).await.unwrap();
    let wait = |timeout_ms| PeerWait {
        peer: "NodeB".to_owned(),
        known_state: PeerState::WaitingForTheirConsent,
        timeout_ms,
    };
    assert_eq!(
        a.peers.wait(wait(1)).await.unwrap().state,
        PeerState::WaitingForTheirConsent
    );
    let (info, ()) = tokio::join!(
        within(a.peers.wait(wait(60_000))),
        b.answer(&a, ConsentAnswer::Allow, None)
    );
    assert_eq!(info.unwrap().state, PeerState::Connected);
}

#[tokio::test]
async fn stop_ends_everything() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    within(a.peers.stop()).await;
    assert!(a.peers.connected().is_empty());
    assert!(matches!(
        a.service.told.borrow()[..],
        [Told::Connected { .. }, Told::Disconnected { .. }]
    ));
    let error = link.request(load(1), Body::empty()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
    let request = ConnectRequest {
        target: b.address.to_string(),
        quota_bytes: None,
        once: true,
        accept_new_key: false,
    };
    assert_eq!(
        a.peers.connect(request).await.unwrap_err().code,
        ErrorCode::ShuttingDown
    );
    let TestNode { peers, .. } = a;
    drop(link);
    assert_eq!(
        Arc::strong_count(&peers),
        1,
        "no task holds the peers any more, the listener's included"
    );
}

#[tokio::test]
async fn a_trusted_peer_keeps_its_grant_unless_a_person_names_another() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    let target = b.address.to_string();
    for (named, expected) in [(Some(7), 7), (None, 7), (Some(9), 9)] {
        let request = ConnectRequest {
            target: target.clone(),
            quota_bytes: named,
            once: false,
            accept_new_key: false,
        };
        within(a.peers.connect(request)).await.unwrap();
        if b.peers.trusted().is_empty() {
            b.answer(&a, ConsentAnswer::Trust, None).await;
        }
        b.sees(a.id(), PeerState::Connected).await;
        assert_eq!(
            b.peers.info(a.id()).unwrap().borrowed.unwrap().quota_bytes,
            expected
        );
        a.until(|peers| (peers.trusted().first()?.quota_bytes == expected).then_some(()))
            .await;
        a.peers.disconnect("NodeB").unwrap();
        b.sees(a.id(), PeerState::Discovered).await;
    }
}
