//! What is done with the packages, from the first installation to the last trace.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memproto::control::{NodeStatus, PeerInfo, ServiceManager};

use super::machine::Machine;
use super::snapshot::Snapshot;
use super::told;
use crate::package::{PACKAGES, deb};
use crate::process::Finished;
use crate::wait;

/// How long something may take that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// The unit of the machine, where the service keeps its files, and where its settings are.
const UNIT: &str = "memnode.service";
const STATE: &str = "/var/lib/memcloud";
const CONFIG: &str = "/etc/memcloud/config.toml";

/// A member of the group, somebody who is none, and the node that they run.
const MEMBER: &str = "ada";
const STRANGER: &str = "eve";
const STRANGERS_NODE: &str = "/home/eve/node";

/// Does all of it in this folder, with a line for each part.
pub(super) fn run(root: &Path, packages: &[PathBuf]) -> Result<()> {
    let machine = Machine::at_rest(root)?;
    for user in [MEMBER, STRANGER] {
        machine
            .run(&["useradd", "--create-home", "--user-group", user])?
            .ok()?;
    }
    told(
        "install and purge where no systemd runs",
        at_rest(&machine, packages),
    )?;
    let machine = machine.boot()?;
    let before = Snapshot::take(root)?;
    told("install, with the service started", install(&machine, packages))?;
    told("use by members of the group, and by nobody else", serve(&machine))?;
    told("machines that find each other", find_others(&machine))?;
    told(
        "end and start, also of a node that is killed or hangs",
        restart(&machine),
    )?;
    told("the service of a user", users_service(&machine))?;
    told("upgrade, with settings and identity", upgrade(&machine, packages))?;
    told("remove, with settings and identity left", remove(&machine))?;
    told("purge, with nothing left", purge(&machine, &before))?;
    machine.shut_down()
}

/// As in a container: no script of a package needs systemd to run.
fn at_rest(machine: &Machine, packages: &[PathBuf]) -> Result<()> {
    let before = Snapshot::take(&machine.at("/"))?;
    machine.install(packages)?;
    machine.uninstall("--purge", &PACKAGES)?;
    Snapshot::take(&machine.at("/"))?.ensure_nothing_beyond(&before)
}

fn install(machine: &Machine, packages: &[PathBuf]) -> Result<()> {
    machine.install(packages)?;
    let account = machine.run(&["getent", "passwd", "memcloud"])?.ok()?.text();
    ensure!(
        account.ends_with(":/var/lib/memcloud:/usr/sbin/nologin"),
        "the user can log in, or lives elsewhere: {account}"
    );
    let shown = machine
        .run(&["stat", "-c", "%U:%G %a", STATE, CONFIG])?
        .ok()?
        .text();
    ensure!(shown == "memcloud:memcloud 700\nroot:root 644", "{shown}");
    for file in [
        "/usr/share/man/man1/memnode.1.gz",
        "/usr/share/man/man1/memcli.1.gz",
        "/usr/share/bash-completion/completions/memcli",
        "/usr/share/zsh/vendor-completions/_memcli",
        "/usr/share/fish/vendor_completions.d/memcli.fish",
        "/usr/lib/systemd/user/memnode.service",
    ] {
        ensure!(machine.at(file).exists(), "{file} is not installed");
    }
    let enabled = machine.run(&["systemctl", "is-enabled", UNIT])?.ok()?.text();
    ensure!(enabled == "enabled", "{enabled}");
    // Only what has said that it is ready is active.
    wait_until_active(machine)?;
    let line = machine.property(UNIT, "StatusText")?;
    ensure!(
        line.ends_with("used, 0 peers connected"),
        "systemd was told '{line}'"
    );
    Ok(())
}

fn wait_until_active(machine: &Machine) -> Result<()> {
    wait::until("the service to be active", PATIENCE, || {
        anyhow::Ok((machine.property(UNIT, "ActiveState")? == "active").then_some(()))
    })
}

/// The program of a member of the group, in a session that began now.
fn memcli(machine: &Machine, args: &[&str]) -> Result<Finished> {
    machine.run_as(MEMBER, &[], &[&["memcli"], args].concat())
}

fn status(machine: &Machine) -> Result<NodeStatus> {
    memcli(machine, &["--json", "node", "status"])?.ok()?.json()
}

