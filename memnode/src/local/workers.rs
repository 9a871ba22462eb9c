//! The threads that serve the connections of this host's programs.
//!
//! One for each core, with a runtime of its own. A connection stays on the thread that it was given to, so that a request
//! is read, answered and written without a hand-over. With client and node on one core a SET of 1 KiB takes 11.3 us; it took
//! 12.4 us on a runtime of several threads, whose parking and waking is dearer.
//!
//! What a request has to wait for, such as a peer, does not run here: see [`super::session`].

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// After how many turns of tasks a thread looks what else has arrived: a session that looks again and again, see `patience`, must not keep the
/// others waiting for longer than some microseconds.
const EVENT_INTERVAL: u32 = 16;

/// The threads. Dropping this ends them; whatever still runs on them is dropped.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Workers {
    /// Starts a thread for each core.
    ///
    /// # Errors
    /// Where the system refuses a thread or what its runtime needs.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut workers = Self {
            handles: Vec::with_capacity(count),
            next: AtomicUsize::new(0),
            threads: Vec::with_capacity(count),
            stop: CancellationToken::new(),
        };
        for _ in 0..count {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .build()?;
            workers.handles.push(runtime.handle().clone());
            let stop = workers.stop.clone();
            let thread = std::thread::Builder::new().name("local".to_owned());
            let thread = thread.spawn(move || runtime.block_on(stop.cancelled()))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// No threads: connections are served on the runtime of the caller, which keeps to its clock, as tests want it.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn none() -> Self {
        Self {
            handles: vec![Handle::current()],
            next: AtomicUsize::new(0),
            threads: Vec::new(),
            stop: CancellationToken::new(),
        }
    }

    /// The threads, to look whether they make progress.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// The thread for the next connection: they take turns.
    pub(super) fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.handles[turn % self.handles.len()]
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A panic of a task stays in its task; the thread itself has nothing to tell.
            let _ = thread.join();
        }
    }
}
