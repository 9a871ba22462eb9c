//! `cargo xtask bench js`: the npm package, beside what one would use in its place.
//!
//! The programs that measure are written for Node.js and lie in `js-sdk/bench`: they use the package as it is built, as people do. Each run is a process of its own,
//! which prints one line of JSON.
//!
//! - `rows`: what can be measured, in the order of the table.
//! - `values`: keys, beside clients of Redis on a Unix socket. `streams`: gigabytes to a peer, beside `memcli`, and the memory that they take.
//! - `archive`: the log archiver of the examples, beside its parts put together by a shell.
//! - `packages`: installing and building them. `programs`: running one.
//! - `marks`: what the figures are to reach.

mod archive;
mod marks;
mod packages;
mod programs;
mod rows;
mod streams;
mod values;

use std::time::Duration;

use anyhow::Result;
use xtask::build::{Profile, Programs};
use xtask::size::GIB;

use crate::report::Report;
use crate::servers::{self, Servers, Starter};
use crate::turns;
use marks::Kind;
use rows::Row;

/// The size of what is streamed.
const STREAM_LEN: u64 = GIB;

/// What amounts of data are divided by in a quick run.
const QUICK_PART: u64 = 16;

/// The arguments of `cargo xtask bench js`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How many runs of each; the table has their medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How long each run with keys asks, in milliseconds
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    run_ms: u64,
    /// A short run, to see that all works: one run of 100 ms, and a sixteenth of the data
    #[arg(long, conflicts_with_all = ["runs", "run_ms"])]
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
    starter: Starter,
    programs: Programs,
    runs: u32,
    time: Duration,
    /// What amounts of data are divided by: 1, but for a quick run.
    part: u64,
}

/// Builds, installs, measures and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (runs, run_ms, part) = if args.quick {
        (1, 100, QUICK_PART)
    } else {
        (args.runs, args.run_ms, 1)
    };
    packages::prepare()?;
    let setting = Setting {
        starter: Starter::prepare(&values::SERVERS, None)?,
        programs: Programs::build(Profile::Release)?,
        runs,
        time: Duration::from_millis(run_ms),
        part,
    };
    let lines = turns::measure_rows(Row::all(), &args.only, |row| row.measure(&setting))?;
    Report::new(runs, Some(setting.time), args.quick, &lines)?.print("from Node.js", args.json)
}

impl Setting {
    /// Lets these columns of the table take turns.
    fn alternate<T>(&self, kinds: &[Kind], measure: impl FnMut(Kind) -> Result<T>) -> Result<Vec<Vec<T>>> {
        turns::alternate(self.runs, kinds, measure)
    }

    /// One of each of these servers.
    fn start_servers(&self, kinds: &[servers::Kind]) -> Result<Servers> {
        Servers::start(&self.starter, kinds)
    }
}
