//! The machine under one process of a node: its clock, its random numbers, its place in the network, and whether it runs.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use memnode::simulation::{SimulatedAcceptor, SimulatedConnection, SimulatedHost};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::network::Network;
use crate::random::Random;

/// The wall clock of a machine that is right, when a run begins: some day in 2026.
const RUN_BEGINS_UNIX_MS: u64 = 1_790_000_000_000;

/// The wall clock of a machine, which processes come and go on.
#[derive(Debug)]
pub struct WallClock {
    began: Instant,
    wrong_by_ms: AtomicI64,
}

impl WallClock {
    /// One that is wrong by so much.
    pub fn new(wrong_by_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            wrong_by_ms: AtomicI64::new(wrong_by_ms),
        })
    }

    /// Moves it at once.
    pub fn jump(&self, by_ms: i64) {
        self.wrong_by_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    fn unix_ms(&self) -> u64 {
        let right = RUN_BEGINS_UNIX_MS + self.began.elapsed().as_millis() as u64;
        right.saturating_add_signed(self.wrong_by_ms.load(Ordering::Relaxed))
    }
}

/// Whether the tasks of a process get their turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Runs,
    /// Stopped by a signal, or asleep with its machine.
    Paused,
    /// Killed. Its tasks stay where they are and are never run again.
    Dead,
}

/// See the module.
pub struct Host {
    machine: usize,
    generation: u64,
    network: Arc<Network>,
    clock: Arc<WallClock>,
    random: Mutex<Random>,
    turn: Mutex<(Turn, Vec<Waker>)>,
    killed: CancellationToken,
}

impl Host {
    /// The machine under the `generation`th process of its node.
    pub fn new(
        machine: usize,
        generation: u64,
        network: Arc<Network>,
        clock: Arc<WallClock>,
        random: Random,
    ) -> Arc<Self> {
        Arc::new(Self {
            machine,
            generation,
            network,
            clock,
            random: Mutex::new(random),
            turn: Mutex::new((Turn::Runs, Vec::new())),
            killed: CancellationToken::new(),
        })
    }

    /// Stops all tasks of the process where they are.
    pub fn pause(&self) {
        let mut turn = self.turn();
        if turn.0 == Turn::Runs {
            turn.0 = Turn::Paused;
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        let woken = {
            let mut turn = self.turn();
            if turn.0 != Turn::Paused {
                return;
            }
            turn.0 = Turn::Runs;
            std::mem::take(&mut turn.1)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ends the process without a word.
    pub fn kill(&self) {
        self.turn().0 = Turn::Dead;
        self.killed.cancel();
    }

    /// Waits until the process is killed.
    pub async fn killed(&self) {
        self.killed.cancelled().await;
    }

    fn turn(&self) -> MutexGuard<'_, (Turn, Vec<Waker>)> {
        self.turn
            .lock()
            .expect("no code panics while it holds the turn of a host")
    }
}

impl SimulatedHost for Host {
    fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.random
            .lock()
            .expect("no code panics while it draws")
            .fill(bytes);
    }

    fn poll_runs(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut turn = self.turn();
        match turn.0 {
            Turn::Runs => Poll::Ready(()),
            Turn::Paused => {
                turn.1.push(context.waker().clone());
                Poll::Pending
            }
            Turn::Dead => Poll::Pending,
        }
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn SimulatedConnection>>> {
        self.network.connect(self.machine, address).boxed()
    }

    fn listen(&self, _address: SocketAddr) -> io::Result<Box<dyn SimulatedAcceptor>> {
        self.network.listen(self.machine, self.generation)
    }
}
