//! The servers that are measured: found or installed, started in one temporary folder, ended when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use xtask::build::{self, Profile};
use xtask::process::Running;
use xtask::{node, wait};

use crate::client::{Client, Protocol};
use crate::cpus::Cpus;
use crate::line::Column;

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a server that starts is looked for where nobody counts the time.
const START_POLL: Duration = Duration::from_millis(10);

/// How often where its start is timed: short beside the milliseconds that a start takes, long beside the microseconds of a look,
/// which would take the processor from the server.
const TIMED_POLL: Duration = Duration::from_micros(200);

/// The memory of each store unless the measurement says otherwise: room for a stream of 4 GiB and for all else. It is a limit; what
/// is not used is not taken.
const MEMORY_BYTES: u64 = 6 << 30;

/// The servers beside MemCloud, which are also the names of their packages.
pub(crate) const REDIS: &str = "redis-server";
const MEMCACHED: &str = "memcached";

/// The columns of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    EchoBlocking,
    EchoTokio,
    Memcached,
    Redis,
    #[serde(rename = "memcloud")]
    MemCloud,
}

impl Column for Kind {
    const ALL: &'static [Kind] = &[
        Kind::EchoBlocking,
        Kind::EchoTokio,
        Kind::Memcached,
        Kind::Redis,
        Kind::MemCloud,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::EchoBlocking => "echo, blocking",
            Kind::EchoTokio => "echo, tokio",
            Kind::Memcached => "memcached",
            Kind::Redis => "Redis",
            Kind::MemCloud => "MemCloud",
        }
    }
}

impl Kind {
    /// What it speaks.
    pub(crate) fn protocol(self) -> Protocol {
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
pub(crate) struct Server {
    pub(crate) kind: Kind,
    socket: PathBuf,
    process: Running,
}

impl Server {
    /// A new connection.
    pub(crate) fn connect(&self) -> Result<Client> {
        Client::connect(self.kind.protocol(), &self.socket)
            .with_context(|| format!("cannot connect to {}", self.kind.name()))
    }

    /// Resident memory of the process in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        node::resident_bytes(self.process.pid())
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// How servers are started.
#[derive(Clone, Debug)]
pub(crate) struct Starter {
    memnode: PathBuf,
    cpus: Option<Cpus>,
    memory_bytes: u64,
}

impl Starter {
    /// Installs what is missing and builds MemCloud as it ships.
    ///
    /// # Errors
    /// As [`ensure_installed`].
    pub(crate) fn prepare(kinds: &[Kind], cpus: Option<Cpus>) -> Result<Self> {
        let stores = [(Kind::Redis, REDIS), (Kind::Memcached, MEMCACHED)];
        let wanted = stores.into_iter().filter(|(kind, _)| kinds.contains(kind));
        ensure_installed(wanted.map(|(_, program)| (program, program)))?;
        let memnode = build::memnode(Profile::Release)?;
        if let Some(cpus) = &cpus {
            cpus.be_client()?;
        }
        Ok(Self {
            memnode,
            cpus,
            memory_bytes: MEMORY_BYTES,
        })
    }

    /// Servers from here on may take so much memory.
    pub(crate) fn with_memory(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Starts one, with its files in this folder, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start or does not answer.
    pub(crate) fn start(&self, kind: Kind, dir: &Path) -> Result<Server> {
        let server = self.spawn(kind, dir)?;
        server.wait(START_POLL)
    }

    /// Starts one and says how long it took from then to its first answer.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn time_start(&self, kind: Kind, dir: &Path) -> Result<Duration> {
        let start = Instant::now();
        self.spawn(kind, dir)?.wait(TIMED_POLL)?;
        Ok(start.elapsed())
    }

    fn spawn(&self, kind: Kind, dir: &Path) -> Result<Starting> {
        let socket = dir.join(format!("{kind:?}.sock"));
        let log = dir.join(format!("{kind:?}.log"));
        let mut command = self.command(kind, dir, &socket)?;
        command
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .current_dir(dir);
        if let Some(cpus) = &self.cpus {
            cpus.be_server()?;
        }
        let process = Running::start_with_own_output(&mut command);
        if let Some(cpus) = &self.cpus {
            cpus.be_client()?;
        }
        let process = process?;
        Ok(Starting {
            server: Server {
                kind,
                socket,
                process,
            },
            log,
        })
    }

    fn command(&self, kind: Kind, dir: &Path, socket: &Path) -> Result<Command> {
        let mut command = match kind {
            Kind::EchoBlocking | Kind::EchoTokio => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("echo").arg(socket);
                if kind == Kind::EchoTokio {
                    command.arg("--tokio");
                }
                command
            }
            Kind::Memcached => {
                // Four threads are its default. As root it wants to be told as whom to run; values of 16 MiB need -I.
                let mut command = Command::new(MEMCACHED);
                command.args(["-I", "64m", "-m", &(self.memory_bytes >> 20).to_string(), "-s"]);
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
                let mut command = Command::new(&self.memnode);
                command.args(["--no-discovery", "--listen", "127.0.0.1", "--port", "0"]);
                command.args(["--memory", &self.memory_bytes.to_string()]);
                // No setting of the person who measures is to make a difference.
                for (name, _) in std::env::vars_os() {
                    if name.as_encoded_bytes().starts_with(b"MEMCLOUD_") {
                        command.env_remove(name);
                    }
                }
                command.env("MEMCLOUD_HOME", dir.join("home"));
                command.env("MEMCLOUD_SOCKET", socket);
                command
            }
        };
        command.env_remove("NOTIFY_SOCKET");
        Ok(command)
    }
}

/// A server that may not answer yet.
struct Starting {
    server: Server,
    log: PathBuf,
}

impl Starting {
    fn wait(mut self, poll: Duration) -> Result<Server> {
        let server = &mut self.server;
        let started = wait::until_polled(server.kind.name(), START_TIMEOUT, poll, || {
            ensure!(server.process.is_running(), "it ended at its start");
            Client::connect(server.kind.protocol(), &server.socket).map(Some)
        });
        started.with_context(|| std::fs::read_to_string(&self.log).unwrap_or_default())?;
        Ok(self.server)
    }
}

/// Servers of all kinds, and the folder of their files, which goes with them.
#[derive(Debug)]
pub(crate) struct Servers {
    // Before the folder: a server ends before its files do.
    servers: Vec<Server>,
    _dir: TempDir,
}

impl Servers {
    /// Starts one of each of these kinds.
    ///
    /// # Errors
    /// When one does not start or does not answer.
    pub(crate) fn start(starter: &Starter, kinds: &[Kind]) -> Result<Self> {
        let dir = folder()?;
        let servers = kinds
            .iter()
            .map(|&kind| starter.start(kind, dir.path()))
            .collect::<Result<_>>()?;
        Ok(Self { servers, _dir: dir })
    }

    /// The servers, in the order in which they were named.
    pub(crate) fn all(&self) -> &[Server] {
        &self.servers
    }
}

/// A temporary folder for the files of servers.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("memcloud-bench-").tempdir()?)
}

/// Sees to it that these programs are there, each named with its package.
///
/// # Errors
/// When one is missing and cannot be installed: then the message says which, and how.
pub(crate) fn ensure_installed<'a>(programs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let missing: Vec<_> = programs
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
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
    eprintln!(
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
