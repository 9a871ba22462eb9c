//! What is asked of a server, and what it takes.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::client::{Client, Request};
use super::servers::Server;
use crate::interrupt;

/// The size of a small value in bytes.
const SMALL_LEN: usize = 1024;

/// How many keys of small values a client has: more than one, few enough that all lie in the processor's cache for all servers.
const SMALL_KEYS: usize = 256;

/// How many keys of large values.
const LARGE_KEYS: usize = 4;

/// A way of asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// 1 KiB, one request at a time.
    OneAtATime,
    /// 1 KiB, so many requests in one write, then all their replies.
    InFlight(usize),
    /// 1 KiB, so many connections with a thread each, one request at a time on each.
    Clients(usize),
    /// Values of this many MiB, one at a time.
    Large(usize),
}

/// The results of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Requests per second.
    pub(super) rate: f64,
    /// Microseconds; 0 where requests are not timed one by one.
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

/// Asks a server for this long.
///
/// # Errors
/// When it gives a wrong answer or none, or the chore is interrupted.
pub(super) fn run(server: &Server, shape: Shape, request: Request, time: Duration) -> Result<Sample> {
    let sample = match shape {
        Shape::OneAtATime => one_at_a_time(server, request, time),
        Shape::InFlight(depth) => in_flight(server, depth, request, time),
        Shape::Clients(clients) => many_clients(server, clients, request, time),
        Shape::Large(mib) => large(server, mib, request, time),
    };
    interrupt::check()?;
    sample.with_context(|| format!("{} with {request:?} {shape:?}", server.kind.name()))
}

/// Keys and the value under all of them, on a connection where they are set already.
struct Asker {
    client: Client,
    keys: Vec<String>,
    value: Vec<u8>,
    received: Vec<u8>,
    next: usize,
}

impl Asker {
    fn start(server: &Server, number: usize) -> Result<Self> {
        let mut asker = Self {
            client: server.connect()?,
            keys: (0..SMALL_KEYS)
                .map(|key| format!("bench:{number:02}:{key:06}"))
                .collect(),
            value: pattern(SMALL_LEN),
            received: vec![0; SMALL_LEN],
            next: 0,
        };
        for _ in 0..SMALL_KEYS {
            asker.ask(Request::Set, 1)?;
        }
        asker.ask(Request::Get, 1)?;
        ensure!(asker.received == asker.value, "other bytes than were set");
        Ok(asker)
    }

    /// So many requests in one write, and their replies.
    fn ask(&mut self, request: Request, count: usize) -> Result<()> {
        for _ in 0..count {
            self.next = (self.next + 1) % SMALL_KEYS;
            self.client.queue(request, &self.keys[self.next], &self.value);
        }
        self.client.flush()?;
        for _ in 0..count {
            self.client.finish(request, &mut self.received)?;
        }
        Ok(())
    }
}

fn one_at_a_time(server: &Server, request: Request, time: Duration) -> Result<Sample> {
    let mut asker = Asker::start(server, 0)?;
    let mut nanos = Vec::with_capacity(1 << 18);
    let start = Instant::now();
    let mut before = start;
    while before - start < time && !interrupt::is_caught() {
        asker.ask(request, 1)?;
        let now = Instant::now();
        nanos.push((now - before).as_nanos() as u64);
        before = now;
    }
    let rate = nanos.len() as f64 / (before - start).as_secs_f64();
    nanos.sort_unstable();
    Ok(Sample {
        rate,
        p50: quantile_us(&nanos, 0.5),
        p99: quantile_us(&nanos, 0.99),
        p999: quantile_us(&nanos, 0.999),
    })
}

fn in_flight(server: &Server, depth: usize, request: Request, time: Duration) -> Result<Sample> {
    let mut asker = Asker::start(server, 0)?;
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < time && !interrupt::is_caught() {
        asker.ask(request, depth)?;
        asked += depth;
    }
    Ok(rate_only(asked, start.elapsed()))
}

fn many_clients(server: &Server, clients: usize, request: Request, time: Duration) -> Result<Sample> {
    let askers: Vec<_> = (0..clients)
        .map(|number| Asker::start(server, number))
        .collect::<Result<_>>()?;
    let ready = Barrier::new(clients + 1);
    let (asked, took) = std::thread::scope(|scope| {
        let ready = &ready;
        let threads: Vec<_> = askers
            .into_iter()
            .map(|mut asker| {
                scope.spawn(move || {
                    ready.wait();
                    let start = Instant::now();
                    let mut asked = 0;
                    while start.elapsed() < time && !interrupt::is_caught() {
                        asker.ask(request, 1)?;
                        asked += 1;
                    }
                    Ok::<_, anyhow::Error>(asked)
                })
            })
            .collect();
        ready.wait();
        let start = Instant::now();
        let mut asked = 0;
        for thread in threads {
            asked += thread.join().expect("a client does not panic")?;
        }
        Ok::<_, anyhow::Error>((asked, start.elapsed()))
    })?;
    Ok(rate_only(asked, took))
}

fn large(server: &Server, mib: usize, request: Request, time: Duration) -> Result<Sample> {
    let mut client = server.connect()?;
    let value = pattern(mib << 20);
    let mut received = vec![0; value.len()];
    let keys: Vec<_> = (0..LARGE_KEYS).map(|key| format!("large:{key}")).collect();
    for key in &keys {
        client.set_large(key, &value)?;
    }
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < time && !interrupt::is_caught() {
        let key = &keys[asked % LARGE_KEYS];
        match request {
            Request::Set => client.set_large(key, &value)?,
            Request::Get => {
                client.queue(request, key, &value);
                client.flush()?;
                client.finish(request, &mut received)?;
            }
        }
        asked += 1;
    }
    let took = start.elapsed();
    ensure!(
        request == Request::Set || received == value,
        "other bytes than were set"
    );
    Ok(rate_only(asked, took))
}

fn rate_only(asked: usize, took: Duration) -> Sample {
    Sample {
        rate: asked as f64 / took.as_secs_f64(),
        ..Sample::default()
    }
}

/// The smallest of the sorted times that is not less than this part of them.
fn quantile_us(sorted_nanos: &[u64], part: f64) -> f64 {
    let index = (sorted_nanos.len() as f64 * part) as usize;
    let nanos = sorted_nanos.get(index).or(sorted_nanos.last());
    nanos.copied().unwrap_or_default() as f64 / 1_000.0
}

/// Bytes of which no two pages are alike.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let nanos: Vec<u64> = (1..=1000).map(|i| i * 1000).collect();
        assert_eq!(quantile_us(&nanos, 0.5), 501.0);
        assert_eq!(quantile_us(&nanos, 0.999), 1000.0);
        assert_eq!(quantile_us(&nanos[..1], 0.999), 1.0);
        assert_eq!(quantile_us(&[], 0.5), 0.0);
    }
}
