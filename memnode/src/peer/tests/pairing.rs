//! Two nodes, a code on one screen, and what is typed at the other one.

use std::sync::Mutex;

use ed25519_dalek::SigningKey;
use memproto::control::{PairCodeShown, PairJoin, PairOffer, PairWait};
use memproto::peer::pairing::{PairMessage, PairShare, label_of};
use memproto::peer::{Consent, Goodbye, HandshakeConfig, Link, LinkConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::driver::{self, Host, LinkEnd};
use super::super::entry::LinkFacts;
use super::super::handshake::{self, Shaken};
use super::super::link::PeerLink;
use super::super::transport::Connection;
use super::super::wire::{Wire, now};
use super::*;
use crate::surroundings::Surroundings;

/// A share that nobody made with a code: the base point of the curve.
const PAIR_SHARE: PairShare = {
    let mut point = [0x66; 32];
    point[0] = 0x58;
    point
};

fn offer(node: &TestNode, quota_bytes: Option<u64>) -> PairCodeShown {
    node.peers.offer_pairing(&PairOffer { quota_bytes }).unwrap()
}

/// Waits for the outcome as the command that shows the code does.
fn wait(node: &TestNode, shown: &PairCodeShown) -> JoinHandle<ApiResult<PeerInfo>> {
    let (peers, number) = (Arc::clone(&node.peers), shown.number);
    tokio::spawn(async move { peers.wait_pairing(PairWait { number }).await })
}

async fn outcome(waiting: JoinHandle<ApiResult<PeerInfo>>) -> ApiResult<PeerInfo> {
    within(waiting).await.unwrap()
}

async fn join(node: &TestNode, code: &str, at: &str, quota_bytes: Option<u64>) -> ApiResult<PeerInfo> {
    let join = PairJoin {
        code: code.to_owned(),
        at: Some(at.to_owned()),
        quota_bytes,
    };
    within(node.peers.join_pairing(join)).await
}

/// The code with its last digit changed.
fn wrong(code: &str) -> String {
    let (rest, last) = code.split_at(code.len() - 1);
    let last = (last.parse::<u8>().unwrap() + 1) % 10;
    format!("{rest}{last}")
}

fn trusts(node: &TestNode, peer: &TestNode) -> bool {
    node.peers.trusted().iter().any(|device| device.id == peer.id())
}

async fn two() -> (TestNode, TestNode) {
    (TestNode::start("NodeA").await, TestNode::start("NodeB").await)
}

#[tokio::test]
async fn the_code_makes_both_trust_for_good_with_the_grants_that_were_named() {
    let (a, b) = two().await;
    let shown = offer(&a, Some(70));
    assert_eq!(shown.expires_in_secs, 300);
    let waiting = wait(&a, &shown);
    let at_b = join(&b, &shown.code, &a.address.to_string(), Some(50))
        .await
        .unwrap();
    let at_a = outcome(waiting).await.unwrap();
    assert_eq!((at_a.id, at_b.id), (Some(b.id()), Some(a.id())));
    for info in [&at_a, &at_b] {
        assert_eq!(info.state, PeerState::Connected);
        assert!(info.trusted);
    }
    assert_eq!(at_a.borrowed.map(|grant| grant.quota_bytes), Some(50));
    assert_eq!(at_b.borrowed.map(|grant| grant.quota_bytes), Some(70));
    assert!(a.peers.consent_requests().is_empty() && b.peers.consent_requests().is_empty());

    // For good: both come up again without a question.
    a.peers.stop().await;
    let a = a.restart().await;
    a.sees(b.id(), PeerState::Connected).await;
    let granted = a.peers.trusted().remove(0).quota_bytes;
    assert_eq!(granted, 70);
}

#[tokio::test]
async fn a_wrong_code_burns_the_offer_and_both_persons_are_told() {
    let (a, b) = two().await;
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    let at = a.address.to_string();
    let error = join(&b, &wrong(&shown.code), &at, None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(
        error.message.contains("not the code that 'NodeA' shows"),
        "{error}"
    );
    let error = outcome(waiting).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(error.message.contains("'NodeB'"), "{error}");

    // The right code comes too late.
    let error = join(&b, &shown.code, &at, None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(error.message.contains("offers no code"), "{error}");
    assert!(!trusts(&a, &b) && !trusts(&b, &a));
    assert!(a.peers.consent_requests().is_empty() && b.peers.consent_requests().is_empty());
    assert_eq!(b.service.told.borrow().len(), 0);
}

#[tokio::test]
async fn an_offer_expires_and_ends_with_whoever_waits_for_it() {
    let a = TestNode::start_with("NodeA", |config| config.pair_timeout = Duration::from_millis(20)).await;
    let b = TestNode::start("NodeB").await;
    let shown = offer(&a, None);
    let error = outcome(wait(&a, &shown)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    let at = a.address.to_string();
    let error = join(&b, &shown.code, &at, None).await.unwrap_err();
    assert!(error.message.contains("offers no code"), "{error}");

    let a = TestNode::start("NodeA").await;
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    // On the one thread of this test it begins to wait now.
    tokio::task::yield_now().await;
    waiting.abort();
    let _ = waiting.await;
    let error = join(&b, &shown.code, &a.address.to_string(), None)
        .await
        .unwrap_err();
    assert!(error.message.contains("offers no code"), "{error}");

    // A second one takes the place of the first.
    let first = offer(&a, None);
    let waiting = wait(&a, &first);
    let second = offer(&a, None);
    assert_eq!(outcome(waiting).await.unwrap_err().code, ErrorCode::Busy);
    let waiting = wait(&a, &second);
    join(&b, &second.code, &a.address.to_string(), None)
        .await
        .unwrap();
    assert!(outcome(waiting).await.is_ok());
}

#[tokio::test]
async fn whoever_comes_while_a_code_is_offered_and_does_not_try_it_is_asked_about() {
    let (a, b) = two().await;
    let shown = offer(&a, None);
    b.connect(&a, false).await.unwrap();
    a.answer(&b, ConsentAnswer::Allow, None).await;
    b.sees(a.id(), PeerState::Connected).await;
    let waiting = wait(&a, &shown);
    join(&b, &shown.code, "NodeA", None).await.unwrap();
    assert!(outcome(waiting).await.is_ok());
}

#[tokio::test]
async fn a_code_is_tried_at_the_node_that_made_it_alone() {
    let (a, b) = two().await;
    let c = loop {
        let c = TestNode::start("NodeC").await;
        if label_of(c.id()) != label_of(a.id()) {
            break c;
        }
    };
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    let error = join(&b, &shown.code, &c.address.to_string(), None)
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("was not made by 'NodeC'"), "{error}");
    // It was not used up.
    join(&b, &shown.code, &a.address.to_string(), None).await.unwrap();
    assert!(outcome(waiting).await.is_ok());

    for (code, error_code) in [
        ("417-582", ErrorCode::InvalidArgument),
        ("", ErrorCode::InvalidArgument),
    ] {
        let error = join(&b, code, &a.address.to_string(), None).await.unwrap_err();
        assert_eq!(error.code, error_code, "{code}");
    }
}

#[tokio::test]
async fn without_a_name_the_node_is_found_by_its_code() {
    let (a, b) = two().await;
    let announce = |id, name: &str, address| {
        b.peers.state().table.announced(id, name, vec![address]);
        b.peers.touch();
    };
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    let by_code = |code: &str| {
        let join = PairJoin {
            code: code.to_owned(),
            at: None,
            quota_bytes: None,
        };
        within(b.peers.join_pairing(join))
    };
    // It is announced while it is looked for.
    let (joined, ()) = tokio::join!(by_code(&shown.code), async {
        announce(a.id(), "NodeA", a.address);
    });
    assert_eq!(joined.unwrap().id, Some(a.id()));
    assert!(outcome(waiting).await.is_ok());

    let own = offer(&b, None);
    let error = by_code(&own.code).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("made the code itself"), "{error}");

    // Anybody can announce an id with the label of another node: then the code is not tried at all.
    let label = label_of(a.id());
    let twin = (0_u64..)
        .map(|n| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            NodeId::from_bytes(bytes)
        })
        .find(|id| label_of(*id) == label)
        .unwrap();
    announce(twin, "Twin", a.address);
    let error = by_code(&shown.code).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AmbiguousPeer);
    assert!(
        error.message.contains("'Twin'") && error.message.contains("'NodeA'"),
        "{error}"
    );
}

