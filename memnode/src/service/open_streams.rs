//! Chunks that peers have stored here of streams that they have not finished.
//!
//! Nobody can read such a stream, and only its writer knows its chunks. Where the writer goes away they are freed after
//! [`ABANDONED_GRACE`]; where it finishes the stream it asks how many chunks lie here, and a number that is too
//! small tells it that it was away for too long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use memproto::{BlockId, NodeId};

use super::lock;

/// How long the writer of an unfinished stream may be away before its chunks are freed: as long as a link may be silent before
/// it is given up, so that a short interruption costs nothing.
pub const ABANDONED_GRACE: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct OpenStreams {
    chunks: Mutex<BTreeMap<(NodeId, BlockId), BTreeSet<BlockId>>>,
}

impl OpenStreams {
    /// Notes a chunk that was stored.
    pub(super) fn note(&self, writer: NodeId, stream: BlockId, chunk: BlockId) {
        lock(&self.chunks)
            .entry((writer, stream))
            .or_default()
            .insert(chunk);
    }

    /// Forgets a chunk that was freed.
    pub(super) fn forget(&self, writer: NodeId, stream: BlockId, chunk: BlockId) {
        let mut chunks = lock(&self.chunks);
        if let Some(of_stream) = chunks.get_mut(&(writer, stream)) {
            of_stream.remove(&chunk);
            if of_stream.is_empty() {
                chunks.remove(&(writer, stream));
            }
        }
    }

    /// The stream is finished: its chunks stay. Returns which there were.
    pub(super) fn finish(&self, writer: NodeId, stream: BlockId) -> BTreeSet<BlockId> {
        lock(&self.chunks).remove(&(writer, stream)).unwrap_or_default()
    }

    /// Takes out the chunks of all streams that a writer has not finished.
    pub(super) fn abandon(&self, writer: NodeId) -> Vec<BlockId> {
        let mut chunks = lock(&self.chunks);
        chunks
            .extract_if(.., |(of, _), _| *of == writer)
            .flat_map(|(_, chunks)| chunks)
            .collect()
    }

    /// Whether a writer has unfinished streams here.
    pub(super) fn has_any(&self, writer: NodeId) -> bool {
        lock(&self.chunks).keys().any(|(of, _)| *of == writer)
    }
}
