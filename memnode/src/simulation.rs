//! What a simulation puts in the place of the system around a node.
//!
//! Many nodes then run in one thread under tokio's stopped clock, each with the random numbers, the wall clock, the network and the
//! faults that its [`SimulatedHost`] gives it. This module has the seams alone; the simulation itself does not ship.
//! It is there in tests and with the feature `simulation`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

/// The machine under a simulated node.
pub trait SimulatedHost: Send + Sync + 'static {
    /// Its wall clock in milliseconds since 1970, which may be wrong and may jump.
    fn unix_ms(&self) -> u64;

    /// Draws from its seed.
    fn fill_random(&self, bytes: &mut [u8]);

    /// Ready while the host runs. Else, because it sleeps or has crashed, the task is woken when it runs again, if ever.
    fn poll_runs(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Opens a connection.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn SimulatedConnection>>>;

    /// Takes an address.
    ///
    /// # Errors
    /// `AddrInUse` where another node of the host has it.
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn SimulatedAcceptor>>;
}

/// One end of a simulated connection, closed when it is dropped. It behaves as a TCP socket that does not block.
pub trait SimulatedConnection: Send + Sync + 'static {
    /// Reads what is there; 0 is the end of the other side.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there yet; those of a connection that broke.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes what the connection takes now.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing; those of a connection that broke.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ready where a read has something to tell, the end and errors included.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready where a write has something to tell.
    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether a byte can be read now; it stays.
    fn has_byte(&self) -> bool;
}

/// An address that a simulated node accepts on, given back when it is dropped.
pub trait SimulatedAcceptor: Send + Sync + 'static {
    /// Where it is.
    fn address(&self) -> SocketAddr;

    /// The next connection, and from where it comes.
    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn SimulatedConnection>, SocketAddr)>>;
}

/// A task that runs only while its host does.
pub(crate) async fn gated<F: Future>(host: Option<Arc<dyn SimulatedHost>>, future: F) -> F::Output {
    let Some(host) = host else {
        return future.await;
    };
    let mut future = pin!(future);
    std::future::poll_fn(|context| match host.poll_runs(context) {
        Poll::Ready(()) => future.as_mut().poll(context),
        Poll::Pending => Poll::Pending,
    })
    .await
}
