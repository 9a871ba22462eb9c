//! `cargo xtask bench local`: a program on the own host, served by MemCloud and by what it would use otherwise.
//!
//! - `rows`: what can be measured, in the order of the table.
//! - `small`, `large`: requests for values of 1 KiB, and of a MiB and more.
//! - `mapped`: large values that do not cross the socket.
//! - `entries`: the memory that an entry costs. `beside`: what a stream costs others. `start`: how soon a server answers.
//! - `marks`: what the figures are to reach. `table`: both as Markdown.
//!
//! The servers take turns with each load, forwards and backwards, so that what else this machine does meets all of them.

mod beside;
mod entries;
mod large;
mod mapped;
mod marks;
mod rows;
mod small;
mod start;
mod table;

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tempfile::TempDir;

use crate::cpus::Cpus;
use crate::line::Column as _;
use crate::servers::{Kind, Server, Servers, Starter, folder};
use crate::turns;
use marks::Line;
use rows::Row;

/// The arguments of `cargo xtask bench local`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How many runs of each server with each load; the table has their medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How long each run asks, in milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    run_ms: u64,
    /// A short run, to see that all works: three runs of 50 ms, and an eighth of the entries and of the stream
    #[arg(long, conflicts_with_all = ["runs", "run_ms"])]
    quick: bool,
    /// Measure these rows alone; several are separated by commas
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<Row>,
    /// Keep to these processors: `0` for client and servers on one, `0:1` for the servers on another one. Without it the
    /// scheduler decides
    #[arg(long, value_name = "CPUS")]
    cpus: Option<Cpus>,
    /// How many threads drive the rows with many clients. Without it each client has a thread of its own, as programs have; fewer
    /// cost this machine less beside the servers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    client_threads: Option<u16>,
    /// Print all figures of all runs as JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// How it is measured.
#[derive(Debug)]
struct Setting {
    starter: Starter,
    runs: u32,
    time: Duration,
    client_threads: Option<usize>,
    /// What amounts of data are divided by: 1, but for a quick run.
    part: u64,
}

/// Installs, builds, measures and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    // Before this process is kept to some of them.
    let cores = std::thread::available_parallelism()?.get();
    let starter = Starter::prepare(Kind::ALL, args.cpus.clone())?;
    let (runs, run_ms, part) = if args.quick {
        (3, 50, 8)
    } else {
        (args.runs, args.run_ms, 1)
    };
    let setting = Setting {
        starter,
        runs,
        time: Duration::from_millis(run_ms),
        client_threads: args.client_threads.map(usize::from),
        part,
    };
    let lines = turns::measure_rows(Row::all(), &args.only, |row| row.measure(&setting))?;
    let report = Report {
        runs,
        run_ms,
        cores,
        cpus: args.cpus.as_ref().map(Cpus::as_str),
        client_threads: args.client_threads,
        quick: args.quick,
        lines: &lines,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table::render(&report));
    }
    Ok(())
}

/// All that came out.
#[derive(Debug, Serialize)]
struct Report<'a> {
    runs: u32,
    run_ms: u64,
    cores: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_threads: Option<u16>,
    quick: bool,
    lines: &'a [Line],
}

impl Setting {
    /// Lets running servers of these kinds take turns, forwards and backwards. Returns the runs of each in the order of [`Kind::ALL`].
    fn alternate<T>(
        &self,
        kinds: &[Kind],
        mut measure: impl FnMut(&Server) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let servers = Servers::start(&self.starter, kinds)?;
        turns::alternate(self.runs, kinds, |kind| {
            let server = servers.all().iter().find(|server| server.kind == kind);
            measure(server.expect("one of each kind was started"))
        })
    }

    /// The same with a new server for each run, whose folder is given to `measure`, which starts it.
    fn alternate_fresh<T>(
        &self,
        kinds: &[Kind],
        mut measure: impl FnMut(Kind, &TempDir) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        turns::alternate(self.runs, kinds, |kind| measure(kind, &folder()?))
    }
}
