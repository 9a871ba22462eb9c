//! A gigabyte to a peer, beside `memcli`, and the memory of the program that sends it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use memproto::BlockId;
use serde::Deserialize;
use xtask::host::Host;
use xtask::process;
use xtask::size::exact;

use super::marks::{Kind, Line, Mark};
use super::{STREAM_LEN, Setting, packages, programs};
use crate::commands::{self, TRANSFER_TIMEOUT};
use crate::files::{Files, check_and_remove};
use crate::scene::{Scene, node_memory};

/// How much of the rate of `memcli stream`.
pub(super) const OF_MEMCLI_MIN: f64 = 0.8;

/// How much more memory than a program that is connected and does nothing, in MB.
pub(super) const MEMORY_MB_MAX: f64 = 50.0;

/// Where the bytes come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A file, which the node can read itself.
    File,
    /// A pipe, or what the program makes.
    Bytes,
}

/// What a program prints that streamed, or did not.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Streamed {
    id: BlockId,
    size: u64,
    secs: f64,
    peak_bytes: u64,
}

/// What one prints that was only connected.
#[derive(Deserialize)]
struct Idle {
    peak_bytes: u64,
}

/// One run: MB/s, and MB of memory above an idle program where that is of interest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) rate: f64,
    pub(super) memory: Option<f64>,
}

/// Measures it to the memory of another host.
pub(super) fn measure(setting: &Setting, source: Source) -> Result<Vec<Line>> {
    let size = STREAM_LEN / setting.part;
    let files = Files::create(2 * size)?;
    let file = files.random("source", size)?;
    let copy = files.path("copy");
    let scene = Scene::of_friends(&setting.programs, 2, node_memory(size))?;
    let [a, b] = scene.lab.all();
    let runs = setting.alternate(&[Kind::Memcli, Kind::MemCloud], |kind| {
        let (id, sample) = match kind {
            Kind::MemCloud => {
                let idle = idle_bytes(a)?;
                let streamed = stream(a, source, &file, b.name())?;
                ensure!(streamed.size == size, "{} bytes were stored", streamed.size);
                (
                    streamed.id,
                    Sample::of(size, streamed.secs, streamed.peak_bytes, idle),
                )
            }
            _ => {
                let (id, secs) = memcli(a, source, &file, b.name())?;
                let rate = size as f64 / 1e6 / secs;
                (id, Sample { rate, memory: None })
            }
        };
        commands::load(a, id, &copy)?;
        check_and_remove(&file, &copy)?;
        commands::free(a, id)?;
        Ok(sample)
    })?;
    let what = match source {
        Source::File => format!("storeStream of a file of {} to a peer", exact(size)),
        Source::Bytes => format!("storeStream of {} of bytes to a peer", exact(size)),
    };
    Ok(lines(&what, &runs))
}

/// The rate beside that of `memcli`, and the memory.
pub(super) fn lines(what: &str, runs: &[Vec<Sample>]) -> Vec<Line> {
    let memory = runs.iter().flatten().filter_map(|sample| sample.memory);
    vec![
        Line::of(format!("{what}, MB/s"), 0, runs, |sample| sample.rate)
            .mark(Mark::AtLeast(OF_MEMCLI_MIN, Kind::Memcli)),
        Line::own(
            format!("{what}, memory above an idle program, MB"),
            1,
            memory.collect(),
        )
        .mark(Mark::Below(MEMORY_MB_MAX)),
    ]
}

impl Sample {
    /// What a program of Node.js did.
    pub(super) fn of(size: u64, secs: f64, peak_bytes: u64, idle_bytes: u64) -> Self {
        Self {
            rate: size as f64 / 1e6 / secs,
            memory: Some(peak_bytes.saturating_sub(idle_bytes) as f64 / 1e6),
        }
    }
}

/// The most memory of a program that connects and then does nothing.
pub(super) fn idle_bytes(host: &Host) -> Result<u64> {
    let idle: Idle = programs::run_on(host, &packages::program("idle.mjs"), [""; 0])?;
    Ok(idle.peak_bytes)
}

fn stream(host: &Host, source: Source, file: &Path, peer: &str) -> Result<Streamed> {
    let source = match source {
        Source::File => "file",
        Source::Bytes => "bytes",
    };
    let file = file.to_str().context("a file in memory has a name in UTF-8")?;
    programs::run_on(host, &packages::program("stream.mjs"), [source, file, peer])
}

/// What `memcli` takes from its start to its end, in seconds.
fn memcli(host: &Host, source: Source, file: &Path, peer: &str) -> Result<(BlockId, f64)> {
    let (id, took) = match source {
        Source::File => commands::stream(host, file, &[peer])?,
        Source::Bytes => {
            let mut cat = host.command("cat");
            cat.arg(file).stdout(Stdio::piped());
            let mut cat = cat.spawn().context("cannot run cat")?;
            let mut memcli = host.memcli_command(commands::stream_args(Path::new("-"), &[peer]));
            memcli.stdin(cat.stdout.take().context("its output is a pipe")?);
            let finished = process::run(&mut memcli, TRANSFER_TIMEOUT);
            // It has written all when memcli has read all, and has no reader when that has failed.
            cat.wait()?;
            commands::made(&finished?.ok()?)?
        }
    };
    Ok((id, took.as_secs_f64()))
}
