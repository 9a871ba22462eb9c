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
#[cfg(target_os = "linux")]
use crate::local::UserGroup;
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

/// Connects as a program of user 65534 with this first group and these others, and returns whether it was served. A thread of its own has those
/// rights: they end with it.
#[cfg(target_os = "linux")]
fn is_served(socket: &Path, group: u32, others: &[u32]) -> std::io::Result<bool> {
    use std::io::{Read, Write};

    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

    const NOBODY: u32 = 65534;
    let (socket, user, group) = (socket.to_owned(), Uid::from_raw(NOBODY), Gid::from_raw(group));
    let others: Vec<Gid> = others.iter().copied().map(Gid::from_raw).collect();
    let program = move || {
        set_thread_groups(&others)?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        let mut stream = std::os::unix::net::UnixStream::connect(&socket)?;
        let hello = frame(FrameHeader::new(Op::Hello, 1), &[1, 0, 1, 0, 0, 0, 0, 0]);
        // Whoever is refused finds the connection closed, at this moment or the next.
        let greeted = stream.write_all(&[&PREFACE[..], &hello].concat());
        Ok(greeted.is_ok() && stream.read(&mut [0; 1]).is_ok_and(|count| count == 1))
    };
    std::thread::spawn(program).join().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn members_of_the_group_are_let_in_and_nobody_else() {
    const GROUP: u32 = 4_242;
    const ANOTHER: u32 = 4_243;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: without root there are no other users");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let config = LocalConfig {
        group: Some(UserGroup {
            name: "people".to_owned(),
            id: GROUP,
        }),
        ..LocalConfig::new(home.path().join("run/memnode.sock"))
    };
    let error = Listener::bind(&config).unwrap_err().to_string();
    assert!(
        error.contains("members of the group 'people' cannot reach the socket")
            && error.contains(&format!("chgrp people {}", home.path().display())),
        "{error}"
    );
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let listener = Listener::bind(&config).unwrap();
    let folder = config.socket.parent().unwrap();
    assert_eq!((mode(folder), mode(&config.socket)), (0o710, 0o660));

    let stop = CancellationToken::new();
    let served = tokio::spawn(listener.serve(Arc::new(Fake::new()), workers(), stop.clone()));
    let ask = async |group, others: &'static [u32]| {
        let socket = config.socket.clone();
        let asked = tokio::task::spawn_blocking(move || is_served(&socket, group, others));
        asked.await.unwrap()
    };
    assert!(ask(GROUP, &[]).await.unwrap(), "it is the program's first group");
    assert!(
        ask(ANOTHER, &[7, GROUP]).await.unwrap(),
        "it is one of its others"
    );
    let error = ask(ANOTHER, &[7]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    // Where somebody opened the file to all, the node itself refuses.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&config.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(!ask(ANOTHER, &[7]).await.unwrap());
    assert!(ask(ANOTHER, &[GROUP]).await.unwrap());
    stop.cancel();
    served.await.unwrap();
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
