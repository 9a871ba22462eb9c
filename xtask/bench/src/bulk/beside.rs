//! What a file on the same wire costs a small request.

use anyhow::Result;
use xtask::size::MIB;

use super::marks::{Line, Mark};
use super::{Setting, show};
use crate::asker::{Asker, quantile_us};
use crate::client::Request;
use crate::commands;
use crate::files::{Files, check_and_remove};
use crate::scene::{Scene, node_memory, program};

/// How long the slowest request of a hundred may take, in milliseconds: without a limit of the wire, and with one of 1 Gbit/s.
const P99_MS_MAX: f64 = 2.0;
const P99_MS_MAX_LIMITED: f64 = 10.0;

/// How much is sent over a limited wire: some seconds of it.
const LIMITED_LEN: u64 = 512 * MIB;

/// One direction of a run, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    p50: f64,
    p99: f64,
}

/// Reads a key of the peer again and again while a file goes there, and while it comes back.
pub(super) fn measure(setting: &Setting, megabits: Option<u32>) -> Result<Vec<Line>> {
    let (size, wire, limit) = match megabits {
        None => (setting.size, String::new(), P99_MS_MAX),
        Some(megabits) => (
            LIMITED_LEN / setting.part,
            format!(" at {megabits} Mbit/s"),
            P99_MS_MAX_LIMITED,
        ),
    };
    let files = Files::create(2 * size)?;
    let file = files.random("source", size)?;
    let copy = files.path("copy");
    let scene = Scene::of_friends(&setting.programs, 2, node_memory(size))?;
    let [a, b] = scene.lab.all();
    if let Some(megabits) = megabits {
        for host in [a, b] {
            scene.lab.limit_rate(host, megabits)?;
        }
    }
    Asker::start(program(b)?, Request::Set, 0)?;
    let mut asker = Asker::reading(program(a)?, 0)?;
    let samples = setting.repeat(|| {
        let ((id, _), there) = while_it_runs(&mut asker, || commands::stream(a, &file, &[b.name()]))?;
        let (_, back) = while_it_runs(&mut asker, || commands::load(a, id, &copy))?;
        commands::free(a, id)?;
        check_and_remove(&file, &copy)?;
        Ok([there, back])
    })?;
    let mut lines = Vec::new();
    for (way, name) in ["go there", "come back"].into_iter().enumerate() {
        let line = |what: &str, figure: fn(&Sample) -> f64| {
            let what = format!("GET 1 KiB while {} {name}{wire}, {what}", show(size));
            Line::own(
                what,
                2,
                samples.iter().map(|sample| figure(&sample[way])).collect(),
            )
        };
        lines.push(line("p50 ms", |sample| sample.p50));
        lines.push(line("p99 ms", |sample| sample.p99).mark(Mark::Below(limit)));
    }
    Ok(lines)
}

/// Asks while `work` runs on a thread of its own. Returns what that gave.
fn while_it_runs<T: Send>(asker: &mut Asker, work: impl FnOnce() -> Result<T> + Send) -> Result<(T, Sample)> {
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        let nanos = asker.time_each(|_| !work.is_finished());
        let given = work.join().expect("a transfer does not panic")?;
        let nanos = nanos?;
        let sample = Sample {
            p50: quantile_us(&nanos, 500) / 1_000.0,
            p99: quantile_us(&nanos, 990) / 1_000.0,
        };
        Ok((given, sample))
    })
}
