//! What happened in a run: a hash of all of it, and on demand lines to read.
//!
//! The hash covers every byte that crossed the network, with its time, so that two runs of one seed with the same hash went the same way. Lines
//! are kept only where somebody is going to read them: a failing seed is simply run again for them.

use std::fmt;
use std::sync::Mutex;

use tokio::time::Instant;

/// The trace of one run.
pub struct Trace {
    began: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    hasher: blake3::Hasher,
    /// How many things were noted.
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace, begun now.
    pub fn new(keeps_lines: bool) -> Self {
        Self {
            began: Instant::now(),
            inner: Mutex::new(Inner {
                hasher: blake3::Hasher::new(),
                events: 0,
                lines: keeps_lines.then(Vec::new),
            }),
        }
    }

    /// Virtual milliseconds since the run began.
    pub fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Notes something that happened at a node, or to all of them. Returns its number, which orders what happens in one millisecond.
    pub fn note(&self, node: Option<usize>, what: fmt::Arguments<'_>) -> u64 {
        let now_ms = self.now_ms();
        let node = node.map_or_else(|| "all".to_owned(), |node| format!("n{node}"));
        let line = format!("{:>7}.{:03} {node:<4} {what}", now_ms / 1_000, now_ms % 1_000);
        let mut inner = self.lock();
        inner.hasher.update(line.as_bytes());
        inner.events += 1;
        let number = inner.events;
        if let Some(lines) = &mut inner.lines {
            lines.push(line);
        }
        number
    }

    /// Whether lines are kept.
    pub fn keeps_lines(&self) -> bool {
        self.lock().lines.is_some()
    }

    /// Adds something for the reader alone, under the last line.
    pub fn remark(&self, what: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lock().lines {
            lines.push(format!("{:>16} {what}", ""));
        }
    }

    /// Notes bytes that one node gave to a connection.
    pub fn note_bytes(&self, connection: u64, from: usize, bytes: &[u8]) {
        let now_ms = self.now_ms();
        let mut inner = self.lock();
        for number in [now_ms, connection, from as u64, bytes.len() as u64] {
            inner.hasher.update(&number.to_le_bytes());
        }
        inner.hasher.update(bytes);
        inner.events += 1;
    }

    /// A number for something that is no line.
    pub fn next_number(&self) -> u64 {
        let mut inner = self.lock();
        inner.events += 1;
        inner.events
    }

    /// The hash of all that was noted.
    pub fn hash(&self) -> String {
        self.lock().hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Takes the lines out, where they were kept.
    pub fn take_lines(&self) -> Vec<String> {
        self.lock().lines.take().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("no code panics while it holds the trace")
    }
}
