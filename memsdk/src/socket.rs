//! The socket of a node, as the system has it.

use std::path::Path;

use crate::{Error, Result};

/// A connected socket.
#[cfg(unix)]
pub(crate) type Socket = tokio::net::UnixStream;

/// Without Unix sockets there is nothing to connect to yet; the type stands in for one.
#[cfg(not(unix))]
pub(crate) type Socket = tokio::net::TcpStream;

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
