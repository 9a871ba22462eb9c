//! Two and three nodes in one process, over loopback, without mDNS.
//!
//! Nothing here waits for time to pass: each wait is for a state or an event, and fails after [`PATIENCE`].

mod consent;
mod links;
mod looking;
mod network;
mod pairing;
mod strangers;
mod table;
mod transfer;
mod trusting;
mod watching;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use memproto::control::{
    ConnectRequest, ConsentAnswer, ConsentDecision, ConsentWarning, GrantUse, PeerInfo, PeerState, PeerWait,
};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::{PeerReply, PeerRequest};
use memproto::{BlockClass, BlockId, NodeId};
use tokio::sync::watch;

use super::{Peers, PeersConfig};
use crate::body::Body;
use crate::home::Home;
use crate::identity::Identity;
use crate::service::PeerEvents;
use crate::trust::TrustStore;

/// After how long a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The block that every request here names.
const BLOCK: BlockId = BlockId::new(1).expect("1 is an id");

/// What a node here was told, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    Connected {
        peer: NodeId,
        incarnation: u64,
        quota_bytes: u64,
    },
    Disconnected {
        peer: NodeId,
    },
    Granted {
        peer: NodeId,
        quota_bytes: u64,
    },
    Borrowing {
        peer: NodeId,
    },
}

/// A service that stores nothing: `Load` gives bytes of a pattern, `Store` checks them, `Usage` is never answered.
struct TestService {
    told: watch::Sender<Vec<Told>>,
    /// Requests that are being handled and were not dropped.
    pending: watch::Sender<usize>,
    stored_bytes: AtomicUsize,
}

/// A loopback address of the caller's own, where the system has more than one: a port that a test frees and takes again
/// is then not taken by another test meanwhile.
fn loopback() -> IpAddr {
    let [a, b, c]: [u8; 3] = rand::random();
    match cfg!(target_os = "linux") {
        true => [127, a | 1, b, c.clamp(1, 254)].into(),
        false => [127, 0, 0, 1].into(),
    }
}

