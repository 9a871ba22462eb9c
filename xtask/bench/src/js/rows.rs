//! What can be measured, by the names that `--only` takes.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::marks::Line;
use super::streams::Source;
use super::values::Request;
use super::{Setting, archive, streams, values};

/// How many requests are in flight in the rows that have many.
const IN_FLIGHT: u32 = 100;

/// A row of the table, or several that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Row {
    /// `set` of 1 KiB, one after another
    Set,
    /// `get` of 1 KiB, one after another
    Get,
    /// `set` of 1 KiB, 100 in flight
    #[value(name = "set-100")]
    Set100,
    /// `get` of 1 KiB, 100 in flight
    #[value(name = "get-100")]
    Get100,
    /// `get` of 64 MiB
    #[value(name = "get-64mib")]
    Get64Mib,
    /// `storeStream` of a file of 1 GiB to a peer, and its memory
    Stream,
    /// The same of bytes that pass through the program
    StreamBytes,
    /// The log archiver of the examples
    Archive,
}

impl Row {
    /// All, in the order of the table.
    pub(super) fn all() -> impl Iterator<Item = Row> {
        Self::value_variants().iter().copied()
    }

    /// Measures it.
    pub(super) fn measure(self, setting: &Setting) -> Result<Vec<Line>> {
        match self {
            Row::Set => values::small(setting, Request::Set, 1),
            Row::Get => values::small(setting, Request::Get, 1),
            Row::Set100 => values::small(setting, Request::Set, IN_FLIGHT),
            Row::Get100 => values::small(setting, Request::Get, IN_FLIGHT),
            Row::Get64Mib => values::large(setting),
            Row::Stream => streams::measure(setting, Source::File),
            Row::StreamBytes => streams::measure(setting, Source::Bytes),
            Row::Archive => archive::measure(setting),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no row is hidden");
        f.write_str(value.get_name())
    }
}
