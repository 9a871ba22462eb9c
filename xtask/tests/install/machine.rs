//! A machine to install on: a home, a folder to install into whose name has a space, and what is on it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use xtask::build::{Programs, workspace_dir};
use xtask::host::Host;
use xtask::process::{self, Finished};

use crate::release;

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long a run of a script may take: some tenths of a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What the scripts call, where a test decides what there is.
const TOOLS: &[&str] = &[
    "awk", "basename", "cat", "chmod", "cp", "cut", "date", "df", "dirname", "env", "getconf", "grep",
    "gzip", "head", "id", "ln", "ls", "mkdir", "mktemp", "mv", "ps", "readlink", "rm", "rmdir", "sed", "sh",
    "sleep", "tail", "tar", "tr", "uname",
];

/// Settings of the nodes that tests start: they bother nobody on the network.
const NODE_SETTINGS: [(&str, &str); 4] = [
    ("MEMCLOUD_DISCOVERY", "false"),
    ("MEMCLOUD_PORT", "0"),
    ("MEMCLOUD_API_PORT", "off"),
    ("MEMCLOUD_MEMORY", "64mb"),
];

/// A machine to install on.
pub(crate) struct Machine {
    dir: TempDir,
    host: Host,
}

/// All that lies in some folder: permissions, and what is in files and links.
pub(crate) type Tree = BTreeMap<PathBuf, (u32, String)>;

impl Machine {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // Other users of the machine may look in, as into a real one.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let host = Host::create("machine", dir.path(), None, &Programs::beside_this_one()?)?;
        Ok(Self { dir, host })
    }

    /// A machine on which this build is installed.
    pub(crate) fn installed() -> Result<Self> {
        let machine = Self::new()?;
        machine.install(&[])?.ok()?;
        Ok(machine)
    }

    /// A machine on which this build is installed, and has been used.
    pub(crate) fn used() -> Result<Self> {
        let machine = Self::installed()?;
        machine.memcli(&["node", "start"])?.ok()?;
        machine.memcli(&["node", "stop"])?.ok()?;
        Ok(machine)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.host.home_dir()
    }

    pub(crate) fn prefix(&self) -> PathBuf {
        self.dir().join("a prefix")
    }

    /// A program that was installed.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.prefix().join("bin").join(name)
    }

    /// A command of the machine's person.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.host.command(program);
        command.envs(NODE_SETTINGS).env_remove("RUST_BACKTRACE");
        command
    }

    /// install.sh in a shell, for the release of a folder, into the machine's prefix.
    pub(crate) fn installer(&self, shell: &[&str], base_url: &str, args: &[&str]) -> Command {
        let mut command = self.script(shell, "install.sh", args);
        command.env("MEMCLOUD_INSTALL_BASE_URL", base_url);
        command
    }

    /// A script of this repository in a shell, for the machine's prefix.
    fn script(&self, shell: &[&str], name: &str, args: &[&str]) -> Command {
        let mut command = self.command(shell[0]);
        command
            .args(&shell[1..])
            .arg(workspace_dir().join(name))
            .arg("--prefix")
            .arg(self.prefix())
            .args(args);
        command
    }

    /// Runs install.sh for the release of this build.
    pub(crate) fn install(&self, args: &[&str]) -> Result<Finished> {
        self.install_from(release::this_build()?, args)
    }

    /// Runs install.sh for the release of a folder.
    pub(crate) fn install_from(&self, release: &Path, args: &[&str]) -> Result<Finished> {
        run(&mut self.installer(&["sh"], &file_url(release), args))
    }

    /// The uninstall.sh that lies in the prefix, in a shell: it finds what it removes by where it lies.
    pub(crate) fn installed_uninstaller(&self, shell: &[&str]) -> Command {
        let mut command = self.command(shell[0]);
        command
            .args(&shell[1..])
            .arg(self.prefix().join("share/memcloud/uninstall.sh"));
        command
    }

    /// Runs uninstall.sh.
    pub(crate) fn uninstall(&self, args: &[&str]) -> Result<Finished> {
        run(&mut self.script(&["sh"], "uninstall.sh", args))
    }

    /// Runs the `memcli` that was installed.
    pub(crate) fn memcli(&self, args: &[&str]) -> Result<Finished> {
        run(self.command(self.program("memcli")).args(args))
    }

    /// The process id of the running node.
    pub(crate) fn node_pid(&self) -> Result<u64> {
        let status: serde_json::Value = self.memcli(&["--json", "node", "status"])?.ok()?.json()?;
        status["pid"].as_u64().context("a node tells its pid")
    }

    /// A folder with the tools that the scripts need beside downloading and checksums, and these, to be the whole PATH.
    pub(crate) fn tools(&self, more: &[&str]) -> Result<PathBuf> {
        let folder = self.dir().join("tools");
        fs::create_dir_all(&folder)?;
        for tool in TOOLS.iter().chain(more) {
            let path = find(tool).with_context(|| format!("{tool} is not on PATH"))?;
            symlink(path, folder.join(tool))?;
        }
        Ok(folder)
    }

    /// Puts a program of this name in front of all others: a shell script with these lines. Returns PATH.
    pub(crate) fn fake(&self, name: &str, lines: &str) -> Result<String> {
        let folder = self.dir().join("fakes");
        fs::create_dir_all(&folder)?;
        write_program(&folder.join(name), lines)?;
        let path = std::env::var("PATH").context("there is a PATH")?;
        Ok(format!("{}:{path}", folder.display()))
    }

    /// All that lies on the machine.
    pub(crate) fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::new();
        for folder in ["home", "a prefix"] {
            add_tree(&mut tree, self.dir(), Path::new(folder))?;
        }
        Ok(tree)
    }

    /// What a command does that must fail with this code: one line that says why, and nothing to the machine. Returns the line.
    pub(crate) fn refuses(&self, command: &mut Command, code: i32) -> Result<String> {
        let before = self.tree()?;
        let failed = run(command)?.fails_with(code)?;
        let lines: Vec<_> = failed.stderr.lines().collect();
        ensure!(
            matches!(lines[..], [line] if line.starts_with("error: ")),
            "not one clear line: {failed}"
        );
        ensure!(self.tree()? == before, "the machine was changed: {failed}");
        Ok(failed.stderr)
    }
}

