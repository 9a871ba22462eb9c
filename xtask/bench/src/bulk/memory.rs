//! The memory of all three while a file passes: of the command, of the node of its host, and of the node that has the file then.

use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memproto::BlockId;
use serde::Deserialize;
use xtask::host::Host;
use xtask::interrupt;
use xtask::node::{Node, resident_peak_bytes};
use xtask::process::Running;
use xtask::size::MIB;

use super::marks::{Line, Mark};
use super::{Setting, show};
use crate::commands::{self, TRANSFER_TIMEOUT};
use crate::files::{Files, check_and_remove};
use crate::scene::{Scene, node_memory};

/// By how many MiB command and node may grow, each.
const GROWTH_MIB_MAX: f64 = 32.0;

/// How many times the data may be by which the lender grows.
const LENDER_MAX: f64 = 1.05;

/// What the command's own memory is compared with: the same with as little data as it may have.
const TINY_LEN: u64 = 1;

/// How often the peak of a running command is read: it has none when it has ended.
const POLL: Duration = Duration::from_millis(1);

/// One run, in MiB.
#[derive(Clone, Copy, Debug)]
struct Sample {
    stream_command: f64,
    stream_node: f64,
    lender: f64,
    load_command: f64,
    load_node: f64,
}

/// Measures both ways, in new nodes for each run: what an earlier stream has left would not be growth.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let size = setting.size;
    let files = Files::create(2 * size)?;
    let file = files.random("source", size)?;
    let tiny = files.random("tiny", TINY_LEN)?;
    let copy = files.path("copy");
    let samples = setting.repeat(|| {
        let scene = Scene::of_friends(&setting.programs, 2, node_memory(size))?;
        let [a, b] = scene.lab.all();
        let [node, lender] = scene.nodes() else {
            anyhow::bail!("two hosts have two nodes");
        };
        let (_, tiny_stream) = peak_of(a, &commands::stream_args(&tiny, &[b.name()]))?;
        let lender_before = lender.resident_bytes()?;
        let ((made, stream), stream_node) =
            growth_of(node, || peak_of(a, &commands::stream_args(&file, &[b.name()])))?;
        let lender_after = lender.resident_peak_bytes()?;
        let made: Made = serde_json::from_slice(&made)?;
        let (_, tiny_load) = peak_of(
            a,
            &commands::load_args(commands::stream(a, &tiny, &[b.name()])?.0, &copy),
        )?;
        fs::remove_file(&copy)?;
        let ((_, load), load_node) = growth_of(node, || peak_of(a, &commands::load_args(made.id, &copy)))?;
        check_and_remove(&file, &copy)?;
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        Ok(Sample {
            stream_command: mib(stream.saturating_sub(tiny_stream)),
            stream_node: mib(stream_node),
            lender: mib(lender_after.saturating_sub(lender_before)),
            load_command: mib(load.saturating_sub(tiny_load)),
            load_node: mib(load_node),
        })
    })?;
    let line = |what: &str, figure: fn(&Sample) -> f64| {
        let what = format!("memory while {} pass, {what}, MiB", show(size));
        Line::own(what, 1, samples.iter().map(figure).collect())
    };
    let below = Mark::Below(GROWTH_MIB_MAX);
    let data = Some(size as f64 / MIB as f64);
    Ok(vec![
        line("there: growth of the command", |sample| sample.stream_command).mark(below),
        line("there: growth of its node", |sample| sample.stream_node).mark(below),
        line("there: growth of the lender", |sample| sample.lender)
            .mark(Mark::AtMostOwn(LENDER_MAX, data, "the data")),
        line("back: growth of the command", |sample| sample.load_command).mark(below),
        line("back: growth of its node", |sample| sample.load_node).mark(below),
    ])
}

/// What `stream --json` prints, as far as it is needed.
#[derive(Deserialize)]
struct Made {
    id: BlockId,
}

/// By how many bytes a node grows at the most while `work` runs, with what that gives.
fn growth_of<T>(node: &Node, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    node.reset_resident_peak()?;
    let before = node.resident_bytes()?;
    let given = work()?;
    Ok((given, node.resident_peak_bytes()?.saturating_sub(before)))
}

/// Runs a command of `memcli`. Returns what it printed and the most resident memory that it had, in bytes.
fn peak_of(host: &Host, args: &[OsString]) -> Result<(Vec<u8>, u64)> {
    let mut command = host.memcli_start(args)?;
    let start = Instant::now();
    let mut peak = 0;
    while command.is_running() {
        interrupt::check()?;
        ensure!(start.elapsed() < TRANSFER_TIMEOUT, "memcli does not end");
        // It may have ended just now; and until it is memcli, it is `ip`, which is smaller.
        peak = peak.max(resident_peak_bytes(command.pid()).unwrap_or_default());
        std::thread::sleep(POLL);
    }
    let finished = finish(command)?;
    ensure!(peak > 0, "the command ended before its memory could be read");
    Ok((finished, peak))
}

fn finish(command: Running) -> Result<Vec<u8>> {
    let finished = command.wait(TRANSFER_TIMEOUT)?.ok();
    Ok(finished.context("memcli failed")?.stdout)
}
