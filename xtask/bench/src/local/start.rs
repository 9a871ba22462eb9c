//! How soon a server answers.

use anyhow::Result;

use super::Setting;
use super::large::STORES;
use super::marks::{Line, Mark};

/// Measures from the start of the process to its first answer, each time in a new folder: a node makes its identity and its token
/// then, as at its very first start.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let runs = setting.alternate_fresh(&STORES, |kind, dir| setting.starter.time_start(kind, dir.path()))?;
    let line = Line::of("start to first answer, ms", 1, &runs, |took| {
        took.as_secs_f64() * 1_000.0
    });
    Ok(vec![line.mark(Mark::Below(50.0))])
}
