//! What a bulk transfer on the same wire costs a small request.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use xtask::size::{MIB, exact};

use super::Setting;
use super::marks::{Line, Mark};
use crate::asker::{Asker, quantile_us};
use crate::client::{Body, Client, Request};
use crate::random::pattern;
use crate::scene::{Scene, program};

/// The rate of each host's wire, in both directions.
const MEGABITS: u32 = 1_000;

/// How much is streamed out and back in each run: some seconds of such a wire.
const STREAM_LEN: u64 = 384 * MIB;

/// The bytes of the stream are these again and again: more than a processor's cache, and no whole number of chunks, so that no two chunks are equal. Equal
/// ones would not travel.
const SOURCE_LEN: usize = (8 << 20) + 1_000;

/// A stream that has less than this part of the wire does not fill it.
const FILLED: f64 = 0.8;

/// What the slowest request of a thousand may take, in milliseconds.
const P999_MS_MAX: f64 = 10.0;

/// One direction of a run.
#[derive(Clone, Copy, Debug)]
struct Sample {
    p50_ms: f64,
    p999_ms: f64,
    megabits: f64,
}

/// Reads a key of the peer again and again while a stream goes there, and while it comes back.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let scene = Scene::of_two_friends(&setting.programs)?;
    let [a, b] = scene.lab.all();
    for host in [a, b] {
        scene.lab.limit_rate(host, MEGABITS)?;
    }
    Asker::start(program(b)?, Request::Set, 0)?;
    let mut asker = Asker::reading(program(a)?, 0)?;
    let mut stream = program(a)?;
    let mut bytes = pattern(SOURCE_LEN);
    let (mut outs, mut backs) = (Vec::new(), Vec::new());
    for _ in 0..setting.runs {
        let body = Body {
            source: &bytes,
            len: STREAM_LEN,
        };
        let (id, out) = beside(&mut asker, || stream.stream(body))?;
        let (stream, place) = (&mut stream, &mut bytes);
        let ((), back) = beside(&mut asker, || stream.load(id, STREAM_LEN, place))?;
        free(stream, id)?;
        outs.push(out);
        backs.push(back);
    }
    let mut lines = Vec::new();
    let size = exact(STREAM_LEN);
    for (direction, samples) in [("out", &outs), ("back", &backs)] {
        let line = |what: &str, decimals, figure: fn(&Sample) -> f64| {
            let what = format!("GET 1 KiB while {size} go {direction} at 1 Gbit/s, {what}");
            Line::own(what, decimals, samples.iter().map(figure).collect())
        };
        lines.push(line("p50 ms", 2, |sample| sample.p50_ms));
        lines.push(line("p99.9 ms", 2, |sample| sample.p999_ms).mark(Mark::Below(P999_MS_MAX)));
        let what = format!("{size} {direction}, beside it, Mbit/s");
        let rates = samples.iter().map(|sample| sample.megabits).collect();
        lines.push(Line::own(what, 0, rates));
    }
    Ok(lines)
}

fn free(client: &mut Client, id: memproto::BlockId) -> Result<()> {
    client.free(id).context("the stream cannot be freed")
}

/// Asks while `work` moves the stream on a thread of its own. Returns what that gave.
fn beside<T: Send>(asker: &mut Asker, work: impl FnOnce() -> Result<T> + Send) -> Result<(T, Sample)> {
    std::thread::scope(|scope| {
        let start = Instant::now();
        let work = scope.spawn(move || work().map(|given| (given, start.elapsed())));
        let nanos = asker.time_each(|_| !work.is_finished());
        let (given, took) = work.join().expect("a stream does not panic")?;
        let nanos = nanos?;
        let megabits = STREAM_LEN as f64 * 8.0 / 1e6 / took.as_secs_f64();
        ensure!(
            megabits > FILLED * f64::from(MEGABITS),
            "the stream had only {megabits:.0} of {MEGABITS} Mbit/s: the figures would show nothing"
        );
        let sample = Sample {
            p50_ms: quantile_us(&nanos, 500) / 1_000.0,
            p999_ms: quantile_us(&nanos, 999) / 1_000.0,
            megabits,
        };
        Ok((given, sample))
    })
}
