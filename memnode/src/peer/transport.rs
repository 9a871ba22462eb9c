//! What the links need of a connection: bytes there and back, without blocking, and when there is room or something to read.
//!
//! A [`Connection`] is a TCP stream. In tests, and with the feature `simulation`, it may also be an end of a simulated one, which
//! only simulated [surroundings](crate::surroundings) make. The choice is one look at the kind: nothing on the way of the bytes is called through a table.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

#[cfg(unix)]
use rustix::net::RecvFlags;
use tokio::net::{TcpListener, TcpStream};

#[cfg(unix)]
use crate::platform;
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::{SimulatedAcceptor, SimulatedConnection};

/// How many bytes are worth a wake-up while somebody looks: bulk, which is not to wait for a look. Linux makes the receive buffer at least twice as
/// large, which it is from the beginning (128 KiB, `net.ipv4.tcp_rmem`).
#[cfg(unix)]
const MANY_BYTES: i32 = 32 * 1024;

/// How much a connection may hold that it has not sent: what a small message waits for behind bulk, a quarter of a millisecond at 1 Gbit/s. With
/// 128 KiB the slowest of a thousand small requests took 10 to 12 ms beside a stream at that rate, with this 7 to 9 ms, and streams between
/// nodes of one host were as fast with either.
#[cfg(unix)]
const UNSENT_MAX: i32 = 32 * 1024;

/// A connection to a peer.
pub(crate) enum Connection {
    /// Over TCP.
    Tcp(TcpStream),
    /// Within a simulation.
    #[cfg(any(test, feature = "simulation"))]
    Simulated(Box<dyn SimulatedConnection>),
}

impl Connection {
    /// Opens a connection over TCP.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self::Tcp)
    }

    /// Reads what is there, where nobody was told that something is: whoever waits for the connection waits on. `WouldBlock` where nothing
    /// is there, and where the kind of connection cannot be looked at.
    pub(super) fn look(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Tcp(stream) => Ok(rustix::net::recv(stream, buffer, RecvFlags::DONTWAIT)?.0),
            #[cfg(not(unix))]
            Self::Tcp(_) => Err(io::ErrorKind::WouldBlock.into()),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether [`look`](Self::look) finds anything.
    pub(super) fn can_be_looked_at(&self) -> bool {
        cfg!(unix) && matches!(self, Self::Tcp(_))
    }

    /// Whether somebody [looks](Self::look) again and again: then who waits for the connection need not be told of a few bytes.
    pub(super) fn set_looked_at(&self, looked_at: bool) {
        match self {
            #[cfg(unix)]
            Self::Tcp(stream) => platform::set_looked_at(stream, looked_at, MANY_BYTES),
            #[cfg(not(unix))]
            Self::Tcp(_) => drop(looked_at),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(_) => {}
        }
    }

    /// Lets small messages leave at once, also behind bulk.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                #[cfg(unix)]
                platform::limit_unsent(stream, UNSENT_MAX);
                stream.set_nodelay(true)
            }
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Reads what is there; 0 is the end of the other side. `WouldBlock` where nothing is there yet.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(connection) => connection.try_read(buffer),
        }
    }

    /// Writes what the connection takes now. `WouldBlock` where that is nothing.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(connection) => connection.try_write(bytes),
        }
    }

    /// Waits until a read may have something to tell.
    ///
    /// # Cancel safety
    /// Nothing is read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(connection) => {
                std::future::poll_fn(|context| connection.poll_readable(context)).await
            }
        }
    }

    /// Waits until a write may have something to tell.
    ///
    /// # Cancel safety
    /// Nothing is written.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(connection) => {
                std::future::poll_fn(|context| connection.poll_writable(context)).await
            }
        }
    }

    /// Waits for a first byte, which stays to be read. False where the connection ended without one.
    ///
    /// # Cancel safety
    /// Nothing is read.
    pub(super) async fn has_first_byte(&self) -> bool {
        match self {
            Self::Tcp(stream) => matches!(stream.peek(&mut [0]).await, Ok(1)),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(connection) => self.readable().await.is_ok() && connection.has_byte(),
        }
    }

    /// Fills the buffer. Bytes behind it stay to be read.
    ///
    /// # Errors
    /// `UnexpectedEof` where the other side ends before.
    pub(super) async fn read_exact(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.try_read(&mut buffer[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An address on which peers are accepted.
pub(crate) enum Acceptor {
    /// Over TCP.
    Tcp(TcpListener),
    /// Within a simulation.
    #[cfg(any(test, feature = "simulation"))]
    Simulated(Box<dyn SimulatedAcceptor>),
}

impl Acceptor {
    /// Takes an address of this host.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self::Tcp)
    }

    /// Where it really is: port 0 takes a free one.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(acceptor) => Ok(acceptor.address()),
        }
    }

    /// The next connection, and from where it comes.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(super) async fn accept(&self) -> io::Result<(Connection, SocketAddr)> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Connection, SocketAddr)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                ready!(listener.poll_accept(context)).map(|(stream, from)| (Connection::Tcp(stream), from))
            }
            #[cfg(any(test, feature = "simulation"))]
            Self::Simulated(acceptor) => ready!(acceptor.poll_accept(context))
                .map(|(connection, from)| (Connection::Simulated(connection), from)),
        })
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acceptor").field(&self.local_addr()).finish()
    }
}

#[cfg(all(test, unix))]
impl std::os::fd::AsFd for Connection {
    /// The socket, for tests that break it.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Simulated(_) => panic!("a simulated connection has no socket"),
        }
    }
}
