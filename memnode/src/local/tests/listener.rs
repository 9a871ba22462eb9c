//! The socket: whose it is, who else has it, and what is left of it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use memproto::local::{FrameHeader, Input, Op, PREFACE};
use memproto::{ApiError, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use super::program::frame;
use crate::local::{Listener, LocalConfig, Workers};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn first_frame(stream: &mut UnixStream) -> (FrameHeader, bytes::Bytes) {
    let mut input = Input::default();
    loop {
        if let Some(header) = input.peek().unwrap() {
            return (header, input.take(&header));
        }
        assert_ne!(stream.read_buf(input.read_buffer()).await.unwrap(), 0);
    }
}

async fn greet(stream: &mut UnixStream) {
    let hello = [
        &PREFACE[..],
        &frame(FrameHeader::new(Op::Hello, 1), &[1, 0, 1, 0, 0, 0, 0, 0]),
    ]
    .concat();
    stream.write_all(&hello).await.unwrap();
    assert_eq!(first_frame(stream).await.0.op, Op::Hello.to_byte());
}

fn workers() -> Arc<Workers> {
    Arc::new(Workers::start().unwrap())
}

#[tokio::test]
async fn the_socket_is_the_owner_s_and_goes_with_the_node() {
    let home = tempfile::tempdir().unwrap();
    let config = LocalConfig::new(home.path().join("run/memnode.sock"));
    let listener = Listener::bind(&config).unwrap();
    assert_eq!(mode(&config.socket), 0o600);
    assert_eq!(mode(config.socket.parent().unwrap()), 0o700);
    let (gauge, stop) = (listener.gauge(), CancellationToken::new());
    let served = tokio::spawn(listener.serve(Arc::new(Fake::new()), workers(), stop.clone()));
    let mut stream = UnixStream::connect(&config.socket).await.unwrap();
    greet(&mut stream).await;
    assert_eq!(gauge.open(), 1);
    stop.cancel();
    served.await.unwrap();
    assert_eq!(gauge.open(), 0);
    assert!(!config.socket.exists());
    // The name is free again.
    Listener::bind(&config).unwrap();
}

#[tokio::test]
async fn a_second_node_is_refused_and_does_the_first_no_harm() {
    let home = tempfile::tempdir().unwrap();
    let config = LocalConfig::new(home.path().join("memnode.sock"));
    let first = Listener::bind(&config).unwrap();
    let error = Listener::bind(&config).unwrap_err();
    assert!(
        error.to_string().contains("another node already listens"),
        "{error}"
    );
    let stop = CancellationToken::new();
    tokio::spawn(first.serve(Arc::new(Fake::new()), workers(), stop.clone()));
    greet(&mut UnixStream::connect(&config.socket).await.unwrap()).await;
    stop.cancel();
}

#[tokio::test]
async fn a_live_socket_of_another_program_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let config = LocalConfig::new(home.path().join("memnode.sock"));
    let _other = std::os::unix::net::UnixListener::bind(&config.socket).unwrap();
    assert!(Listener::bind(&config).is_err());
    assert!(config.socket.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_but_a_file_is_not() {
    let home = tempfile::tempdir().unwrap();
    let config = LocalConfig::new(home.path().join("memnode.sock"));
    drop(std::os::unix::net::UnixListener::bind(&config.socket).unwrap());
    assert!(config.socket.exists());
    Listener::bind(&config).unwrap();

    let config = LocalConfig::new(home.path().join("file"));
    std::fs::write(&config.socket, "precious").unwrap();
    let error = Listener::bind(&config).unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(std::fs::read(&config.socket).unwrap(), b"precious");
}

#[tokio::test]
async fn a_folder_in_which_others_write_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Listener::bind(&LocalConfig::new(home.path().join("memnode.sock"))).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let home = tempfile::tempdir().unwrap();
    let config = LocalConfig {
        connections_max: 1,
        ..LocalConfig::new(home.path().join("memnode.sock"))
    };
    let listener = Listener::bind(&config).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(listener.serve(Arc::new(Fake::new()), workers(), stop.clone()));
    let mut first = UnixStream::connect(&config.socket).await.unwrap();
    greet(&mut first).await;
    let mut second = UnixStream::connect(&config.socket).await.unwrap();
    let (header, payload) = first_frame(&mut second).await;
    let fault = ApiError::new(
        ErrorCode::from_number(header.status),
        String::from_utf8_lossy(&payload).into_owned(),
    );
    assert_eq!((header.op, fault.code), (Op::Fault.to_byte(), ErrorCode::Busy));
    stop.cancel();
}
