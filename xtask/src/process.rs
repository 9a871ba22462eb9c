//! A child process whose output is kept, whose end is awaited with a deadline, and which does not outlive its owner.

use std::fmt;
use std::io::Read;
use std::iter;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;

/// How often a running child is looked at: short beside the shortest command.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A child process, killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
    started: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// A child process that ended, with all that it said.
#[derive(Debug)]
pub struct Finished {
    /// The command, for messages.
    pub shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout, unless that went elsewhere.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, unless that went elsewhere.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Running {
    /// Starts a command. Its stdin is empty unless the command says otherwise; stdout and stderr are kept.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::start_with_own_output(command)
    }

    /// Starts a command whose stdout and stderr were directed by the caller; what is a pipe is kept.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with_own_output(command: &mut Command) -> Result<Self> {
        let shown = show(command);
        let mut child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Self {
            child,
            shown,
            started: Instant::now(),
            stdout,
            stderr,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id is positive")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to {}", self.shown))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it has not ended `within` the time, or the chore is interrupted: then it is killed.
    pub fn wait(mut self, within: Duration) -> Result<Finished> {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            interrupt::check()?;
            if Instant::now() >= deadline {
                self.kill();
                let said = self.collected();
                bail!(
                    "{} did not end within {} s\n{}",
                    self.shown,
                    within.as_secs(),
                    said.1
                );
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        let took = self.started.elapsed();
        let (stdout, stderr) = self.collected();
        Ok(Finished {
            shown: self.shown.clone(),
            status,
            stdout,
            stderr,
            took,
        })
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only for a process that has already ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn collected(&mut self) -> (Vec<u8>, String) {
        let join = |thread: Option<JoinHandle<Vec<u8>>>| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        let stdout = join(self.stdout.take());
        let stderr = String::from_utf8_lossy(&join(self.stderr.take())).into_owned();
        (stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Finished {
    /// The exit code; `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Passes on a success.
    ///
    /// # Errors
    /// When it failed, with all that it said.
    pub fn ok(self) -> Result<Self> {
        ensure!(self.status.success(), "{self}");
        Ok(self)
    }

    /// Passes on a failure with this exit code.
    ///
    /// # Errors
    /// When it succeeded or failed in another way.
    pub fn fails_with(self, code: i32) -> Result<Self> {
        ensure!(self.code() == Some(code), "expected exit code {code}, but {self}");
        Ok(self)
    }

    /// What it wrote to stdout, without the spaces around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// What it wrote to stdout, as JSON.
    ///
    /// # Errors
    /// When it is no such JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.stdout)
            .with_context(|| format!("not the JSON that was expected: {self}"))
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Output of this many bytes and more is data, of no use in a message.
        const SHOWN_MAX: usize = 4096;
        writeln!(
            f,
            "{} ended with {} after {:.2} s",
            self.shown,
            self.status,
            self.took.as_secs_f64()
        )?;
        match self.stdout.len() {
            0 => {}
            len if len < SHOWN_MAX => {
                writeln!(f, "stdout: {}", String::from_utf8_lossy(&self.stdout).trim_end())?;
            }
            len => writeln!(f, "stdout: {len} bytes")?,
        }
        write!(f, "stderr: {}", self.stderr.trim_end())
    }
}

/// Starts a command and waits for its end.
///
/// # Errors
/// When it cannot be started or does not end `within` the time; not when it fails.
pub fn run(command: &mut Command, within: Duration) -> Result<Finished> {
    Running::start(command)?.wait(within)
}

/// The program's name and arguments as one would type them on its host: without the way into a namespace.
pub fn show(command: &Command) -> String {
    let words: Vec<_> = iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    let words = match &words[..] {
        [ip, netns, exec, _, rest @ ..] if [*ip, *netns, *exec] == ["ip", "netns", "exec"] => rest,
        all => all,
    };
    let mut shown = String::new();
    for (index, word) in words.iter().enumerate() {
        let word = if index == 0 {
            Path::new(word).file_name().unwrap_or(word)
        } else {
            word
        };
        let word = word.to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        let separator = if index == 0 { "" } else { " " };
        if !word.is_empty() && word.chars().all(is_plain) {
            shown.push_str(&format!("{separator}{word}"));
        } else {
            shown.push_str(&format!("{separator}{word:?}"));
        }
    }
    shown
}

/// Reads a pipe to its end on a thread of its own: a child must not stall because its pipe is full.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read that fails ends the collection with what there is.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn output_and_exit_code_are_kept() {
        let finished = run(
            &mut shell("echo out; echo err >&2; exit 4"),
            Duration::from_secs(10),
        )
        .unwrap();
        assert_eq!(
            (finished.text().as_str(), finished.stderr.as_str()),
            ("out", "err\n")
        );
        let finished = finished.fails_with(4).unwrap();
        assert!(finished.ok().unwrap_err().to_string().contains("exit status: 4"));
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        let running = Running::start(&mut shell("exec sleep 100")).unwrap();
        let error = running.wait(Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("did not end within 0 s"), "{error}");
    }

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("/a/b/memcli");
        command.args(["set", "greeting", "Hello there"]);
        assert_eq!(show(&command), "memcli set greeting \"Hello there\"");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "lab-a", "/a/b/memcli", "stats"]);
        assert_eq!(show(&command), "memcli stats");
    }
}
