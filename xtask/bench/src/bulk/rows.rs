//! What can be measured, by the names that `--only` takes.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::marks::Line;
use super::{Setting, beside, first_byte, memory, peers, transfer, tree};

/// A row of the table, or several that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Row {
    /// A file to a peer and back over a wire that is not limited
    Unlimited,
    /// The same over wires of 1 Gbit/s
    Gigabit,
    /// The same over wires of 100 Mbit/s
    #[value(name = "100-mbit")]
    HundredMegabits,
    /// 1 GB of log lines over wires of 1 Gbit/s
    Logs,
    /// The memory of client, node and lender while a file passes
    Memory,
    /// GET of 1 KiB that lies on the peer, while a file goes there and comes back
    Beside,
    /// The same over wires of 1 Gbit/s
    BesideGigabit,
    /// The time until a program has the first byte of a stream
    FirstByte,
    /// A file to two peers with 1 Gbit/s each, and back
    TwoPeers,
    /// A tree of 10,000 files that a peer has already
    Tree,
}

impl Row {
    /// All, in the order of the table.
    pub(super) fn all() -> impl Iterator<Item = Row> {
        Self::value_variants().iter().copied()
    }

    /// Measures it.
    pub(super) fn measure(self, setting: &Setting) -> Result<Vec<Line>> {
        match self {
            Row::Unlimited => transfer::unlimited(setting),
            Row::Gigabit => transfer::limited(setting, 1_000),
            Row::HundredMegabits => transfer::limited(setting, 100),
            Row::Logs => transfer::logs(setting),
            Row::Memory => memory::measure(setting),
            Row::Beside => beside::measure(setting, None),
            Row::BesideGigabit => beside::measure(setting, Some(1_000)),
            Row::FirstByte => first_byte::measure(setting),
            Row::TwoPeers => peers::measure(setting),
            Row::Tree => tree::measure(setting),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no row is hidden");
        f.write_str(value.get_name())
    }
}
