//! `cargo xtask bench memory`: the memory that a node really takes for its budget, after churn, and what it gives back.
//!
//! - `notes`: what the node remembers of the keys of its peers.
//! - `filling`: keys with values of chosen sizes, set and deleted over the socket.
//! - `phases`: what is done one after another.
//! - `report`: budget, use and resident memory after each phase, and whether they are within the bounds.
//!
//! A node counts bytes; the system counts pages. Between them stand the allocator, the tables and what was freed and not given
//! back, and churn of mixed sizes is what drives them apart. The node is a process of its own, as it ships, and its resident
//! memory is the system's figure.

mod filling;
mod notes;
mod phases;
mod report;

use std::time::Duration;

use anyhow::Result;
use memnode::size::ByteSize;
use memproto::control::Stats;
use memproto::local::Op;
use serde::Serialize;
use xtask::{interrupt, wait};

use crate::client::Client;
use crate::servers::{Kind, Server, Starter, folder};
use filling::Filling;
use report::{Phase, Report};

/// The arguments of `cargo xtask bench memory`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The budget of the node
    #[arg(long, value_name = "SIZE", default_value = "1gb")]
    memory: ByteSize,
    /// How many rounds of freeing half of the keys and filling with other sizes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure only what the keys of peers take that a node remembers
    #[arg(long)]
    only_notes: bool,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// How often resident memory is looked at until it settles, and how many looks must see the same.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
const LOOKS: u32 = 5;

/// How long it may take to settle: what the node gives back in the background must come back by then.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A change of resident memory that is no change: some allocators give back in steps for a while.
const SETTLED_BYTES: u64 = 256 * 1024;

/// Starts a node, runs all phases and prints what came out.
pub(crate) fn run(args: &Args) -> Result<()> {
    let ByteSize(budget_bytes) = args.memory;
    let noted = notes::measure(budget_bytes)?;
    if args.only_notes {
        return print(args.json, &noted, || notes::render(&noted));
    }
    let starter = Starter::prepare(&[Kind::MemCloud], None)?.with_memory(budget_bytes);
    let dir = folder()?;
    let server = starter.start(Kind::MemCloud, dir.path())?;
    let mut measurement = Measurement {
        client: server.connect()?,
        server,
        report: Report::new(budget_bytes, noted),
    };
    measurement.look("an empty node", Phase::Free)?;
    phases::run(&mut measurement, args.rounds)?;
    print(args.json, &measurement.report, || measurement.report.render())
}

fn print(json: bool, value: &impl Serialize, render: impl FnOnce() -> String) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(value)?);
    } else {
        print!("{}", render());
    }
    Ok(())
}

/// A node, and what was seen of it.
struct Measurement {
    server: Server,
    client: Client,
    report: Report,
}

impl Measurement {
    /// Does something with the node's keys, and looks at its memory.
    fn step(
        &mut self,
        what: &str,
        phase: Phase,
        filling: &mut Filling,
        work: impl FnOnce(&mut Filling, &mut Client) -> Result<()>,
    ) -> Result<()> {
        interrupt::check()?;
        work(filling, &mut self.client)?;
        self.look(what, phase)
    }

    fn look(&mut self, what: &str, phase: Phase) -> Result<()> {
        let resident = self.settled()?;
        let stats: Stats = self.client.control(Op::Stats)?;
        eprintln!(
            "{what}: {} keys, {} used, {} resident",
            stats.keys,
            ByteSize(stats.used_bytes),
            ByteSize(resident)
        );
        self.report
            .add(what, phase, stats.keys, stats.used_bytes, resident);
        Ok(())
    }

    /// The resident memory when it does not change any more, or the last figure where it goes on changing.
    fn settled(&self) -> Result<u64> {
        let (mut last, mut seen) = (0_u64, 0);
        let settled = wait::until_polled("memory that does not change", SETTLE_TIMEOUT, LOOK_PAUSE, || {
            let resident = self.server.resident_bytes()?;
            seen = if resident.abs_diff(last) <= SETTLED_BYTES {
                seen + 1
            } else {
                1
            };
            last = resident;
            anyhow::Ok((seen >= LOOKS).then_some(resident))
        });
        interrupt::check()?;
        settled.or_else(|_| self.server.resident_bytes())
    }
}
