//! What a change of the network, and a copied home, do to the links.

use tokio::net::{TcpListener, TcpStream};

use super::*;

/// An address that leads to a node, as long as the way is open. Then connections stay as they are, and nothing passes.
async fn way_to(node: SocketAddr) -> (watch::Sender<bool>, SocketAddr) {
    let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (way, mut is_open) = watch::channel(true);
    tokio::spawn(async move {
        let (mut here, _) = listener.accept().await.unwrap();
        let mut there = TcpStream::connect(node).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
            // The connections are kept until the test ends.
            _ = async { is_open.wait_for(|open| !open).await.map(drop) } => std::future::pending().await,
        }
    });
    (way, address)
}

#[tokio::test]
async fn a_change_of_the_network_dials_at_once_and_keeps_links_that_answer() {
    // A pause that no test would wait for.
    let patient = |config: &mut PeersConfig| config.backoff_max = Duration::from_secs(3_600);
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    a.peers.network_changed();
    let answer = within(link.request(load(10), Body::empty())).await.unwrap();
    assert_eq!(check(answer.1).await, Ok(10));
    assert!(Arc::ptr_eq(&link, &a.peers.link(b.id()).unwrap()));

    b.peers.stop().await;
    a.peers.stop().await;
    let a = TestNode::start_in(Arc::clone(&a.home), a.secret, "NodeA", |config| {
        patient(config);
        config.backoff_first = Duration::from_secs(3_600);
    })
    .await;
    // The first attempt failed: the next one is an hour away.
    a.until(|peers| peers.info(b.id()).filter(|info| info.last_error.is_some()))
        .await;
    let b = TestNode::start_in(Arc::clone(&b.home), b.secret, "NodeB", |config| {
        config.listen = vec![b.address];
        // It does not dial: that it is found is a's doing.
        config.backoff_first = Duration::from_secs(3_600);
    })
    .await;
    a.peers.network_changed();
    a.sees(b.id(), PeerState::Connected).await;
}

#[tokio::test]
async fn a_link_without_a_sign_of_life_ends_soon() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    let (way, address) = way_to(b.address).await;
    a.connect_to(&address.to_string(), true).await.unwrap();
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
    let link = a.peers.link(b.id()).unwrap();
    // Both ends stay open, and nothing passes: as with a machine that sleeps.
    way.send_replace(false);
    let begin = std::time::Instant::now();
    a.peers.network_changed();
    let error = within(link.request(load(10), Body::empty())).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
    assert!(
        begin.elapsed() < memproto::peer::link::DEAD_AFTER,
        "sooner than a link that nobody doubts"
    );
}

#[tokio::test]
async fn both_of_two_nodes_with_one_identity_are_told_and_so_is_who_meets_them() {
    // The first one dialled the other, and does so again.
    let (b, a) = pair().await;
    let copy = Arc::new(tempfile::tempdir().unwrap());
    let home = copy.path().join("home");
    std::fs::create_dir(&home).unwrap();
    for file in std::fs::read_dir(b.home.path().join("home")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), home.join(file.file_name())).unwrap();
    }
    // The copy dials a, which takes it for b after a restart. Then b dials again, and gives itself away.
    let twin = TestNode::start_in(copy, b.secret, "NodeA", |_| ()).await;
    let warned = |peers: &Peers| Some(peers.identity_warnings()).filter(|warnings| !warnings.is_empty());
    let told = a.until(warned).await;
    assert!(told[0].contains("identity of 'NodeA'"), "{told:?}");
    // Whoever of the two is refused is told so.
    let told = tokio::select! {
        told = b.until(warned) => told,
        told = twin.until(warned) => told,
    };
    assert!(told[0].contains("the identity of this one"), "{told:?}");
    assert_eq!(a.peers.connected().len(), 1, "one of the two stays connected");
    // One that dials the other refuses it, and knows.
    let error = b.connect(&twin, false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn the_first_address_at_which_the_peer_proves_itself_wins() {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    let mute = TcpListener::bind((loopback(), 0)).await.unwrap();
    let other = TestNode::start("NodeC").await;
    let addresses = vec![
        // Takes the connection and says nothing; another node; nobody; a network that is not there.
        mute.local_addr().unwrap(),
        other.address,
        (loopback(), 9).into(),
        "[fe80::1%999]:9".parse().unwrap(),
        b.address,
    ];
    let discovered = crate::discovery::DiscoveryEvent::Found {
        id: b.id(),
        name: "NodeB".to_owned(),
        addresses,
    };
    a.peers.discovered(discovered);
    let info = a.connect_to("NodeB", false).await.unwrap();
    assert_eq!(info.state, PeerState::WaitingForTheirConsent);
    assert_eq!(info.address, Some(b.address));
    assert!(
        other.peers.consent_requests().is_empty(),
        "it never learned who dialled"
    );
}
