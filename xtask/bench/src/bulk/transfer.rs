//! A file to a peer and back, beside the same file over the same wire without a node.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::marks::{Kind, Line, Mark};
use super::ssh::Ssh;
use super::tls::Pipes;
use super::{Setting, show, tcp};
use crate::commands;
use crate::files::{Files, check_and_remove};
use crate::line::Column as _;
use crate::scene::{Scene, node_memory};

/// How much of what a pipe through OpenSSL, and `scp`, make a stream is to make.
const OF_OPENSSL_MIN: f64 = 1.0;
const OF_SCP_MIN: f64 = 1.5;

/// How much of a limited wire, as a bare connection uses it.
const OF_WIRE_MIN: f64 = 0.97;

/// How many times the wire's rate lines that compress are to have.
const LOGS_MIN: f64 = 3.0;

/// How many bytes of log lines are sent, over a wire of so many Mbit/s.
const LOGS_LEN: u64 = 1_000_000_000;
const LOGS_MEGABITS: u32 = 1_000;

/// For how long a limited wire is kept busy each time, about.
const LIMITED_SECS: u64 = 4;

/// One run: MB/s of both directions.
#[derive(Clone, Copy, Debug)]
struct Sample {
    there: f64,
    back: f64,
}

/// Over a wire that is not limited.
pub(super) fn unlimited(setting: &Setting) -> Result<Vec<Line>> {
    let marks = [
        Mark::AtLeast(OF_OPENSSL_MIN, Kind::OpenSsl),
        Mark::AtLeast(OF_SCP_MIN, Kind::Scp),
    ];
    let kinds = [Kind::Tcp, Kind::OpenSsl, Kind::Scp, Kind::MemCloud];
    let files = files(setting.size)?;
    let file = files.random("source", setting.size)?;
    measure(
        setting,
        &Load::new(&files, &file, setting.size, None, show(setting.size)),
        &kinds,
        &marks,
    )
}

/// Over wires of so many Mbit/s.
pub(super) fn limited(setting: &Setting, megabits: u32) -> Result<Vec<Line>> {
    let size = u64::from(megabits) * 1_000_000 / 8 * LIMITED_SECS / setting.part;
    let files = files(size)?;
    let file = files.random("source", size)?;
    let what = show(size);
    let marks = [Mark::AtLeast(OF_WIRE_MIN, Kind::Tcp)];
    let kinds = [Kind::Tcp, Kind::OpenSsl, Kind::Scp, Kind::MemCloud];
    measure(
        setting,
        &Load::new(&files, &file, size, Some(megabits), what),
        &kinds,
        &marks,
    )
}

/// Log lines, which compress.
pub(super) fn logs(setting: &Setting) -> Result<Vec<Line>> {
    let size = LOGS_LEN / setting.part;
    let files = files(size)?;
    let file = files.access_log("access.log", size)?;
    let what = format!("{} of log lines", show(size));
    let marks = [Mark::AtLeast(LOGS_MIN, Kind::Tcp)];
    let load = Load::new(&files, &file, size, Some(LOGS_MEGABITS), what);
    measure(setting, &load, &[Kind::Tcp, Kind::MemCloud], &marks)
}

/// A file, the place of its copies, and the wire.
struct Load<'a> {
    files: &'a Files,
    file: &'a Path,
    size: u64,
    megabits: Option<u32>,
    what: String,
}

impl<'a> Load<'a> {
    fn new(files: &'a Files, file: &'a Path, size: u64, megabits: Option<u32>, what: String) -> Self {
        let wire = megabits.map_or_else(String::new, |megabits| format!(" at {megabits} Mbit/s"));
        Self {
            files,
            file,
            size,
            megabits,
            what: what + &wire,
        }
    }

    fn rate(&self, took: Duration) -> f64 {
        self.size as f64 / 1e6 / took.as_secs_f64()
    }
}

/// A file of this size, and one copy of it at a time.
fn files(size: u64) -> Result<Files> {
    Files::create(2 * size)
}

fn measure(setting: &Setting, load: &Load<'_>, kinds: &[Kind], marks: &[Mark]) -> Result<Vec<Line>> {
    let scene = Scene::of_friends(&setting.programs, 2, node_memory(load.size))?;
    let [a, b] = scene.lab.all();
    let ssh = kinds.contains(&Kind::Scp).then(|| Ssh::start(a, b)).transpose()?;
    let pipes = kinds.contains(&Kind::OpenSsl).then(Pipes::prepare).transpose()?;
    if let Some(megabits) = load.megabits {
        for host in [a, b] {
            scene.lab.limit_rate(host, megabits)?;
        }
    }
    let (file, copy) = (load.file, load.files.path("copy"));
    let both_ways = |send: &dyn Fn(bool) -> Result<Duration>| -> Result<Sample> {
        let there = load.rate(send(true)?);
        check_and_remove(file, &copy)?;
        let back = load.rate(send(false)?);
        check_and_remove(file, &copy)?;
        Ok(Sample { there, back })
    };
    let ends = |is_there: bool| if is_there { (a, b) } else { (b, a) };
    let runs = setting.alternate(kinds, |kind| {
        let sample = match kind {
            Kind::Tcp => both_ways(&|is_there| {
                let (from, to) = ends(is_there);
                tcp::copy(from, to, file, &copy)
            }),
            Kind::OpenSsl => both_ways(&|is_there| {
                let (from, to) = ends(is_there);
                pipes
                    .as_ref()
                    .context("it was prepared")?
                    .copy(from, to, file, &copy)
            }),
            Kind::Scp => both_ways(&|is_there| {
                let ssh = ssh.as_ref().context("it was started")?;
                if is_there {
                    ssh.put(file, &copy)
                } else {
                    ssh.get(file, &copy)
                }
            }),
            Kind::Rsync | Kind::MemCloud => {
                let (id, there) = commands::stream(a, file, &[b.name()])?;
                let back = commands::load(a, id, &copy)?;
                commands::free(a, id)?;
                check_and_remove(file, &copy)?;
                Ok(Sample {
                    there: load.rate(there),
                    back: load.rate(back),
                })
            }
        };
        sample.with_context(|| format!("{} with {}", kind.name(), load.what))
    })?;
    let line = |direction: &str, figure: fn(&Sample) -> f64| {
        let what = format!("{} {direction}, MB/s", load.what);
        let line = Line::of(what, 0, &runs, figure);
        marks.iter().fold(line, |line, &mark| line.mark(mark))
    };
    Ok(vec![
        line("to a peer", |sample| sample.there),
        line("back", |sample| sample.back),
    ])
}
