//! Running a program of Node.js, and what it says.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use serde::de::DeserializeOwned;
use xtask::host::Host;
use xtask::process;

use crate::commands::TRANSFER_TIMEOUT;

/// The program under which they run.
pub(super) const NODE: &str = "node";

/// Runs one beside the servers of this machine. Returns the figures of the last line that it prints.
pub(super) fn run<S: AsRef<OsStr>, T: DeserializeOwned>(
    program: &Path,
    args: impl IntoIterator<Item = S>,
) -> Result<T> {
    let mut command = Command::new(NODE);
    command.arg(program).args(args).stdin(Stdio::null());
    // No setting of the person who measures is to make a difference.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"MEMCLOUD_") || name == "NODE_OPTIONS" {
            command.env_remove(name);
        }
    }
    figures(&mut command)
}

/// Runs one on a host, whose node it finds by itself.
pub(super) fn run_on<S: AsRef<OsStr>, T: DeserializeOwned>(
    host: &Host,
    program: &Path,
    args: impl IntoIterator<Item = S>,
) -> Result<T> {
    let mut command = host.command(NODE);
    command.arg(program).args(args);
    figures(&mut command)
}

fn figures<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    process::run(command, TRANSFER_TIMEOUT)?.ok()?.json()
}
