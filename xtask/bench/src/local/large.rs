//! Values of a MiB and more as bytes through the socket, one at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::interrupt;

use super::Setting;
use super::marks::{Line, Mark};
use crate::client::{Client, Request};
use crate::line::Column as _;
use crate::random::pattern;
use crate::servers::{Kind, Server};

/// How many keys there are: a value that is set is not the one that was read or set just before.
const KEYS: usize = 4;

/// The stores. An echo of a large value would need a second thread to read while the first one writes.
pub(super) const STORES: [Kind; 3] = [Kind::Memcached, Kind::Redis, Kind::MemCloud];

/// Measures the stores with values of so many MiB.
pub(super) fn measure(setting: &Setting, mib: usize, request: Request) -> Result<Vec<Line>> {
    let runs = setting.alternate(&STORES, |server| {
        run(server, mib << 20, request, setting.time)
            .with_context(|| format!("{} with {request:?} of {mib} MiB", server.kind.name()))
    })?;
    let request = match request {
        Request::Set => "SET",
        Request::Get => "GET",
    };
    let line = Line::of(format!("{request} {mib} MiB, MiB/s"), 0, &runs, |rate| {
        rate * mib as f64
    });
    Ok(vec![line.mark(Mark::AtLeastBest(1.0))])
}

/// Asks for this long, and returns requests per second.
fn run(server: &Server, len: usize, request: Request, time: Duration) -> Result<f64> {
    let mut asker = LargeAsker::start(server, pattern(len))?;
    // The first one touches memory that nobody touched before.
    asker.ask(request)?;
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < time && !interrupt::is_caught() {
        asker.ask(request)?;
        asked += 1;
    }
    let rate = f64::from(asked) / start.elapsed().as_secs_f64();
    asker.check(request)?;
    Ok(rate)
}

/// A connection, and a value under several keys, which are set already.
pub(super) struct LargeAsker {
    client: Client,
    keys: Vec<String>,
    value: Vec<u8>,
    received: Vec<u8>,
    next: usize,
}

impl LargeAsker {
    pub(super) fn start(server: &Server, value: Vec<u8>) -> Result<Self> {
        let mut client = server.connect()?;
        let keys: Vec<_> = (0..KEYS).map(|key| format!("large:{key}")).collect();
        for key in &keys {
            client.set_large(key, &value)?;
        }
        Ok(Self {
            client,
            keys,
            received: vec![0; value.len()],
            value,
            next: 0,
        })
    }

    /// One request, and its reply.
    pub(super) fn ask(&mut self, request: Request) -> Result<()> {
        self.next = (self.next + 1) % KEYS;
        let key = &self.keys[self.next];
        match request {
            Request::Set => self.client.set_large(key, &self.value),
            Request::Get => self.client.get_large(key, &mut self.received),
        }
    }

    /// Looks at the bytes that came last.
    fn check(&self, request: Request) -> Result<()> {
        ensure!(
            request == Request::Set || self.received == self.value,
            "other bytes than were set"
        );
        Ok(())
    }
}
