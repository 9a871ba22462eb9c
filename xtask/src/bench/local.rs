//! `cargo xtask bench local`: a program on the own host, served by MemCloud and by what it would use otherwise.
//!
//! The servers take turns with each load, forwards and backwards, so that what else this machine does meets all of them.

use std::time::Duration;

use anyhow::Result;

use super::client::{Protocol, Request};
use super::load::{self, Shape};
use super::servers::{self, Servers};
use super::table::{self, Row};
use crate::interrupt;

/// The arguments of `cargo xtask bench local`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many runs of each server with each load; the table has their medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How long each run asks, in milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    run_ms: u64,
    /// A short run, to see that all works: three runs of 50 ms
    #[arg(long, conflicts_with_all = ["runs", "run_ms"])]
    quick: bool,
}

/// The loads, in the order of the table.
const LOADS: [(Shape, Request); 12] = [
    (Shape::OneAtATime, Request::Set),
    (Shape::OneAtATime, Request::Get),
    (Shape::InFlight(16), Request::Set),
    (Shape::InFlight(16), Request::Get),
    (Shape::InFlight(64), Request::Set),
    (Shape::InFlight(64), Request::Get),
    (Shape::Clients(50), Request::Set),
    (Shape::Clients(50), Request::Get),
    (Shape::Large(1), Request::Set),
    (Shape::Large(1), Request::Get),
    (Shape::Large(16), Request::Set),
    (Shape::Large(16), Request::Get),
];

/// Installs, builds, measures and prints the table. Nothing is left running.
pub(super) fn run(args: &Args) -> Result<()> {
    interrupt::catch()?;
    let memnode = servers::prepare()?;
    interrupt::check()?;
    let servers = Servers::start(&memnode)?;
    let (runs, run_ms) = if args.quick {
        (3, 50)
    } else {
        (args.runs, args.run_ms)
    };
    let mut rows = Vec::new();
    for (shape, request) in LOADS {
        eprintln!("{request:?} {shape:?}");
        rows.push(measure(
            &servers,
            shape,
            request,
            runs,
            Duration::from_millis(run_ms),
        )?);
    }
    drop(servers);
    println!(
        "Medians of {runs} alternating runs of {run_ms} ms each on {} cores.\n",
        std::thread::available_parallelism()?
    );
    print!("{}", table::render(&rows));
    Ok(())
}

fn measure(servers: &Servers, shape: Shape, request: Request, runs: u32, time: Duration) -> Result<Row> {
    let mut order: Vec<_> = servers.all().iter().enumerate().collect();
    let mut samples = vec![Vec::new(); order.len()];
    for _ in 0..runs {
        for &(index, server) in &order {
            // An echo of a large value would need a second thread to read while the first one writes.
            let echoes = server.kind.protocol() == Protocol::Echo;
            if echoes && matches!(shape, Shape::Large(_)) {
                continue;
            }
            samples[index].push(load::run(server, shape, request, time)?);
        }
        order.reverse();
    }
    Ok(Row {
        shape,
        request,
        runs: samples,
    })
}
