//! Values of 1 KiB: one at a time, many in flight, many clients.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::interrupt;

use super::Setting;
use super::line::Line;
use super::marks::Mark;
use crate::client::{Client, Prepared, Request, Value};
use crate::figures::quantile;
use crate::random::pattern;
use crate::servers::{Kind, Server};

/// The size of a value in bytes.
pub(super) const VALUE_LEN: usize = 1024;

/// How many keys a client has: more than one, few enough that all lie in the processor's cache for all servers. Batches
/// of 16 and 64 fill them without a rest.
const KEYS: usize = 256;

/// For how much of a run's time it is run before the clock starts.
const WARM_UP: u32 = 10;

/// A way of asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// One request at a time.
    OneAtATime,
    /// So many requests in one write, then all their replies.
    InFlight(usize),
    /// So many connections, one request at a time on each; a thread each unless the setting says otherwise.
    Clients(usize),
}

/// The results of one run.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Requests per second.
    rate: f64,
    /// Microseconds; 0 where requests are not timed one by one.
    p50: f64,
    p99: f64,
    p999: f64,
}

/// Measures all servers with one kind of load.
pub(super) fn measure(setting: &Setting, shape: Shape, request: Request) -> Result<Vec<Line>> {
    let runs = setting.alternate(&Kind::ALL, |server| {
        let sample = run(setting, server, shape, request);
        sample.with_context(|| format!("{} with {request:?} {shape:?}", server.kind.name()))
    })?;
    let request = match request {
        Request::Set => "SET 1 KiB",
        Request::Get => "GET 1 KiB",
    };
    let thousands = |sample: &Sample| sample.rate / 1_000.0;
    Ok(match shape {
        Shape::OneAtATime => vec![
            Line::of(format!("{request}, p50 us"), 1, &runs, |sample| sample.p50)
                .mark(Mark::AtMost(1.15, Kind::EchoBlocking)),
            Line::of(format!("{request}, p99 us"), 1, &runs, |sample| sample.p99),
            Line::of(format!("{request}, p99.9 us"), 1, &runs, |sample| sample.p999)
                .mark(Mark::AtMostBest(1.0)),
            Line::of(format!("{request}, thousand/s"), 1, &runs, thousands)
                .mark(Mark::AtLeast(1.1, Kind::Memcached))
                .mark(Mark::AtLeast(1.25, Kind::Redis)),
        ],
        Shape::InFlight(depth) => {
            let what = format!("{request}, {depth} in flight, thousand/s");
            vec![Line::of(what, 0, &runs, thousands).mark(Mark::AtLeastBest(1.2))]
        }
        Shape::Clients(clients) => {
            let what = format!("{request}, {clients} clients, thousand/s");
            vec![Line::of(what, 0, &runs, thousands).mark(Mark::AtLeastBest(1.2))]
        }
    })
}

/// Asks a server for the time of a run.
fn run(setting: &Setting, server: &Server, shape: Shape, request: Request) -> Result<Sample> {
    let time = setting.time;
    match shape {
        Shape::OneAtATime => one_at_a_time(server, request, time),
        Shape::InFlight(depth) => in_flight(server, depth, request, time),
        Shape::Clients(clients) => {
            let threads = setting.client_threads.unwrap_or(clients);
            many_clients(server, clients, threads, request, time)
        }
    }
}

/// A connection, and the requests for the keys of a client, which are set already.
pub(super) struct Asker {
    client: Client,
    requests: Prepared,
    next: usize,
}

impl Asker {
    /// `number` keeps the keys of several clients apart.
    pub(super) fn start(server: &Server, request: Request, number: usize) -> Result<Self> {
        let keys: Vec<_> = (0..KEYS)
            .map(|key| format!("bench:{number:02}:{key:06}"))
            .collect();
        let value = pattern(VALUE_LEN);
        let protocol = server.kind.protocol();
        let sets = Prepared::new(protocol, &keys, Value::Bytes(&value))?;
        let gets = Prepared::new(protocol, &keys, Value::Len(VALUE_LEN))?;
        let mut client = server.connect()?;
        for key in 0..KEYS {
            client.ask(&sets, key, 1)?;
        }
        let echoes = matches!(server.kind, Kind::EchoBlocking | Kind::EchoTokio);
        ensure!(
            client.value(&gets)? == value || echoes,
            "other bytes than were set"
        );
        Ok(Self {
            client,
            requests: match request {
                Request::Set => sets,
                Request::Get => gets,
            },
            next: 0,
        })
    }

