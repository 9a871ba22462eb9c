//! The command line of MemCloud: a thin client of the node of this machine.
//!
//! The module `cli` says what can be typed, `commands` what it does, `output` how it is told, `exit` how it ends. This is a library for the
//! sake of its own manual alone: [`command`], [`manual`] and [`completion`] are what the reference, the man pages and the packages are made from.
//! A program that wants to use MemCloud takes the crate `memsdk`.

mod bench;
mod cli;
mod commands;
pub mod completion;
mod context;
mod exit;
mod interrupt;
mod keyboard;
mod launch;
mod log_file;
pub mod manual;
mod output;
mod panel;
mod part_file;
mod process;
mod progress;
mod screen;
mod service;
mod size;
mod table;
mod tree;
mod value;

use std::env;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

use crate::cli::Cli;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure, Outcome};
use crate::output::Output;

/// All that can be typed, as clap knows it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Does what the arguments of this process say, and tells how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit_code(explain(&error)),
    };
    output::set_color(cli.globals.color);
    let output = Output::new(&cli.globals);
    let outcome = run(cli);
    if let Err(failure) = &outcome {
        output.failure(failure);
    }
    exit_code(outcome.map_or_else(|failure| failure.status(), |()| ExitStatus::Ok))
}

fn run(cli: Cli) -> Outcome {
    // One thread is enough: what takes time is the node's work, and reading files has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(commands::run(cli.command, &Context::new(&cli.globals)));
    // A read of stdin that is still waiting must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Prints help, version or a usage error, the latter as JSON where `--json` was typed: clap did not get as far as
/// telling us.
fn explain(error: &clap::Error) -> ExitStatus {
    let is_usage = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_usage && env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let text = text.trim_start_matches("error: ");
        // What follows is how to use the command, for people.
        let end = ["\n\nUsage:", "\n\nFor more information"]
            .iter()
            .filter_map(|mark| text.find(mark))
            .min();
        let message = text[..end.unwrap_or(text.len())].trim();
        eprintln!("{}", output::error_json("usage", message));
        return ExitStatus::Usage;
    }
    // Where the output is closed nobody reads the help.
    let _ = error.print();
    if is_usage {
        ExitStatus::Usage
    } else {
        ExitStatus::Ok
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status as u8)
}
