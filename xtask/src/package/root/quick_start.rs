//! What somebody does who reads the README: types the line that stands there, follows the quick start, and takes it all away again. Then the
//! same as root, with the node as a service of the machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memproto::control::{NodeStatus, ServiceManager};

use super::machine::Machine;
use super::snapshot::Snapshot;
use super::told;
use crate::build::workspace_dir;
use crate::dist::server::{Manner, Server};
use crate::process::Finished;
use crate::wait;

/// How long something may take that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of the file that is streamed: several chunks, and the last one not whole.
const FILE_BYTES: u32 = 20_000_001;

/// Exit code of memcli where no node runs.
const NOT_RUNNING: i32 = 3;

/// Somebody who may write nowhere but in their home.
const USER: &str = "ada";

/// Does all of it in this folder, with the release in which this archive lies.
pub(super) fn run(root: &Path, archive: &Path) -> Result<()> {
    let release = archive.parent().context("an archive lies in a folder")?;
    fs::copy(workspace_dir().join("install.sh"), release.join("install.sh"))?;
    let machine = Machine::at_rest(root)?;
    machine
        .run(&["useradd", "--create-home", "--user-group", USER])?
        .ok()?;
    let machine = machine.boot()?;
    let server = Server::with_listener(machine.listen()?, release, Manner::Whole)?;
    let before = Snapshot::take(root)?;
    told(
        "install.sh and the quick start, for a user",
        user(&machine, &server),
    )?;
    told(
        "uninstall.sh, with nothing left",
        ensure_nothing_beyond(&machine, &before),
    )?;
    told("install.sh --service, as root", service(&machine, &server))?;
    told(
        "uninstall.sh, with nothing left",
        ensure_nothing_beyond(&machine, &before),
    )?;
    machine.shut_down()
}

fn ensure_nothing_beyond(machine: &Machine, before: &Snapshot) -> Result<()> {
    Snapshot::take(&machine.at("/"))?.ensure_nothing_beyond(before)
}

/// The line of the README, with these arguments for the script.
fn install_line(server: &Server, args: &str) -> String {
    format!(
        "curl -fsSL {0}/install.sh | MEMCLOUD_INSTALL_BASE_URL={0} sh -s -- {args}",
        server.url()
    )
}

/// Installs below the home of a user, follows the quick start with one machine, and removes all of it.
fn user(machine: &Machine, server: &Server) -> Result<()> {
    let shell = |line: &str| -> Result<Finished> {
        let path = format!("PATH=/home/{USER}/.local/bin:/usr/bin:/bin");
        machine.run_as(USER, &[&path], &["sh", "-c", line])
    };
    let installed = shell(&install_line(server, ""))?.ok()?;
    ensure!(
        installed.text().contains(&format!("in /home/{USER}/.local")) && installed.stderr.is_empty(),
        "{installed}"
    );
    for file in [
        "share/man/man1/memcli.1",
        "share/bash-completion/completions/memcli",
        "share/zsh/site-functions/_memcli",
        "share/fish/vendor_completions.d/memcli.fish",
    ] {
        ensure!(
            machine.at(&format!("/home/{USER}/.local/{file}")).is_file(),
            "there is no {file}"
        );
    }
    let again = shell(&install_line(server, ""))?.ok()?;
    ensure!(again.text().contains(" already"), "{again}");

    let started = shell("memcli node start --name MacBookPro --port 8080")?.ok()?;
    ensure!(
        format!("{}{}", started.text(), started.stderr)
            .contains("Starting MemCloud node 'MacBookPro' on port 8080..."),
        "{started}"
    );
    shell("memcli set greeting 'Hello from MemCloud!'")?.ok()?;
    let got = shell("memcli get greeting")?.ok()?;
    ensure!(got.text() == "Hello from MemCloud!", "{got}");
    shell("memcli set build:42 - </etc/os-release")?.ok()?;
    let keys = shell("memcli keys 'build:*'")?.ok()?;
    ensure!(keys.text() == "build:42", "{keys}");

    shell(&format!("head -c {FILE_BYTES} /dev/urandom >/tmp/huge.bin"))?.ok()?;
    let stored = shell("memcli --quiet stream /tmp/huge.bin")?.ok()?;
    let id: u64 = stored
        .text()
        .parse()
        .with_context(|| format!("no id: {stored}"))?;
    shell(&format!(
        "memcli load {id} -o /tmp/copy.bin && cmp /tmp/huge.bin /tmp/copy.bin"
    ))?
    .ok()?;
    shell(&format!("memcli free {id}; rm /tmp/huge.bin /tmp/copy.bin"))?.ok()?;

    shell("memcli node restart")?.ok()?;
    let status = shell("memcli node status")?.ok()?;
    ensure!(status.text().contains("'MacBookPro'"), "{status}");
    shell("memcli node stop")?.ok()?;
    let stopped = shell("memcli get greeting")?.fails_with(NOT_RUNNING)?;
    ensure!(stopped.stderr.contains("memcli node start"), "{stopped}");

    shell("sh ~/.local/share/memcloud/uninstall.sh --purge")?.ok()?;
    Ok(())
}

/// Installs a service of the machine, lets a member of its group use it, upgrades and removes it.
fn service(machine: &Machine, server: &Server) -> Result<()> {
    let shell = |line: &str| -> Result<Finished> {
        let line = format!("export PATH=/usr/local/bin:$PATH HOME=/root; {line}");
        machine.run(&["sh", "-c", &line])
    };
    let installed = shell(&install_line(server, "--service"))?.ok()?;
    ensure!(
        installed.text().contains("runs as a service") && installed.stderr.is_empty(),
        "{installed}"
    );
    let enabled = shell("systemctl is-enabled memnode")?.ok()?;
    ensure!(enabled.text() == "enabled", "{enabled}");
    shell(&format!("usermod -aG memcloud {USER}"))?.ok()?;
    let status = || -> Result<NodeStatus> {
        machine
            .run_as(USER, &[], &["/usr/local/bin/memcli", "--json", "node", "status"])?
            .ok()?
            .json()
    };
    let before = status()?;
    ensure!(
        before.service_manager == Some(ServiceManager::Systemd) && before.warnings.is_empty(),
        "{before:?}"
    );

    // A file that is lost makes it install what is there anew.
    shell("rm /usr/local/share/man/man1/memcli.1")?.ok()?;
    let upgraded = shell(&install_line(server, "--yes"))?.ok()?;
    ensure!(upgraded.text().contains("what it holds in RAM"), "{upgraded}");
    wait::until("the service to be active", PATIENCE, || {
        anyhow::Ok((machine.property("memnode.service", "ActiveState")? == "active").then_some(()))
    })?;
    let after = status()?;
    ensure!(after.pid != before.pid, "the old program still runs");
    ensure!(after.node_id == before.node_id, "the identity was lost");

    shell("sh /usr/local/share/memcloud/uninstall.sh --purge")?.ok()?;
    let state = machine.property("memnode.service", "LoadState")?;
    ensure!(state == "not-found", "systemd still knows the service: {state}");
    Ok(())
}
