//! What a stream costs others: a small GET while another connection moves 4 GiB.

use std::time::Instant;

use anyhow::{Context, Result};
use memproto::BlockId;
use xtask::interrupt;
use xtask::size::{exact, rate_mib};

use super::Setting;
use super::large::{LargeAsker, STORES};
use super::marks::{Line, Mark};
use crate::asker::{Asker, quantile_us};
use crate::client::{Body, Client, Request};
use crate::line::Column as _;
use crate::random::pattern;
use crate::servers::{Kind, Server};

/// How much is streamed in, and then out.
const STREAM_LEN: u64 = 4 << 30;

/// The size of the values in which it goes through the stores that have no streams: the nearest to it that they have.
const VALUE_LEN: usize = 16 << 20;

/// The bytes of the stream are these again and again: more than a processor's cache, and no whole number of chunks, so that no two chunks are equal. Equal
/// ones would not travel.
const SOURCE_LEN: usize = (8 << 20) + 1_000;

/// The results of one run: p99 in microseconds, and MiB/s of the stream.
#[derive(Clone, Copy, Debug)]
struct Sample {
    alone: f64,
    beside_in: f64,
    beside_out: f64,
    rate_in: f64,
    rate_out: f64,
}

/// Measures the stores.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let len = STREAM_LEN / setting.part;
    let runs = setting.alternate(&STORES, |server| {
        run(setting, server, len).with_context(|| format!("{} beside a stream", server.kind.name()))
    })?;
    let size = exact(len);
    let line = |what: String, decimals, figure: fn(&Sample) -> f64| Line::of(what, decimals, &runs, figure);
    let alone = line("GET 1 KiB alone, p99 us".into(), 1, |run| run.alone);
    // Without a figure there is nothing to judge either.
    let own = alone.figure(Kind::MemCloud).unwrap_or(f64::NAN);
    let mark = Mark::AtMostOwn(3.0, own, "its own alone");
    Ok(vec![
        alone,
        line(format!("GET 1 KiB while {size} come in, p99 us"), 1, |run| {
            run.beside_in
        })
        .mark(mark),
        line(format!("GET 1 KiB while {size} go out, p99 us"), 1, |run| {
            run.beside_out
        })
        .mark(mark),
        line(format!("{size} in, beside it, MiB/s"), 0, |run| run.rate_in),
        line(format!("{size} out, beside it, MiB/s"), 0, |run| run.rate_out),
    ])
}

fn run(setting: &Setting, server: &Server, len: u64) -> Result<Sample> {
    let mut asker = Asker::start(server.connect()?, Request::Get, 0)?;
    let start = Instant::now();
    let alone = asker.time_each(|now| now - start < setting.time)?;

    let mut stream = Stream::open(server, len)?;
    let (beside_in, rate_in) = beside(&mut asker, || stream.write(), len)?;
    let (beside_out, rate_out) = beside(&mut asker, || stream.read(), len)?;
    Ok(Sample {
        alone: quantile_us(&alone, 990),
        beside_in,
        beside_out,
        rate_in,
        rate_out,
    })
}

/// Asks while `work` moves so many bytes on a thread of its own. Returns the p99 in microseconds and the MiB/s.
fn beside(asker: &mut Asker, work: impl FnOnce() -> Result<()> + Send, len: u64) -> Result<(f64, f64)> {
    std::thread::scope(|scope| {
        let start = Instant::now();
        let work = scope.spawn(move || work().map(|()| start.elapsed()));
        let nanos = asker.time_each(|_| !work.is_finished());
        let took = work.join().expect("a stream does not panic")?;
        let rate = rate_mib(len, took.as_secs_f64());
        Ok((quantile_us(&nanos?, 990), rate))
    })
}

/// The connection that moves much.
enum Stream {
    Native {
        client: Client,
        id: Option<BlockId>,
        bytes: Vec<u8>,
        len: u64,
    },
    Values {
        asker: LargeAsker,
        count: u64,
    },
}

impl Stream {
    fn open(server: &Server, len: u64) -> Result<Self> {
        Ok(match server.kind {
            Kind::MemCloud => Stream::Native {
                client: server.connect()?,
                id: None,
                bytes: pattern(SOURCE_LEN),
                len,
            },
            _ => Stream::Values {
                asker: LargeAsker::start(server, pattern(VALUE_LEN))?,
                count: len / VALUE_LEN as u64,
            },
        })
    }

    fn write(&mut self) -> Result<()> {
        match self {
            Stream::Native {
                client,
                id,
                bytes,
                len,
            } => {
                let body = Body {
                    source: bytes,
                    len: *len,
                };
                *id = Some(client.stream(body)?);
                Ok(())
            }
            Stream::Values { asker, count } => ask_often(asker, *count, Request::Set),
        }
    }

    /// Reads what was written, and frees it.
    fn read(&mut self) -> Result<()> {
        match self {
            Stream::Native {
                client,
                id,
                bytes,
                len,
            } => {
                let id = id.take().context("a stream is written before it is read")?;
                client.load(id, *len, bytes)?;
                client.free(id)
            }
            Stream::Values { asker, count } => ask_often(asker, *count, Request::Get),
        }
    }
}

fn ask_often(asker: &mut LargeAsker, count: u64, request: Request) -> Result<()> {
    for _ in 0..count {
        interrupt::check()?;
        asker.ask(request)?;
    }
    Ok(())
}
