//! The load that `memcli bench` puts on the node of this host.
//!
//! It speaks the local protocol over blocking or polled sockets of its own, without a runtime in between, so that what is
//! measured is the node and not its client. Each connection sends so many requests in one write, waits for all their
//! replies, and goes on; the connections are shared out among threads. [`plan`] sees that there is room for what is measured,
//! [`crate::commands`] measures one thing after another and takes away what is left of it. Read [`connection`] for the frames,
//! [`asker`] for the requests.

mod asker;
mod connection;
pub(crate) mod plan;
mod worker;

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use memsdk::BlockId;

use crate::exit::{Failure, Outcome};
use connection::Connection;
use worker::Client;

/// What is measured.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// Put a value under a key that has one
    Set,
    /// Read the value of a key
    Get,
    /// Put values under several keys in one request
    Mset,
    /// Read the values of several keys in one request
    Mget,
    /// Delete a key that is there
    Del,
    /// Store a block
    Store,
    /// Read a block by its id
    Load,
}

impl Operation {
    /// All of them, in the order in which they are measured unless told otherwise.
    pub(crate) const ALL: [Self; 7] = [
        Self::Set,
        Self::Get,
        Self::Mset,
        Self::Mget,
        Self::Del,
        Self::Store,
        Self::Load,
    ];

    /// The word that is typed and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Get => "get",
            Self::Mset => "mset",
            Self::Mget => "mget",
            Self::Del => "del",
            Self::Store => "store",
            Self::Load => "load",
        }
    }

    /// Whether one request is about several keys.
    pub(crate) fn is_batch(self) -> bool {
        matches!(self, Self::Mset | Self::Mget)
    }
}

/// The keys of a run: a prefix and a number of twelve digits.
#[derive(Clone, Debug)]
pub(crate) struct KeySpace {
    /// What all keys of this run begin with.
    pub(crate) prefix: String,
    /// How many there are.
    pub(crate) count: u64,
}

impl KeySpace {
    /// A key by its number.
    pub(crate) fn key(&self, number: u64) -> String {
        format!("{}{number:012}", self.prefix)
    }
}

/// Which keys or blocks the requests are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pick {
    /// Any, again and again.
    Random,
    /// Each one once, in order.
    EachOnce,
}

/// One load: what is asked, how, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// What is asked.
    pub(crate) operation: Operation,
    /// About which keys or blocks.
    pub(crate) pick: Pick,
    /// The keys.
    pub(crate) keys: KeySpace,
    /// The blocks, for [`Operation::Load`].
    pub(crate) ids: Vec<BlockId>,
    /// The value under each key and in each block.
    pub(crate) value: Bytes,
    /// Keys in a request of a batch operation.
    pub(crate) batch: usize,
    /// Connections.
    pub(crate) clients: usize,
    /// Requests in flight on each connection.
    pub(crate) pipeline: usize,
    /// Threads that serve the connections.
    pub(crate) threads: usize,
    /// The most requests in all.
    pub(crate) requests_max: u64,
    /// When no more are sent, counted from the first.
    pub(crate) duration: Option<Duration>,
}

impl Load {
    /// Keys or blocks that a request is about.
    pub(crate) fn items(&self) -> usize {
        if self.operation.is_batch() { self.batch } else { 1 }
    }
}

/// How far a load is, and whether it is to end.
#[derive(Debug, Default)]
pub(crate) struct Control {
    stop: AtomicBool,
    begun: AtomicU64,
}

impl Control {
    /// Lets no more requests be sent. Those in flight are waited for.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How many requests were begun, at least; it may be more than there were to be.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// The numbers of the next requests, up to `count` of them; none when all `max` have begun.
    fn take(&self, count: usize, max: u64) -> std::ops::Range<u64> {
        let count = count as u64;
        let first = self.begun.fetch_add(count, Ordering::Relaxed).min(max);
        first..max.min(first.saturating_add(count))
    }
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The time of each request, from when its batch was written to when its reply was read, in nanoseconds.
    pub(crate) times_ns: Histogram<u64>,
    /// From the first request to the last reply.
    pub(crate) elapsed: Duration,
    /// The blocks that were stored and not freed yet.
    pub(crate) ids: Vec<BlockId>,
    /// Why it ended early, where it did.
    pub(crate) failure: Option<Failure>,
}

/// The times are kept with three digits.
const DIGITS: u8 = 3;

impl Tally {
    fn new() -> Outcome<Self> {
        let times_ns = Histogram::new(DIGITS)
            .map_err(|error| Failure::Other(format!("cannot keep the times of requests: {error}")))?;
        Ok(Self {
            times_ns,
            elapsed: Duration::ZERO,
            ids: Vec::new(),
            failure: None,
        })
    }

    /// Requests that were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.times_ns.len()
    }

    fn add(&mut self, other: Self) {
        // Histograms that grow by themselves take every time.
        let _ = self.times_ns.add(other.times_ns);
        self.ids.extend(other.ids);
        self.failure = self.failure.take().or(other.failure);
    }
}

/// Puts the load on the node at a socket and returns when it is over. Blocks the thread.
///
/// What was stored is in the tally whatever happened, so that it can be freed.
///
/// # Errors
/// Where the connections cannot be made: nothing was asked then.
pub(crate) fn run(socket: &Path, load: &Load, control: &Control) -> Outcome<Tally> {
    let threads = load.threads.clamp(1, load.clients.max(1));
    let mut shares: Vec<Vec<Client<'_>>> = (0..threads).map(|_| Vec::new()).collect();
    for number in 0..load.clients {
        let connection = Connection::open(socket)?;
        connection.limits().check(load)?;
        shares[number % threads].push(Client::new(connection, load, control, number));
    }
    let ready = Barrier::new(threads + 1);
    let mut tally = Tally::new()?;
    let tallies = std::thread::scope(|scope| {
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    worker::serve(share, control)
                })
            })
            .collect();
        ready.wait();
        let start = Instant::now();
        let tallies: Vec<_> = running
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        tally.elapsed = start.elapsed();
        tallies
    });
    for share in tallies {
        tally.add(share.map_err(|_| Failure::Other("a thread of the benchmark failed".to_owned()))??);
    }
    Ok(tally)
}
