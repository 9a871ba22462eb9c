//! Installing what the programs need, and building the package that they measure.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use xtask::build::workspace_dir;
use xtask::process::show;

/// The package itself.
const PACKAGE: &str = "js-sdk";

/// The programs that measure it.
const PROGRAMS: &str = "js-sdk/bench";

/// The examples, one of which is measured.
const EXAMPLES: &str = "examples/nodejs";

/// Installs and builds all of it, showing on stderr what npm says.
///
/// # Errors
/// When Node.js is missing, or npm fails.
pub(super) fn prepare() -> Result<()> {
    npm(PACKAGE, &["ci"])?;
    npm(PACKAGE, &["run", "build"])?;
    // They have the package as a link to its folder.
    npm(PROGRAMS, &["ci"])?;
    npm(EXAMPLES, &["ci"])
}

/// Where a program that measures lies.
pub(super) fn program(name: &str) -> PathBuf {
    workspace_dir().join(PROGRAMS).join(name)
}

/// Where an example lies.
pub(super) fn example(name: &str) -> PathBuf {
    workspace_dir().join(EXAMPLES).join(name)
}

fn npm(folder: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new("npm");
    command
        .current_dir(workspace_dir().join(folder))
        .args(["--ignore-scripts", "--no-audit", "--no-fund"])
        .args(args)
        .stdin(Stdio::null())
        // Stdout is for results.
        .stdout(std::io::stderr());
    let status = command
        .status()
        .context("cannot run npm: install Node.js with npm")?;
    ensure!(
        status.success(),
        "{} ended with {status} in {folder}",
        show(&command)
    );
    Ok(())
}