#[tokio::test]
async fn nodes_that_are_connected_already_pair_over_their_link() {
    let (a, b) = two().await;
    a.connect(&b, true).await.unwrap();
    b.answer(&a, ConsentAnswer::Allow, None).await;
    a.sees(b.id(), PeerState::Connected).await;
    assert!(!trusts(&a, &b) && !trusts(&b, &a));
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    join(&b, &shown.code, "NodeA", None).await.unwrap();
    outcome(waiting).await.unwrap();
    assert!(trusts(&a, &b) && trusts(&b, &a));

    // A wrong code among friends ends no link.
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    assert!(join(&b, &wrong(&shown.code), "NodeA", None).await.is_err());
    assert_eq!(outcome(waiting).await.unwrap_err().code, ErrorCode::Denied);
    assert_eq!(b.state_of(&a), Some(PeerState::Connected));
}

/// Somebody with identities of their own who takes part in links and in nothing else: what comes over one link is handed on to the
/// others.
#[derive(Default)]
struct Middle {
    links: Mutex<Vec<Arc<PeerLink>>>,
    handed_on: watch::Sender<Vec<PairMessage>>,
}

impl Middle {
    fn config(signing_key: SigningKey) -> HandshakeConfig {
        HandshakeConfig {
            signing_key,
            name: "NodeA".to_owned(),
            offered_quota_bytes: 0,
            incarnation: 1,
        }
    }

