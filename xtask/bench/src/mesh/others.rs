//! The servers on another host that a program would use otherwise: a bare echo, Redis, Redis behind a tunnel.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use xtask::lab::LabHost;
use xtask::process::Running;
use xtask::wait;

use super::marks::Kind;
use crate::certificate::self_signed;
use crate::client::{Client, Protocol};
use crate::servers::{REDIS, ensure_installed, folder};

/// The program of the tunnel, and its package.
const STUNNEL: (&str, &str) = ("stunnel4", "stunnel4");

/// Where they listen.
const ECHO_PORT: u16 = 9001;
const REDIS_PORT: u16 = 9002;
const TUNNEL_PORT: u16 = 9003;

/// How long a server may take until it answers, and how often it is looked for.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(10);

/// The servers on host `there`, for programs on host `here`. Dropping this ends them.
pub(super) struct Others<'a> {
    here: &'a LabHost,
    there: &'a LabHost,
    running: Vec<Running>,
    dir: TempDir,
}

impl<'a> Others<'a> {
    /// Starts those of these columns that are no nodes, after installing what is missing.
    ///
    /// # Errors
    /// When one is missing and cannot be installed, or does not answer.
    pub(super) fn start(kinds: &[Kind], here: &'a LabHost, there: &'a LabHost) -> Result<Self> {
        let has = |kind| kinds.contains(&kind);
        let redis = (has(Kind::Redis) || has(Kind::RedisInTls)).then_some((REDIS, REDIS));
        let stunnel = has(Kind::RedisInTls).then_some(STUNNEL);
        ensure_installed([redis, stunnel].into_iter().flatten())?;
        let mut others = Self {
            here,
            there,
            running: Vec::new(),
            dir: folder()?,
        };
        if has(Kind::Echo) {
            others.start_echo()?;
        }
        if redis.is_some() {
            others.start_redis()?;
        }
        if stunnel.is_some() {
            others.start_tunnel()?;
        }
        for &kind in kinds.iter().filter(|&&kind| kind != Kind::MemCloud) {
            others.wait_for(kind)?;
        }
        Ok(others)
    }

    /// A connection of a program of `here`.
    pub(super) fn connect(&self, kind: Kind) -> Result<Client> {
        let (host, port, protocol) = match kind {
            Kind::Echo => (self.there, ECHO_PORT, Protocol::Echo),
            Kind::Redis => (self.there, REDIS_PORT, Protocol::Redis),
            // Its own end of the tunnel.
            Kind::RedisInTls => (self.here, TUNNEL_PORT, Protocol::Redis),
            Kind::MemCloud => return crate::scene::program(self.here),
        };
        Client::over_tcp(protocol, self.here.dial(host, port)?)
    }

    fn start_echo(&mut self) -> Result<()> {
        let mut command = self.there.command(std::env::current_exe()?);
        command.args(["echo", "--tcp", &self.there.at(ECHO_PORT)]);
        self.run("echo", command)
    }

    fn start_redis(&mut self) -> Result<()> {
        let mut command = self.there.command(REDIS);
        command.args(["--bind", &self.there.address().to_string(), "127.0.0.1"]);
        command.args(["--port", &REDIS_PORT.to_string(), "--protected-mode", "no"]);
        command.args(["--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.dir.path());
        self.run("redis", command)
    }

    /// Both ends of a tunnel to Redis, which use the cipher that the nodes use.
    fn start_tunnel(&mut self) -> Result<()> {
        let (key, certificate) = self_signed(self.dir.path())?;
        let server = format!(
            "foreground = yes\npid =\n[redis]\naccept = {}\nconnect = 127.0.0.1:{REDIS_PORT}\ncert = {}\nkey = {}\n{TLS}",
            self.there.at(TUNNEL_PORT),
            certificate.display(),
            key.display(),
        );
        let client = format!(
            "foreground = yes\npid =\n[redis]\nclient = yes\naccept = {}\nconnect = {}\n{TLS}",
            self.here.at(TUNNEL_PORT),
            self.there.at(TUNNEL_PORT),
        );
        for (name, host, settings) in [
            ("tunnel-server", self.there, server),
            ("tunnel-client", self.here, client),
        ] {
            let path = self.dir.path().join(format!("{name}.conf"));
            std::fs::write(&path, settings)?;
            let mut command = host.command(STUNNEL.0);
            command.arg(path);
            self.run(name, command)?;
        }
        Ok(())
    }

    fn run(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = File::create(self.dir.path().join(format!("{name}.log")))?;
        command.stdout(log.try_clone()?).stderr(log);
        self.running.push(Running::start_with_own_output(&mut command)?);
        Ok(())
    }

    fn wait_for(&self, kind: Kind) -> Result<()> {
        let answers = wait::until_polled("a server to answer", START_TIMEOUT, START_POLL, || {
            self.connect(kind).map(Some)
        });
        answers.map(drop).with_context(|| {
            let log = |name: &str| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
            ["echo.log", "redis.log", "tunnel-server.log", "tunnel-client.log"]
                .map(log)
                .concat()
        })
    }
}

/// The settings of both ends: TLS 1.3 with the cipher that the nodes use, and nothing waits for more to send.
const TLS: &str = "sslVersion = TLSv1.3\nciphersuites = TLS_CHACHA20_POLY1305_SHA256\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n";
