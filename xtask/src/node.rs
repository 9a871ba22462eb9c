//! A running `memnode` that a chore started, and what can be done to it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use memproto::control::NodeStatus;
use rustix::process::Signal;

use crate::host::Host;
use crate::process::{Finished, Running};
use crate::wait;

/// How long a node may take from its start until it answers: a debug build on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    process: Running,
    log: PathBuf,
    status: NodeStatus,
}

impl Node {
    /// Starts `memnode` on a host and waits until it answers.
    pub(crate) fn start<S: AsRef<OsStr>>(
        host: &Host,
        log_dir: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let log = log_dir.join("memnode.stderr");
        let stderr = OpenOptions::new().create(true).append(true).open(&log)?;
        // The environment, unlike a flag, gives way to a flag.
        let mut command = host.memnode_command(args);
        command
            .env("MEMCLOUD_NAME", host.name())
            .stdout(Stdio::null())
            .stderr(stderr);
        let mut process = Running::start_with_own_output(&mut command)?;
        let pid = process.pid();
        let status = wait::until(&format!("node {}", host.name()), START_TIMEOUT, || {
            if !process.is_running() {
                return Ok(Some(None));
            }
            // A node that was there before must not be taken for this one.
            host.status()
                .map(|status| (status.pid == pid).then_some(Some(status)))
        });
        match status {
            Ok(Some(status)) => Ok(Self { process, log, status }),
            Ok(None) => bail!(
                "node {} ended at its start; it said:\n{}",
                host.name(),
                tail(&log)
            ),
            Err(error) => bail!("{error:#}\nits log ends with:\n{}", tail(&log)),
        }
    }

    /// What it said of itself when it had started.
    pub fn status(&self) -> &NodeStatus {
        &self.status
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The port on which it accepts peers.
    ///
    /// # Errors
    /// When it listens nowhere.
    pub fn peer_port(&self) -> Result<u16> {
        Ok(self
            .status
            .peer_addresses
            .first()
            .context("the node listens nowhere")?
            .port())
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Resident memory of the process in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.pid())
    }

    /// The highest resident memory since the start or the last [`Node::reset_resident_peak`], in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_peak_bytes(&self) -> Result<u64> {
        resident_peak_bytes(self.pid())
    }

    /// Makes the present resident memory the peak (proc(5), `/proc/PID/clear_refs`).
    ///
    /// # Errors
    /// When the process is gone or is not ours.
    pub fn reset_resident_peak(&self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")?)
    }

    /// SIGKILL, as a crash or a power cut does it: the process cleans up nothing.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// SIGSTOP: the machine hangs, its connections stay.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// SIGTERM, and waits for the clean end.
    ///
    /// # Errors
    /// When it does not end `within` the time: then it is killed.
    pub fn stop(self, within: Duration) -> Result<Finished> {
        self.process.signal(Signal::TERM)?;
        self.wait(within)
    }

    /// Waits for an end that something else brings about.
    ///
    /// # Errors
    /// When it does not end `within` the time: then it is killed.
    pub fn wait(self, within: Duration) -> Result<Finished> {
        let log = self.log;
        self.process
            .wait(within)
            .with_context(|| format!("its log ends with:\n{}", tail(&log)))
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

/// Resident memory of a process in bytes (proc(5), `VmRSS`).
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_field(pid, "VmRSS:")
}

/// The highest resident memory of a process in bytes (proc(5), `VmHWM`).
///
/// # Errors
/// When there is no such process.
pub fn resident_peak_bytes(pid: u32) -> Result<u64> {
    status_field(pid, "VmHWM:")
}

fn status_field(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("the process {pid} has no {field}"))?;
    Ok(kib * 1024)
}

fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
