//! The log archiver of the examples, beside the same work put together by a shell: lines and gzip in one program of Node.js, whose output
//! `memcli stream` takes from a pipe.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use memproto::BlockId;
use xtask::host::Host;
use xtask::process::{self, Finished};

use super::marks::{Kind, Line};
use super::streams::{self, Sample};
use super::{Setting, packages, programs};
use crate::commands::{self, TRANSFER_TIMEOUT};
use crate::files::Files;
use crate::scene::{Scene, node_memory};

/// How many lines, of about a kilobyte each.
const LINES: u64 = 1_000_000;

/// The most bytes that so many lines have when they are compressed: a third of them.
const COMPRESSED_LEN_MAX: u64 = LINES * 1_000 / 3;

/// What the archiver prints, as far as it is needed.
#[derive(Debug, PartialEq)]
struct Archived {
    id: BlockId,
    lines: u64,
    log_bytes: u64,
    secs: f64,
    peak_mb: f64,
}

/// Measures both to the memory of another host.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let lines = LINES / setting.part;
    let files = Files::create(COMPRESSED_LEN_MAX)?;
    let copy = files.path("archive.gz");
    let scene = Scene::of_friends(&setting.programs, 2, node_memory(COMPRESSED_LEN_MAX))?;
    let [a, b] = scene.lab.all();
    // Both make the same lines: how many bytes they are is told by the archiver, which has the first turn.
    let mut log_bytes = None;
    let runs = setting.alternate(&[Kind::MemCloud, Kind::Memcli], |kind| {
        let (id, len, sample) = match kind {
            Kind::MemCloud => {
                let idle = streams::idle_bytes(a)?;
                let archived = archive(a, lines, b.name())?;
                ensure!(archived.lines == lines, "{} lines were archived", archived.lines);
                let len = *log_bytes.insert(archived.log_bytes);
                let peak = (archived.peak_mb * 1e6) as u64;
                (archived.id, len, Sample::of(len, archived.secs, peak, idle))
            }
            _ => {
                let len = log_bytes.context("the archiver has told the length")?;
                let (id, secs) = by_shell(a, lines, b.name())?;
                let rate = len as f64 / 1e6 / secs;
                (id, len, Sample { rate, memory: None })
            }
        };
        commands::load(a, id, &copy)?;
        check_archive(&copy, len)?;
        commands::free(a, id)?;
        Ok(sample)
    })?;
    let what = format!("{lines} log lines, gzipped on the fly to a peer");
    Ok(streams::lines(&what, &runs))
}

fn archive(host: &Host, lines: u64, peer: &str) -> Result<Archived> {
    let mut command = host.command(programs::NODE);
    command.arg(packages::example("log-archiver.js"));
    command.args(["--lines", &lines.to_string(), "--peer", peer]);
    let finished = process::run(&mut command, TRANSFER_TIMEOUT)?.ok()?;
    Archived::read(&finished)
}

impl Archived {
    fn read(finished: &Finished) -> Result<Self> {
        let text = finished.text();
        // `peak memory  83.1 MB, 31.0 MB more than before it began`: a name, two spaces or more, and what begins with the figure.
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let words = line.and_then(|line| line.split_whitespace().next());
            words.with_context(|| format!("the archiver does not print its {name}: {finished}"))
        };
        Ok(Self {
            id: figure("stream ")?.parse()?,
            lines: figure("lines ")?.parse()?,
            log_bytes: figure("log ")?.parse()?,
            secs: figure("took ")?.parse()?,
            peak_mb: figure("peak memory ")?.parse()?,
        })
    }
}

/// The same by a shell, from the start of the first program to the end of the last, in seconds.
fn by_shell(host: &Host, lines: u64, peer: &str) -> Result<(BlockId, f64)> {
    let start = Instant::now();
    let mut made = host.command(programs::NODE);
    made.arg(packages::program("lines.mjs")).arg(lines.to_string());
    let mut made = made.stdout(Stdio::piped()).spawn().context("cannot run node")?;
    let mut memcli = host.memcli_command(commands::stream_args(Path::new("-"), &[peer]));
    memcli.stdin(made.stdout.take().context("its output is a pipe")?);
    let finished = process::run(&mut memcli, TRANSFER_TIMEOUT);
    // It has written all when memcli has read all, and has no reader when that has failed.
    made.wait()?;
    let secs = start.elapsed().as_secs_f64();
    let (id, _) = commands::made(&finished?.ok()?)?;
    Ok((id, secs))
}

/// Makes sure that an archive is whole and has so many bytes when it is unpacked, and removes it.
fn check_archive(archive: &Path, unpacked_len: u64) -> Result<()> {
    let mut gunzip = std::process::Command::new("sh");
    gunzip
        .args(["-c", "gzip -t \"$1\" && gzip -dc \"$1\" | wc -c", "sh"])
        .arg(archive)
        .stdin(Stdio::null());
    let len: u64 = process::run(&mut gunzip, TRANSFER_TIMEOUT)?
        .ok()?
        .text()
        .parse()?;
    ensure!(
        len == unpacked_len,
        "the archive has {len} bytes of log, not {unpacked_len}"
    );
    Ok(std::fs::remove_file(archive)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    use super::*;

    fn printed(text: &str) -> Finished {
        Finished {
            shown: "node log-archiver.js".to_owned(),
            status: ExitStatus::from_raw(0),
            stdout: text.as_bytes().to_vec(),
            stderr: String::new(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn what_the_archiver_prints_is_read() {
        let text = "lines        1000\nlog          1012345 bytes\nstored       123456 bytes, gzipped at level 6\n\
                    took         1.25 s\nrate         80.1 MB/s of log\n\
                    peak memory  83.1 MB, 31.0 MB more than before it began\nstream       1444222832530211\n\
                    read it with memcli load 1444222832530211 | gunzip\n";
        let archived = Archived::read(&printed(text)).unwrap();
        let expected = Archived {
            id: BlockId::new(1_444_222_832_530_211).unwrap(),
            lines: 1000,
            log_bytes: 1_012_345,
            secs: 1.25,
            peak_mb: 83.1,
        };
        assert_eq!(archived, expected);
        let error = Archived::read(&printed("lines  1\n")).unwrap_err();
        assert!(error.to_string().contains("stream"), "{error}");
    }
}
