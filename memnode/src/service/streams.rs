//! Streams: large objects in chunks that may lie on several nodes.
//!
//! A stream passes through this node without being held by it: a few chunks are under way at a time, and the pace of the
//! slowest part is the pace of all. What is under way is bounded by [`WRITE_WINDOW`] and [`READ_AHEAD`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, stream};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::peer::{Manifest, PeerReply, PeerRequest};
use memproto::{BlockClass, BlockId, NodeId, Placement};

use super::blocks::{Found, fill, loaded_from};
use super::unfinished::Unfinished;
use super::{ByteRange, Loaded, PutOptions, Service, Stored, unexpected_reply};
use crate::body::Body;
use crate::buffer::BlockBuffer;
use crate::peer::PeerLink;
use crate::placement;
use crate::store::{Block, Chunk, Object, Owner, Place};

/// How many chunks a writer has under way: 8 MiB hide a round trip of 8 ms at 1 GB/s, and fit the 32 MiB by which a
/// daemon may grow while a stream passes.
pub const WRITE_WINDOW: usize = 8;

/// How many chunks a reader fetches ahead. The same reasoning as for [`WRITE_WINDOW`]; a reader that stops holds
/// these few MiB.
pub const READ_AHEAD: usize = 4;

/// The largest encoded manifest this node reads from a peer: 2^22 chunks, a stream of 4 TiB.
const MANIFEST_SIZE_MAX: u64 = 64 * 1024 * 1024;

