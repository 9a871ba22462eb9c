//! What the programs say that distributions look packages over with.
//!
//! Each fault that is none is named with its reason: for lintian in `installers/deb/PACKAGE/lintian-overrides`, which the package carries,
//! for rpmlint in `installers/rpm/rpmlint.toml`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build::workspace_dir;
use crate::tools;

/// Has lintian look over packages of Debian. As root it is installed where it is missing; else a line says that it was left out.
pub(super) fn lintian(packages: &[PathBuf]) -> Result<()> {
    let mut command = Command::new("lintian");
    // From `pedantic` on it is advice for the archive of Debian itself. An override that overrides nothing is a fault, too.
    command.args([
        "--fail-on",
        "error,warning,info",
        "--display-info",
        "--tag-display-limit",
        "0",
        "--allow-root",
    ]);
    // Words that it finds in the bytes of a program are there by chance.
    command.args(["--suppress-tags", "spelling-error-in-binary"]);
    look_over("lintian", command.args(packages))
}

/// Has rpmlint look over packages of Fedora and its like.
pub(super) fn rpmlint(packages: &[PathBuf]) -> Result<()> {
    let mut command = Command::new("rpmlint");
    command.arg("--strict").arg("--config");
    command.arg(workspace_dir().join("installers/rpm/rpmlint.toml"));
    look_over("rpmlint", command.args(packages))
}

fn look_over(name: &'static str, command: &mut Command) -> Result<()> {
    let tool = [(name, name)];
    tools::install(&tool)?;
    if let Some(why) = tools::missing(&tool) {
        println!("not looked over: {why}");
        return Ok(());
    }
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} found faults, see above");
    println!("{name}: no fault that is not explained");
    Ok(())
}