/// The service serves the members of its group, under all that its unit forbids.
fn serve(machine: &Machine) -> Result<()> {
    let refused = memcli(machine, &["get", "greeting"])?.fails_with(6)?.stderr;
    ensure!(
        refused.contains("sudo usermod -aG memcloud \"$USER\""),
        "{refused}"
    );
    machine.run(&["usermod", "-aG", "memcloud", MEMBER])?.ok()?;

    let status = status(machine)?;
    ensure!(
        status.socket == Path::new("/run/memcloud/memnode.sock") && status.home == Path::new(STATE),
        "{status:?}"
    );
    ensure!(
        status.service_manager == Some(ServiceManager::Systemd) && status.warnings.is_empty(),
        "{status:?}"
    );
    memcli(machine, &["set", "greeting", "hello"])?.ok()?;
    ensure!(memcli(machine, &["get", "greeting"])?.ok()?.text() == "hello");
    let started = memcli(machine, &["node", "start"])?.ok()?;
    ensure!(
        started.text().contains("as a service of this machine"),
        "{started}"
    );
    let logs = memcli(machine, &["logs"])?.fails_with(1)?.stderr;
    ensure!(logs.contains("journalctl -u memnode"), "{logs}");
    let journal = machine.run(&["journalctl", "-u", "memnode"])?.ok()?.text();
    ensure!(journal.contains("the node runs"), "{journal}");

    // A file in a home that the service does not see comes as a descriptor; a value of this size lies in a memory file.
    let bytes: Vec<u8> = (0..5_u32 << 20).map(|at| (at % 251) as u8).collect();
    fs::write(machine.at("/home/ada/file"), &bytes)?;
    memcli(machine, &["stream", "/home/ada/file", "--name", "stream"])?.ok()?;
    machine
        .run_as(MEMBER, &[], &["sh", "-c", "memcli set large - </home/ada/file"])?
        .ok()?;
    for key in ["stream", "large"] {
        memcli(machine, &["get", key, "-o", "/home/ada/copy"])?.ok()?;
        ensure!(
            fs::read(machine.at("/home/ada/copy"))? == bytes,
            "{key} is not what it was"
        );
        machine.run(&["rm", "/home/ada/copy"])?.ok()?;
    }
    machine.run(&["rm", "/home/ada/file"])?.ok()?;
    Ok(())
}

/// Two nodes on one cable find each other by multicast: under its unit the service knows its interfaces and hears packets to all.
fn find_others(machine: &Machine) -> Result<()> {
    let other = |args: &[&str]| {
        machine.run_as(
            STRANGER,
            &[],
            &[&["memcli", "--home", STRANGERS_NODE], args].concat(),
        )
    };
    other(&[
        "node", "start", "--name", "other", "--port", "0", "--memory", "64mb",
    ])?
    .ok()?;
    let found = wait::until("the service to find another node", PATIENCE, || {
        let peers: Vec<PeerInfo> = memcli(machine, &["--json", "peer", "list"])?.ok()?.json()?;
        anyhow::Ok(peers.iter().any(|peer| peer.name == "other").then_some(()))
    });
    other(&["node", "stop"])?.ok()?;
    machine.run(&["rm", "-r", STRANGERS_NODE])?.ok()?;
    found
}

/// A member stops the service, which then stays stopped; killed, or hanging for longer than the watchdog allows, it is started again.
fn restart(machine: &Machine) -> Result<()> {
    let stopped = memcli(machine, &["node", "stop"])?.ok()?.text();
    ensure!(stopped.contains("sudo systemctl start memnode"), "{stopped}");
    wait::until("the service to be inactive", PATIENCE, || {
        anyhow::Ok((machine.property(UNIT, "ActiveState")? == "inactive").then_some(()))
    })?;
    ensure!(machine.property(UNIT, "Result")? == "success");
    ensure!(machine.property(UNIT, "NRestarts")? == "0");

    // Three minutes are long for a test.
    let patience = "/run/systemd/system/memnode.service.d/watchdog.conf";
    let shorten = "mkdir ${0%/*}; printf '[Service]\\nWatchdogSec=2s\\nRestartSec=100ms\\n' >$0; systemctl daemon-reload";
    machine.run(&["sh", "-ec", shorten, patience])?.ok()?;
    machine.run(&["systemctl", "start", UNIT])?.ok()?;
    for (signal, result) in [("SIGKILL", "1"), ("SIGSTOP", "2")] {
        machine
            .run(&["systemctl", "kill", "--signal", signal, "--kill-who=main", UNIT])?
            .ok()?;
        wait::until("the service to be started again", PATIENCE, || {
            anyhow::Ok((machine.property(UNIT, "NRestarts")? == result).then_some(()))
        })
        .with_context(|| format!("after {signal}"))?;
        wait_until_active(machine)?;
    }
    machine
        .run(&["rm", "-r", "/run/systemd/system/memnode.service.d"])?
        .ok()?;
    machine.run(&["systemctl", "daemon-reload"])?.ok()?;
    machine.run(&["systemctl", "restart", UNIT])?.ok()?;
    Ok(())
}

