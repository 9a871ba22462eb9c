//! The memory that an entry takes beyond its key and its value.

use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use xtask::{interrupt, wait};

use super::Setting;
use super::large::STORES;
use super::marks::{Line, Mark};
use crate::client::{Prepared, Protocol, Value};
use crate::line::Column as _;
use crate::random::pattern;
use crate::servers::{Kind, Server};

/// What is filled in: size of the values in bytes and how many.
const FILLS: [(usize, u64); 2] = [(64, 1_000_000), (1024, 100_000)];

/// The length of a key in bytes: `entry:` and ten digits.
const KEY_LEN: usize = 16;

/// How many requests are in flight.
const DEPTH: usize = 64;

/// How many requests are encoded at a time.
const PREPARED: usize = 1024;

/// Stores that grow their tables in the background need a while after the last reply. Resident memory has settled when so many looks,
/// this far apart, see the same.
const LOOKS: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How long that may take: a table of a million entries is moved in a second or two.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Measures the growth of the process of each store, a new one for each run.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (value_len, count) in FILLS {
        let count = count / setting.part;
        let runs = setting.alternate_fresh(&STORES, |kind, dir| {
            growth(setting, kind, dir, value_len, count)
                .with_context(|| format!("{} with {count} values", kind.name()))
        })?;
        let what = format!("memory of an entry beyond key and value, {count} x {value_len} B, bytes");
        let line = Line::of(what, 0, &runs, |&grown| beyond(grown, value_len, count));
        lines.push(line.mark(Mark::AtMost(1.0, Kind::Memcached)));
    }
    Ok(lines)
}

/// What is left of an entry when its key and value are taken off.
fn beyond(grown_bytes: f64, value_len: usize, count: u64) -> f64 {
    grown_bytes / count as f64 - (KEY_LEN + value_len) as f64
}

/// By how many bytes the process grows.
fn growth(setting: &Setting, kind: Kind, dir: &TempDir, value_len: usize, count: u64) -> Result<f64> {
    let server = setting.starter.start(kind, dir.path())?;
    let before = settled(&server)?;
    fill(&server, value_len, count)?;
    Ok(settled(&server)? as f64 - before as f64)
}

fn fill(server: &Server, value_len: usize, count: u64) -> Result<()> {
    let value = pattern(value_len);
    let protocol: Protocol = server.kind.protocol();
    let mut client = server.connect()?;
    let mut numbers = 0..count;
    loop {
        interrupt::check()?;
        let keys: Vec<_> = numbers
            .by_ref()
            .take(PREPARED)
            .map(|number| format!("entry:{number:010}"))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let requests = Prepared::new(protocol, &keys, Value::Bytes(&value))?;
        for first in (0..keys.len()).step_by(DEPTH) {
            client.ask(&requests, first, DEPTH.min(keys.len() - first))?;
        }
    }
}

/// The resident memory when it does not change any more.
fn settled(server: &Server) -> Result<u64> {
    let (mut last, mut seen) = (0, 0);
    wait::until_polled("memory that does not change", SETTLE_TIMEOUT, LOOK_PAUSE, || {
        let resident = server.resident_bytes()?;
        seen = if resident == last { seen + 1 } else { 1 };
        last = resident;
        anyhow::Ok((seen >= LOOKS).then_some(resident))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_do_not_count() {
        assert_eq!(beyond(1_500_000.0, 64, 10_000), 70.0);
        assert_eq!(format!("entry:{:010}", 1_000_000).len(), KEY_LEN);
    }
}
