//! Large values that do not cross the socket: a GET that gives a mapping of the memory in which the value lies.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memsdk::MemCloud;
use tokio::runtime::Runtime;
use xtask::interrupt;
use xtask::size::exact;

use super::Setting;
use super::large::{LargeAsker, STORES};
use super::marks::{Line, Mark};
use crate::asker::quantile_us;
use crate::client::{Body, Request};
use crate::line::Column as _;
use crate::random::pattern;
use crate::servers::{Kind, Server};

/// The sizes of the values in bytes.
const SIZES: [u64; 4] = [1 << 20, 16 << 20, 256 << 20, 1 << 30];

/// Up to this size the stores beside MemCloud are asked for the same value as bytes.
const BYTES_MAX: u64 = 16 << 20;

/// The value is these bytes again and again.
const SOURCE_LEN: usize = 1 << 20;

/// The key of the value.
const KEY: &str = "mapped";

/// Measures a GET that maps, beside a GET of the same size as bytes by the other stores.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    SIZES.iter().map(|&size| measure_size(setting, size)).collect()
}

fn measure_size(setting: &Setting, size: u64) -> Result<Line> {
    let kinds: Vec<_> = STORES
        .into_iter()
        .filter(|&kind| kind == Kind::MemCloud || size <= BYTES_MAX)
        .collect();
    let runs = setting.alternate(&kinds, |server| {
        let run = if server.kind == Kind::MemCloud {
            mapped(server, size, setting.time)
        } else {
            as_bytes(server, size, setting.time)
        };
        run.with_context(|| format!("{} with a GET of {}", server.kind.name(), exact(size)))
    })?;
    let line = Line::new(
        format!("GET {} mapped, p50 us (others: as bytes)", exact(size)),
        1,
        runs,
    )
    .mark(Mark::Below(60.0));
    Ok(if size == SIZES[0] {
        line.mark(Mark::TimesFaster(20.0))
    } else {
        line
    })
}

/// The median of a GET as bytes in microseconds.
fn as_bytes(server: &Server, size: u64, time: Duration) -> Result<f64> {
    let mut asker = LargeAsker::start(server, pattern(size as usize))?;
    median_us(time, || asker.ask(Request::Get))
}

/// The median of a GET that maps in microseconds.
fn mapped(server: &Server, size: u64, time: Duration) -> Result<f64> {
    let reader = Reader::connect(server.socket())?;
    let source = pattern(SOURCE_LEN);
    let body = Body {
        source: &source,
        len: size,
    };
    server.connect()?.set_body(KEY, body)?;
    let ends = [source[0], source[SOURCE_LEN - 1]];
    median_us(time, || reader.get(KEY, size, ends))
}

/// Asks once, and then for this long, and returns the median of the times in microseconds.
fn median_us(time: Duration, mut ask: impl FnMut() -> Result<()>) -> Result<f64> {
    ask()?;
    let mut nanos = Vec::new();
    let start = Instant::now();
    let mut before = start;
    while before - start < time {
        interrupt::check()?;
        ask()?;
        let now = Instant::now();
        nanos.push((now - before).as_nanos() as u64);
        before = now;
    }
    nanos.sort_unstable();
    Ok(quantile_us(&nanos, 500))
}

/// The client library on a runtime of this thread, as a program uses it that has nothing else to do meanwhile.
struct Reader {
    runtime: Runtime,
    cloud: MemCloud,
}

impl Reader {
    fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let cloud = runtime.block_on(MemCloud::builder().socket(socket).connect())?;
        Ok(Self { runtime, cloud })
    }

    /// Gets the value of a key, looks at its length and at its first and last byte, and lets go of it: all of that is timed.
    fn get(&self, key: &str, len: u64, ends: [u8; 2]) -> Result<()> {
        let value = self.runtime.block_on(self.cloud.get_mapped(key))?;
        let value = value.context("the value is not there")?;
        ensure!(value.is_mapped(), "the value was read, not mapped");
        ensure!(
            value.len() as u64 == len && [value.first(), value.last()] == [Some(&ends[0]), Some(&ends[1])],
            "another value than was set"
        );
        Ok(())
    }
}
