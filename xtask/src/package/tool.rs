//! The programs that make packages, built once into `target/tools`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::build::{cargo, target_dir};

/// A program of a crate, in the version with which this chore was tried.
#[derive(Debug)]
pub(super) struct CargoTool {
    /// The name of the crate and of its program.
    pub(super) name: &'static str,
    /// The version.
    pub(super) version: &'static str,
}

impl CargoTool {
    /// Where the program lies. It is built first where it is missing, which takes some minutes.
    ///
    /// # Errors
    /// When it does not build.
    pub(super) fn ready(&self) -> Result<PathBuf> {
        let Self { name, version } = self;
        let folder = target_dir().join("tools").join(format!("{name}-{version}"));
        let program = folder.join("bin").join(name);
        if !program.is_file() {
            println!("building {name} {version}, which takes some minutes");
            let mut command = cargo(["install", "--locked", "--version", version, name]);
            command.arg("--root").arg(&folder);
            // Beside the workspace's own build, which would be locked meanwhile.
            command.arg("--target-dir").arg(target_dir().join("tools/build"));
            let status = command.status().context("cannot run cargo")?;
            ensure!(status.success(), "{name} {version} does not build");
        }
        Ok(program)
    }
}
