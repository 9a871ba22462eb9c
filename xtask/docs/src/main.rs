//! `cargo xtask assets` and `cargo xtask docs`: what MemCloud says of its own command lines, made from their definitions.
//!
//! - [`assets`]: the folder that every installer takes from. [`man`]: the manual pages in it. [`completions`]: the scripts for shells.
//! - [`pages`]: the pages of `docs/` that are made here: [`mod@reference`], and the settings in [`configuration`]. [`markdown`]: how they are written.
//! - [`entries`]: what can be typed behind a command. [`notes`]: what its help says behind that. [`files`]: the files of a node, which no
//!   definition knows.
//!
//! It is a program of its own, not a part of `xtask`, because it links the daemon and the command line: the other chores need not wait
//! for them to be compiled.

mod assets;
mod completions;
mod configuration;
mod entries;
mod files;
mod man;
mod markdown;
mod notes;
mod pages;
mod reference;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Writes what MemCloud says of its own command lines
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Write man pages and completions
    Assets {
        /// The folder, which is made where it is missing
        folder: PathBuf,
    },
    /// Write docs/cli.md and the settings in docs/configuration.md
    Docs,
}

fn main() -> ExitCode {
    let result = match Chore::parse() {
        Chore::Assets { folder } => assets::write(&folder),
        Chore::Docs => pages::write(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
