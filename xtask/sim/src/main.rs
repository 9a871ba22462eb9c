//! `cargo xtask sim`: see the library.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use xtask_sim::plan::Setup;
use xtask_sim::run::{Report, run};
use xtask_sim::{scale, seeds};

/// How many seeds that fail are told of before the rest is left out.
const FAILURES_MAX: usize = 5;

/// How many lines of a trace are shown; the last ones lead up to the end of the run.
const LINES_MAX: usize = 4_000;

/// Run many nodes in one process, under virtual time, with faults drawn from seeds, and check what they promise
#[derive(Parser, Debug)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 100)]
    seeds: usize,
    /// The first seed; alone, only this one is run, and its trace is shown
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=256))]
    nodes: u16,
    /// Of the seed's episodes of faults only the first ones
    #[arg(long, requires = "seed", value_name = "COUNT")]
    episodes: Option<usize>,
    /// Of the programs' operations only the first ones
    #[arg(long, requires = "seed", value_name = "COUNT")]
    operations: Option<usize>,
    /// Have programs write, read, follow and free streams, and no keys
    #[arg(long)]
    streams: bool,
    /// How many seeds to run at a time [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Instead, measure what a pool of 2, 8, 32 and 64 nodes costs each of them
    #[arg(long, conflicts_with_all = ["seeds", "episodes", "operations", "streams"])]
    scale: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    /// Returns whether nothing was broken.
    fn run(&self) -> Result<bool> {
        if self.scale {
            print!("{}", scale::table(self.seed.unwrap_or(1))?);
            return Ok(true);
        }
        let is_one = self.seed.is_some() && !std::env::args().any(|arg| arg.starts_with("--seeds"));
        match self.seed {
            Some(seed) if is_one => {
                let setup = Setup {
                    episodes_max: self.episodes.unwrap_or(usize::MAX),
                    operations_max: self.operations.unwrap_or(usize::MAX),
                    streams: self.streams,
                    ..Setup::new(seed, self.nodes.into())
                };
                self.show(&setup)
            }
            first => self.run_all(first.unwrap_or(1)),
        }
    }

    fn run_all(&self, first: u64) -> Result<bool> {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.unwrap_or(cores);
        let setup = Setup {
            streams: self.streams,
            ..Setup::new(first, self.nodes.into())
        };
        let began = Instant::now();
        let sum = seeds::run_all(self.seeds, &setup, threads, FAILURES_MAX)?;
        println!(
            "{} seeds from {first}, {} nodes: {} operations, {} episodes of faults, {} s of virtual time in {:.1} s; \
             healed within {:.1} s each time; {} failed",
            sum.seeds,
            self.nodes,
            sum.operations,
            sum.episodes,
            sum.virtual_ms / 1_000,
            began.elapsed().as_secs_f64(),
            sum.heal_ms_max as f64 / 1_000.0,
            sum.failed.len()
        );
        if self.streams {
            println!("{}", sum.streams);
        }
        for failed in &sum.failed {
            tell(failed);
        }
        let Some(failed) = sum.failed.first() else {
            return Ok(true);
        };
        let shortest = seeds::shrink(failed)?;
        println!(
            "\nseed {}, made shorter: {}",
            failed.setup.seed,
            command(&shortest)
        );
        self.show(&shortest)?;
        Ok(false)
    }

    /// Runs one seed and shows its trace.
    fn show(&self, setup: &Setup) -> Result<bool> {
        let report = run(setup, true)?;
        let left_out = report.lines.len().saturating_sub(LINES_MAX);
        if left_out > 0 {
            println!("({left_out} lines before these)");
        }
        for line in &report.lines[left_out..] {
            println!("{line}");
        }
        println!(
            "{} operations in {:.1} s of virtual time, trace {}",
            report.operations,
            report.virtual_ms as f64 / 1_000.0,
            report.trace_hash
        );
        tell(&report);
        Ok(report.violations.is_empty())
    }
}

fn tell(report: &Report) {
    if report.violations.is_empty() {
        return;
    }
    println!("\nseed {} breaks what nodes promise:", report.setup.seed);
    for violation in &report.violations {
        println!("  {violation}");
    }
    println!("  again: {}", command(&report.setup));
}

/// What runs it again.
fn command(setup: &Setup) -> String {
    let mut command = format!("cargo xtask sim --seed {} --nodes {}", setup.seed, setup.nodes);
    if setup.streams {
        command.push_str(" --streams");
    }
    if setup.episodes_max != usize::MAX {
        command.push_str(&format!(" --episodes {}", setup.episodes_max));
    }
    if setup.operations_max != usize::MAX {
        command.push_str(&format!(" --operations {}", setup.operations_max));
    }
    command
}
