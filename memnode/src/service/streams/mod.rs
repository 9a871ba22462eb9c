//! Streams: large objects in chunks that may lie on several nodes.
//!
//! A stream passes through this node without being held by it: a few chunks are under way at a time, and the pace of the
//! slowest part is the pace of all.
//!
//! - `writing`: a stream that grows. `cutting`: from bytes and files to chunks. `lanes`: which peer takes the next one.
//! - `chunks`: what this node has placed, by hash, so that nothing is sent twice. `compression`: the smaller form of a chunk.
//! - `reading`: pages of manifests, chunks from their holders, verified; in order, following a stream that grows, or into a file.

#[cfg(any(test, feature = "simulation"))]
mod audit;
mod chunks;
mod compression;
mod cutting;
mod growth;
mod lanes;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memproto::control::Freed;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::key::check_key;
use memproto::peer::Manifest;
use memproto::stream::{
    KnownChunk, StreamFinished, StreamOpened, StreamOptions, StreamPlacement, StreamStatus,
};
use memproto::{BlockId, NodeId, Placement};
use tokio::time::Instant;

#[cfg(any(test, feature = "simulation"))]
pub use self::audit::StreamAudit;
pub(super) use self::chunks::OwnChunks;
pub(in crate::service) use self::cutting::ChunkBuffers;
pub(super) use self::reading::Source;
use self::writing::{OpenStream, no_longer_open};
use super::blocks::Placed;
use super::{ByteRange, PutOptions, Service, Stored, lock};
use crate::body::Body;
use crate::store::{Content, Object, Place};

/// How long a stream that nobody writes any more is kept, so that another attempt finds what was sent: time enough to notice, to find the cable and to type
/// the command again.
pub const UNFINISHED_KEPT: Duration = Duration::from_secs(10 * 60);

/// The most streams that are written at a time: each may hold what has come and is no chunk yet, less than 1 MiB.
const OPEN_MAX: usize = 1_024;

/// The streams that are being written.
#[derive(Debug, Default)]
pub(super) struct Writing {
    streams: Mutex<BTreeMap<BlockId, Arc<OpenStream>>>,
}

impl Writing {
    pub(super) fn get(&self, id: BlockId) -> Option<Arc<OpenStream>> {
        lock(&self.streams).get(&id).cloned()
    }

    /// Takes one out: it is finished, or to be freed.
    pub(super) fn remove(&self, id: BlockId) -> Option<Arc<OpenStream>> {
        lock(&self.streams).remove(&id)
    }

    pub(super) fn ids(&self) -> Vec<BlockId> {
        lock(&self.streams).keys().copied().collect()
    }

    fn add(&self, stream: OpenStream) -> ApiResult<Arc<OpenStream>> {
        let mut streams = lock(&self.streams);
        if streams.len() >= OPEN_MAX {
            return Err(ApiError::new(
                ErrorCode::Busy,
                format!("{OPEN_MAX} streams are being written, more cannot be: finish or free one"),
            ));
        }
        let stream = Arc::new(stream);
        streams.insert(stream.id(), Arc::clone(&stream));
        Ok(stream)
    }

    /// Those with which nothing was done for so long.
    fn idle(&self, kept: Duration) -> Vec<BlockId> {
        let now = Instant::now();
        let is_idle = |stream: &OpenStream| stream.idle_since().is_some_and(|since| now >= since + kept);
        let streams = lock(&self.streams);
        let idle = streams.iter().filter(|(_, stream)| is_idle(stream));
        idle.map(|(id, _)| *id).collect()
    }
}

/// A stream that is freed when this is dropped, unless it was finished or is to be [`kept`](Self::kept).
struct OrFreed<'a> {
    service: &'a Service,
    id: Option<BlockId>,
}

impl OrFreed<'_> {
    fn kept(mut self) {
        self.id = None;
    }
}

impl Drop for OrFreed<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.service.free_open(id);
        }
    }
}