    /// Makes a link of a finished handshake.
    fn take_part(
        self: &Arc<Self>,
        stream: Connection,
        address: SocketAddr,
        shaken: Shaken,
        serial: u64,
    ) -> Arc<PeerLink> {
        let peer = shaken.established.peer.clone();
        let facts = LinkFacts {
            serial,
            id: peer.node_id,
            public_key: peer.public_key,
            name: peer.name,
            address,
            incarnation: peer.incarnation,
            we_dialled: shaken.established.we_dialled,
            code: shaken.established.code.clone(),
            offered_quota_bytes: peer.offered_quota_bytes,
        };
        let machine = Link::new(shaken.established, LinkConfig::default(), now());
        let link = PeerLink::new(facts, Wire::new(machine, stream, shaken.last_message));
        self.links.lock().unwrap().push(Arc::clone(&link));
        tokio::spawn(driver::drive(
            Arc::clone(&link),
            Arc::new(Arc::clone(self)),
            Duration::from_secs(1),
            crate::patience::Patience::for_link(Duration::ZERO, Arc::default()),
            Surroundings::system(),
        ));
        link
    }

    async fn dial(self: &Arc<Self>, to: &TestNode, key: SigningKey, serial: u64) -> Arc<PeerLink> {
        let stream = Connection::open(to.address).await.unwrap();
        let shaken = handshake::initiate(&stream, Self::config(key), &Surroundings::system())
            .await
            .unwrap();
        self.take_part(stream, to.address, shaken, serial)
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, key: SigningKey, serial: u64) -> Arc<PeerLink> {
        let (stream, address) = listener.accept().await.unwrap();
        let stream = Connection::Tcp(stream);
        let shaken = handshake::respond(&stream, Self::config(key), &Surroundings::system())
            .await
            .unwrap();
        self.take_part(stream, address, shaken, serial)
    }

    /// Waits until a message was handed on.
    async fn handed_on(&self, what: impl Fn(&PairMessage) -> bool) {
        let mut handed_on = self.handed_on.subscribe();
        within(handed_on.wait_for(|all| all.iter().any(&what)))
            .await
            .unwrap();
    }
}

