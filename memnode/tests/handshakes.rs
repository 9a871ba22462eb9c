//! Ten thousand handshakes that stop at each of their bytes leave nothing behind. In a process of its own, for it looks at the
//! memory and the open files of the whole process.

#![allow(clippy::unwrap_used, reason = "this is all test code")]
#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use memnode::body::Body;
use memnode::home::Home;
use memnode::identity::Identity;
use memnode::peer::{Peers, PeersConfig};
use memnode::platform;
use memnode::service::PeerEvents;
use memnode::trust::TrustStore;
use memproto::NodeId;
use memproto::control::{ConnectRequest, GrantUse, PeerState};
use memproto::peer::handshake::{HandshakeRandom, LENGTH_PREFIX_LEN, check_length};
use memproto::peer::{Handshake, HandshakeConfig, PeerReply, PeerRequest};

/// Bytes that the side that dials sends: HELLO and AUTH with their lengths.
const HELLO_LEN: usize = 4 + 72;
const SENT_LEN: usize = HELLO_LEN + 4 + 224;

/// So many times at each byte: 10,032 handshakes in all.
const ROUNDS: usize = 33;

/// Rounds before the memory is first looked at, so that what is made once is there.
const ROUNDS_TO_WARM_UP: usize = 3;

/// What may have come on: pages of the allocator. A leak of 500 bytes a handshake would be more.
const SLACK: u64 = 4 * 1024 * 1024;

/// After how long a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that nobody gets to.
struct Nobody;

impl PeerEvents for Nobody {
    fn handle_peer_request(
        &self,
        _: NodeId,
        _: u64,
        _: PeerRequest,
        _: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)> {
        unreachable!("nobody agreed to anything")
    }
    fn peer_connected(&self, _: NodeId, _: u64, _: u64) {
        unreachable!("nobody agreed to anything")
    }
    fn peer_disconnected(&self, _: NodeId) {
        unreachable!("nobody agreed to anything")
    }
    fn grant_changed(&self, _: NodeId, _: u64) {
        unreachable!("nobody agreed to anything")
    }
    fn borrowing_changed(&self, _: NodeId) {
        unreachable!("nobody agreed to anything")
    }
    fn lent(&self, _: NodeId) -> GrantUse {
        GrantUse::default()
    }
}

struct Guarded {
    peers: Arc<Peers>,
    address: SocketAddr,
    _home: tempfile::TempDir,
}

async fn node(name: &str) -> Guarded {
    let home = tempfile::tempdir().unwrap();
    let trust = TrustStore::load(&Home::open(home.path().join("home")).unwrap()).unwrap();
    let mut config = PeersConfig::new(name, rand::random(), 0);
    // An address of this test's own: ten thousand connections leave their ports waiting for a minute.
    let [a, b, c]: [u8; 3] = rand::random();
    config.listen = vec![(IpAddr::from([127, a | 1, b, c.clamp(1, 254)]), 0).into()];
    config.discovery = false;
    // The pace of strangers would close nearly all of them at their first byte.
    config.strangers_burst = 1_000_000;
    let peers = Peers::new(config, Identity::generate(), trust);
    let address = peers.start(Arc::new(Nobody)).await.unwrap()[0];
    Guarded {
        peers,
        address,
        _home: home,
    }
}

/// How a stranger stops.
#[derive(Clone, Copy)]
enum Stop {
    /// It closes the connection.
    Closes,
    /// It resets the connection, as a host does that goes away and comes back.
    Resets,
    /// It says that it sends no more, and reads on.
    HalfCloses,
}

/// A handshake of which `sent` bytes are sent.
fn stop_at(address: SocketAddr, sent: usize, how: Stop) {
    let config = HandshakeConfig {
        signing_key: Identity::generate().signing_key().clone(),
        name: "stranger".to_owned(),
        offered_quota_bytes: 0,
        incarnation: 1,
    };
    let random = HandshakeRandom::new(rand::random(), rand::random());
    let mut handshake = Handshake::initiate(config, random).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = handshake.poll_transmit().unwrap();
    assert_eq!(hello.len(), HELLO_LEN);
    stream.write_all(&hello[..sent.min(HELLO_LEN)]).unwrap();
    if sent > HELLO_LEN {
        for _ in ["HELLO", "AUTH"] {
            let mut prefix = [0; LENGTH_PREFIX_LEN];
            stream.read_exact(&mut prefix).unwrap();
            let mut message = vec![0; check_length(prefix).unwrap()];
            stream.read_exact(&mut message).unwrap();
            handshake.handle_message(&message).unwrap();
        }
        let auth = handshake.poll_transmit().unwrap();
        assert_eq!(auth.len(), SENT_LEN - HELLO_LEN);
        stream.write_all(&auth[..sent - HELLO_LEN]).unwrap();
    }
    match how {
        Stop::Closes => {}
        Stop::Resets => {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
        Stop::HalfCloses => {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Whatever it still says; it may also reset.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until no connection is in the handshake, and looks at what the process holds.
fn settled(node: &Guarded) -> (u64, usize) {
    let deadline = Instant::now() + PATIENCE;
    while node.peers.handshakes_under_way() > 0 {
        assert!(Instant::now() < deadline, "handshakes keep their places");
        std::thread::yield_now();
    }
    platform::return_freed_memory();
    (
        platform::resident_bytes().expect("the system tells"),
        open_files(),
    )
}

#[test]
fn handshakes_that_stop_at_each_byte_leave_memory_and_places_as_they_were() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let node_a = runtime.block_on(node("NodeA"));
    let mut before = None;
    for round in 0..ROUNDS {
        if round == ROUNDS_TO_WARM_UP {
            before = Some(settled(&node_a));
        }
        let how = [Stop::Closes, Stop::Resets, Stop::HalfCloses][round % 3];
        (0..SENT_LEN).for_each(|sent| stop_at(node_a.address, sent, how));
    }
    let ((memory_before, files_before), (memory, files)) = (before.unwrap(), settled(&node_a));
    println!(
        "{} KiB more than before",
        memory.saturating_sub(memory_before) / 1024
    );
    assert!(
        memory <= memory_before + SLACK,
        "{memory_before} bytes of memory became {memory}"
    );
    assert_eq!(files, files_before, "open files");
    assert!(node_a.peers.list().is_empty() && node_a.peers.consent_requests().is_empty());

    // And somebody honest gets in.
    let node_b = runtime.block_on(node("NodeB"));
    let request = ConnectRequest {
        target: node_a.address.to_string(),
        quota_bytes: None,
        once: true,
        accept_new_key: false,
    };
    let info = runtime.block_on(node_b.peers.connect(request)).unwrap();
    assert_eq!(info.state, PeerState::WaitingForTheirConsent);
    runtime.block_on(async {
        node_b.peers.stop().await;
        node_a.peers.stop().await;
    });
}
