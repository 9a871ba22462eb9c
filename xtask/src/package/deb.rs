//! The packages of Debian, by cargo-deb, and what lintian says of them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::tool::CargoTool;
use super::{PACKAGES, dist_dir, lint};
use crate::build::workspace_dir;
use crate::process;

/// The program that makes them.
const CARGO_DEB: CargoTool = CargoTool {
    name: "cargo-deb",
    version: "3.8.0",
};

/// How long packing may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes the packages of the release build, and has them looked over. Returns their files.
pub(super) fn make() -> Result<Vec<PathBuf>> {
    let program = CARGO_DEB.ready()?;
    let mut files = Vec::new();
    for package in PACKAGES {
        let mut command = Command::new(&program);
        command.current_dir(workspace_dir());
        command
            .args(["-p", package, "--quiet", "--no-build", "--strip", "--output"])
            .arg(dist_dir()?);
        let output = command
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("cannot run cargo-deb")?;
        ensure!(output.status.success(), "the package {package} cannot be made");
        // The last thing that it prints is the path of what it made.
        let text = String::from_utf8_lossy(&output.stdout);
        let file = text
            .lines()
            .next_back()
            .context("cargo-deb does not say what it made")?;
        files.push(PathBuf::from(file));
    }
    lint::lintian(&files)?;
    Ok(files)
}

/// The next version of a package, packed into this folder: the same but for its number.
pub(super) fn next_version(package: &Path, folder: &Path) -> Result<PathBuf> {
    let version = concat!(env!("CARGO_PKG_VERSION"), "+next-1");
    let name = package.file_stem().context("a package has a name")?;
    let unpacked = folder.join(name);
    run_dpkg_deb(&[
        "--raw-extract".as_ref(),
        package.as_os_str(),
        unpacked.as_os_str(),
    ])?;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control).context("cannot read the control file of the package")?;
    let lines = text.lines().map(|line| match line.split_once(": ") {
        Some(("Version", _)) => format!("Version: {version}\n"),
        _ => format!("{line}\n"),
    });
    fs::write(&control, lines.collect::<String>())?;
    let repacked = folder.join(format!("{}-{version}.deb", name.display()));
    run_dpkg_deb(&[
        "--root-owner-group".as_ref(),
        "--build".as_ref(),
        unpacked.as_os_str(),
        repacked.as_os_str(),
    ])?;
    Ok(repacked)
}

fn run_dpkg_deb(args: &[&OsStr]) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    process::run(command.args(args), PATIENCE)?.ok()?;
    Ok(())
}
