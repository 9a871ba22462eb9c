//! The node as a service of the user: what systemd is told, and the unit that it gets. systemd itself does not run where the tests run.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::machine::{Machine, file_url, find, run};
use crate::release;

/// Exit codes of install.sh.
const PLATFORM: i32 = 3;
const SERVICE: i32 = 11;

/// A `systemctl` that writes down what it is told.
fn with_systemctl(machine: &Machine, answer: &str) -> Result<(String, impl Fn() -> Result<Vec<String>>)> {
    let told = machine.dir().join("told");
    let lines = format!("echo \"$*\" >>'{}'\n{answer}", told.display());
    let path = machine.fake("systemctl", &lines)?;
    let take = move || -> Result<Vec<String>> {
        let text = fs::read_to_string(&told)?;
        fs::write(&told, "")?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    Ok((path, take))
}

#[test]
#[ignore = "packs a release"]
fn a_user_service_is_made_kept_up_to_date_and_removed() -> Result<()> {
    let machine = Machine::new()?;
    let before = machine.tree()?;
    let (path, told) = with_systemctl(&machine, "exit 0")?;
    let install = |base_url: &str, args: &[&str]| {
        run(machine.installer(&["sh"], base_url, args).env("PATH", &path))?.ok()
    };
    let url = file_url(release::this_build()?);
    let installed = install(&url, &["--service=user"])?;
    ensure!(installed.text().contains("runs as a service"), "{installed}");
    assert_eq!(
        told()?,
        [
            "--user show-environment",
            "--user daemon-reload",
            "--user enable memnode.service",
            "--user restart memnode.service"
        ]
    );
    let unit = machine.home().join(".config/systemd/user/memnode.service");
    let text = fs::read_to_string(&unit)?;
    let program = machine
        .program("memnode")
        .display()
        .to_string()
        .replace(' ', "\\x20");
    ensure!(text.contains(&format!("\nExecStart={program}\n")), "{text}");
    verify(&machine, &unit)?;

    // An upgrade looks after the service without being told.
    let next = release::next()?;
    install(&file_url(next), &["--yes"])?;
    let restarted = told()?;
    ensure!(
        restarted
            .last()
            .is_some_and(|call| call == "--user restart memnode.service"),
        "{restarted:?}"
    );
    // Where nobody can be asked it stays as it is, until the next start.
    let left = install(&url, &[])?;
    ensure!(left.stderr.contains("systemctl --user restart memnode"), "{left}");
    ensure!(
        !told()?.iter().any(|call| call.contains("restart")),
        "it was restarted"
    );

    run(machine.installed_uninstaller(&["sh"]).env("PATH", &path))?.ok()?;
    assert_eq!(
        told()?,
        ["--user disable --now memnode.service", "--user daemon-reload"]
    );
    assert_eq!(machine.tree()?, before);
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_running_node_makes_room_for_the_service() -> Result<()> {
    let machine = Machine::installed()?;
    machine.memcli(&["node", "start"])?.ok()?;
    let (path, told) = with_systemctl(&machine, "exit 0")?;
    let url = file_url(release::this_build()?);
    let mut install = machine.installer(&["sh"], &url, &["--service=user", "--yes"]);
    run(install.env("PATH", &path))?.ok()?;
    ensure!(
        machine.node_pid().is_err(),
        "it has the home that the service needs"
    );
    ensure!(told()?.contains(&"--user restart memnode.service".to_owned()));
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn without_a_service_manager_nothing_is_changed() -> Result<()> {
    let machine = Machine::new()?;
    let url = file_url(release::this_build()?);
    let (path, _) = with_systemctl(&machine, "echo 'Failed to connect to bus' >&2; exit 1")?;
    let mut install = machine.installer(&["sh"], &url, &["--service=user"]);
    let said = machine.refuses(install.env("PATH", path), PLATFORM)?;
    ensure!(
        said.contains("Failed to connect to bus") && said.contains("memcli node start"),
        "{said}"
    );

    let mut install = machine.installer(&["sh"], &url, &["--service=user"]);
    let said = machine.refuses(install.env("PATH", machine.tools(&["sha256sum"])?), PLATFORM)?;
    ensure!(said.contains("there is no systemd"), "{said}");
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_service_that_does_not_start_is_told_and_can_be_removed() -> Result<()> {
    let machine = Machine::new()?;
    let before = machine.tree()?;
    let answer = "case \"$*\" in *restart*) echo 'Job failed.' >&2; exit 1 ;; esac";
    let (path, _) = with_systemctl(&machine, answer)?;
    let url = file_url(release::this_build()?);
    let mut install = machine.installer(&["sh"], &url, &["--service=user"]);
    let failed = run(install.env("PATH", &path))?.fails_with(SERVICE)?;
    ensure!(
        failed
            .stderr
            .contains("MemCloud is installed, but its service did not start: Job failed."),
        "{failed}"
    );
    run(machine.command(machine.program("memcli")).arg("--version"))?.ok()?;
    run(machine.installed_uninstaller(&["sh"]).env("PATH", path))?.ok()?;
    assert_eq!(machine.tree()?, before);
    Ok(())
}

#[test]
#[ignore = "packs a release"]
fn a_mac_is_known_and_gets_a_launch_agent() -> Result<()> {
    let machine = Machine::new()?;
    let before = machine.tree()?;
    let release = tempfile::tempdir()?;
    release::add(release.path(), "aarch64-apple-darwin", |_| Ok(()))?;
    // An Intel shell on an Apple processor, as under Rosetta.
    machine.fake("uname", "case $1 in -s) echo Darwin ;; -m) echo x86_64 ;; esac")?;
    machine.fake("sysctl", "[ \"$2\" = hw.optional.arm64 ] && echo 1")?;
    let told = machine.dir().join("told");
    let path = machine.fake(
        "launchctl",
        &format!("echo \"$*\" >>'{}'\n[ \"$1\" = bootstrap ]", told.display()),
    )?;
    let url = file_url(release.path());
    let mut install = machine.installer(&["sh"], &url, &["--service=user"]);
    run(install.env("PATH", &path))?.ok()?;
    let id = rustix::process::getuid().as_raw();
    let agent = machine
        .home()
        .join("Library/LaunchAgents/org.memcloud.memnode.plist");
    assert_eq!(
        fs::read_to_string(&told)?,
        format!(
            "bootout gui/{id}/org.memcloud.memnode\nbootstrap gui/{id} {}\n",
            agent.display()
        )
    );
    let program = machine.program("memnode");
    let text = fs::read_to_string(&agent)?;
    ensure!(
        text.contains(&format!("<string>{}</string>", program.display())),
        "{text}"
    );
    run(machine.installed_uninstaller(&["sh"]).env("PATH", path))?.ok()?;
    assert_eq!(machine.tree()?, before);
    Ok(())
}

/// What systemd itself says of a unit, where there is one to ask.
fn verify(machine: &Machine, unit: &Path) -> Result<()> {
    if find("systemd-analyze").is_none() {
        eprintln!("left out: there is no systemd-analyze");
        return Ok(());
    }
    let mut verify = machine.command("systemd-analyze");
    let said = run(verify.args(["verify", "--user", "--man=no"]).arg(unit))?;
    ensure!(said.stderr.is_empty() && said.status.success(), "{said}");
    Ok(())
}