    /// So many requests in one write, and their replies.
    pub(super) fn ask(&mut self, count: usize) -> Result<()> {
        if self.next + count > self.requests.count() {
            self.next = 0;
        }
        let first = self.next;
        self.next += count;
        self.client.ask(&self.requests, first, count)
    }

    /// The first half of one request: sends it.
    fn send_next(&mut self) -> Result<()> {
        self.next = (self.next + 1) % self.requests.count();
        self.client.send(&self.requests, self.next, 1)
    }

    /// The second half: reads the reply.
    fn receive(&mut self) -> Result<()> {
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
    pub(super) fn time_each(&mut self, mut go_on: impl FnMut(Instant) -> bool) -> Result<Vec<u64>> {
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

/// A quantile of sorted nanoseconds in microseconds.
pub(super) fn quantile_us(sorted_nanos: &[u64], per_mille: u64) -> f64 {
    quantile(sorted_nanos, per_mille).unwrap_or_default() as f64 / 1_000.0
}

fn one_at_a_time(server: &Server, request: Request, time: Duration) -> Result<Sample> {
    let mut asker = Asker::start(server, request, 0)?;
    asker.ask_for(1, time / WARM_UP)?;
    let start = Instant::now();
    let nanos = asker.time_each(|now| now - start < time)?;
    // The sum rather than the clock, which also ran while nobody asked.
    let asked_nanos: u64 = nanos.iter().sum();
    Ok(Sample {
        rate: nanos.len() as f64 * 1e9 / asked_nanos as f64,
        p50: quantile_us(&nanos, 500),
        p99: quantile_us(&nanos, 990),
        p999: quantile_us(&nanos, 999),
    })
}

fn in_flight(server: &Server, depth: usize, request: Request, time: Duration) -> Result<Sample> {
    let mut asker = Asker::start(server, request, 0)?;
    asker.ask_for(depth, time / WARM_UP)?;
    let (asked, took) = asker.ask_for(depth, time)?;
    Ok(rate_only(asked, took))
}

/// `threads` share the clients. Each sends a request on all of its connections, and then reads the replies.
fn many_clients(
    server: &Server,
    clients: usize,
    threads: usize,
    request: Request,
    time: Duration,
) -> Result<Sample> {
    let mut askers: Vec<_> = (0..clients)
        .map(|number| Asker::start(server, request, number))
        .collect::<Result<_>>()?;
    let shares: Vec<_> = askers.chunks_mut(clients.div_ceil(threads)).collect();
    let ready = Barrier::new(shares.len());
    let shares: Vec<_> = std::thread::scope(|scope| {
        let ready = &ready;
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| {
                scope.spawn(move || {
                    ready.wait();
                    ask_all_for(share, time)
                })
            })
            .collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().expect("a client does not panic"));
        results.collect::<Result<_>>()
    })?;
    // From the first request of all to the last reply.
    let asked = shares.iter().map(|share| share.asked).sum();
    let start = shares.iter().map(|share| share.start).min();
    let end = shares.iter().map(|share| share.end).max();
    let took = end.zip(start).map(|(end, start)| end - start);
    Ok(rate_only(asked, took.context("there are clients")?))
}

/// What one thread did, and when.
struct Share {
    asked: usize,
    start: Instant,
    end: Instant,
}

/// One request at a time on each of several connections until the time is over.
fn ask_all_for(askers: &mut [Asker], time: Duration) -> Result<Share> {
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < time && !interrupt::is_caught() {
        for asker in &mut *askers {
            asker.send_next()?;
        }
        for asker in &mut *askers {
            asker.receive()?;
        }
        asked += askers.len();
    }
    Ok(Share {
        asked,
        start,
        end: Instant::now(),
    })
}

fn rate_only(asked: usize, took: Duration) -> Sample {
    Sample {
        rate: asked as f64 / took.as_secs_f64(),
        ..Sample::default()
    }
}
