//! What service managers read in `installers/`: that systemd takes its units without a word and how it rates them, that the file for launchd is a
//! property list, and that the formula of Homebrew is Ruby.
//!
//! That a node works under what they forbid is seen where systemd runs: `cargo xtask package root`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::workspace_dir;
use crate::process;
use crate::tools::Tool;

/// What looks at them.
pub const TOOLS: [Tool; 3] = [
    ("systemd-analyze", "systemd"),
    ("python3", "python3-minimal"),
    ("ruby", "ruby"),
];

/// The worst exposure that the unit of the machine may have, in tenths: `systemd-analyze security` rates from 0.0 to 10.0.
const EXPOSURE_MAX: u32 = 25;

/// How long a look of systemd may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Checks all that can be checked where no service manager runs.
///
/// # Errors
/// At the first thing that is wrong.
pub fn check() -> Result<()> {
    let unit = |scope: &str| workspace_dir().join(format!("installers/systemd/{scope}/memnode.service"));
    for scope in ["system", "user"] {
        verify(&unit(scope), scope)?;
    }
    rate(&unit("system"))?;
    println!("systemd takes both units without a word, and rates that of the machine at 2.5 or better");
    launch_agent(&workspace_dir().join("installers/launchd/org.memcloud.memnode.plist"))?;
    let mut ruby = Command::new("ruby");
    ruby.args(["-w", "-c"])
        .arg(workspace_dir().join("installers/homebrew/memcloud.rb"));
    let finished = process::run(&mut ruby, PATIENCE)?.ok()?;
    ensure!(
        finished.stderr.is_empty(),
        "Ruby has something to say of the formula: {finished}"
    );
    Ok(())
}

/// Reads a property list by Python's reader of them: the Mac's own is on Macs alone.
fn launch_agent(file: &Path) -> Result<()> {
    const TO_JSON: &str =
        "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let mut python = Command::new("python3");
    let finished = process::run(python.args(["-c", TO_JSON]).arg(file), PATIENCE)?.ok()?;
    let list: serde_json::Value = finished.json()?;
    ensure!(
        list["Label"] == "org.memcloud.memnode" && list["ProgramArguments"][0] == "/usr/bin/memnode",
        "{} is not what install.sh and launchd expect: {list}",
        file.display()
    );
    // Stopped by `memcli node stop` it stays stopped.
    ensure!(list["KeepAlive"]["SuccessfulExit"] == false, "{list}");
    Ok(())
}

/// Has systemd read a unit of this scope, which it must take without a word.
fn verify(unit: &Path, scope: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The program is not installed here; one that is stands in for it.
    let text = fs::read_to_string(unit).with_context(|| format!("cannot read {}", unit.display()))?;
    ensure!(
        text.contains("\nExecStart=/usr/bin/memnode\n"),
        "{} does not start /usr/bin/memnode",
        unit.display()
    );
    let copy = folder.path().join("memnode.service");
    fs::write(&copy, text.replace("=/usr/bin/memnode\n", "=/bin/true\n"))?;
    let mut command = Command::new("systemd-analyze");
    // Nor is its manual page.
    command
        .args(["verify", "--man=no", &format!("--{scope}")])
        .arg(&copy);
    command.env("XDG_RUNTIME_DIR", folder.path());
    let finished = process::run(&mut command, PATIENCE)?.ok()?;
    ensure!(
        finished.stdout.is_empty() && finished.stderr.is_empty(),
        "systemd has something to say of {}: {finished}",
        unit.display()
    );
    Ok(())
}

/// Has systemd rate how much a unit leaves open.
fn rate(unit: &Path) -> Result<()> {
    let mut command = Command::new("systemd-analyze");
    command.args([
        "security",
        "--offline=yes",
        &format!("--threshold={EXPOSURE_MAX}"),
    ]);
    process::run(command.arg(unit), PATIENCE)?.ok()?;
    Ok(())
}