/// The unit of a user runs a node of that user, beside that of the machine.
fn users_service(machine: &Machine) -> Result<()> {
    machine.run(&["loginctl", "enable-linger", STRANGER])?.ok()?;
    let uid = machine.run(&["id", "-u", STRANGER])?.ok()?.text();
    let runtime = format!("XDG_RUNTIME_DIR=/run/user/{uid}");
    let as_user = |command: &[&str]| machine.run_as(STRANGER, &[&runtime], command);
    wait::until("the user's systemd", PATIENCE, || {
        let state = as_user(&["systemctl", "--user", "is-system-running"])?.text();
        anyhow::Ok(matches!(state.as_str(), "running" | "degraded").then_some(()))
    })?;
    // The other one has the usual port.
    as_user(&["systemctl", "--user", "set-environment", "MEMCLOUD_PORT=0"])?.ok()?;
    as_user(&["systemctl", "--user", "start", "memnode"])?.ok()?;
    let status: NodeStatus = as_user(&["memcli", "--json", "node", "status"])?.ok()?.json()?;
    ensure!(
        status.service_manager == Some(ServiceManager::SystemdUser)
            && status.home == Path::new("/home/eve/.memcloud"),
        "{status:?}"
    );
    as_user(&["memcli", "set", "mine", "hello"])?.ok()?;
    memcli(machine, &["get", "mine"])?.fails_with(4)?;
    let logs = as_user(&["memcli", "logs"])?.fails_with(1)?.stderr;
    ensure!(logs.contains("journalctl --user -u memnode"), "{logs}");
    let stopped = as_user(&["memcli", "node", "stop"])?.ok()?.text();
    ensure!(stopped.contains("systemctl --user start memnode"), "{stopped}");
    machine.run(&["loginctl", "disable-linger", STRANGER])?.ok()?;
    machine.run(&["rm", "-r", "/home/eve/.memcloud"])?.ok()?;
    Ok(())
}

/// An upgrade restarts the service with the same identity, and keeps settings that somebody changed.
fn upgrade(machine: &Machine, packages: &[PathBuf]) -> Result<()> {
    let config = machine.at(CONFIG);
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("{text}\nname = \"chosen\"\n"))?;
    let before = status(machine)?;
    let folder = tempfile::tempdir()?;
    let next: Vec<PathBuf> = packages
        .iter()
        .map(|package| deb::next_version(package, folder.path()))
        .collect::<Result<_>>()?;
    machine.install(&next)?;
    wait_until_active(machine)?;
    let after = status(machine)?;
    ensure!(after.pid != before.pid, "the old program still runs");
    ensure!(after.node_id == before.node_id, "the identity was lost");
    ensure!(after.name == "chosen", "the settings were lost: {after:?}");
    Ok(())
}

/// Removed, the packages leave settings and identity, for whoever installs them again.
fn remove(machine: &Machine) -> Result<()> {
    machine.uninstall("--remove", &PACKAGES)?;
    let state = machine.property(UNIT, "ActiveState")?;
    ensure!(state == "inactive", "the service is {state}");
    for (path, stays) in [
        ("/usr/bin/memnode", false),
        ("/usr/bin/memcli", false),
        ("/usr/lib/systemd/system/memnode.service", false),
        (CONFIG, true),
        ("/var/lib/memcloud/identity.key", true),
    ] {
        let is_there = machine.at(path).exists();
        ensure!(
            is_there == stays,
            "{path} is {}",
            if stays { "gone" } else { "left" }
        );
    }
    Ok(())
}

/// Purged, they leave nothing.
fn purge(machine: &Machine, before: &Snapshot) -> Result<()> {
    // Of memcli, which has no settings, nothing is left to purge.
    machine.uninstall("--purge", &["memnode"])?;
    Snapshot::take(&machine.at("/"))?.ensure_nothing_beyond(before)
}
