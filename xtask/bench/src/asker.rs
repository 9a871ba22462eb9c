//! Asking for values of 1 KiB, again and again, and what that takes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memproto::Placement;
use xtask::interrupt;

use crate::client::{Client, Prepared, Protocol, Request, Value};
use crate::figures::quantile;
use crate::random::pattern;

/// The size of a value in bytes.
const VALUE_LEN: usize = 1024;

/// How many keys a client has: more than one, few enough that all lie in the processor's cache for all servers. Batches
/// of 16, 32 and 64 fill them without a rest.
const KEYS: usize = 256;

/// For how much of a run's time it is run before the clock starts.
const WARM_UP: u32 = 10;

/// The results of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Microseconds; 0 where requests are not timed one by one.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Sample {
    /// So many requests in this time.
    pub(crate) fn of_rate(asked: usize, took: Duration) -> Self {
        Self {
            rate: asked as f64 / took.as_secs_f64(),
            ..Self::default()
        }
    }

    /// Requests one at a time that took so long each, in nanoseconds, sorted.
    pub(crate) fn of_times(sorted_nanos: &[u64]) -> Self {
        // The sum rather than the clock, which also ran while nobody asked.
        let asked_nanos: u64 = sorted_nanos.iter().sum();
        Self {
            rate: sorted_nanos.len() as f64 * 1e9 / asked_nanos as f64,
            p50: quantile_us(sorted_nanos, 500),
            p99: quantile_us(sorted_nanos, 990),
            p999: quantile_us(sorted_nanos, 999),
        }
    }
}

/// A quantile of sorted nanoseconds in microseconds.
pub(crate) fn quantile_us(sorted_nanos: &[u64], per_mille: u64) -> f64 {
    quantile(sorted_nanos, per_mille).unwrap_or_default() as f64 / 1_000.0
}

/// A connection, and the requests for the keys of a client, which are set already.
pub(crate) struct Asker {
    client: Client,
    requests: Prepared,
    next: usize,
}

impl Asker {
    /// Sets the keys over this connection first. `number` keeps the keys of several clients apart.
    pub(crate) fn start(client: Client, request: Request, number: usize) -> Result<Self> {
        Self::placing(client, request, number, &Placement::Auto)
    }

    /// The same with values that are to lie somewhere, where the protocol can say so.
    pub(crate) fn placing(
        mut client: Client,
        request: Request,
        number: usize,
        placement: &Placement,
    ) -> Result<Self> {
        let value = pattern(VALUE_LEN);
        let value = Value::Bytes(&value);
        let sets = Prepared::placed(client.protocol(), &keys(number), value, placement)?;
        for key in 0..KEYS {
            client.ask(&sets, key, 1)?;
        }
        let mut asker = Self::reading(client, number)?;
        if request == Request::Set {
            asker.requests = sets;
        }
        Ok(asker)
    }

    /// Asks for the keys of this number, which another one has set.
    pub(crate) fn reading(mut client: Client, number: usize) -> Result<Self> {
        let gets = Prepared::new(client.protocol(), &keys(number), Value::Len(VALUE_LEN))?;
        let echoes = client.protocol() == Protocol::Echo;
        ensure!(
            client.value(&gets)? == pattern(VALUE_LEN) || echoes,
            "other bytes than were set"
        );
        Ok(Self {
            client,
            requests: gets,
            next: 0,
        })
    }

    /// Asks one at a time for this long, after a little while in which nothing is timed.
    pub(crate) fn one_at_a_time(&mut self, time: Duration) -> Result<Sample> {
        self.ask_for(1, time / WARM_UP)?;
        let start = Instant::now();
        let nanos = self.time_each(|now| now - start < time)?;
        Ok(Sample::of_times(&nanos))
    }

    /// Asks with so many requests in one write for this long, likewise.
    pub(crate) fn in_flight(&mut self, depth: usize, time: Duration) -> Result<Sample> {
        self.ask_for(depth, time / WARM_UP)?;
        let (asked, took) = self.ask_for(depth, time)?;
        Ok(Sample::of_rate(asked, took))
    }

    /// So many requests in one write, and their replies.
    fn ask(&mut self, count: usize) -> Result<()> {
        if self.next + count > self.requests.count() {
            self.next = 0;
        }
        let first = self.next;
        self.next += count;
        self.client.ask(&self.requests, first, count)
    }

    /// The first half of one request: sends it.
    pub(crate) fn send_next(&mut self) -> Result<()> {
        self.next = (self.next + 1) % self.requests.count();
        self.client.send(&self.requests, self.next, 1)
    }

    /// The second half: reads the reply.
    pub(crate) fn receive(&mut self) -> Result<()> {
        self.client.receive(&self.requests, self.next, 1)
    }

    /// Asks again and again until the time is over. Returns how often and how long.
    fn ask_for(&mut self, count: usize, time: Duration) -> Result<(usize, Duration)> {
        let start = Instant::now();
        let mut asked = 0;
        loop {
            let took = start.elapsed();
            if took >= time || interrupt::is_caught() {
                return Ok((asked, took));
            }
            self.ask(count)?;
            asked += count;
        }
    }

    /// Asks one at a time while `go_on` says so, and returns how long each took in nanoseconds, sorted.
    pub(crate) fn time_each(&mut self, mut go_on: impl FnMut(Instant) -> bool) -> Result<Vec<u64>> {
        // No allocation while the clock runs, for as many as a few seconds take.
        let mut nanos = Vec::with_capacity(1 << 20);
        let mut before = Instant::now();
        while go_on(before) && !interrupt::is_caught() {
            self.ask(1)?;
            let now = Instant::now();
            nanos.push((now - before).as_nanos() as u64);
            before = now;
        }
        interrupt::check()?;
        nanos.sort_unstable();
        Ok(nanos)
    }
}

fn keys(number: usize) -> Vec<String> {
    let keys = (0..KEYS).map(|key| format!("bench:{number:02}:{key:06}"));
    keys.collect()
}
