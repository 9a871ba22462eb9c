//! `cargo xtask bench bulk`: gigabytes into another host's memory and back, by MemCloud and by what one would use otherwise.
//!
//! The hosts are network namespaces of this machine on one bridge ([`xtask::lab`]), with real programs in them. A file in the memory of host a (tmpfs)
//! goes to host b and comes back, by the command line as a person types it. Beside it, in turn, the same file goes over the same wire into a file in
//! the memory of the other host: over a bare connection, through a pipe that OpenSSL encrypts with the nodes' cipher, and by `scp` with it.
//!
//! - `rows`: what can be measured, in the order of the table.
//! - `transfer`: a file there and back. `peers`: the same with two peers. `memory`: what that takes of memory.
//! - `beside`: a small request meanwhile. `first_byte`: how soon a program has something.
//! - `tree`: a folder that the peer has already, beside `rsync`.
//! - `tcp`, `tls`, `ssh`: what stands beside it.
//! - `marks`: what the figures are to reach.

mod beside;
mod first_byte;
mod marks;
mod memory;
mod peers;
mod rows;
mod ssh;
mod tcp;
mod tls;
mod transfer;
mod tree;

use anyhow::Result;
use xtask::build::{Profile, Programs};
use xtask::size::MIB;

use crate::report::Report;
use crate::turns;
use marks::Kind;
use rows::Row;

/// What amounts of data are divided by in a quick run.
const QUICK_PART: u64 = 16;

/// The arguments of `cargo xtask bench bulk`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How many runs of each; the table has their medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// The size of the file that goes over wires without a limit, in MiB. Three times as much memory is needed
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    size_mib: u64,
    /// A short run, to see that all works: one run with a sixteenth of the data
    #[arg(long, conflicts_with_all = ["runs", "size_mib"])]
    quick: bool,
    /// Measure these rows alone; several are separated by commas
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<Row>,
    /// Print all figures of all runs as JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// How it is measured.
#[derive(Debug)]
struct Setting {
    programs: Programs,
    runs: u32,
    /// The size of the file that goes over wires without a limit.
    size: u64,
    /// What other amounts of data are divided by: 1, but for a quick run.
    part: u64,
}

/// Builds, installs, measures and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (runs, part) = if args.quick {
        (1, QUICK_PART)
    } else {
        (args.runs, 1)
    };
    let setting = Setting {
        programs: Programs::build(Profile::Release)?,
        runs,
        size: args.size_mib * MIB / part,
        part,
    };
    let lines = turns::measure_rows(Row::all(), &args.only, |row| row.measure(&setting))?;
    Report::new(runs, None, args.quick, &lines)?.print("bulk", args.json)
}

impl Setting {
    /// So many runs, of which nothing takes turns.
    fn repeat<T>(&self, mut measure: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
        Ok(turns::take_turns(self.runs, &[()], |()| measure())?.remove(0))
    }

    /// Lets these columns of the table take turns.
    fn alternate<T>(&self, kinds: &[Kind], measure: impl FnMut(Kind) -> Result<T>) -> Result<Vec<Vec<T>>> {
        turns::alternate(self.runs, kinds, measure)
    }
}

/// A size that somebody chose, in words.
fn show(size: u64) -> String {
    match size {
        _ if size.is_multiple_of(1_000_000) => format!("{} MB", size / 1_000_000),
        _ if size.is_multiple_of(1_000) => format!("{} kB", size / 1_000),
        _ => xtask::size::exact(size),
    }
}
