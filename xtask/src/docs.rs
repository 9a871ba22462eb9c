//! `cargo xtask assets` and `cargo xtask docs`: build the program that writes man pages, completions and the reference, and become it.
//!
//! What it does stands in `xtask/docs`: a package of its own, for it links the daemon and the command line.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build::{cargo, target_dir};

/// The arguments of `cargo xtask assets`.
#[derive(Clone, Debug, clap::Args)]
pub struct AssetsArgs {
    /// The folder to write to [default: target/assets]
    folder: Option<PathBuf>,
}

/// Writes man pages and completions into a folder.
///
/// # Errors
/// When cargo cannot be run. What comes later is told by the program's own exit code.
pub fn assets(args: &AssetsArgs) -> Result<Infallible> {
    // Relative to where the person is, not to the workspace, where cargo runs the program.
    let folder = match &args.folder {
        Some(folder) => std::path::absolute(folder).context("cannot tell in which folder this is")?,
        None => target_dir().join("assets"),
    };
    become_program(["assets".as_ref(), folder.as_os_str()])
}

/// Writes man pages and completions into `target/assets` for another chore, and says where they lie.
///
/// # Errors
/// When they cannot be built or written.
pub fn write_assets() -> Result<PathBuf> {
    let folder = target_dir().join("assets");
    let mut command = program(["assets".as_ref(), folder.as_os_str()]);
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "man pages and completions cannot be made");
    Ok(folder)
}

/// Writes the pages of `docs/` that are made from the definitions of the command lines.
///
/// # Errors
/// As [`assets`].
pub fn docs() -> Result<Infallible> {
    become_program(["docs".as_ref()])
}

/// Builds and runs it, in this process: signals meant for the chore reach it.
fn become_program<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Result<Infallible> {
    Err(program(args).exec()).context("cannot run cargo")
}

/// A command that builds and runs it.
fn program<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Command {
    let mut command = cargo(["run", "--quiet", "--package", "xtask-docs", "--"]);
    command.args(args);
    command
}
