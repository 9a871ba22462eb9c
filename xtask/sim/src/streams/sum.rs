//! How much of what a run was to try it did try.

use std::fmt;

use super::record::{StreamAction, StreamOutcome};
use crate::history::History;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamsSum {
    /// Streams that were opened.
    pub opened: usize,
    /// Those that were finished.
    pub finished: usize,
    /// Appends that were broken off.
    pub broken_off: usize,
    /// Bytes that lay somewhere already when they were finished.
    pub known_bytes: u64,
    /// Reads that came to their end.
    pub read: usize,
    /// Followers that did.
    pub followed: usize,
    /// Bytes that readers and followers looked at.
    pub read_bytes: u64,
    /// Operations that failed.
    pub failed: usize,
}

/// What came of the streams of a run.
pub fn of(history: &History) -> StreamsSum {
    let mut sum = StreamsSum {
        opened: history.streams.len(),
        ..StreamsSum::default()
    };
    for operation in &history.stream_operations {
        sum.read_bytes += operation.bytes;
        match (operation.action, operation.outcome) {
            (StreamAction::Finish, StreamOutcome::Done { known_bytes, .. }) => {
                sum.finished += 1;
                sum.known_bytes += known_bytes;
            }
            (StreamAction::Write, StreamOutcome::GivenUp) => sum.broken_off += 1,
            (StreamAction::Follow { .. }, StreamOutcome::Read { .. }) => sum.followed += 1,
            (_, StreamOutcome::Read { .. }) => sum.read += 1,
            (_, StreamOutcome::Failed(_)) => sum.failed += 1,
            _ => {}
        }
    }
    sum
}

impl StreamsSum {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.finished += other.finished;
        self.broken_off += other.broken_off;
        self.known_bytes += other.known_bytes;
        self.read += other.read;
        self.followed += other.followed;
        self.read_bytes += other.read_bytes;
        self.failed += other.failed;
    }
}

impl fmt::Display for StreamsSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} streams opened, {} finished ({} MiB of them known), {} appends broken off; {} reads and {} followers to the end, {} MiB; \
             {} operations failed",
            self.opened,
            self.finished,
            self.known_bytes >> 20,
            self.broken_off,
            self.read,
            self.followed,
            self.read_bytes >> 20,
            self.failed
        )
    }
}
