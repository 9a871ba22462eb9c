//! Starting `memnode` in the background and waiting until it answers.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use memproto::control::NodeStatus;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::log_file::last_lines;

/// How long a node may take until it answers. It takes a few milliseconds; a machine that swaps takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often to ask whether it answers.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How many lines of the log a failed start shows.
const LOG_LINES_SHOWN: usize = 10;

/// How `memnode` ends where its options or settings are wrong.
const MEMNODE_EXIT_USAGE: i32 = 2;

/// The name of the log in the node's home.
pub(crate) const LOG_NAME: &str = "memnode.log";

/// Starts a node with these options and waits until it answers.
///
/// # Errors
/// Why it did not start, with what it wrote to its log.
pub(crate) async fn launch(context: &Context, options: Vec<OsString>) -> Outcome<NodeStatus> {
    let program = find_memnode()?;
    let mut log = Log::open(&context.home()?)?;
    let mut child = spawn(&program, options, &log)?;
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        // Another node may answer there; ours then ends by itself and says so.
        if let Ok(Some((_, status))) = context.probe().await
            && Some(status.pid) == child.id()
        {
            return Ok(status);
        }
        tokio::select! {
            exit = child.wait() => {
                return Err(ended(exit, &mut log));
            }
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
        if Instant::now() > deadline {
            return Err(give_up(child, &mut log).await);
        }
    }
}

/// The node ended before it answered. Wrong options are the fault of whoever typed them, here as there.
fn ended(exit: io::Result<ExitStatus>, log: &mut Log) -> Failure {
    let (how, is_usage) = match exit {
        Ok(status) => (status.to_string(), status.code() == Some(MEMNODE_EXIT_USAGE)),
        Err(error) => (error.to_string(), false),
    };
    let text = log.account(&format!("the node did not start ({how})"));
    if is_usage {
        Failure::Usage(text)
    } else {
        Failure::Other(text)
    }
}

/// A node that is there but does not answer helps nobody: it is ended, so that the next start finds its place free.
async fn give_up(mut child: Child, log: &mut Log) -> Failure {
    // It may have ended by itself this moment.
    let _ = child.kill().await;
    let seconds = START_TIMEOUT.as_secs();
    Failure::Other(log.account(&format!(
        "the node did not answer within {seconds} s and was ended"
    )))
}

fn spawn(program: &Path, options: Vec<OsString>, log: &Log) -> Outcome<Child> {
    let cannot = |error: io::Error| Failure::Other(format!("cannot start {}: {error}", program.display()));
    // `--background` takes a session of its own, so that closing the terminal does not end the node.
    Command::new(program)
        .arg("--background")
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.file.try_clone().map_err(cannot)?)
        .stderr(log.file.try_clone().map_err(cannot)?)
        .spawn()
        .map_err(cannot)
}

/// `memnode` beside this program, else on PATH.
fn find_memnode() -> Outcome<PathBuf> {
    let name = format!("memnode{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe()
        .and_then(fs::canonicalize)
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    find(&name, beside.as_deref(), env::var_os("PATH").as_deref()).ok_or_else(|| {
        let beside = beside.map_or_else(String::new, |folder| format!("in {} nor ", folder.display()));
        Failure::Other(format!(
            "{name} is neither {beside}on PATH: install it beside memcli"
        ))
    })
}

fn find(name: &str, beside: Option<&Path>, path: Option<&OsStr>) -> Option<PathBuf> {
    let on_path = path.into_iter().flat_map(env::split_paths);
    beside
        .map(Path::to_owned)
        .into_iter()
        .chain(on_path)
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The log that a starting node appends to, and where it ended before.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    ended_at: u64,
}

impl Log {
    /// Opens the log in the node's home, which is made where it is missing; both for the owner only.
    fn open(home: &Path) -> Outcome<Self> {
        let path = home.join(LOG_NAME);
        let open = || {
            if !home.is_dir() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(home)?;
            }
            let file = File::options()
                .append(true)
                .read(true)
                .create(true)
                .mode(0o600)
                .open(&path)?;
            Ok((file.metadata()?.len(), file))
        };
        let (ended_at, file) =
            open().map_err(|error: io::Error| Failure::writing(&format!("'{}'", path.display()), &error))?;
        Ok(Self { path, file, ended_at })
    }

    /// What happened, with what the node wrote since.
    fn account(&mut self, what: &str) -> String {
        let lines = File::open(&self.path)
            .and_then(|mut file| last_lines(&mut file, LOG_LINES_SHOWN, self.ended_at))
            .map_or_else(
                |error| format!("(the log cannot be read: {error})"),
                |(lines, _)| lines,
            );
        let path = self.path.display();
        if lines.is_empty() {
            return format!("{what}; it wrote nothing to {path}");
        }
        let indented: Vec<String> = lines.lines().map(|line| format!("  {line}")).collect();
        format!("{what}; its log, {path}, ends with:\n{}", indented.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memnode_is_found_beside_memcli_before_path() {
        let (beside, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = env::join_paths([Path::new("/nowhere"), other.path()]).unwrap();
        let look = || find("memnode", Some(beside.path()), Some(&path));
        assert_eq!(look(), None);
        let program = |folder: &Path, mode| {
            let file = folder.join("memnode");
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        program(beside.path(), 0o644);
        let on_path = program(other.path(), 0o755);
        assert_eq!(look(), Some(on_path), "what cannot be executed is no program");
        let next_to_us = program(beside.path(), 0o755);
        assert_eq!(look(), Some(next_to_us));
    }

    #[test]
    fn a_failed_start_shows_only_what_this_start_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("new/home");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(LOG_NAME), "yesterday\n").unwrap();
        let mut log = Log::open(&home).unwrap();
        assert!(log.account("it did not start").contains("wrote nothing"));
        io::Write::write_all(&mut log.file, b"port 8080 is in use\n").unwrap();
        let text = log.account("it did not start");
        assert!(text.ends_with("ends with:\n  port 8080 is in use"), "{text}");
        assert!(!text.contains("yesterday"));
    }

    #[test]
    fn a_new_home_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        Log::open(&home).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home), mode(&home.join(LOG_NAME))), (0o700, 0o600));
    }
}
