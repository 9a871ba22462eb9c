//! What can be measured, by the names that `--only` takes.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::marks::Line;
use super::{Setting, beside, crowd, discovery, small};

/// A row of the table, or several that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Row {
    /// GET of 1 KiB that lies on a peer, one at a time
    Get,
    /// SET of 1 KiB onto a peer, one at a time
    Set,
    /// GET of 1 KiB that lies on a peer, 32 in flight
    #[value(name = "get-32")]
    Get32,
    /// GET of 1 KiB that lies on a peer, while a stream fills a wire of 1 Gbit/s
    Beside,
    /// GET of 1 KiB with 2, 8 and 32 connected peers
    Peers,
    /// GET of a key that is nowhere, with 8 connected peers
    Miss,
    /// From the start of a node until another one lists it
    Discovery,
}

impl Row {
    /// All, in the order of the table.
    pub(super) fn all() -> impl Iterator<Item = Row> {
        Self::value_variants().iter().copied()
    }

    /// Measures it.
    pub(super) fn measure(self, setting: &Setting) -> Result<Vec<Line>> {
        match self {
            Row::Get => small::get(setting),
            Row::Set => small::set(setting),
            Row::Get32 => small::get_in_flight(setting, 32),
            Row::Beside => beside::measure(setting),
            Row::Peers => crowd::hits(setting, [2, 8, 32]),
            Row::Miss => crowd::misses(setting, 8),
            Row::Discovery => discovery::measure(setting),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no row is hidden");
        f.write_str(value.get_name())
    }
}