impl Service {
    /// Stores a value of any size in chunks.
    ///
    /// # Errors
    /// As [`store`](Self::store). A stream that fails leaves nothing behind.
    ///
    /// # Cancel safety
    /// Dropped before it is done, every chunk is freed.
    pub async fn stream(&self, body: Body, options: PutOptions) -> ApiResult<Stored> {
        let opened = self.stream_open(options.into()).await?;
        let _guard = OrFreed {
            service: self,
            id: Some(opened.id),
        };
        self.stream_write(opened.id, body).await?;
        let finished = self.stream_finish(opened.id).await?;
        Ok(Stored {
            id: finished.id,
            size: finished.size_bytes,
        })
    }

    /// Begins a stream, which can be read under its id as far as it has come.
    ///
    /// # Errors
    /// For named peers why they cannot be used, `PeerUnreachable` where there is no peer and there must be; `InvalidArgument` for a bad key; `Busy` with too many streams
    /// that are not finished.
    pub async fn stream_open(&self, options: StreamOptions) -> ApiResult<StreamOpened> {
        self.counters.writes.increment();
        let live = match &options.key {
            Some(key) => {
                check_key(key.as_bytes())?;
                options.live.then(|| key.clone())
            }
            None if options.live => {
                return Err(ApiError::invalid(
                    "only a stream with a key can be named from its first byte on",
                ));
            }
            None => None,
        };
        let stream = self.writing.add(OpenStream::new(self, options)?)?;
        let id = stream.id();
        if let Some(key) = live {
            let content = Content::Object(Object {
                size: 0,
                place: Place::Stream(Arc::default()),
                expires: None,
            });
            let guard = OrFreed {
                service: self,
                id: Some(id),
            };
            self.set_placed(&key, Placed { id, size: 0, content }, false, None)
                .await?;
            guard.kept();
        }
        Ok(StreamOpened { id })
    }

    /// Appends a body to a stream, whose end is the end of a chunk. Returns the size of the stream.
    ///
    /// # Errors
    /// `NotFound` where it is not being written; `Busy` while somebody else appends; what the body fails with. Where there is no room any more, `OutOfMemory` or `QuotaExceeded`, and all of
    /// the stream is freed. Otherwise it has what could be placed without a gap, and can be written on.
    ///
    /// # Cancel safety
    /// Dropped, the stream has what could be placed without a gap.
    pub async fn stream_write(&self, id: BlockId, body: Body) -> ApiResult<Stored> {
        let stream = self.open_for_writing(id)?;
        let size = self.or_freed(id, stream.append_body(self, body).await)?;
        Ok(Stored { id, size })
    }

    /// Appends a part of a file, which this node reads by itself.
    ///
    /// # Errors
    /// `InvalidArgument` where the descriptor is not one of a regular file, or the file ends before the range, or changes; else as [`stream_write`](Self::stream_write).
    ///
    /// # Cancel safety
    /// As [`stream_write`](Self::stream_write).
    pub async fn stream_file(&self, id: BlockId, file: File, range: ByteRange) -> ApiResult<Stored> {
        let stream = self.open_for_writing(id)?;
        let size = self.or_freed(id, stream.append_file(self, file, range).await)?;
        Ok(Stored { id, size })
    }

    /// Appends those of the chunks, in their order, that are there already. Returns of each whether it is.
    ///
    /// # Errors
    /// As [`stream_write`](Self::stream_write).
    pub async fn stream_known(&self, id: BlockId, chunks: Vec<KnownChunk>) -> ApiResult<Vec<bool>> {
        let stream = self.open_for_writing(id)?;
        let known = stream.append_known(self, chunks).await;
        self.or_freed(id, known)
    }

    /// How far a stream has come that is not finished.
    ///
    /// # Errors
    /// `NotFound` where this node writes no such stream.
    pub async fn stream_status(&self, id: BlockId) -> ApiResult<StreamStatus> {
        Ok(self.open_for_writing(id)?.status(self))
    }

    /// Makes a stream whole: it stays, and its key names it.
    ///
    /// # Errors
    /// `PeerUnreachable` where parts of it can no longer be reached, with the ranges; what was placed is found by another attempt. As [`stream_write`](Self::stream_write).
    pub async fn stream_finish(&self, id: BlockId) -> ApiResult<StreamFinished> {
        let stream = self.open_for_writing(id)?;
        let finished = stream.finish(self).await;
        self.or_freed(id, finished)
    }

