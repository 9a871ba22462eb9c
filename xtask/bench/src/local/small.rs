//! Values of 1 KiB: one at a time, many in flight, many clients.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::interrupt;

use super::Setting;
use super::marks::{Line, Mark};
use crate::asker::{Asker, Sample};
use crate::client::Request;
use crate::line::Column as _;
use crate::servers::{Kind, Server};

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

/// Measures all servers with one kind of load.
pub(super) fn measure(setting: &Setting, shape: Shape, request: Request) -> Result<Vec<Line>> {
    let runs = setting.alternate(Kind::ALL, |server| {
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
        Shape::OneAtATime => Asker::start(server.connect()?, request, 0)?.one_at_a_time(time),
        Shape::InFlight(depth) => Asker::start(server.connect()?, request, 0)?.in_flight(depth, time),
        Shape::Clients(clients) => {
            let threads = setting.client_threads.unwrap_or(clients);
            many_clients(server, clients, threads, request, time)
        }
    }
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
        .map(|number| Asker::start(server.connect()?, request, number))
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
    Ok(Sample::of_rate(asked, took.context("there are clients")?))
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
