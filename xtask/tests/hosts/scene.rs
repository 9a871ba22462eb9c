//! What most tests begin with.

use std::time::Duration;

use anyhow::Result;
use xtask::build::Programs;
use xtask::lab::Lab;

/// How long to wait for what happens within a second or two on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Hosts without nodes.
pub(crate) fn hosts(count: usize) -> Result<Lab> {
    Lab::create(count, &Programs::beside_this_one()?)
}
