//! A machine that runs: systemd in namespaces of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{self, Running};
use crate::wait;

/// How long a machine may take to boot or to go down.
const PATIENCE: Duration = Duration::from_secs(180);

/// systemd in a folder with a Debian. Dropped, it ends with all its processes.
#[derive(Debug)]
pub(super) struct Booted {
    nspawn: Running,
    /// The process that is number 1 in there, by its number here.
    leader: u32,
}

impl Booted {
    /// Boots, and plugs in a cable that leads back to the machine and nowhere else.
    pub(super) fn boot(root: &Path) -> Result<Self> {
        let console =
            File::create(root.join("var/log/console")).context("cannot write what the machine says")?;
        let mut command = Command::new("systemd-nspawn");
        command.args([
            "--register=no",
            "--keep-unit",
            "--quiet",
            "--private-network",
            "--link-journal=no",
        ]);
        // Nothing of this system is brought in.
        command.args(["--resolv-conf=off", "--timezone=off", "--console=pipe", "--boot"]);
        // systemd(1): it goes down in order.
        command
            .args(["--kill-signal=SIGRTMIN+3", "--directory"])
            .arg(root);
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        let nspawn = Running::start_with_own_output(&mut command)?;
        let leader = wait::until("systemd to begin", PATIENCE, || first_process(nspawn.pid()))?;
        let booted = Self { nspawn, leader };
        wait::until_true("the machine to boot", PATIENCE, || {
            // What a container cannot have may fail: `degraded` is up, too.
            let state = booted.enter(&["systemctl", "is-system-running"]);
            let state = process::run(&mut { state }, PATIENCE);
            state.is_ok_and(|state| matches!(state.text().as_str(), "running" | "degraded"))
        })?;
        for args in [
            "link add cable0 type veth peer name cable1",
            "address add 10.113.0.1/24 dev cable0",
            "link set cable0 up",
            "link set cable1 up",
        ] {
            let mut ip = Command::new("nsenter");
            ip.args(["--target", &booted.leader.to_string(), "--net", "ip"]);
            process::run(ip.args(args.split(' ')), PATIENCE)?.ok()?;
        }
        Ok(booted)
    }

    /// A command that will run in the machine.
    pub(super) fn enter(&self, command: &[&str]) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args(["--target", &self.leader.to_string()]);
        entered.args([
            "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--",
        ]);
        entered.args(command);
        entered
    }

    /// Listens on a free port of its loopback.
    pub(super) fn listen(&self) -> Result<TcpListener> {
        let network = File::open(format!("/proc/{}/ns/net", self.leader))?;
        // A namespace belongs to a thread, and a socket to that in which it was made.
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| -> Result<TcpListener> {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(TcpListener::bind("127.0.0.1:0")?)
            });
            entered.join().expect("listening does not panic")
        })
    }

    /// Lets it go down.
    pub(super) fn shut_down(self) -> Result<()> {
        self.nspawn.signal(Signal::TERM)?;
        self.nspawn.wait(PATIENCE)?.ok()?;
        Ok(())
    }
}

/// The process that systemd-nspawn made number 1, once it has become systemd.
fn first_process(nspawn: u32) -> Result<Option<u32>> {
    // proc(5): the children of a thread, here of the first and only one.
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"))?;
    let is_systemd = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd")
    };
    let found = children.split_whitespace().find(is_systemd);
    Ok(found.and_then(|pid| pid.parse().ok()))
}