    /// Frees streams that nobody writes any more, until the node stops.
    pub async fn sweep_unfinished(&self) {
        let kept = self.config.abandoned_grace;
        let pause = (kept / 8).clamp(Duration::from_millis(10), Duration::from_secs(10));
        let sweep = async {
            loop {
                tokio::time::sleep(pause).await;
                for id in self.writing.idle(kept) {
                    tracing::info!(stream = %id, "freed a stream that nobody finished");
                    self.free_open(id);
                }
            }
        };
        self.stop.run_until_cancelled(sweep).await;
    }

    fn open_for_writing(&self, id: BlockId) -> ApiResult<Arc<OpenStream>> {
        self.writing.get(id).ok_or_else(|| no_longer_open(id))
    }

    /// A stream for which there is no room is freed, or it would fill what is left for nothing.
    fn or_freed<T>(&self, id: BlockId, result: ApiResult<T>) -> ApiResult<T> {
        let is_full =
            |error: &ApiError| matches!(error.code, ErrorCode::OutOfMemory | ErrorCode::QuotaExceeded);
        if result.as_ref().is_err_and(is_full) {
            self.free_open(id);
        }
        result
    }

    /// Frees a stream that is being written. `None` where there is none.
    pub(super) fn free_open(&self, id: BlockId) -> Option<Freed> {
        self.writing.get(id)?;
        // Its key may name it already. Whoever is told of the end is not to find it and take it for whole.
        let named = self.end_value(id, |_| true);
        let stream = self.writing.remove(id);
        if stream.is_none() && named.is_none() {
            return None;
        }
        let bytes = stream.map_or(0, |stream| stream.free(self));
        if let Some(removed) = named {
            let service = self.shared();
            self.spawn(async move {
                service.free_removed(removed).await;
            });
        }
        Some(Freed { blocks: 1, bytes })
    }

    /// The manifest of a stream of this node that is finished.
    pub(super) fn finished_stream(&self, id: BlockId) -> Option<Arc<Manifest>> {
        match self.store.object(id)?.place {
            Place::Stream(manifest) => Some(manifest),
            Place::Here | Place::At(_) => None,
        }
    }

    /// Frees the chunks of a stream that no other one needs, wherever they lie.
    pub(super) async fn free_chunks(&self, manifest: &Manifest) -> Freed {
        let mut freed = Freed::default();
        for (holder, ids) in self.chunks.release_all(manifest) {
            if holder == self.config.node_id {
                let removed = ids.into_iter().filter_map(|id| self.store.remove(id));
                for meta in removed {
                    freed.blocks += 1;
                    freed.bytes += meta.size;
                }
            } else {
                let there = self.free_or_owe(holder, ids).await;
                freed.blocks += there.blocks;
                freed.bytes += there.bytes;
            }
        }
        freed
    }

    /// One place less needs a chunk; the last one frees it.
    fn free_chunk(&self, id: BlockId) {
        if let Some(chunk) = self.chunks.release(id) {
            self.free_on(chunk.holder, vec![id]);
        }
    }

    /// Frees chunks on a node, be it this one or a peer.
    pub(super) fn free_on(&self, holder: NodeId, ids: Vec<BlockId>) {
        if holder != self.config.node_id {
            return self.free_later(holder, ids);
        }
        for id in ids {
            self.store.remove(id);
        }
    }

    /// Work of the processor, or of a disk, that is not to hold up the thread of a session or link.
    pub(super) async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.peers.surroundings().compute(work).await
    }
}

impl From<PutOptions> for StreamOptions {
    fn from(options: PutOptions) -> Self {
        Self {
            ttl: options.ttl,
            class: options.class,
            placement: match options.placement {
                Placement::Auto => StreamPlacement::Auto,
                Placement::Local => StreamPlacement::Local,
                Placement::Remote => StreamPlacement::Remote,
                Placement::Peer(name) => StreamPlacement::Peers(vec![name]),
            },
            ..Self::default()
        }
    }
}
