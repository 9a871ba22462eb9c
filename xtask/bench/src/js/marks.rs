//! The columns of the table, and what MemCloud's figures are to reach.

use serde::Serialize;

use crate::line::{self, Column};
use crate::marks::{self, BesideOthers};

/// The columns of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Ioredis,
    NodeRedis,
    Memcli,
    #[serde(rename = "memcloud")]
    MemCloud,
}

impl Column for Kind {
    const ALL: &'static [Kind] = &[Kind::Ioredis, Kind::NodeRedis, Kind::Memcli, Kind::MemCloud];

    fn name(self) -> &'static str {
        match self {
            Kind::Ioredis => "ioredis",
            Kind::NodeRedis => "node-redis",
            Kind::Memcli => "memcli",
            Kind::MemCloud => "MemCloud",
        }
    }
}

/// A line of the table.
pub(super) type Line = line::Line<Kind>;

/// What MemCloud's figure is compared with.
pub(super) type Mark = marks::Mark<Kind>;

impl BesideOthers for Kind {
    const OURS: Kind = Kind::MemCloud;
}
