//! The packages of Fedora and its like, by cargo-generate-rpm, and what rpmlint says of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::tool::CargoTool;
use super::{PACKAGES, dist_dir, lint};
use crate::build::{Programs, target_dir, workspace_dir};

/// The program that makes them.
const CARGO_GENERATE_RPM: CargoTool = CargoTool {
    name: "cargo-generate-rpm",
    version: "0.21.1",
};

/// Makes the packages of these programs, and has them looked over. Returns their files.
pub(super) fn make(programs: &Programs) -> Result<Vec<PathBuf>> {
    let program = CARGO_GENERATE_RPM.ready()?;
    let staged = stage(programs)?;
    let mut files = Vec::new();
    for package in PACKAGES {
        let file = dist_dir()?.join(format!(
            "{package}-{}-1.{}.rpm",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH
        ));
        let mut command = Command::new(&program);
        command.current_dir(workspace_dir());
        command.args(["-p", package, "--target-dir"]).arg(&staged);
        command.arg("-o").arg(&file);
        let status = command.status().context("cannot run cargo-generate-rpm")?;
        ensure!(status.success(), "the package {package} cannot be made");
        files.push(file);
    }
    lint::rpmlint(&files)?;
    Ok(files)
}

/// Copies the programs without their symbols to where the packages take them from: unlike cargo-deb, cargo-generate-rpm strips nothing.
/// Returns the folder that stands for the one of builds.
fn stage(programs: &Programs) -> Result<PathBuf> {
    let folder = target_dir().join("package-rpm");
    let release = folder.join("release");
    fs::create_dir_all(&release).with_context(|| format!("cannot make {}", release.display()))?;
    for program in [&programs.memnode, &programs.memcli] {
        let name = program.file_name().context("a program has a name")?;
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(release.join(name)).arg(program);
        let status = strip.status().context("cannot run strip (binutils)")?;
        ensure!(status.success(), "strip ended with {status}");
    }
    Ok(folder)
}
