//! Programs that chores need beside cargo.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A program, and the Debian package that holds it.
pub type Tool = (&'static str, &'static str);

/// Installs those of the tools that are missing, where that can be done without asking anyone: as root, on Debian or its like.
///
/// # Errors
/// When the packages cannot be installed. That nobody may install them is no error: see [`missing`].
pub fn install(tools: &[Tool]) -> Result<()> {
    let apt = Path::new("/usr/bin/apt-get");
    let packages = packages_of_missing(tools);
    if packages.is_empty() || !rustix::process::geteuid().is_root() || !apt.is_file() {
        return Ok(());
    }
    let apt_get = |args: &[&str]| {
        let mut command = Command::new(apt);
        command
            .args(["-q", "-y"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        println!("apt-get {}", args.join(" "));
        command
            .status()
            .context("cannot run apt-get")
            .map(|status| status.success())
    };
    let install = [&["install", "--no-install-recommends"][..], &packages].concat();
    // The list of packages on a new machine may be old or missing; a fresh one takes a while, so it comes second.
    if !apt_get(&install)? {
        apt_get(&["update"])?;
        ensure!(
            apt_get(&install)?,
            "apt-get cannot install {}",
            packages.join(" ")
        );
    }
    Ok(())
}

/// What is still missing, in words.
pub fn missing(tools: &[Tool]) -> Option<String> {
    let packages = packages_of_missing(tools);
    (!packages.is_empty()).then(|| format!("missing programs of the Debian packages {}", packages.join(" ")))
}

/// Whether a program is there.
pub fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn packages_of_missing(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools
        .iter()
        .filter(|(tool, _)| !is_on_path(tool))
        .map(|&(_, package)| package)
        .collect();
    packages.dedup();
    packages
}
