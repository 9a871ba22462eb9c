//! A host as MemCloud sees one: a home, a runtime folder, perhaps a network of its own, and the real programs.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use memproto::control::{ConsentRequest, NodeStatus, PeerInfo, Stats};

use crate::build::Programs;
use crate::node::Node;
use crate::process::{self, Finished, Running};

/// How long a command of `memcli` may take unless the caller says otherwise. On two busy cores a debug build of it needs
/// some hundredths of a second; the rest is for what the command itself waits for.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// The variables of the person's own environment that programs of a host get: no setting of MemCloud is among them.
const INHERITED: [&str; 3] = ["PATH", "TERM", "LANG"];

/// Where the programs of one host run.
#[derive(Debug)]
pub struct Host {
    name: String,
    dir: PathBuf,
    namespace: Option<String>,
    programs: Programs,
}

impl Host {
    /// A host whose files lie in `dir`, made here, with the network of this machine or of a namespace.
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn create(name: &str, dir: &Path, namespace: Option<String>, programs: &Programs) -> Result<Self> {
        let host = Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            namespace,
            programs: programs.clone(),
        };
        for folder in [host.home_dir(), host.runtime_dir(), host.log_dir()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(host)
    }

    /// The name, which is also that of its node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `$HOME`.
    pub fn home_dir(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The folder of the node's files.
    pub fn memcloud_dir(&self) -> PathBuf {
        self.home_dir().join(".memcloud")
    }

    /// `$XDG_RUNTIME_DIR`.
    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The socket of the local API.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir().join("memcloud").join("memnode.sock")
    }

    fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What the environment of this host's programs holds beside the inherited variables.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("HOME", self.home_dir()), ("XDG_RUNTIME_DIR", self.runtime_dir())]
    }

    /// A command that runs on this host, with nothing on stdin.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        };
        command
            .env_clear()
            .envs(self.environment())
            .env("NO_COLOR", "1")
            .env("MEMCLOUD_NOTIFY", "off")
            .env("RUST_BACKTRACE", "1");
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.current_dir(self.home_dir()).stdin(Stdio::null());
        command
    }

    /// A command of `memcli`.
    pub fn memcli_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(&self.programs.memcli);
        command.args(args);
        command
    }

    /// Runs `memcli` to its end.
    ///
    /// # Errors
    /// When it does not end within [`COMMAND_TIMEOUT`]; not when it fails.
    pub fn memcli<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Finished> {
        process::run(&mut self.memcli_command(args), COMMAND_TIMEOUT)
    }

    /// Starts `memcli` and leaves it running.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn memcli_start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Running> {
        Running::start(&mut self.memcli_command(args))
    }

    /// A command of `memnode`.
    pub fn memnode_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(&self.programs.memnode);
        command.args(args);
        command
    }

    /// Runs `memnode` to its end: for nodes that must not start.
    ///
    /// # Errors
    /// When it does not end within [`COMMAND_TIMEOUT`].
    pub fn memnode<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Finished> {
        process::run(&mut self.memnode_command(args), COMMAND_TIMEOUT)
    }

    /// Starts a node in the foreground of a process of its own and waits until it answers. It has this host's name
    /// unless `args` say otherwise.
    ///
    /// # Errors
    /// When it ends or does not answer in time, with what it logged.
    pub fn start_node<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Node> {
        Node::start(self, &self.log_dir(), args)
    }

    /// `memcli node status`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn status(&self) -> Result<NodeStatus> {
        self.memcli(["node", "status", "--json"])?.ok()?.json()
    }

    /// `memcli stats`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn stats(&self) -> Result<Stats> {
        self.memcli(["stats", "--json"])?.ok()?.json()
    }

    /// `memcli peer list`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.memcli(["peer", "list", "--json"])?.ok()?.json()
    }

    /// `memcli consent`: who waits for the answer of this host's person.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn consent_requests(&self) -> Result<Vec<ConsentRequest>> {
        self.memcli(["consent", "--json"])?.ok()?.json()
    }

    /// What this host's network is: the name of a namespace, or `None` for this machine's own.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Runs `work` with the network of this host: sockets that it makes belong there for good.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` fails.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
        let Some(namespace) = &self.namespace else {
            return Ok(work()?);
        };
        let file = fs::File::open(Path::new("/run/netns").join(namespace))
            .with_context(|| format!("no namespace {namespace}"))?;
        // A namespace belongs to a thread: this one ends with it.
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                use std::os::fd::AsFd;
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            match entered.join() {
                Ok(result) => result.with_context(|| format!("on host {}", self.name)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}
