//! `cargo xtask sim`: builds the simulation as MemCloud ships, for thousands of seeds, and becomes it.
//!
//! What it does stands in `xtask/sim`: a package of its own, for it needs the daemon's library with the seams of a simulation.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::build::cargo;

/// The arguments of `cargo xtask sim`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which seeds to run and how; `cargo xtask sim --help` tells
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds and runs it, in this process: signals meant for the chore reach it.
///
/// # Errors
/// When cargo cannot be run. What comes later is told by the program's own exit code.
pub fn run(args: &Args) -> Result<Infallible> {
    let mut command = cargo(["run", "--quiet", "--release", "--package", "xtask-sim", "--"]);
    let error = command.args(&args.args).exec();
    Err(error).context("cannot run cargo")
}
