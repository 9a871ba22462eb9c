//! What can be measured, by the names that `--only` takes.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use super::marks::Line;
use super::small::Shape;
use super::{Setting, beside, entries, large, mapped, small, start};
use crate::client::Request;

/// A row of the table, or several that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Row {
    /// SET of 1 KiB, one at a time
    Set,
    /// GET of 1 KiB, one at a time
    Get,
    /// SET of 1 KiB, 16 in flight
    #[value(name = "set-16")]
    Set16,
    /// GET of 1 KiB, 16 in flight
    #[value(name = "get-16")]
    Get16,
    /// SET of 1 KiB, 64 in flight
    #[value(name = "set-64")]
    Set64,
    /// GET of 1 KiB, 64 in flight
    #[value(name = "get-64")]
    Get64,
    /// SET of 1 KiB by 50 clients
    SetClients,
    /// GET of 1 KiB by 50 clients
    GetClients,
    /// SET of 1 MiB
    #[value(name = "set-1mib")]
    Set1Mib,
    /// GET of 1 MiB
    #[value(name = "get-1mib")]
    Get1Mib,
    /// SET of 16 MiB
    #[value(name = "set-16mib")]
    Set16Mib,
    /// GET of 16 MiB
    #[value(name = "get-16mib")]
    Get16Mib,
    /// GET of 1 MiB to 1 GiB by a mapping
    Mapped,
    /// The memory of an entry beyond its key and value
    Entries,
    /// GET of 1 KiB while another client streams 4 GiB
    Beside,
    /// From the start of a server to its first answer
    Start,
}

impl Row {
    /// All, in the order of the table.
    pub(super) fn all() -> impl Iterator<Item = Row> {
        Self::value_variants().iter().copied()
    }

    /// Measures it.
    pub(super) fn measure(self, setting: &Setting) -> Result<Vec<Line>> {
        match self {
            Row::Set => small::measure(setting, Shape::OneAtATime, Request::Set),
            Row::Get => small::measure(setting, Shape::OneAtATime, Request::Get),
            Row::Set16 => small::measure(setting, Shape::InFlight(16), Request::Set),
            Row::Get16 => small::measure(setting, Shape::InFlight(16), Request::Get),
            Row::Set64 => small::measure(setting, Shape::InFlight(64), Request::Set),
            Row::Get64 => small::measure(setting, Shape::InFlight(64), Request::Get),
            Row::SetClients => small::measure(setting, Shape::Clients(50), Request::Set),
            Row::GetClients => small::measure(setting, Shape::Clients(50), Request::Get),
            Row::Set1Mib => large::measure(setting, 1, Request::Set),
            Row::Get1Mib => large::measure(setting, 1, Request::Get),
            Row::Set16Mib => large::measure(setting, 16, Request::Set),
            Row::Get16Mib => large::measure(setting, 16, Request::Get),
            Row::Mapped => mapped::measure(setting),
            Row::Entries => entries::measure(setting),
            Row::Beside => beside::measure(setting),
            Row::Start => start::measure(setting),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no row is hidden");
        f.write_str(value.get_name())
    }
}
