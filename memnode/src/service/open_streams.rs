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
    /// What is known of each chunk of each writer.
    streams: Mutex<BTreeMap<(NodeId, u64), Noted>>,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    /// The stream that it belongs to.
    stream: BlockId,
    /// Whether the writer has asked for it: it knows that it is here.
    held: bool,
}

impl OpenStreams {
    /// Notes a chunk that was stored.
    pub(super) fn note(&self, writer: NodeId, stream: BlockId, chunk: BlockId) {
        let noted = Noted { stream, held: false };
        lock(&self.streams).insert((writer, chunk.as_u64()), noted);
    }

    /// Forgets a chunk that was freed.
    pub(super) fn forget(&self, writer: NodeId, chunk: BlockId) {
        lock(&self.streams).remove(&(writer, chunk.as_u64()));
    }

    /// The writer asks for a chunk of a stream that is not finished, which belongs to this stream from here on.
    pub(super) fn hold(&self, writer: NodeId, stream: BlockId, chunk: BlockId) {
        if let Some(of) = lock(&self.streams).get_mut(&(writer, chunk.as_u64())) {
            *of = Noted { stream, held: true };
        }
    }

    /// The stream is finished: the chunks that its writer has asked for stay. Returns how many there were, and the others: what the writer gave up while it
    /// was on its way, and freed before it arrived.
    pub(super) fn finish(&self, writer: NodeId, stream: BlockId) -> (Vec<BlockId>, Vec<BlockId>) {
        let held = self.take(writer, |of| of.stream == stream && of.held);
        (held, self.take(writer, |of| of.stream == stream))
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

    fn take(&self, writer: NodeId, which: impl Fn(Noted) -> bool) -> Vec<BlockId> {
        let mut streams = lock(&self.streams);
        let taken = streams.extract_if(chunks_of(writer), |_, noted| which(*noted));
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
        streams.hold(writer, id(101), id(1));
        streams.hold(writer, id(101), id(9));
        streams.note(writer, id(101), id(5));
        streams.forget(writer, id(2));
        assert_eq!(streams.finish(writer, id(101)), (vec![id(1)], vec![id(5)]));
        assert_eq!(streams.abandon(writer), [id(3)]);
        assert!(!streams.has_any(writer) && streams.has_any(other));
    }
}
