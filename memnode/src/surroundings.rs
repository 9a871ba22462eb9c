//! What a node takes from the machine around it: the wall clock, random numbers, connections, and the turn of its tasks.
//!
//! There is one kind of them in a node that ships, the system's, and then this type has no size and each call is the system's. A build
//! with the feature `simulation` has a second kind beside it ([`crate::simulation`]), which only [`Surroundings::simulated`] makes: a node
//! that was not given it explicitly has the system's clock, its random numbers and its sockets, whatever the build.
//!
//! Time that merely passes is not here: all of the node takes that from tokio, whose clock can be stopped.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
#[cfg(any(test, feature = "simulation"))]
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::peer::transport::{Acceptor, Connection};
use crate::platform;
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::SimulatedHost;

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// `None` is the system.
    #[cfg(any(test, feature = "simulation"))]
    simulated: Option<Arc<dyn SimulatedHost>>,
}

impl Surroundings {
    /// Those of the system.
    pub fn system() -> Self {
        Self::default()
    }

    /// Those of a simulation. What such a node draws is not random, and its keys are worth nothing.
    #[cfg(any(test, feature = "simulation"))]
    pub fn simulated(host: Arc<dyn SimulatedHost>) -> Self {
        Self {
            simulated: Some(host),
        }
    }

    /// Whether they are those of the system.
    pub fn is_system(&self) -> bool {
        #[cfg(any(test, feature = "simulation"))]
        if self.simulated.is_some() {
            return false;
        }
        true
    }

    /// The wall clock in milliseconds since 1970, to the few milliseconds of [`platform::coarse_time`].
    pub fn unix_ms(&self) -> u64 {
        #[cfg(any(test, feature = "simulation"))]
        if let Some(host) = &self.simulated {
            return host.unix_ms();
        }
        // Before 1970 the clock is wrong anyway, and the hybrid clock goes on counting from what it has seen.
        platform::coarse_time()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }

    /// Bytes that nobody can guess, good for keys.
    pub fn random_bytes<const LEN: usize>(&self) -> [u8; LEN] {
        #[cfg(any(test, feature = "simulation"))]
        if let Some(host) = &self.simulated {
            let mut bytes = [0; LEN];
            host.fill_random(&mut bytes);
            return bytes;
        }
        rand::random()
    }

    /// A random number from 0 to below 1.
    pub fn random_fraction(&self) -> f64 {
        /// The bits of a fraction that a `f64` holds.
        const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS;
        let bits = u64::from_le_bytes(self.random_bytes()) >> (u64::BITS - FRACTION_BITS);
        bits as f64 / (1_u64 << FRACTION_BITS) as f64
    }

    /// Does work of the processor or of a disk where it holds up no other task. A simulation does it at once.
    ///
    /// # Cancel safety
    /// Dropped, the work goes on to its end, and what came of it is dropped.
    pub(crate) async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if !self.is_system() {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is being torn down: nobody waits for this any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// A task of the node as it is to be spawned. A simulation runs it only while its host runs.
    pub fn task<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        #[cfg(any(test, feature = "simulation"))]
        let future = crate::simulation::gated(self.simulated.clone(), future);
        future
    }

    /// Opens a connection to a peer.
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Cancel safety
    /// Dropped, there is no connection.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        #[cfg(any(test, feature = "simulation"))]
        if let Some(host) = &self.simulated {
            return host.connect(address).await.map(Connection::Simulated);
        }
        Connection::open(address).await
    }

    /// Takes an address on which peers are accepted.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) async fn listen(&self, address: SocketAddr) -> io::Result<Acceptor> {
        #[cfg(any(test, feature = "simulation"))]
        if let Some(host) = &self.simulated {
            return host.listen(address).map(Acceptor::Simulated);
        }
        Acceptor::bind(address).await
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_the_system_are_what_a_node_gets_by_itself() {
        let surroundings = Surroundings::default();
        assert!(surroundings.is_system());
        assert_ne!(
            surroundings.random_bytes::<32>(),
            surroundings.random_bytes::<32>()
        );
        let fraction = surroundings.random_fraction();
        assert!((0.0..1.0).contains(&fraction), "{fraction}");
        const YEAR_2020_MS: u64 = 1_577_836_800_000;
        assert!(surroundings.unix_ms() > YEAR_2020_MS);
    }
}
