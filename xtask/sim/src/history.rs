//! What the programs of a run asked and what they were answered, for the checker.

use memproto::error::ErrorCode;
use memproto::{BlockId, Version};

use crate::streams::record::{Stream, StreamOperation};

/// A moment of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct At {
    /// A number that orders all moments, also within a millisecond.
    pub number: u64,
    /// Virtual milliseconds since the run began.
    pub ms: u64,
}

/// One process of one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProcessName {
    /// The machine.
    pub machine: usize,
    /// Which of its processes, counted from 0.
    pub generation: u64,
}

/// What a program asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Sets a key to the value that names this operation.
    Set {
        /// The key.
        key: String,
        /// How long it lives.
        ttl_ms: Option<u64>,
    },
    /// Deletes a key.
    Del {
        /// The key.
        key: String,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: String,
    },
    /// Stores a block whose bytes name this operation.
    Store,
    /// Loads the block that another operation stored.
    Load {
        /// The operation.
        stored_by: usize,
    },
    /// Frees it.
    Free {
        /// The operation.
        stored_by: usize,
    },
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is still under way.
    Pending,
    /// A `set` or `free` was acknowledged.
    Done,
    /// A block was stored under this id.
    Stored(BlockId),
    /// A read found what this operation wrote.
    Found(usize),
    /// A read, or a deletion, found nothing.
    Nothing,
    /// A deletion found something.
    Deleted,
    /// It was refused.
    Failed(ErrorCode),
    /// The process was killed first: it may or may not have happened.
    Cut,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Where it was asked.
    pub at: ProcessName,
    /// What was asked.
    pub action: Action,
    /// Whether strictly.
    pub strict: bool,
    /// When it was asked.
    pub began: At,
    /// When it was answered.
    pub ended: Option<At>,
    /// What became of it.
    pub outcome: Outcome,
    /// The version of a write, where the process that made it was seen to record it.
    pub version: Option<Version>,
    /// The machine on which the value was placed, where that is another one than the writer's.
    pub placed_on: Option<usize>,
}

impl Operation {
    /// The key it is about.
    pub fn key(&self) -> Option<&str> {
        match &self.action {
            Action::Set { key, .. } | Action::Del { key } | Action::Get { key } => Some(key),
            Action::Store | Action::Load { .. } | Action::Free { .. } => None,
        }
    }

    /// Whether it changes its key.
    pub fn is_write(&self) -> bool {
        matches!(self.action, Action::Set { .. } | Action::Del { .. })
    }

    /// Whether it was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Done | Outcome::Stored(_) | Outcome::Deleted | Outcome::Nothing | Outcome::Found(_)
        )
    }

    /// How long the value lives that it sets.
    pub fn ttl_ms(&self) -> Option<u64> {
        match self.action {
            Action::Set { ttl_ms, .. } => ttl_ms,
            _ => None,
        }
    }
}

/// A time in which nothing was wrong: every process ran, all were connected, and what was to be told after a fault had been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calm {
    /// Its first moment.
    pub from: At,
    /// Its last one.
    pub to: At,
}

/// A process that was stopped for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// Where.
    pub machine: usize,
    /// How long, in milliseconds.
    pub length_ms: u64,
    /// When it began.
    pub from: At,
}

/// All of a run that its checker looks at.
#[derive(Clone, Default, Debug)]
pub struct History {
    /// The operations, in the order in which they began. An operation's place is its name.
    pub operations: Vec<Operation>,
    /// The calm times, in order.
    pub calms: Vec<Calm>,
    /// Which process ended when, by a fault or by being stopped.
    pub ends: Vec<(ProcessName, At)>,
    /// The pauses.
    pub pauses: Vec<Pause>,
    /// After how many milliseconds a node knows of a write elsewhere at the latest: an announcement interval and the largest delay.
    pub known_after_ms: u64,
    /// The streams that were opened, in that order. A stream's place is its name.
    pub streams: Vec<Stream>,
    /// What was asked about them, in the order in which it began.
    pub stream_operations: Vec<StreamOperation>,
    /// Whether there was always room for all of them.
    pub has_room: bool,
    /// Whether a person lowered a grant at some time.
    pub has_lowered_grants: bool,
    /// How long a stream was kept that nobody went on writing, in milliseconds.
    pub abandoned_grace_ms: u64,
}

impl History {
    /// The calm time in which all of an operation lies.
    pub fn calm_of(&self, operation: &Operation) -> Option<usize> {
        let ended = operation.ended?;
        self.calms
            .iter()
            .position(|calm| calm.from <= operation.began && ended <= calm.to)
    }

    /// Whether a process of a machine ended between two moments.
    pub fn ended_between(&self, machine: usize, from: At, to: At) -> bool {
        self.ends
            .iter()
            .any(|(process, at)| process.machine == machine && from <= *at && *at <= to)
    }
}
