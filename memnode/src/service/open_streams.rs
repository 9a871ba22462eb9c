//! Chunks that peers have stored here of streams that they have not finished.
//!
//! Only its writer knows the chunks of such a stream. Where the writer goes away they are freed after
//! [`UNFINISHED_KEPT`](super::UNFINISHED_KEPT); before it finishes the stream it asks which of its chunks still lie here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;

use memproto::{BlockId, NodeId};

use super::lock;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct OpenStreams {
    /// The stream that each chunk of each writer belongs to.
    streams: Mutex<BTreeMap<(NodeId, u64), BlockId>>,
}

impl OpenStreams {
    /// Notes a chunk that was stored.
    pub(super) fn note(&self, writer: NodeId, stream: BlockId, chunk: BlockId) {
        lock(&self.streams).insert((writer, chunk.as_u64()), stream);
    }

    /// Forgets a chunk that was freed.
    pub(super) fn forget(&self, writer: NodeId, chunk: BlockId) {
        lock(&self.streams).remove(&(writer, chunk.as_u64()));
    }

    /// A chunk of a stream that is not finished belongs to another one from here on.
    pub(super) fn move_to(&self, writer: NodeId, stream: BlockId, chunk: BlockId) {
        if let Some(of) = lock(&self.streams).get_mut(&(writer, chunk.as_u64())) {
            *of = stream;
        }
    }

    /// The stream is finished: its chunks stay. Returns which there were.
    pub(super) fn finish(&self, writer: NodeId, stream: BlockId) -> Vec<BlockId> {
        self.take(writer, |of| of == stream)
    }

    /// Takes out the chunks of all streams that a writer has not finished.
    pub(super) fn abandon(&self, writer: NodeId) -> Vec<BlockId> {
        self.take(writer, |_| true)
    }

    /// Whether a writer has unfinished streams here.
    pub(super) fn has_any(&self, writer: NodeId) -> bool {
        lock(&self.streams).range(chunks_of(writer)).next().is_some()
    }

    /// How many chunks of streams that are not finished are here.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn len(&self) -> usize {
        lock(&self.streams).len()
    }

    fn take(&self, writer: NodeId, which: impl Fn(BlockId) -> bool) -> Vec<BlockId> {
        let mut streams = lock(&self.streams);
        let taken = streams.extract_if(chunks_of(writer), |_, stream| which(*stream));
        taken.filter_map(|((_, chunk), _)| BlockId::new(chunk)).collect()
    }
}

fn chunks_of(writer: NodeId) -> RangeInclusive<(NodeId, u64)> {
    (writer, 0)..=(writer, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_belongs_to_the_stream_that_took_it_last() {
        let streams = OpenStreams::default();
        let (writer, other) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let id = |id| BlockId::new(id).unwrap();
        for chunk in 1..=3 {
            streams.note(writer, id(100), id(chunk));
        }
        streams.note(other, id(100), id(4));
        streams.move_to(writer, id(101), id(1));
        streams.move_to(writer, id(101), id(9));
        streams.forget(writer, id(2));
        assert_eq!(streams.finish(writer, id(101)), [id(1)]);
        assert_eq!(streams.abandon(writer), [id(3)]);
        assert!(!streams.has_any(writer) && streams.has_any(other));
    }
}
