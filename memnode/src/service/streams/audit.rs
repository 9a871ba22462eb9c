//! What a node has of streams under way, for simulations to look over.

use std::sync::atomic::Ordering;

use super::cutting::BUFFERED_CHUNKS_MAX;
use super::{OPEN_MAX, Service};
use crate::service::lock;
use memproto::limits::STREAM_CHUNK_SIZE;

/// Sums over all streams of a node. All of them are 0 once every stream was freed and everybody was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamAudit {
    /// Streams that are being written.
    pub open: usize,
    /// Chunks that this node has placed.
    pub chunks: usize,
    /// Hashes by which some of them are found, or waited for.
    pub hashes: usize,
    /// Chunks of peers that belong to streams that are not finished.
    pub lent_unfinished: usize,
    /// Blocks on peers that are to be freed when those are back.
    pub owed: usize,
    /// Chunks under way that take a part of the room that all streams share.
    pub under_way: usize,
    /// Bytes that came and are not placed.
    pub held_bytes: u64,
    /// Readers of streams.
    pub readers: usize,
}

impl StreamAudit {
    /// The most chunks that are under way.
    pub const UNDER_WAY_MAX: usize = BUFFERED_CHUNKS_MAX;

    /// The most bytes that are held of streams of which so many are open: the chunks under way, and of each stream less than a chunk and the piece
    /// that came last.
    pub fn held_bytes_max(open: usize, piece_len_max: u64) -> u64 {
        let chunk = STREAM_CHUNK_SIZE as u64;
        BUFFERED_CHUNKS_MAX as u64 * chunk + open.min(OPEN_MAX) as u64 * (chunk + piece_len_max)
    }
}

impl Service {
    /// Looks all streams over.
    pub fn audit_streams(&self) -> StreamAudit {
        let streams = lock(&self.writing.streams);
        let (chunks, hashes) = self.chunks.lens();
        StreamAudit {
            open: streams.len(),
            chunks,
            hashes,
            lent_unfinished: self.open_streams.len(),
            owed: lock(&self.owed_frees).values().map(Vec::len).sum(),
            under_way: self.buffers.under_way(),
            held_bytes: streams.values().map(|stream| stream.held_bytes()).sum(),
            readers: self.readers.load(Ordering::Relaxed),
        }
    }
}
