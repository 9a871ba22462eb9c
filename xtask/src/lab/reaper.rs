//! Ends and removes what a lab made, however the lab's process ends.
//!
//! A lab's process may return, panic, or be killed by Ctrl-C, by a test runner's time limit or by SIGKILL. So the
//! cleaning is not left to it: a small shell program (`reaper.sh`) waits on a pipe whose other end the lab's process
//! holds. When that end closes, for whatever reason, it kills every process in the lab's namespaces, deletes them and
//! removes the lab's folder. A dropped lab closes the pipe and waits for that.
//!
//! Should the shell be killed as well, the next lab to start finds a folder whose lock nobody holds, and sweeps.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The folder that holds one folder for each lab. It is root's alone, unlike `/tmp`, and its path is short enough for
/// the names of Unix sockets below it.
const LABS_DIR: &str = "/run/memcloud-lab";

/// What the names of all namespaces of labs begin with; the id of the lab follows.
pub(super) const NAMESPACE_PREFIX: &str = "mclab-";

const SCRIPT: &str = include_str!("reaper.sh");

/// The folder of a lab that is alive: locked as long as this process lives or until it is dropped.
#[derive(Debug)]
pub(super) struct RunDir {
    id: String,
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Removes what dead labs left, then makes a folder under an id that nobody has.
    pub(super) fn create() -> Result<Self> {
        let labs = Path::new(LABS_DIR);
        DirBuilder::new().recursive(true).mode(0o700).create(labs)?;
        // Held while labs are looked at and made: no one takes a lab for dead that has not locked its folder yet.
        let gate = File::create(labs.join("lock"))?;
        gate.lock()?;
        sweep(labs)?;
        let id = format!("{:06x}", rand::random_range(0..0x100_0000));
        let path = labs.join(&id);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let lock = File::create(path.join("lock"))?;
        lock.lock()?;
        Ok(Self {
            id,
            path,
            _lock: lock,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The shell program that cleans when this is dropped, or when this process is gone.
#[derive(Debug)]
pub(super) struct Reaper {
    shell: Child,
    pipe: Option<ChildStdin>,
    _run: RunDir,
}

impl Reaper {
    pub(super) fn start(run: RunDir) -> Result<Self> {
        let mut shell = shell(&run.id, &run.path)
            .stdin(Stdio::piped())
            // In a group of its own, Ctrl-C and the end of a test runner's group do not reach it.
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let pipe = shell.stdin.take();
        Ok(Self {
            shell,
            pipe,
            _run: run,
        })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.shell.wait() {
            eprintln!("cannot wait for the lab's cleaning: {error}");
        }
    }
}

/// Cleans up after labs whose process and reaper are gone.
fn sweep(labs: &Path) -> Result<()> {
    for entry in fs::read_dir(labs)? {
        let path = entry?.path();
        let Some(id) = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|_| path.is_dir())
        else {
            continue;
        };
        let alive = match File::open(path.join("lock")) {
            Ok(lock) => matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            // Its reaper is just removing it, or its process died before it made the lock.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
        };
        if !alive {
            let status = shell(id, &path)
                .stdin(Stdio::null())
                .status()
                .context("cannot run sh")?;
            ensure!(status.success(), "cannot remove the dead lab {}", path.display());
        }
    }
    Ok(())
}

fn shell(id: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "reaper", &format!("{NAMESPACE_PREFIX}{id}-")])
        .arg(dir);
    // A test runner waits until its tests' outputs are closed: this one must not hold them.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}
