//! What the demo prints. Rows of figures go out as they come, so that a slow part shows that it is alive.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Side;
use crate::size::{human, rate_mib};

/// How often a row is printed while something goes on.
const ROW_INTERVAL: Duration = Duration::from_millis(500);

/// A headline.
pub(super) fn headline(text: &str) {
    println!("\n== {text}");
}

/// A sentence below a headline.
pub(super) fn say(text: &str) {
    println!("   {text}");
}

/// A command as a person types it on one of the two machines, and the first lines of what it answered.
pub(super) fn command(machine: &str, shown: &str, answer: &str) {
    println!("   {machine}$ {shown}");
    for line in answer.lines() {
        println!("      {line}");
    }
}

/// A table that grows while bytes flow: time, bytes, rate, and what each daemon holds in memory.
pub(super) struct Meter<'a> {
    sides: [&'a Side; 2],
    total: u64,
    start: Instant,
    last_row: Instant,
    last_bytes: u64,
}

impl<'a> Meter<'a> {
    /// Begins now, with the heads of the columns.
    pub(super) fn start(what: &str, total: u64, sides: [&'a Side; 2]) -> Self {
        let [one, other] = sides.map(|side| format!("RAM of {}", side.host.name()));
        println!(
            "   {:>8}  {what:>20}  {:>11}  {one:>16}  {other:>16}",
            "time", "rate"
        );
        let now = Instant::now();
        Self {
            sides,
            total,
            start: now,
            last_row: now,
            last_bytes: 0,
        }
    }

    /// Prints a row when it is time for one.
    pub(super) fn update(&mut self, bytes: impl FnOnce() -> Result<u64>) -> Result<()> {
        if self.last_row.elapsed() < ROW_INTERVAL {
            return Ok(());
        }
        let bytes = bytes()?;
        let rate = rate_mib(
            bytes.saturating_sub(self.last_bytes),
            self.last_row.elapsed().as_secs_f64(),
        );
        self.row(bytes, rate)?;
        (self.last_row, self.last_bytes) = (Instant::now(), bytes);
        Ok(())
    }

    /// Prints the last row, whose rate is that of the whole, and returns that rate in MiB/s.
    pub(super) fn finish(self) -> Result<f64> {
        let rate = rate_mib(self.total, self.start.elapsed().as_secs_f64());
        self.row(self.total, rate)?;
        Ok(rate)
    }

    fn row(&self, bytes: u64, rate: f64) -> Result<()> {
        let [one, other] = self.sides.map(|side| side.node.resident_bytes());
        println!(
            "   {:>6.1} s  {:>20}  {rate:>5.0} MiB/s  {:>16}  {:>16}",
            self.start.elapsed().as_secs_f64(),
            format!("{} of {}", human(bytes), human(self.total)),
            human(one?),
            human(other?),
        );
        Ok(())
    }
}
