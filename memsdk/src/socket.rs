//! The socket of a node, as the system has it: a Unix socket, or TCP with a token.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, tcp};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};

#[cfg(target_os = "linux")]
use crate::memfd as system;
#[cfg(not(target_os = "linux"))]
use crate::no_memfd as system;
pub(crate) use system::{Descriptor, share};

use crate::builder::Token;
use crate::{Error, Result};

/// Where a node listens, and what it wants to hear first.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr, Token),
}

impl Endpoint {
    /// The token to greet with; empty on a Unix socket.
    pub(crate) fn token(&self) -> &str {
        match self {
            Endpoint::Unix(_) => "",
            Endpoint::Tcp(_, token) => &token.0,
        }
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<(ReadHalf, WriteHalf)> {
        let connected = match self {
            #[cfg(unix)]
            Endpoint::Unix(path) => UnixStream::connect(path).await.map(|stream| {
                let (read, write) = stream.into_split();
                (ReadHalf::unix(read), WriteHalf::Unix(write))
            }),
            #[cfg(not(unix))]
            Endpoint::Unix(_) => Err(ErrorKind::NotFound.into()),
            Endpoint::Tcp(address, _) => connect_tcp(*address).await,
        };
        connected.map_err(|error| match (error.kind(), self) {
            (ErrorKind::PermissionDenied, Endpoint::Unix(path)) => Error::NotAllowed { socket: path.clone() },
            (ErrorKind::NotFound | ErrorKind::ConnectionRefused, _) => Error::NotRunning {
                socket: match self {
                    Endpoint::Unix(path) => path.clone(),
                    Endpoint::Tcp(address, _) => address.to_string().into(),
                },
            },
            _ => Error::Io(error),
        })
    }
}

async fn connect_tcp(address: SocketAddr) -> io::Result<(ReadHalf, WriteHalf)> {
    let stream = TcpStream::connect(address).await?;
    // Otherwise a small request waits for the acknowledgement of the one before, some 40 ms.
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    Ok((ReadHalf::tcp(read), WriteHalf::Tcp(write)))
}

/// The half that is read.
#[derive(Debug)]
pub(crate) struct ReadHalf {
    half: Half,
    is_attached: bool,
    arrived: Option<Descriptor>,
}

#[derive(Debug)]
enum Half {
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
}

impl ReadHalf {
    #[cfg(unix)]
    fn unix(half: unix::OwnedReadHalf) -> Self {
        Self {
            half: Half::Unix(half),
            is_attached: false,
            arrived: None,
        }
    }

    fn tcp(half: tcp::OwnedReadHalf) -> Self {
        Self {
            half: Half::Tcp(half),
            is_attached: false,
            arrived: None,
        }
    }

    /// Looks for descriptors from here on.
    pub(crate) fn attach(&mut self) {
        self.is_attached = true;
    }

    /// The descriptor that the last read brought. To be asked after each read.
    pub(crate) fn take_arrived(&mut self) -> Option<Descriptor> {
        self.arrived.take()
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.half {
            #[cfg(target_os = "linux")]
            Half::Unix(half) if this.is_attached => {
                system::poll_receive(half.as_ref(), cx, buffer, &mut this.arrived)
            }
            #[cfg(unix)]
            Half::Unix(half) => Pin::new(half).poll_read(cx, buffer),
            Half::Tcp(half) => Pin::new(half).poll_read(cx, buffer),
        }
    }
}

/// The half that is written.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
}

impl WriteHalf {
    /// Writes what the socket takes now; `WouldBlock` where it takes nothing.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            WriteHalf::Unix(half) => half.try_write_vectored(slices),
            WriteHalf::Tcp(half) => half.try_write_vectored(slices),
        }
    }

    /// Writes as [`try_write_vectored`](Self::try_write_vectored) does, with a descriptor attached to the first byte.
    pub(crate) fn try_write_attached(
        &self,
        slices: &[IoSlice<'_>],
        descriptor: &Descriptor,
    ) -> io::Result<usize> {
        match self {
            #[cfg(target_os = "linux")]
            WriteHalf::Unix(half) => system::try_send(half.as_ref(), slices, descriptor),
            _ => {
                let _ = (slices, descriptor);
                Err(ErrorKind::Unsupported.into())
            }
        }
    }

    /// Waits until the socket takes something.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            WriteHalf::Unix(half) => half.writable().await,
            WriteHalf::Tcp(half) => half.writable().await,
        }
    }
}
