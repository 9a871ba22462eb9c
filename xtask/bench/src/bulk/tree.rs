//! A folder that the peer has already: what a second `push` takes, beside a second `rsync`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::lab::LabHost;
use xtask::size::GIB;

use super::Setting;
use super::marks::{Kind, Line, Mark};
use super::ssh::Ssh;
use crate::commands;
use crate::files::Files;
use crate::line::Column as _;
use crate::scene::{Scene, node_memory};

/// How many files the tree has.
const FILES: u64 = 10_000;

/// The rate of the wire.
const MEGABITS: u32 = 1_000;

/// How much of the tree's bytes may travel, in percent.
const TRAVELLED_PERCENT_MAX: f64 = 1.0;

/// Room for the tree: 10,000 files have some 110 MB.
const ROOM: u64 = GIB / 2;

/// The name of the tree in the pool.
const NAME: &str = "bench-tree";

/// One run.
#[derive(Clone, Copy, Debug)]
struct Sample {
    secs: f64,
    travelled: u64,
}

/// Sends the tree once, and then again and again without a change.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    const KINDS: [Kind; 2] = [Kind::Rsync, Kind::MemCloud];
    let count = FILES / setting.part;
    let files = Files::create(2 * ROOM)?;
    let root = files.tree("tree", count)?;
    let copy = files.path("copy");
    let bytes = bytes_of(&root)?;
    let scene = Scene::of_friends(&setting.programs, 2, node_memory(ROOM))?;
    let [a, b] = scene.lab.all();
    let ssh = Ssh::start(a, b)?;
    for host in [a, b] {
        scene.lab.limit_rate(host, MEGABITS)?;
    }
    let send = |kind: Kind| -> Result<Sample> {
        let before = travelled(a)?;
        let took = match kind {
            Kind::MemCloud => push(a, &root, b.name()),
            _ => ssh.sync(&root, &copy),
        }?;
        Ok(Sample {
            secs: took.as_secs_f64(),
            travelled: travelled(a)? - before,
        })
    };
    let firsts = KINDS
        .into_iter()
        .map(|kind| Ok((kind, send(kind)?)))
        .collect::<Result<Vec<_>>>()?;
    let runs = setting.alternate(&KINDS, send)?;
    let once = |figure: fn(&Sample) -> f64| -> Vec<Vec<f64>> {
        let of = |column: &Kind| firsts.iter().find(|(kind, _)| kind == column);
        Kind::ALL
            .iter()
            .map(|column| of(column).map(|(_, sample)| figure(sample)).into_iter().collect())
            .collect()
    };
    let what = format!(
        "{count} files, {:.0} MB, at {MEGABITS} Mbit/s",
        bytes as f64 / 1e6
    );
    let percent = |sample: &Sample| sample.travelled as f64 * 100.0 / bytes as f64;
    Ok(vec![
        Line::new(
            format!("{what}: the first time, s"),
            2,
            once(|sample| sample.secs),
        ),
        Line::of(format!("{what}: unchanged, s"), 2, &runs, |sample| sample.secs)
            .mark(Mark::AtMost(1.0, Kind::Rsync)),
        Line::of(
            format!("{what}: unchanged, percent of its bytes that travel"),
            3,
            &runs,
            percent,
        )
        .mark(Mark::Below(TRAVELLED_PERCENT_MAX)),
    ])
}

fn push(host: &LabHost, root: &Path, peer: &str) -> Result<Duration> {
    let root = root.to_str().context("a temporary folder has a plain name")?;
    let finished = commands::run(host, &["push", root, "--name", NAME, "--peer", peer])?;
    Ok(finished.took)
}

/// The bytes of all files of a folder.
fn bytes_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            bytes_of(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}

/// The bytes that a host's wire has carried in both directions so far, as its interface counts them.
fn travelled(host: &LabHost) -> Result<u64> {
    let counters = host.in_network(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    counted(&counters, "eth0").with_context(|| format!("{} has no counters", host.name()))
}

/// The bytes received and sent of an interface in a table of counters (proc(5), `/proc/net/dev`).
fn counted(counters: &str, interface: &str) -> Option<u64> {
    let mut lines = counters.lines().filter_map(|line| line.split_once(':'));
    let (_, fields) = lines.find(|(name, _)| name.trim() == interface)?;
    let mut fields = fields.split_whitespace().map(str::parse::<u64>);
    let received = fields.next()?.ok()?;
    // Seven more counters of what was received stand in between.
    let sent = fields.nth(7)?.ok()?;
    Some(received + sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_the_name_of_the_interface() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n  \
             eth0:    1000       5    0    0    0     0          0         0     2345      19    0    0    0     0       0          0\n";
        assert_eq!(counted(table, "eth0"), Some(3345));
        assert_eq!(counted(table, "eth1"), None);
    }
}
