//! What is done to the node, one thing after another.

use anyhow::Result;

use super::Measurement;
use super::filling::{Filling, Sizes};
use super::report::Phase;

/// Mixed sizes, 64 bytes to 256 KiB.
const MIXED: Sizes = Sizes(64, 256 << 10);

/// What the rounds of churn fill with, one after another: sizes that fit badly into the gaps that others left.
const CHURN: [(&str, Sizes); 4] = [
    ("small values, 64 B to 4 KiB", Sizes(64, 4 << 10)),
    ("large values, 16 to 256 KiB", Sizes(16 << 10, 256 << 10)),
    ("values of 3 to 5 KiB", Sizes(3 << 10, 5 << 10)),
    ("mixed values, 64 B to 256 KiB", MIXED),
];

/// A shift of what a node is used for: tiny values first, then larger and larger ones.
const SHIFT: [(&str, Sizes); 3] = [
    ("tiny values, 64 B", Sizes(64, 64)),
    ("values of 1 KiB", Sizes(1 << 10, 1 << 10)),
    ("values of 100 KiB", Sizes(100 << 10, 100 << 10)),
];

/// Churn of mixed sizes, then a shift from tiny values to large ones; everything is freed after each.
pub(super) fn run(node: &mut Measurement, rounds: u32) -> Result<()> {
    let mut filling = Filling::new();
    fill(node, &mut filling, "mixed values, 64 B to 256 KiB", MIXED)?;
    for (round, (name, sizes)) in (1..=rounds).zip(CHURN.into_iter().cycle()) {
        free(node, &mut filling, &format!("round {round}: half freed"), 0.5)?;
        fill(node, &mut filling, &format!("round {round}: {name}"), sizes)?;
    }
    free(node, &mut filling, "all freed", 1.0)?;
    for (index, (name, sizes)) in SHIFT.into_iter().enumerate() {
        if index > 0 {
            free(node, &mut filling, "half freed", 0.5)?;
        }
        fill(node, &mut filling, name, sizes)?;
    }
    free(node, &mut filling, "all freed", 1.0)
}

fn fill(node: &mut Measurement, filling: &mut Filling, what: &str, sizes: Sizes) -> Result<()> {
    let what = format!("full of {what}");
    node.step(&what, Phase::Full, filling, |filling, client| {
        filling.fill(client, sizes)
    })
}

fn free(node: &mut Measurement, filling: &mut Filling, what: &str, part: f64) -> Result<()> {
    let phase = if part < 1.0 { Phase::Between } else { Phase::Free };
    node.step(what, phase, filling, |filling, client| filling.free(client, part))
}