impl Drop for Machine {
    /// Ends a node that a failed test left running.
    fn drop(&mut self) {
        let pid_file = self.home().join(".memcloud/memnode.pid");
        let pid = fs::read_to_string(pid_file)
            .ok()
            .and_then(|pid| pid.trim().parse().ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid
            && fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()))
                .is_ok_and(|program| program.starts_with(self.dir()))
        {
            // It may have ended this moment.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<Finished> {
    process::run(command, SOON)
}

/// Where a folder is found by the scripts.
pub(crate) fn file_url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Writes a shell script that can be run.
pub(crate) fn write_program(path: &Path, lines: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{lines}\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// A program on PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether this is root; a test that needs it says that it was left out.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("left out: only root can do this");
    }
    is_root
}

fn add_tree(tree: &mut Tree, top: &Path, path: &Path) -> Result<()> {
    let full = top.join(path);
    let Ok(metadata) = full.symlink_metadata() else {
        return Ok(());
    };
    let contents = if metadata.is_dir() {
        for entry in fs::read_dir(&full)? {
            add_tree(tree, top, &path.join(entry?.file_name()))?;
        }
        "a folder".to_owned()
    } else if metadata.is_symlink() {
        format!("a link to {}", fs::read_link(&full)?.display())
    } else {
        blake3::hash(&fs::read(&full)?).to_string()
    };
    tree.insert(path.to_owned(), (metadata.permissions().mode(), contents));
    Ok(())
}