/// The pattern: byte `i` of every value.
fn byte_at(i: u64) -> u8 {
    (i.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn pattern(from: u64, len: usize) -> Bytes {
    (from..from + len as u64).map(byte_at).collect::<Vec<u8>>().into()
}

/// A value that arrives in pieces.
fn in_pieces(size: u64, known: bool) -> Body {
    const PIECE: u64 = 100_000;
    let (credit, mut room) = tokio::sync::mpsc::unbounded_channel::<u64>();
    let (sender, body) = Body::channel(known.then_some(size), move |bytes| {
        credit.send(bytes).unwrap_or_default();
    });
    tokio::spawn(async move {
        let mut under_way = 0;
        let mut at = 0;
        while at < size {
            while under_way >= 4 * PIECE {
                let Some(taken) = room.recv().await else { return };
                under_way -= taken;
            }
            let len = PIECE.min(size - at);
            if !sender.send(pattern(at, len as usize)) {
                return;
            }
            at += len;
            under_way += len;
        }
        sender.finish();
    });
    body
}

/// Reads a body to its end and checks each byte.
async fn check(mut body: Body) -> ApiResult<u64> {
    let mut at = 0;
    while let Some(piece) = body.next().await {
        let piece = piece?;
        assert!(
            piece.iter().zip(at..).all(|(&byte, i)| byte == byte_at(i)),
            "a byte behind {at} is wrong"
        );
        at += piece.len() as u64;
    }
    Ok(at)
}

struct Handling(watch::Sender<usize>);

impl Handling {
    fn begin(pending: &watch::Sender<usize>) -> Self {
        pending.send_modify(|pending| *pending += 1);
        Self(pending.clone())
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.send_modify(|pending| *pending -= 1);
    }
}

impl PeerEvents for Arc<TestService> {
    fn handle_peer_request(
        &self,
        _peer: NodeId,
        _incarnation: u64,
        request: PeerRequest,
        body: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)> {
        let handling = Handling::begin(&self.pending);
        let service = Arc::clone(self);
        Box::pin(async move {
            let _handling = handling;
            match request {
                PeerRequest::Store { .. } => match check(body).await {
                    Ok(bytes) => {
                        service.stored_bytes.fetch_add(bytes as usize, Ordering::Relaxed);
                        (
                            PeerReply::Stored(GrantUse {
                                quota_bytes: 0,
                                used_bytes: bytes,
                            }),
                            Body::empty(),
                        )
                    }
                    Err(error) => (PeerReply::Failed(error), Body::empty()),
                },
                PeerRequest::Load {
                    offset: 0, length, ..
                } if length <= 1 << 20 => (
                    PeerReply::Loaded {
                        id: BLOCK,
                        size: length,
                        length,
                        version: None,
                    },
                    pattern(0, length as usize).into(),
                ),
                PeerRequest::Load {
                    offset: 0, length, ..
                } => (
                    PeerReply::Loaded {
                        id: BLOCK,
                        size: length,
                        length,
                        version: None,
                    },
                    in_pieces(length, true),
                ),
                PeerRequest::Usage => std::future::pending().await,
                PeerRequest::Locate { .. } => panic!("a handler that panics"),
                _ => (
                    PeerReply::Failed(ApiError::new(ErrorCode::NotFound, "not here")),
                    Body::empty(),
                ),
            }
        })
    }

    fn peer_connected(&self, peer: NodeId, incarnation: u64, quota_bytes: u64) {
        let told = Told::Connected {
            peer,
            incarnation,
            quota_bytes,
        };
        self.told.send_modify(|all| all.push(told));
    }

    fn grant_changed(&self, peer: NodeId, quota_bytes: u64) {
        self.told
            .send_modify(|all| all.push(Told::Granted { peer, quota_bytes }));
    }

    fn borrowing_changed(&self, peer: NodeId) {
        self.told.send_modify(|all| all.push(Told::Borrowing { peer }));
    }

    fn peer_disconnected(&self, peer: NodeId) {
        self.told.send_modify(|all| all.push(Told::Disconnected { peer }));
    }

    fn lent(&self, _peer: NodeId) -> GrantUse {
        GrantUse {
            quota_bytes: 11,
            used_bytes: 7,
        }
    }
}

/// A node. Another one of the same identity in the same folder is the same device after a restart.
struct TestNode {
    peers: Arc<Peers>,
    service: Arc<TestService>,
    address: SocketAddr,
    home: Arc<tempfile::TempDir>,
    secret: [u8; 32],
    name: String,
}

impl TestNode {
    async fn start(name: &str) -> Self {
        Self::start_with(name, |_| ()).await
    }

    async fn start_with(name: &str, change: impl FnOnce(&mut PeersConfig)) -> Self {
        let home = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(home, rand::random(), name, change).await
    }

    async fn start_in(
        home: Arc<tempfile::TempDir>,
        secret: [u8; 32],
        name: &str,
        change: impl FnOnce(&mut PeersConfig),
    ) -> Self {
        let identity = Identity::from_secret(&secret);
        let trust = TrustStore::load(&Home::open(home.path().join("home")).unwrap()).unwrap();
        let mut config = PeersConfig::new(name, rand::random(), 1_000);
        config.listen = vec![(loopback(), 0).into()];
        config.discovery = false;
        config.backoff_first = Duration::from_millis(10);
        config.backoff_max = Duration::from_millis(100);
        change(&mut config);
        let peers = Peers::new(config, identity, trust);
        let service = Arc::new(TestService {
            told: watch::Sender::default(),
            pending: watch::Sender::default(),
            stored_bytes: AtomicUsize::new(0),
        });
        let events: Arc<dyn PeerEvents> = Arc::new(Arc::clone(&service));
        let address = peers.start(events).await.unwrap()[0];
        Self {
            peers,
            service,
            address,
            home,
            secret,
            name: name.to_owned(),
        }
    }

    /// The same device again: another process, the same folder and identity, the same port.
    async fn restart(&self) -> Self {
        let address = self.address;
        let (home, secret) = (Arc::clone(&self.home), self.secret);
        Self::start_in(home, secret, &self.name, |config| config.listen = vec![address]).await
    }

    fn id(&self) -> NodeId {
        self.peers.identity.node_id()
    }

    async fn connect(&self, to: &TestNode, once: bool) -> ApiResult<PeerInfo> {
        self.connect_to(&to.address.to_string(), once).await
    }

    /// Connects once to a node with the name of a trusted one.
    async fn connect_though_the_key_is_new(&self, to: &TestNode) -> ApiResult<PeerInfo> {
        let request = ConnectRequest {
            target: to.address.to_string(),
            quota_bytes: None,
            once: true,
            accept_new_key: true,
        };
        within(self.peers.connect(request)).await
    }

    async fn connect_to(&self, target: &str, once: bool) -> ApiResult<PeerInfo> {
        let request = ConnectRequest {
            target: target.to_owned(),
            quota_bytes: None,
            once,
            accept_new_key: false,
        };
        within(self.peers.connect(request)).await
    }

    /// Waits until the peer has this state here.
    async fn sees(&self, peer: NodeId, state: PeerState) -> PeerInfo {
        self.until(|peers| peers.info(peer).filter(|info| info.state == state))
            .await
    }

    /// Waits until a question of this peer is there, and answers it.
    async fn answer(&self, peer: &TestNode, answer: ConsentAnswer, quota_bytes: Option<u64>) {
        let id = peer.id();
        self.until(|peers| {
            peers
                .consent_requests()
                .into_iter()
                .find(|request| request.id == id)
        })
        .await;
        self.peers
            .decide(ConsentDecision {
                peer: id.to_string(),
                answer,
                quota_bytes,
            })
            .unwrap();
    }

    async fn until<T>(&self, mut what: impl FnMut(&Peers) -> Option<T>) -> T {
        let mut changed = self.peers.changed.subscribe();
        within(async {
            loop {
                if let Some(there) = what(&self.peers) {
                    return there;
                }
                changed.changed().await.unwrap();
            }
        })
        .await
    }

    async fn told(&self, what: impl FnMut(&Vec<Told>) -> bool) -> Vec<Told> {
        let mut told = self.service.told.subscribe();
        within(told.wait_for(what)).await.unwrap().clone()
    }

    fn state_of(&self, peer: &TestNode) -> Option<PeerState> {
        self.peers.info(peer.id()).map(|info| info.state)
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this takes too long")
}

fn store(size: u64) -> PeerRequest {
    PeerRequest::Store {
        id: BLOCK,
        size,
        class: BlockClass::default(),
        chunk: None,
        ttl: None,
    }
}

fn load(length: u64) -> PeerRequest {
    PeerRequest::Load {
        id: BLOCK,
        offset: 0,
        length,
        relay: false,
    }
}

/// Two nodes that both agreed: the first one dialled.
async fn pair() -> (TestNode, TestNode) {
    let (a, b) = (TestNode::start("NodeA").await, TestNode::start("NodeB").await);
    a.connect(&b, false).await.unwrap();
    b.answer(&a, ConsentAnswer::Trust, None).await;
    a.sees(b.id(), PeerState::Connected).await;
    b.sees(a.id(), PeerState::Connected).await;
    (a, b)
}