impl Host for Arc<Middle> {
    fn handle(&self, _: &Arc<PeerLink>, _: PeerRequest, _: Body) -> BoxFuture<'static, (PeerReply, Body)> {
        unreachable!("nobody agreed to these links")
    }
    fn answered(&self, _: &Arc<PeerLink>) {}
    fn their_consent(&self, _: &Arc<PeerLink>, _: Consent) {}
    fn pair(&self, link: &Arc<PeerLink>, message: PairMessage) {
        let links = self.links.lock().unwrap().clone();
        let others = links
            .iter()
            .filter(|other| other.facts().serial != link.facts().serial);
        others.for_each(|other| other.pair(message));
        self.handed_on.send_modify(|all| all.push(message));
    }
    fn agreed(&self, _: &Arc<PeerLink>, _: u64) {
        panic!("somebody agreed to the middle");
    }
    fn ended(&self, _: &Arc<PeerLink>, _: &LinkEnd) {}
}

/// An identity whose codes have the label of this node: anybody can search for one.
fn namesake(of: &TestNode) -> SigningKey {
    (0_u64..)
        .map(|n| {
            let mut secret = [1; 32];
            secret[..8].copy_from_slice(&n.to_le_bytes());
            SigningKey::from_bytes(&secret)
        })
        .find(|key| {
            let id = NodeId::from_public_key(&key.verifying_key().to_bytes());
            label_of(id) == label_of(of.id())
        })
        .unwrap()
}

/// He shakes hands with both, learns that both want to pair, and hands each message on. He is nobody's friend afterwards, and the
/// code is gone.
#[tokio::test]
async fn somebody_in_the_middle_who_hands_messages_on_gains_nothing() {
    let (a, b) = two().await;
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    let middle = Arc::new(Middle::default());
    let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    middle.dial(&a, SigningKey::from_bytes(&[7; 32]), 1).await;
    let (joined, _) = tokio::join!(
        join(&b, &shown.code, &at, None),
        middle.accept(&listener, namesake(&a), 2)
    );
    let error = joined.unwrap_err();
    assert_eq!(error.code, ErrorCode::Denied, "{error}");
    assert_eq!(outcome(waiting).await.unwrap_err().code, ErrorCode::Denied);
    // He did get to see the whole of it.
    middle
        .handed_on(|message| matches!(message, PairMessage::Answer(..)))
        .await;
    assert!(a.peers.trusted().is_empty() && b.peers.trusted().is_empty());
    assert!(a.peers.consent_requests().is_empty() && b.peers.consent_requests().is_empty());
}

#[tokio::test]
async fn whoever_begins_and_does_not_go_on_has_used_the_code() {
    let begin = PairMessage::Join(PAIR_SHARE);
    for goes_away in [true, false] {
        let a = TestNode::start_with("NodeA", |config| {
            if !goes_away {
                config.pair_step_timeout = Duration::from_millis(50);
            }
        })
        .await;
        let shown = offer(&a, None);
        let waiting = wait(&a, &shown);
        let stranger = Arc::new(Middle::default());
        let link = stranger.dial(&a, SigningKey::from_bytes(&[7; 32]), 1).await;
        link.pair(begin);
        stranger
            .handed_on(|message| matches!(message, PairMessage::Answer(..)))
            .await;
        if goes_away {
            link.close(Goodbye::Other);
        }
        let error = outcome(waiting).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Denied, "{goes_away}");
        assert!(error.message.contains("broke off"), "{error}");
    }
}

#[tokio::test]
async fn only_one_may_try_at_a_time_and_each_once() {
    let (a, b) = two().await;
    let shown = offer(&a, None);
    let waiting = wait(&a, &shown);
    let stranger = Arc::new(Middle::default());
    let link = stranger.dial(&a, SigningKey::from_bytes(&[7; 32]), 1).await;
    link.pair(PairMessage::Join(PAIR_SHARE));
    stranger
        .handed_on(|message| matches!(message, PairMessage::Answer(..)))
        .await;
    let error = join(&b, &shown.code, &a.address.to_string(), None)
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy, "{error}");
    link.pair(PairMessage::Join(PAIR_SHARE));
    let error = outcome(waiting).await.unwrap_err();
    assert!(error.message.contains("tried another code"), "{error}");
    assert!(a.peers.trusted().is_empty());
}
