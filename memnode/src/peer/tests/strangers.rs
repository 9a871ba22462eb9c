//! What strangers on the port, and wrong addresses, lead to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::surroundings::Surroundings;

/// Reads until the other side closes. Returns how much it said.
async fn read_to_end(stream: &mut TcpStream) -> usize {
    let mut said = 0;
    let mut buffer = [0; 4096];
    loop {
        match within(stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => return said,
            Ok(bytes) => said += bytes,
        }
    }
}

#[tokio::test]
async fn garbage_closes_its_connection_and_disturbs_nobody() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let mut seed = 1_u64;
    for round in 0..40 {
        let mut garbage = vec![0; 1 + round * 100];
        for byte in &mut garbage {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (seed >> 56) as u8;
        }
        // A length that a greedy reader would allocate, one of a web browser, and lengths that are possible.
        match round % 4 {
            0 => garbage.splice(..0, 0xffff_ffff_u32.to_le_bytes()).for_each(drop),
            1 => garbage.splice(..0, *b"GET / HTTP/1.1\r\n\r\n").for_each(drop),
            2 => garbage
                .splice(..0, ((garbage.len() as u32).min(1_000)).to_le_bytes())
                .for_each(drop),
            _ => {}
        }
        let mut stream = TcpStream::connect(b.address).await.unwrap();
        // It may be closed before all of it is written.
        let _ = stream.write_all(&garbage).await;
        let _ = stream.shutdown().await;
        assert!(
            read_to_end(&mut stream).await < 1_024,
            "round {round}: a stranger is told little"
        );
    }
    let (_, body) = within(link.request(load(100_000), Body::empty())).await.unwrap();
    assert_eq!(within(check(body)).await, Ok(100_000));
    assert_eq!(b.peers.list().len(), 1);
}

#[tokio::test]
async fn a_thousand_silent_connections_are_dropped_and_keep_nobody_out() {
    const SLOTS: usize = 8;
    let b = TestNode::start_with("NodeB", |config| {
        config.handshakes_max = SLOTS;
        config.handshakes_per_address_max = SLOTS;
        config.handshake_timeout = Duration::from_secs(60);
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(TcpStream::connect(b.address).await.unwrap());
    }
    // The oldest are pushed out; and somebody who has something to say gets in.
    for stream in silent.iter_mut().take(1_000 - SLOTS) {
        assert_eq!(read_to_end(stream).await, 0);
    }
    let a = TestNode::start("NodeA").await;
    let info = a.connect(&b, true).await.unwrap();
    assert_eq!(info.state, PeerState::WaitingForTheirConsent);
}

#[tokio::test]
async fn a_silent_connection_is_closed_in_time() {
    let b = TestNode::start_with("NodeB", |config| {
        config.handshake_timeout = Duration::from_millis(30);
    })
    .await;
    let mut silent = TcpStream::connect(b.address).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, 0);
    // Half a message, then silence.
    let mut half = TcpStream::connect(b.address).await.unwrap();
    half.write_all(&100_u32.to_le_bytes()).await.unwrap();
    half.write_all(&[0; 50]).await.unwrap();
    assert_eq!(read_to_end(&mut half).await, 0);
}

#[tokio::test]
async fn each_wrong_address_has_its_own_error() {
    let a = TestNode::start_with("NodeA", |config| {
        config.handshake_timeout = Duration::from_millis(100);
    })
    .await;

    let free = TcpListener::bind((loopback(), 0)).await.unwrap();
    let refusing = free.local_addr().unwrap();
    drop(free);
    let error = a.connect_to(&refusing.to_string(), true).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
    assert!(error.message.contains("refused"), "{error}");

    let error = a.connect_to(&a.address.to_string(), true).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("this node itself"), "{error}");

    let silent = TcpListener::bind((loopback(), 0)).await.unwrap();
    let error = a
        .connect_to(&silent.local_addr().unwrap().to_string(), true)
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(error.message.contains("said nothing"), "{error}");

    let web = TcpListener::bind((loopback(), 0)).await.unwrap();
    let web_address = web.local_addr().unwrap().to_string();
    let (error, ()) = tokio::join!(a.connect_to(&web_address, true), async {
        let (mut stream, _) = web.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    let error = error.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
    assert!(error.message.contains("not a MemCloud node"), "{error}");

    for target in ["NodeX", "127.0.0.1", "127.0.0.1:", ""] {
        let error = a.connect_to(target, true).await.unwrap_err();
        assert!(
            matches!(error.code, ErrorCode::UnknownPeer | ErrorCode::InvalidArgument),
            "{target}: {error}"
        );
    }
    assert!(a.peers.list().is_empty(), "what failed leaves nothing behind");
}

#[tokio::test]
async fn an_address_with_another_node_is_not_taken_for_the_peer() {
    let (a, b) = pair().await;
    b.peers.stop().await;
    a.sees(b.id(), PeerState::Lost).await;
    let (address, name) = (b.address, "NodeC");
    let c = TestNode::start_with(name, |config| config.listen = vec![address]).await;
    let error = a.connect_to(&b.id().to_string(), true).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
    assert!(error.message.contains("another node answers"), "{error}");
    assert_eq!(a.state_of(&c), None);
    assert!(c.peers.list().is_empty(), "who dialled was not told to it");
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let b = TestNode::start("NodeB").await;
    let error = super::super::listener::bind(&Surroundings::system(), &[b.address])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("port {} is in use", b.address.port())),
        "{error}"
    );
    assert!(error.contains("--port"), "{error}");
}
