//! `cargo xtask package root`: a clean Debian, on which the packages are installed, used, upgraded, removed and purged.
//!
//! debootstrap makes the Debian once (`target/package-base-...`); each run has a copy. There systemd-nspawn boots it, with processes, mounts and a
//! network of its own: systemd itself runs the units, and all that they forbid is forbidden. First the packages are tried without a systemd that
//! runs, as in a container.
//!
//! `cargo xtask package install`: the same Debian, on which somebody types what the README says.

mod boot;
mod machine;
mod quick_start;
mod scenario;
mod snapshot;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::build::target_dir;
use crate::interrupt;
use crate::tools::{self, Tool};

/// The release of Debian that is installed.
const SUITE: &str = "bookworm";

/// Packages of the clean Debian beyond the smallest: what every Debian with systemd has, and what those of MemCloud ask for.
const BASE_PACKAGES: &str = "adduser,ca-certificates,curl,dbus,init-system-helpers,libpam-systemd,systemd";

/// Programs that the run needs, and their packages.
const TOOLS: [Tool; 4] = [
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
];

/// Installs, uses, upgrades, removes and purges packages in a clean Debian.
///
/// # Errors
/// When this is not root on a Debian, or at the first thing that is not as it should be.
pub(super) fn try_packages(packages: &[PathBuf]) -> Result<()> {
    let root = clean_copy()?;
    scenario::run(root.path(), packages)
}

/// Installs the release of an archive with install.sh in a clean Debian, follows the quick start of the README, and removes it.
///
/// # Errors
/// As [`try_packages`].
pub(super) fn try_archive(archive: &Path) -> Result<()> {
    let root = clean_copy()?;
    quick_start::run(root.path(), archive)
}

/// Prints that something was done as it should be, or says what failed.
fn told(what: &str, done: Result<()>) -> Result<()> {
    done.with_context(|| format!("failed: {what}"))?;
    println!("ok: {what}");
    Ok(())
}

/// A Debian of its own.
fn clean_copy() -> Result<TempDir> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a clean Debian is made by root alone: run this as root"
    );
    interrupt::catch()?;
    tools::install(&TOOLS)?;
    if let Some(why) = tools::missing(&TOOLS) {
        bail!(why);
    }
    let base = clean_debian()?;
    let root = tempfile::Builder::new()
        .prefix("package-root-")
        .tempdir_in(target_dir())
        .context("cannot make a folder for the clean Debian")?;
    copy(&base, root.path())?;
    Ok(root)
}

/// The folder of a Debian on which nothing was done yet.
fn clean_debian() -> Result<PathBuf> {
    // Other packages are another Debian.
    let packages = blake3::hash(BASE_PACKAGES.as_bytes()).to_hex();
    let base = target_dir().join(format!("package-base-{SUITE}-{}", &packages[..8]));
    if !base.is_dir() {
        println!("making a clean Debian, which takes some minutes");
        let unfinished = target_dir().join("package-base-unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .with_context(|| format!("cannot remove {}", unfinished.display()))?;
        }
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", &format!("--include={BASE_PACKAGES}"), SUITE]);
        let status = command
            .arg(&unfinished)
            .status()
            .context("cannot run debootstrap")?;
        ensure!(status.success(), "debootstrap ended with {status}");
        fs::rename(&unfinished, &base)?;
    }
    Ok(base)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command
        .args(["-a", "--reflink=auto", "--"])
        .arg(from.join("."))
        .arg(to);
    let status = command.status().context("cannot run cp")?;
    ensure!(status.success(), "cp ended with {status}");
    Ok(())
}
