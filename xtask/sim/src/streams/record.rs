//! The streams of a run, and what was asked and answered about them, for the checker.

use memproto::BlockId;
use memproto::error::ErrorCode;

use super::content::Content;
use crate::history::{At, ProcessName};

/// A stream that a program opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Its id.
    pub id: BlockId,
    /// The process that writes it.
    pub writer: ProcessName,
    /// The key that names it, once it is finished.
    pub key: Option<String>,
    /// How long it lives.
    pub ttl_ms: Option<u64>,
    /// Whether it is pinned; else of class cache.
    pub is_pinned: bool,
    /// Whether nothing of it is compressed.
    pub is_plain: bool,
    /// The machines on which it may lie; `None` is on any.
    pub reach: Option<Vec<usize>>,
    /// What it has, as far as it was handed over.
    pub content: Content,
    /// When it was opened.
    pub opened: At,
}

/// What a program asked of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamAction {
    /// To append.
    Write,
    /// To append chunks by their hashes.
    Known,
    /// How far it has come.
    Status,
    /// To make it whole.
    Finish,
    /// For so many bytes from one on.
    Read {
        /// The first byte.
        from: u64,
        /// How many; `u64::MAX` for all.
        length: u64,
    },
    /// The same by the key that names it.
    ReadKey,
    /// For all bytes from one on, also those that are yet to come.
    Follow {
        /// The first byte.
        from: u64,
    },
    /// To free it.
    Free,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamOutcome {
    /// It is still under way.
    Pending,
    /// It was done, and the stream has so many bytes.
    Done {
        /// How many.
        size: u64,
        /// How many of them were there already.
        known_bytes: u64,
        /// How many the others take where they lie.
        stored_bytes: u64,
        /// Whether a chunk lies where it may not.
        is_out_of_reach: bool,
    },
    /// All bytes came.
    Read {
        /// How large the stream was then; `None` where that was not known.
        size: Option<u64>,
    },
    /// The program gave up before the end.
    GivenUp,
    /// It was refused, or failed.
    Failed(ErrorCode),
    /// The process was killed first.
    Cut,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamOperation {
    /// Where it was asked.
    pub at: ProcessName,
    /// The stream, by its place in [`History::streams`](crate::history::History::streams).
    pub stream: usize,
    /// What was asked.
    pub action: StreamAction,
    /// When it was asked.
    pub began: At,
    /// When it was answered.
    pub ended: Option<At>,
    /// What became of it.
    pub outcome: StreamOutcome,
    /// How many bytes a reader got.
    pub bytes: u64,
    /// Where the first wrong one of them is.
    pub wrong_at: Option<u64>,
}
