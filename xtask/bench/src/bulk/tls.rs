//! A pipe between two hosts that OpenSSL encrypts with the cipher that the nodes use.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xtask::lab::LabHost;
use xtask::process::Running;
use xtask::wait;

use crate::certificate::self_signed;
use crate::commands::TRANSFER_TIMEOUT;
use crate::servers::{ensure_installed, folder};

/// The program, which is also the name of its package.
const OPENSSL: &str = "openssl";

/// Where the server listens.
const PORT: u16 = 9010;

/// How long it may take until it does, and how often it is looked for.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(5);

/// The settings of both ends. They say nothing of what comes, and take no part of it for a command.
const BOTH: [&str; 4] = [
    "-quiet",
    "-tls1_3",
    "-ciphersuites",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// What both ends need.
#[derive(Debug)]
pub(super) struct Pipes {
    key: PathBuf,
    certificate: PathBuf,
    dir: TempDir,
}

impl Pipes {
    /// Installs OpenSSL where it is missing, and makes a certificate.
    pub(super) fn prepare() -> Result<Self> {
        ensure_installed([(OPENSSL, OPENSSL)].into_iter())?;
        let dir = folder()?;
        let (key, certificate) = self_signed(dir.path())?;
        Ok(Self {
            key,
            certificate,
            dir,
        })
    }

    /// Sends a file of one host into a file of another one: `openssl s_client` reads it, `openssl s_server` writes it. Returns the time from the
    /// start of the client until the server has written all and ended.
    pub(super) fn copy(&self, from: &LabHost, to: &LabHost, source: &Path, copy: &Path) -> Result<Duration> {
        let server = self.serve(to, copy)?;
        let address = to.at(PORT);
        let mut client = from.command(OPENSSL);
        client.args(["s_client", "-connect", &address, "-nocommands"]);
        client.args(BOTH).arg("-no_ign_eof");
        client.stdin(File::open(source)?);
        let start = Instant::now();
        let sent = Running::start(&mut client)?.wait(TRANSFER_TIMEOUT)?.ok();
        sent.with_context(|| server.log())?;
        server.end(TRANSFER_TIMEOUT)?;
        Ok(start.elapsed())
    }

    /// Starts a server for one connection, and waits until it listens.
    fn serve(&self, host: &LabHost, copy: &Path) -> Result<Server> {
        let log = self.dir.path().join("server.log");
        let mut command = host.command(OPENSSL);
        command.args(["s_server", "-accept", &host.at(PORT), "-naccept", "1"]);
        command.args(BOTH).arg("-key").arg(&self.key).arg("-cert");
        command.arg(&self.certificate);
        command.stdout(File::create(copy)?).stderr(File::create(&log)?);
        let server = Server::start(&mut command, log)?;
        // It takes one connection alone, so that it cannot be tried.
        wait::until_polled("a server to listen", START_TIMEOUT, START_POLL, || {
            let sockets = host.in_network(|| std::fs::read_to_string("/proc/thread-self/net/tcp"))?;
            Ok::<_, anyhow::Error>(listens(&sockets, PORT).then_some(()))
        })
        .with_context(|| server.log())?;
        Ok(server)
    }
}

/// Whether a table of sockets (proc(5), `/proc/net/tcp`) has one that listens at this port.
fn listens(sockets: &str, port: u16) -> bool {
    /// TCP_LISTEN of the kernel.
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&port));
        local && fields.nth(1) == Some(LISTEN)
    })
}

/// A server whose input stays open: at the end of it, it would end too. Killed when dropped.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Server {
    fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot run openssl s_server")?;
        let input = child.stdin.take();
        Ok(Self { child, input, log })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has ended by itself.
    fn end(mut self, within: Duration) -> Result<()> {
        /// Short beside the shortest transfer.
        const POLL: Duration = Duration::from_millis(2);
        let status = wait::until_polled("a server to end", within, POLL, || self.child.try_wait())?;
        ensure!(status.success(), "openssl s_server failed: {}", self.log());
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        // Both fail only for a process that has already ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_listened_at_where_the_kernel_says_so() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 0100007F:2332 00000000:0000 0A 00000000:00000000 00:00000000\n\
             1: 0100007F:2333 0100007F:D431 01 00000000:00000000 00:00000000\n";
        assert!(listens(table, 0x2332));
        assert!(!listens(table, 0x2333));
        assert!(!listens(table, 0x2334));
    }
}
