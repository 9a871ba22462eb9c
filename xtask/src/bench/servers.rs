//! The servers that are measured: found or installed, started in one temporary folder, ended when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::client::{Client, Protocol};
use crate::build::{self, Profile};
use crate::process::Running;
use crate::wait;

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The memory of each store: room for all values of the run, and 16 MiB beside 16 MiB.
const MEMORY_MIB: u32 = 1024;

/// The servers beside MemCloud, which are also the names of their packages.
const REDIS: &str = "redis-server";
const MEMCACHED: &str = "memcached";

/// The columns of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    EchoBlocking,
    EchoTokio,
    Memcached,
    Redis,
    MemCloud,
}

impl Kind {
    /// All, in the order of the columns.
    pub(super) const ALL: [Kind; 5] = [
        Kind::EchoBlocking,
        Kind::EchoTokio,
        Kind::Memcached,
        Kind::Redis,
        Kind::MemCloud,
    ];

    /// The head of the column.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::EchoBlocking => "echo, blocking",
            Kind::EchoTokio => "echo, tokio",
            Kind::Memcached => "memcached",
            Kind::Redis => "Redis",
            Kind::MemCloud => "MemCloud",
        }
    }

    /// What it speaks.
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Kind::EchoBlocking | Kind::EchoTokio => Protocol::Echo,
            Kind::Memcached => Protocol::Memcached,
            Kind::Redis => Protocol::Redis,
            Kind::MemCloud => Protocol::MemCloud,
        }
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) kind: Kind,
    socket: PathBuf,
    _process: Running,
}

impl Server {
    /// A new connection.
    pub(super) fn connect(&self) -> Result<Client> {
        Client::connect(self.kind.protocol(), &self.socket)
            .with_context(|| format!("cannot connect to {}", self.kind.name()))
    }
}

/// All servers, and the folder of their files, which goes with them.
#[derive(Debug)]
pub(super) struct Servers {
    // Before the folder: a server ends before its files do.
    servers: Vec<Server>,
    _dir: TempDir,
}

impl Servers {
    /// Starts one of each kind.
    ///
    /// # Errors
    /// When one does not start or does not answer.
    pub(super) fn start(memnode: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("memcloud-bench-").tempdir()?;
        let servers = Kind::ALL
            .iter()
            .map(|&kind| start(kind, dir.path(), memnode))
            .collect::<Result<_>>()?;
        Ok(Self { servers, _dir: dir })
    }

    /// The servers, in the order of the columns.
    pub(super) fn all(&self) -> &[Server] {
        &self.servers
    }
}

fn start(kind: Kind, dir: &Path, memnode: &Path) -> Result<Server> {
    let socket = dir.join(format!("{kind:?}.sock"));
    let log = dir.join(format!("{kind:?}.log"));
    let mut command = command(kind, dir, &socket, memnode)?;
    command
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .current_dir(dir);
    let mut process = Running::start_with_own_output(&mut command)?;
    let started = wait::until(kind.name(), START_TIMEOUT, || {
        ensure!(process.is_running(), "it ended at its start");
        Client::connect(kind.protocol(), &socket).map(Some)
    });
    started.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
    Ok(Server {
        kind,
        socket,
        _process: process,
    })
}

fn command(kind: Kind, dir: &Path, socket: &Path, memnode: &Path) -> Result<Command> {
    let mut command = match kind {
        Kind::EchoBlocking | Kind::EchoTokio => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["bench", "echo"]).arg(socket);
            if kind == Kind::EchoTokio {
                command.arg("--tokio");
            }
            command
        }
        Kind::Memcached => {
            // Four threads are its default. As root it wants to be told as whom to run; values of 16 MiB need -I.
            let mut command = Command::new(MEMCACHED);
            command.args(["-I", "64m", "-m", &MEMORY_MIB.to_string(), "-s"]);
            command.arg(socket);
            if rustix::process::geteuid().is_root() {
                command.args(["-u", "root"]);
            }
            command
        }
        Kind::Redis => {
            let mut command = Command::new(REDIS);
            command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
            command.arg("--unixsocket").arg(socket).arg("--dir").arg(dir);
            command
        }
        Kind::MemCloud => {
            let mut command = Command::new(memnode);
            command.args(["--no-discovery", "--listen", "127.0.0.1", "--port", "0"]);
            command.args(["--memory", &format!("{MEMORY_MIB}mb")]);
            command.env("MEMCLOUD_HOME", dir.join("home"));
            command.env("MEMCLOUD_SOCKET", socket);
            command
        }
    };
    command.env_remove("NOTIFY_SOCKET");
    Ok(command)
}

/// Makes sure that the servers beside MemCloud are there, and builds MemCloud's as it ships. Returns its path.
///
/// # Errors
/// When one is missing and cannot be installed: then the message says which, and how.
pub(super) fn prepare() -> Result<PathBuf> {
    let missing: Vec<_> = [REDIS, MEMCACHED]
        .into_iter()
        .filter(|name| !is_installed(name))
        .collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    build::memnode(Profile::Release)
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !rustix::process::geteuid().is_root() || !is_installed("apt-get") {
        bail!(
            "{} must be installed; as root on Debian: {by_hand}",
            packages.join(" and ")
        );
    }
    println!(
        "Installing {}; Debian starts them as services as well.",
        packages.join(" and ")
    );
    let apt = |args: &[&str]| {
        Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .context("cannot run apt-get")
    };
    apt(&["update", "-q"])?;
    let install = [&["install", "-y", "-q", "--no-install-recommends"], packages].concat();
    ensure!(apt(&install)?.success(), "this failed: {by_hand}");
    Ok(())
}
