//! A newer release over an older one, with a node that runs.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use xtask::process::Running;

use crate::machine::{Machine, SOON, file_url, find, run};
use crate::release;

const NOT_FOUND: i32 = 4;

/// A machine with a running node that has a name and a key.
fn running() -> Result<Machine> {
    let machine = Machine::installed()?;
    machine
        .memcli(&["node", "start", "--name", "my own name"])?
        .ok()?;
    machine.memcli(&["set", "key", "value"])?.ok()?;
    Ok(machine)
}

fn new_page(machine: &Machine) -> bool {
    machine.prefix().join("share/man/man1/memcli-new.1").is_file()
}

#[test]
#[ignore = "packs a release"]
fn a_running_node_is_restarted_with_its_options_and_the_new_program() -> Result<()> {
    let machine = running()?;
    let before = machine.node_pid()?;
    let next = release::next()?;
    let upgraded = machine.install_from(next, &["--yes"])?.ok()?;
    ensure!(upgraded.text().contains("what it holds in RAM"), "{upgraded}");
    ensure!(new_page(&machine));
    let after = machine.node_pid()?;
    assert_ne!(after, before);
    let program = fs::read_link(format!("/proc/{after}/exe"))?;
    assert_eq!(
        program,
        fs::canonicalize(machine.program("memnode"))?,
        "not an old one that was deleted"
    );
    let status = machine.memcli(&["node", "status"])?.ok()?;
    ensure!(status.text().contains("'my own name'"), "{status}");
    machine.memcli(&["get", "key"])?.fails_with(NOT_FOUND)?;
    machine.memcli(&["node", "stop"])?.ok()?;
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn where_nobody_can_be_asked_the_node_runs_on() -> Result<()> {
    let machine = running()?;
    let before = machine.node_pid()?;
    let next = release::next()?;
    let upgraded = machine.install_from(next, &[])?.ok()?;
    ensure!(new_page(&machine));
    ensure!(
        upgraded.stderr.contains("keeps the old version") && upgraded.stderr.contains("memcli node restart"),
        "{upgraded}"
    );
    assert_eq!(machine.node_pid()?, before);
    assert_eq!(machine.memcli(&["get", "key"])?.ok()?.text(), "value");
    machine.memcli(&["node", "restart"])?.ok()?;
    assert_ne!(machine.node_pid()?, before);
    machine.memcli(&["node", "stop"])?.ok()?;
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn in_a_terminal_it_asks_before_what_is_in_ram_goes() -> Result<()> {
    if find("script").is_none() {
        eprintln!("left out: there is no `script` to make a terminal");
        return Ok(());
    }
    let machine = running()?;
    let before = machine.node_pid()?;
    let next = release::next()?;
    let answer = |answer: &str| -> Result<_> {
        // In the environment, where no shell looks at the space in it.
        let mut terminal = machine.command("script");
        terminal
            .args(["--quiet", "--return", "--command"])
            .arg("sh \"$INSTALLER\" --prefix \"$PREFIX\"")
            .arg("/dev/null")
            .env("INSTALLER", xtask::build::workspace_dir().join("install.sh"))
            .env("PREFIX", machine.prefix())
            .env("MEMCLOUD_INSTALL_BASE_URL", file_url(next))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = terminal.spawn().context("cannot run script")?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        writeln!(stdin, "{answer}")?;
        let output = child.wait_with_output()?;
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        ))
    };
    let tree = machine.tree()?;
    let (code, said) = answer("no")?;
    assert_eq!(code, Some(1), "{said}");
    ensure!(
        said.contains("Go on? [y/N]") && said.contains("nothing was changed"),
        "{said}"
    );
    assert_eq!(machine.tree()?, tree);
    assert_eq!(machine.node_pid()?, before);

    let (code, said) = answer("y")?;
    assert_eq!(code, Some(0), "{said}");
    ensure!(new_page(&machine), "{said}");
    assert_ne!(machine.node_pid()?, before);
    machine.memcli(&["node", "stop"])?.ok()?;
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_node_that_a_person_looks_after_is_left_to_them() -> Result<()> {
    let machine = Machine::installed()?;
    let mut memnode = machine.command(machine.program("memnode"));
    let node = Running::start(&mut memnode)?;
    xtask::wait::until_true("the node", SOON, || machine.node_pid().is_ok())?;
    let next = release::next()?;
    let upgraded = machine.install_from(next, &["--yes"])?.fails_with(11)?;
    ensure!(
        upgraded.stderr.contains("MemCloud is installed")
            && upgraded.stderr.contains("restart it where it was started"),
        "{upgraded}"
    );
    ensure!(new_page(&machine));
    assert_eq!(machine.node_pid()?, u64::from(node.pid()));
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn files_that_the_new_version_does_not_have_go() -> Result<()> {
    let machine = Machine::new()?;
    let next = release::next()?;
    machine.install_from(next, &[])?.ok()?;
    ensure!(new_page(&machine));
    // Somebody else's file is none of ours.
    let other = machine.prefix().join("share/man/man1/other.1");
    fs::write(&other, ".TH OTHER 1\n")?;
    machine.install(&[])?.ok()?;
    ensure!(!new_page(&machine) && other.is_file());
    run(machine.command(machine.program("memcli")).arg("--version"))?.ok()?;
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_program_that_was_changed_or_lost_is_put_back() -> Result<()> {
    let machine = Machine::installed()?;
    let before = machine.tree()?;
    fs::write(machine.program("memcli"), "not a program")?;
    fs::remove_file(machine.program("memnode"))?;
    machine.install(&[])?.ok()?;
    assert_eq!(machine.tree()?, before);
    Ok(())
}
