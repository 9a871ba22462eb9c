//! How soon a program has the first byte of a large object that lies on a peer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memproto::limits::STREAM_CHUNK_SIZE;
use memsdk::MemCloud;

use super::marks::{Kind, Line, Mark};
use super::{Setting, show};
use crate::asker::{Asker, quantile_us};
use crate::client::Request;
use crate::commands;
use crate::files::{Files, check_and_remove};
use crate::scene::{Scene, node_memory, program};

/// How many round trips it may take, beside the time of a chunk.
const ROUND_TRIPS_MAX: f64 = 3.0;

/// For how long round trips are timed in each run.
const ASK_FOR: Duration = Duration::from_millis(300);

/// How often the object is opened in each run.
const OPENS: usize = 20;

/// One run, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// A GET of 1 KiB from the peer, through both nodes: p50.
    round_trip: f64,
    /// A chunk, at the rate at which the whole object came.
    chunk: f64,
    /// The first byte: p50.
    first_byte: f64,
}

/// Opens a stream that lies on a peer, with the client library on a connection that is there, and reads its first bytes.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let size = setting.size;
    let files = Files::create(2 * size)?;
    let file = files.random("source", size)?;
    let copy = files.path("copy");
    let scene = Scene::of_friends(&setting.programs, 2, node_memory(size))?;
    let [a, b] = scene.lab.all();
    Asker::start(program(b)?, Request::Set, 0)?;
    let mut asker = Asker::reading(program(a)?, 0)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let cloud = runtime.block_on(MemCloud::builder().socket(a.socket()).connect())?;
    let (id, _) = commands::stream(a, &file, &[b.name()])?;
    let samples = setting.repeat(|| {
        let round_trip = asker.one_at_a_time(ASK_FOR)?.p50 / 1_000.0;
        let whole = commands::load(a, id, &copy)?;
        check_and_remove(&file, &copy)?;
        let mut nanos = Vec::new();
        for _ in 0..OPENS {
            let start = Instant::now();
            let first = runtime.block_on(async {
                let mut object = cloud.open(id).await?;
                object.next().await
            });
            nanos.push(start.elapsed().as_nanos() as u64);
            let first = first?.context("the object is empty")?;
            ensure!(!first.is_empty(), "the first piece is empty");
        }
        nanos.sort_unstable();
        Ok(Sample {
            round_trip,
            chunk: whole.as_secs_f64() * 1e3 * STREAM_CHUNK_SIZE as f64 / size as f64,
            first_byte: quantile_us(&nanos, 500) / 1_000.0,
        })
    })?;
    let line =
        |what: String, figure: fn(&Sample) -> f64| Line::own(what, 2, samples.iter().map(figure).collect());
    let round_trip = line("a round trip (GET 1 KiB), p50 ms".into(), |sample| {
        sample.round_trip
    });
    let chunk = line("a chunk, at the rate of the whole, ms".into(), |sample| {
        sample.chunk
    });
    let of = |line: &Line| line.figure(Kind::MemCloud);
    let allowed = of(&round_trip)
        .zip(of(&chunk))
        .map(|(trip, chunk)| ROUND_TRIPS_MAX * trip + chunk);
    let first_byte = line(format!("the first byte of {}, p50 ms", show(size)), |sample| {
        sample.first_byte
    });
    let mark = Mark::AtMostOwn(1.0, allowed, "3 round trips and a chunk");
    Ok(vec![round_trip, chunk, first_byte.mark(mark)])
}