/// A chunk that has found its place.
struct PlacedChunk {
    index: usize,
    id: BlockId,
    length: u32,
    holder: NodeId,
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
        self.counters.writes.increment();
        let stream_id = self.store.new_id(None);
        let mut writer = StreamWriter {
            service: self.shared(),
            stream_id,
            options,
            placed: Vec::new(),
            unfinished: Unfinished::new(self.shared()),
        };
        writer.write(body).await?;
        writer.finish().await
    }

    /// The bytes of a range of a stream. `via` is the node that gave the manifest, if not this one: it passes on the chunks of
    /// holders to which this node has no link.
    pub(super) fn open_stream(
        &self,
        id: BlockId,
        manifest: &Arc<Manifest>,
        range: ByteRange,
        via: Option<NodeId>,
    ) -> ApiResult<Loaded> {
        let size = manifest.size();
        let part = range.within(size)?;
        let service = self.shared();
        let wanted = parts_of(Arc::clone(manifest), part.clone());
        let pieces = stream::iter(wanted)
            .map(move |part| {
                let service = Arc::clone(&service);
                async move { service.fetch_chunk(id, part, via).await }
            })
            .buffered(READ_AHEAD);
        Ok(Loaded {
            id,
            size,
            body: Body::pulled(part.end - part.start, pieces.boxed()),
        })
    }

    /// Asks a peer for the manifest of a stream.
    pub(super) async fn fetch_manifest(&self, link: &PeerLink, id: BlockId) -> ApiResult<Manifest> {
        let (reply, body) = link.request(PeerRequest::Manifest { id }, Body::empty()).await?;
        match reply {
            PeerReply::Loaded { .. } => Manifest::decode(&body.collect(MANIFEST_SIZE_MAX).await?),
            _ => Err(unexpected_reply(link)),
        }
    }

    /// Frees the chunks of a stream, wherever they lie.
    pub(super) async fn free_chunks(&self, manifest: &Manifest) -> memproto::control::Freed {
        let mut freed = memproto::control::Freed::default();
        for (holder, ids) in chunks_by_holder(manifest) {
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

    async fn fetch_chunk(
        &self,
        stream_id: BlockId,
        part: ChunkPart,
        via: Option<NodeId>,
    ) -> ApiResult<Bytes> {
        let loaded = if part.holder == self.config.node_id {
            let bytes = self.store.block(part.id).ok_or_else(|| self.chunk_gone(&part))?;
            loaded_from(part.id, &bytes, part.within_chunk)?
        } else {
            let answer = match (
                self.peers.link(part.holder),
                via.and_then(|via| self.peers.link(via)),
            ) {
                (Some(holder), _) => self.load_from(&holder, part.id, part.within_chunk, false).await?,
                (None, Some(via)) => self.load_from(&via, stream_id, part.within_stream, true).await?,
                (None, None) => {
                    return Err(self
                        .link_to(part.holder)
                        .map_or_else(|error| error, |_| self.chunk_gone(&part)));
                }
            };
            match answer {
                Some(Found::Bytes(loaded)) => loaded,
                Some(Found::Elsewhere(..)) | None => return Err(self.chunk_gone(&part)),
            }
        };
        let buffer = BlockBuffer::in_heap(part.within_chunk.length)?;
        let bytes = fill(buffer, loaded.body).await.map_err(|error| {
            if error.code == ErrorCode::InvalidArgument {
                self.chunk_gone(&part)
            } else {
                error
            }
        })?;
        Ok(bytes.bytes())
    }

    fn chunk_gone(&self, part: &ChunkPart) -> ApiError {
        ApiError::new(
            ErrorCode::NotFound,
            format!(
                "the bytes from {} on are no longer on '{}': they expired, were freed or evicted, or it restarted",
                part.within_stream.offset,
                self.peers.name_of(part.holder)
            ),
        )
    }
}

/// The chunks of a stream on each node.
pub(super) fn chunks_by_holder(manifest: &Manifest) -> BTreeMap<NodeId, Vec<BlockId>> {
    let mut by_holder: BTreeMap<NodeId, Vec<BlockId>> = BTreeMap::new();
    for chunk in manifest.chunks() {
        by_holder
            .entry(manifest.holder(chunk))
            .or_default()
            .push(chunk.id);
    }
    by_holder
}

/// The part of one chunk that a reader wants.
#[derive(Clone, Copy, Debug)]
struct ChunkPart {
    id: BlockId,
    holder: NodeId,
    within_chunk: ByteRange,
    within_stream: ByteRange,
}

/// The parts of the chunks that make up a range of a stream, in order.
fn parts_of(manifest: Arc<Manifest>, range: std::ops::Range<u64>) -> impl Iterator<Item = ChunkPart> {
    let mut begin = 0;
    let mut index = 0;
    std::iter::from_fn(move || {
        loop {
            let chunk = *manifest.chunks().get(index)?;
            let chunk_range = begin..begin + u64::from(chunk.length);
            index += 1;
            begin = chunk_range.end;
            let from = range.start.max(chunk_range.start);
            let to = range.end.min(chunk_range.end);
            if from < to {
                let length = to - from;
                return Some(ChunkPart {
                    id: chunk.id,
                    holder: manifest.holder(&chunk),
                    within_chunk: ByteRange {
                        offset: from - chunk_range.start,
                        length,
                    },
                    within_stream: ByteRange { offset: from, length },
                });
            }
        }
    })
}

struct StreamWriter {
    service: Arc<Service>,
    stream_id: BlockId,
    options: PutOptions,
    placed: Vec<PlacedChunk>,
    unfinished: Unfinished,
}

impl StreamWriter {
    async fn write(&mut self, mut body: Body) -> ApiResult<()> {
        let mut under_way = FuturesUnordered::new();
        let mut pieces = Pieces::default();
        let mut index = 0;
        let mut at_end = false;
        while !at_end || !under_way.is_empty() {
            while !at_end && under_way.len() < WRITE_WINDOW {
                // While the next piece is awaited the chunks under way go on; what fails ends the stream at once.
                let piece = tokio::select! {
                    biased;
                    Some(done) = under_way.next(), if !under_way.is_empty() => {
                        self.placed.push(done?);
                        continue;
                    }
                    piece = body.next() => piece.transpose()?,
                };
                match piece {
                    Some(piece) => pieces.push(piece),
                    None => at_end = true,
                }
                while let Some(chunk) = pieces.take_chunk(at_end) {
                    under_way.push(self.place_chunk(index, chunk)?.boxed());
                    index += 1;
                }
            }
            if let Some(done) = under_way.next().await {
                self.placed.push(done?);
            }
        }
        Ok(())
    }

    /// Notes where a chunk may come to lie, and returns the work of bringing it there.
    fn place_chunk(
        &mut self,
        index: usize,
        pieces: VecDeque<Bytes>,
    ) -> ApiResult<impl Future<Output = ApiResult<PlacedChunk>> + use<>> {
        let service = Arc::clone(&self.service);
        let id = service.store.new_id(None);
        let candidates = placement::candidates(&service.peers, &self.options.placement)?;
        // A stream goes to peers first, so that the machine that offloads keeps its RAM.
        let may_stay = matches!(self.options.placement, Placement::Auto | Placement::Local);
        for link in &candidates {
            self.unfinished.note_on_peer(link.id(), id);
        }
        if may_stay {
            self.unfinished.note_here(id);
        }
        let is_named = matches!(self.options.placement, Placement::Peer(_));
        let (options, stream_id) = (self.options.clone(), self.stream_id);
        Ok(async move {
            let length = pieces.iter().map(Bytes::len).sum::<usize>();
            let mut tried = Vec::new();
            for link in candidates {
                let body = Body::from_pieces(pieces.clone());
                match service
                    .send_block(&link, id, body, length as u64, &options, Some(stream_id))
                    .await
                {
                    Ok(()) => {
                        let chunk = PlacedChunk {
                            index,
                            id,
                            length: length as u32,
                            holder: link.id(),
                        };
                        return Ok(chunk);
                    }
                    Err(error) if is_named || !placement::is_refusal_for_room(&error) => return Err(error),
                    Err(error) => {
                        service.free_unanswered(&link, id, &error);
                        tried.push((link.name().to_owned(), error));
                    }
                }
            }
            if !may_stay {
                return Err(placement::out_of_memory(None, &tried, length as u64));
            }
            service
                .keep_chunk(id, pieces, length, options.class, stream_id)
                .await
                .map_err(|error| placement::out_of_memory(Some(error), &tried, length as u64))?;
            let chunk = PlacedChunk {
                index,
                id,
                length: length as u32,
                holder: service.config.node_id,
            };
            Ok(chunk)
        })
    }

    /// Makes the stream known. Every holder must still have its chunks, or the stream could not be read back.
    async fn finish(mut self) -> ApiResult<Stored> {
        let mut chunks_on: BTreeMap<NodeId, u64> = BTreeMap::new();
        for chunk in &self.placed {
            *chunks_on.entry(chunk.holder).or_default() += 1;
        }
        chunks_on.remove(&self.service.config.node_id);
        for (holder, expected) in chunks_on {
            let Some(link) = self.service.peers.link(holder) else {
                return Err(self.holder_lost(holder));
            };
            let request = PeerRequest::Finish {
                stream: self.stream_id,
            };
            match link.request(request, Body::empty()).await?.0 {
                PeerReply::Finished { chunks } if chunks >= expected => {}
                PeerReply::Finished { .. } if self.options.class == BlockClass::Cache => {
                    return Err(evicted_meanwhile());
                }
                PeerReply::Finished { .. } => return Err(self.holder_lost(holder)),
                _ => return Err(unexpected_reply(&link)),
            }
        }
        let here = self.service.config.node_id;
        let mut own = self.placed.iter().filter(|chunk| chunk.holder == here);
        if own.any(|chunk| self.service.store.meta(chunk.id).is_none()) {
            return Err(evicted_meanwhile());
        }
        self.placed.sort_unstable_by_key(|chunk| chunk.index);
        let mut manifest = Manifest::new();
        for chunk in &self.placed {
            manifest.push(chunk.id, chunk.length, chunk.holder)?;
        }
        let stored = Stored {
            id: self.stream_id,
            size: manifest.size(),
        };
        let manifest = Arc::new(manifest);
        let mut expires = None;
        if let Some(ttl) = self.options.ttl {
            expires = Some(self.service.store.expiry().after(ttl));
            // Later than what was counted above, so that the stream ends before its chunks.
            self.service.expire_chunks(&manifest, Some(ttl)).await?;
        }
        self.service.store.add_object(
            stored.id,
            Object {
                size: stored.size,
                place: Place::Stream(manifest),
                expires,
            },
        )?;
        self.unfinished.finish();
        Ok(stored)
    }

    fn holder_lost(&self, holder: NodeId) -> ApiError {
        ApiError::new(
            ErrorCode::PeerUnreachable,
            format!(
                "'{}' went away with a part of the stream; what was stored is freed: run it again",
                self.service.peers.name_of(holder)
            ),
        )
    }
}

/// Chunks of class cache made room for those behind them, or for other data.
fn evicted_meanwhile() -> ApiError {
    ApiError::new(
        ErrorCode::OutOfMemory,
        "a part of the stream was evicted before its end came, and what was stored is freed: store it as pinned, or give the node a          larger --memory",
    )
}

impl Service {
    async fn keep_chunk(
        &self,
        id: BlockId,
        pieces: VecDeque<Bytes>,
        length: usize,
        class: BlockClass,
        stream_id: BlockId,
    ) -> ApiResult<()> {
        let reservation = self.store.reserve(Owner::Local, length as u64)?;
        // Not a memory file, however large: no program maps a chunk, and a stream has thousands.
        let buffer = BlockBuffer::in_heap(length as u64)?;
        let bytes = fill(buffer, Body::from_pieces(pieces)).await?;
        Ok(self.store.insert(
            id,
            Block {
                chunk: Some(Chunk::raw(stream_id, bytes.as_ref())),
                bytes,
                class,
                expires: None,
            },
            reservation,
        )?)
    }
}

/// Pieces of any length on their way to become chunks of [`STREAM_CHUNK_SIZE`]; nothing is copied.
#[derive(Default)]
struct Pieces {
    queue: VecDeque<Bytes>,
    length: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// The next whole chunk; at the end also what is left.
    fn take_chunk(&mut self, at_end: bool) -> Option<VecDeque<Bytes>> {
        if self.length < STREAM_CHUNK_SIZE && !(at_end && self.length > 0) {
            return None;
        }
        let mut chunk = VecDeque::new();
        let mut missing = STREAM_CHUNK_SIZE.min(self.length);
        self.length -= missing;
        while missing > 0 {
            let first = self.queue.front_mut().expect("the queue holds `length` bytes");
            if first.remaining() <= missing {
                missing -= first.remaining();
                chunk.extend(self.queue.pop_front());
            } else {
                chunk.push_back(first.split_to(missing));
                missing = 0;
            }
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_chunks_without_losing_a_byte() {
        let mut pieces = Pieces::default();
        let mut chunks = Vec::new();
        let all: Vec<u8> = (0..2 * STREAM_CHUNK_SIZE + 12_345)
            .map(|i| (i % 251) as u8)
            .collect();
        for piece in all.chunks(300_001) {
            pieces.push(Bytes::copy_from_slice(piece));
            chunks.extend(std::iter::from_fn(|| pieces.take_chunk(false)));
        }
        chunks.extend(std::iter::from_fn(|| pieces.take_chunk(true)));
        let lengths: Vec<usize> = chunks
            .iter()
            .map(|chunk| chunk.iter().map(Bytes::len).sum())
            .collect();
        assert_eq!(lengths, [STREAM_CHUNK_SIZE, STREAM_CHUNK_SIZE, 12_345]);
        let joined: Vec<u8> = chunks.iter().flatten().flatten().copied().collect();
        assert!(joined == all);
        assert!(pieces.take_chunk(true).is_none());
    }

    #[test]
    fn a_range_touches_only_its_chunks() {
        let mut manifest = Manifest::new();
        let holder = NodeId::from_bytes([1; 16]);
        for i in 1..=4 {
            manifest.push(BlockId::new(i).unwrap(), 100, holder).unwrap();
        }
        let manifest = Arc::new(manifest);
        let parts: Vec<_> = parts_of(Arc::clone(&manifest), 150..301)
            .map(|part| {
                (
                    part.id.as_u64(),
                    part.within_chunk.offset,
                    part.within_chunk.length,
                    part.within_stream.offset,
                )
            })
            .collect();
        assert_eq!(parts, [(2, 50, 50, 150), (3, 0, 100, 200), (4, 0, 1, 300)]);
        assert_eq!(parts_of(manifest, 400..400).count(), 0);
    }
}
