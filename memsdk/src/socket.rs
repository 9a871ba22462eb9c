//! The socket of a node, as the system has it.

use std::path::Path;

use crate::{Error, Result};

/// A connected socket, and its halves.
#[cfg(unix)]
pub(crate) use tokio::net::{
    UnixStream as Socket,
    unix::{OwnedReadHalf as ReadHalf, OwnedWriteHalf as WriteHalf},
};

/// Without Unix sockets there is nothing to connect to yet; these types stand in.
#[cfg(not(unix))]
pub(crate) use tokio::net::{
    TcpStream as Socket,
    tcp::{OwnedReadHalf as ReadHalf, OwnedWriteHalf as WriteHalf},
};

/// Connects to the socket at this path.
#[cfg(unix)]
pub(crate) async fn connect(path: &Path) -> Result<Socket> {
    use std::io::ErrorKind;

    Socket::connect(path).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NotRunning {
            socket: path.to_owned(),
        },
        _ => Error::Io(error),
    })
}

/// Connects to the socket at this path.
#[cfg(not(unix))]
pub(crate) async fn connect(path: &Path) -> Result<Socket> {
    Err(Error::NotRunning {
        socket: path.to_owned(),
    })
}
