//! `cargo xtask bench mesh`: a program whose data lies on another host, served by MemCloud and by what it would use otherwise.
//!
//! The hosts are network namespaces of this machine on one bridge ([`xtask::lab`]), with real programs in them. A program asks
//! the node of its own host, over that one's Unix socket; the node asks its peer. Beside it the same client asks servers of the other
//! host itself: a bare echo, Redis, and Redis behind a tunnel that encrypts.
//!
//! - `rows`: what can be measured, in the order of the table.
//! - `small`: requests for values of 1 KiB. `beside`: the same while a stream fills the wire.
//! - `crowd`: what the number of peers costs. `discovery`: how soon a node is seen.
//! - `others`: the servers beside them.
//! - `marks`: what the figures are to reach.

mod beside;
mod crowd;
mod discovery;
mod marks;
mod others;
mod rows;
mod small;

use std::time::Duration;

use anyhow::Result;
use xtask::build::{Profile, Programs};

use crate::report::Report;
use crate::turns;
use marks::Kind;
use rows::Row;

/// The arguments of `cargo xtask bench mesh`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How many runs of each server with each load; the table has their medians
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How long each run asks, in milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    run_ms: u64,
    /// A short run, to see that all works: three runs of 50 ms
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
    programs: Programs,
    runs: u32,
    time: Duration,
}

/// Builds, installs, measures and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (runs, run_ms) = if args.quick {
        (3, 50)
    } else {
        (args.runs, args.run_ms)
    };
    let setting = Setting {
        programs: Programs::build(Profile::Release)?,
        runs,
        time: Duration::from_millis(run_ms),
    };
    let lines = turns::measure_rows(Row::all(), &args.only, |row| row.measure(&setting))?;
    Report::new(runs, Some(setting.time), args.quick, &lines)?.print("on another host", args.json)
}

impl Setting {
    /// Lets these take turns. Returns the runs of each, in the order of `all`.
    fn take_turns<K: Copy, T>(&self, all: &[K], measure: impl FnMut(K) -> Result<T>) -> Result<Vec<Vec<T>>> {
        turns::take_turns(self.runs, all, measure)
    }

    /// The same for some columns of the table.
    fn alternate<T>(&self, kinds: &[Kind], measure: impl FnMut(Kind) -> Result<T>) -> Result<Vec<Vec<T>>> {
        turns::alternate(self.runs, kinds, measure)
    }
}
