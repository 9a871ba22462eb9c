//! Taking MemCloud away again: nothing of it is left, and nothing else is touched.

use std::fs;

use anyhow::{Result, ensure};

use crate::machine::{Machine, run};

#[test]
#[ignore = "packs a release"]
fn nothing_is_left_and_the_home_stays_unless_it_is_to_go() -> Result<()> {
    let machine = Machine::new()?;
    let fresh = machine.tree()?;
    machine.install(&[])?.ok()?;
    machine.memcli(&["node", "start"])?.ok()?;
    let home = machine.home().join(".memcloud");

    let before = machine.tree()?;
    let said = machine.uninstall(&["--purge", "--dry-run"])?.ok()?.text();
    for part in [
        "would stop the node",
        "would remove ",
        "bin/memnode",
        ".memcloud",
        "Nothing was changed.",
    ] {
        ensure!(said.contains(part), "no '{part}': {said}");
    }
    ensure!(machine.tree()? == before, "a dry run changed something");
    machine.node_pid()?;

    // Nobody can be asked, so it is kept.
    let pid = machine.node_pid()?;
    let said = machine.uninstall(&[])?.ok()?.text();
    ensure!(said.contains("kept ") && said.contains(".memcloud"), "{said}");
    ensure!(!fs::exists(format!("/proc/{pid}/exe"))?, "the node runs on");
    ensure!(!machine.prefix().exists() && home.join("identity.key").is_file());

    let said = machine.uninstall(&["--keep"])?.ok()?.text();
    ensure!(said.contains("is not installed here"), "{said}");
    machine.uninstall(&["--purge"])?.ok()?;
    assert_eq!(machine.tree()?, fresh);
    let said = machine.uninstall(&["--purge"])?.ok()?.text();
    assert_eq!(said, "MemCloud is not installed here.");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn what_others_put_beside_it_stays() -> Result<()> {
    let machine = Machine::used()?;
    let other = machine.prefix().join("share/man/man1/other.1");
    fs::create_dir_all(machine.prefix().join("share/man/man1"))?;
    fs::write(&other, ".TH OTHER 1\n")?;
    let home = machine.home().join("own");
    fs::write(&home, "mine")?;
    machine.uninstall(&["--purge"])?.ok()?;
    assert_eq!(fs::read_to_string(other)?, ".TH OTHER 1\n");
    assert_eq!(fs::read_to_string(home)?, "mine");
    ensure!(!machine.program("memnode").exists() && !machine.home().join(".memcloud").exists());
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn programs_without_a_receipt_are_found_where_they_belong() -> Result<()> {
    let machine = Machine::installed()?;
    fs::remove_dir_all(machine.prefix().join("share/memcloud"))?;
    machine.uninstall(&["--keep"])?.ok()?;
    ensure!(!machine.program("memnode").exists() && !machine.program("memcli").exists());
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_home_that_is_more_than_a_nodes_folder_is_never_removed() -> Result<()> {
    let machine = Machine::used()?;
    fs::copy(
        machine.home().join(".memcloud/identity.key"),
        machine.home().join("identity.key"),
    )?;
    for home in [machine.home(), machine.dir().to_owned()] {
        fs::write(machine.dir().join("config.toml"), "")?;
        let mut uninstall = machine.command("sh");
        uninstall
            .arg(xtask::build::workspace_dir().join("uninstall.sh"))
            .arg("--purge")
            .arg("--prefix")
            .arg(machine.prefix())
            .env("MEMCLOUD_HOME", home);
        let said = run(&mut uninstall)?.ok()?.text();
        ensure!(said.contains("more than the folder of a node"), "{said}");
    }
    ensure!(machine.home().join("identity.key").is_file());
    Ok(())
}
