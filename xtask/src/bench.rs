//! `cargo xtask bench`: builds the program that measures as MemCloud ships, and becomes it.
//!
//! What it does stands in `xtask/bench`. It is a package of its own because a measurement in a build for development would
//! measure the compiler, and because it needs the daemon's library, which the other chores need not wait for.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::build::cargo;

/// The arguments of `cargo xtask bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to measure and how; `cargo xtask bench --help` tells
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds and runs it, in this process: signals meant for the chore reach it.
///
/// # Errors
/// When cargo cannot be run. What comes later is told by the program's own exit code.
pub fn run(args: &Args) -> Result<Infallible> {
    let mut command = cargo(["run", "--quiet", "--release", "--package", "xtask-bench", "--"]);
    let error = command.args(&args.args).exec();
    Err(error).context("cannot run cargo")
}
