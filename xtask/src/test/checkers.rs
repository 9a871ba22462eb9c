//! Programs that check what is no Rust, from the registries of Python and of Node, in folders of their own below `target/checkers`.
//!
//! Each folder remembers what was installed into it, so that only the first run waits for a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::build::target_dir;

/// The file in which a folder remembers what it has.
const CONTENTS: &str = "contents.txt";

/// Programs of one registry that are installed together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Checkers {
    /// Packages of PyPI with their versions, as `zizmor==1.32.0`.
    Python(&'static [&'static str]),
    /// Packages of npm with their versions, as `publint@0.3.12`.
    Node(&'static [&'static str]),
}

impl Checkers {
    /// The folder of the programs, once they are there.
    ///
    /// # Errors
    /// When Python or Node is missing, or a registry does not give them out.
    pub(super) fn install(self) -> Result<PathBuf> {
        let (name, packages, programs) = match self {
            Self::Python(packages) => ("python", packages, "bin"),
            Self::Node(packages) => ("node", packages, "node_modules/.bin"),
        };
        // By the hash of what is in it: several lists do not undo each other.
        let contents = packages.join("\n");
        let hash = blake3::hash(contents.as_bytes()).to_hex();
        let folder = target_dir().join(format!("checkers/{name}-{}", &hash[..16]));
        let remembered = folder.join(CONTENTS);
        if fs::read_to_string(&remembered).is_ok_and(|found| found == contents) {
            return Ok(folder.join(programs));
        }
        // What an interrupted run has left is not gone on with.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        println!("installing {}", packages.join(", "));
        match self {
            Self::Python(packages) => install_from_pypi(&folder, packages)?,
            Self::Node(packages) => install_from_npm(&folder, packages)?,
        }
        fs::write(remembered, contents)?;
        Ok(folder.join(programs))
    }
}

fn install_from_pypi(folder: &Path, packages: &[&str]) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))
        .context("Python with its module venv is needed")?;
    let mut pip = Command::new(folder.join("bin/pip"));
    run(pip
        .args([
            "--quiet",
            "--disable-pip-version-check",
            "install",
            "--only-binary",
            ":all:",
        ])
        .args(packages))
}

fn install_from_npm(folder: &Path, packages: &[&str]) -> Result<()> {
    // Without a package of its own npm would look for one in the folders above.
    fs::write(folder.join("package.json"), "{\"private\": true}\n")?;
    let mut npm = Command::new("npm");
    run(npm
        .current_dir(folder)
        .args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ])
        .args(packages))
    .context("Node with npm is needed")
}

/// Runs a program that says for itself what is wrong.
///
/// # Errors
/// When it cannot be run, or ends with anything but 0.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}
