//! `cargo xtask bench cache`: how well the store chooses what to evict, and what a victim costs.
//!
//! - `trace`: requests of published shapes, the same in each run.
//! - `policy`: what a cache is here. `fifo`, `lru`: the simplest of them, to compare with.
//! - `store`: the store of a node as such a cache.
//! - `replay`: hit ratios. `cost`: nanoseconds of a victim.
//!
//! A request that misses puts its object in, as a program does that has a cache in front of something slower. All caches
//! have one capacity in bytes and count an object as the store does: its size and the cost of its entry.

mod cost;
mod fifo;
mod lru;
mod policy;
mod replay;
mod store;
mod trace;

use anyhow::Result;
use serde::Serialize;

use cost::Cost;
use replay::Replay;

/// The arguments of `cargo xtask bench cache`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// A twentieth of the requests and of the objects, and no store of a million blocks: to see that all works
    #[arg(long)]
    quick: bool,
    /// Replay the traces alone, or measure the cost of victims alone
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// A part of the measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    /// Hit ratios
    Ratios,
    /// What a victim costs
    Cost,
}

/// All that came out.
#[derive(Debug, Default, Serialize)]
struct Report {
    replays: Vec<Replay>,
    costs: Vec<Cost>,
}

/// Replays, measures and prints.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::default();
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Ratios) {
        report.replays = replay::all(args.quick)?;
    }
    if wanted(Part::Cost) {
        report.costs = cost::measure(args.quick)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    if wanted(Part::Ratios) {
        print!("{}", replay::render(&report.replays));
    }
    if args.only.is_none() {
        println!();
    }
    if wanted(Part::Cost) {
        print!("{}", cost::render(&report.costs));
    }
    Ok(())
}
