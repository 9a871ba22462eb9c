//! What can be typed behind `push` and `pull`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{HolderArgs, KeepArgs};
use crate::completion::Names;

/// What stands at the end of `push --help`.
const PUSH_HELP: &str = "\
Names, modes, times, symbolic links and empty folders are kept; owners are not. Sockets,
pipes and devices are left out. A file whose size and times are as they were at the last
push is not read again, and bytes that are known already are not sent again. Where
nothing changed, nothing is done.

Patterns are those of .gitignore files: *.o, /target/, doc/**/*.pdf, !keep.o. The last
one that matches decides; those of --exclude come behind those of --exclude-from.";

/// `push`
#[derive(Args, Debug)]
#[command(after_help = PUSH_HELP)]
pub(crate) struct PushArgs {
    /// The folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,

    /// The key under which it is pulled: 1 to 1,024 bytes of UTF-8
    #[arg(long, add = Names::Keys)]
    pub(crate) name: String,

    /// Leave out what matches, as often as wanted
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    pub(crate) exclude: Vec<String>,

    /// Leave out what the patterns in a file say, such as .gitignore
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) exclude_from: Vec<PathBuf>,

    /// Read all files, also those that seem not to have changed, and store again what the pool has lost
    #[arg(long)]
    pub(crate) read_all: bool,

    /// How long it is kept.
    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Where it is to lie.
    #[command(flatten)]
    pub(crate) holders: HolderArgs,
}

/// What stands at the end of `pull --help`.
const PULL_HELP: &str = "\
Files that are there with the same size and time are left alone, and of others only the
bytes that differ are fetched. A file appears under its name when it is whole. What of a
large file came before an interruption is kept beside it, as .memcli-*.part, and used by
the next pull. Nothing is written outside of the folder: links in it are not followed,
and the bits setuid, setgid and sticky are dropped.";

/// `pull`
#[derive(Args, Debug)]
#[command(after_help = PULL_HELP)]
pub(crate) struct PullArgs {
    /// The name under which it was pushed
    #[arg(add = Names::Keys)]
    pub(crate) name: String,

    /// The folder to write to; it is made where it is missing
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,

    /// Remove from the folder what the tree does not have
    #[arg(long)]
    pub(crate) delete: bool,
}
