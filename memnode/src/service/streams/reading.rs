//! Reading streams: page by page of the manifest, chunk by chunk from their holders, each verified by its hash.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream};
use futures_util::{StreamExt, TryStreamExt};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::peer::manifest::PAGE_LEN_MAX;
use memproto::peer::{Manifest, ManifestPage, PeerReply, PeerRequest, PlacedChunk};
use memproto::stream::Codec;
use memproto::{BlockId, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::compression::restored;
use super::cutting::{hash_of, len_of};
use super::growth::Growth;
use super::writing::{OpenStream, Part};
use crate::body::Body;
use crate::buffer::BlockBuffer;
use crate::peer::PeerLink;
use crate::platform;
use crate::service::blocks::Found;
use crate::service::{ByteRange, Loaded, Service, Written, lock, unexpected_reply};

/// How many chunks all readers together fetch ahead; each has one at least. 8 MiB hide a round trip of 8 ms at 1 GB/s; a reader that stops holds
/// its part of them.
const READ_AHEAD: usize = 8;

/// How many times as many chunks are looked at as are fetched from one node, where they go into a file: those that wait for their node's turn take no
/// memory.
const LOOKED_AT: usize = 4;

/// Who knows where the chunks of a stream are.
#[derive(Clone)]
pub(in crate::service) enum Source {
    /// This node, of one that is finished.
    Whole(Arc<Manifest>),
    /// This node, of one that is being written.
    Open(Arc<OpenStream>),
    /// Another one. It passes on the chunks of holders to which this node has no link.
    Peer(Arc<PeerLink>),
}

/// How far a reader goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::service) enum Until {
    /// To what is the end now.
    Now,
    /// Until nothing is added any more.
    Finished,
}

/// A part of the bytes that a reader wants.
enum Wanted {
    /// A part of a chunk, which begins at `offset` of the stream.
    Chunk {
        chunk: PlacedChunk,
        offset: u64,
        from: u64,
        to: u64,
    },
    /// Bytes of this node that are in no chunk yet.
    Bytes(VecDeque<Bytes>),
    /// Bytes that the node that writes the stream has at hand.
    AtWriter { from: u64, to: u64 },
}

/// Counts a reader of a stream, so that all together hold no more than they may.
struct Reading {
    readers: Arc<AtomicUsize>,
}

impl Reading {
    fn begin(readers: &Arc<AtomicUsize>) -> (Self, usize) {
        let others = readers.fetch_add(1, Ordering::Relaxed);
        let reading = Self {
            readers: Arc::clone(readers),
        };
        (reading, (READ_AHEAD / (others + 1)).max(1))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The turns of the nodes from which chunks go into a file. Each has some under way, so that all links are in use at once, however the chunks are
/// spread.
struct Holders {
    each: usize,
    turns: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

impl Holders {
    /// For a reader that may fetch so many ahead of one node.
    fn new(ahead: usize) -> Self {
        Self {
            each: (ahead * 3 / 4).max(1),
            turns: Mutex::default(),
        }
    }

    async fn turn(&self, wanted: &Wanted) -> Option<OwnedSemaphorePermit> {
        let Wanted::Chunk { chunk, .. } = wanted else {
            return None;
        };
        let turns = {
            let mut turns = lock(&self.turns);
            let turns = turns
                .entry(chunk.holder)
                .or_insert_with(|| Arc::new(Semaphore::new(self.each)));
            Arc::clone(turns)
        };
        Some(turns.acquire_owned().await.expect("nobody closes it"))
    }
}

/// Walks over the parts of a range.
struct Walk {
    service: Arc<Service>,
    id: BlockId,
    source: Source,
    at: u64,
    end: u64,
    until: Until,
    /// How often an append was broken off when this last looked, where this node writes the stream.
    breaks: u32,
    ready: VecDeque<Wanted>,
}

impl Walk {
    async fn next(&mut self) -> ApiResult<Option<Wanted>> {
        loop {
            if let Some(wanted) = self.ready.pop_front() {
                return Ok(Some(wanted));
            }
            if self.at >= self.end {
                return Ok(None);
            }
            self.look().await?;
        }
    }

    /// Looks what there is from `at` on; where there is nothing yet it waits, or ends.
    async fn look(&mut self) -> ApiResult<()> {
        match &self.source {
            Source::Whole(manifest) => {
                let page = manifest.page(self.at, manifest.size(), true);
                self.take_page(&page);
            }
            Source::Open(stream) => {
                let stream = Arc::clone(stream);
                // Behind the look, so that what is looked at is not newer than this.
                let looked = stream.look(self.at);
                self.check_unbroken(stream.growth())?;
                match looked {
                    Part::Page(page) => self.take_page(&page),
                    Part::Bytes(bytes) => self.take_bytes(bytes),
                    Part::End(growth) => {
                        if growth.ended {
                            return self.go_on_finished();
                        }
                        self.check_end(growth.size)?;
                        if self.until == Until::Now {
                            // It was longer when the reader was told how long it is.
                            return Err(broken_off(self.id, growth.size));
                        }
                        let (at, breaks) = (self.at, self.breaks);
                        let is_other =
                            |growth: &Growth| growth.size != at || growth.ended || growth.breaks != breaks;
                        stream.until(is_other).await;
                    }
                }
            }
            Source::Peer(link) => {
                let link = Arc::clone(link);
                // To be told of more than there is is to wait for it.
                let beyond = if self.until == Until::Finished { self.at } else { 0 };
                let page = self.service.fetch_page(&link, self.id, self.at, beyond).await?;
                self.check_end(page.size)?;
                self.check_promise(page.size)?;
                let before = self.at;
                self.take_page(&page);
                if self.at > before || self.at >= self.end {
                    return Ok(());
                }
                if self.at < page.size {
                    let to = self.end.min(page.size);
                    self.ready.push_back(Wanted::AtWriter { from: self.at, to });
                    self.at = to;
                } else if page.whole {
                    self.end = self.at;
                }
            }
        }
        Ok(())
    }

    /// Whether what was read already still is what the stream has there.
    fn check_unbroken(&mut self, growth: Growth) -> ApiResult<()> {
        if growth.is_broken(self.breaks, self.at) {
            return self.check_end(growth.left.min(self.at.saturating_sub(1)));
        }
        self.breaks = growth.breaks;
        Ok(())
    }

    /// What was read already is not there any more: the append that brought it was broken off.
    fn check_end(&self, size: u64) -> ApiResult<()> {
        if size >= self.at {
            return Ok(());
        }
        Err(broken_off(self.id, size))
    }

    /// A reader that was told how many bytes come gets so many, or an error.
    fn check_promise(&self, size: u64) -> ApiResult<()> {
        match self.until {
            Until::Now if size < self.end => Err(broken_off(self.id, size)),
            _ => Ok(()),
        }
    }

    /// The stream is open no more: it is finished, or was freed.
    fn go_on_finished(&mut self) -> ApiResult<()> {
        let manifest = self.service.finished_stream(self.id).ok_or_else(|| {
            ApiError::new(
                ErrorCode::NotFound,
                format!("stream {} was freed before it was finished", self.id),
            )
        })?;
        self.check_end(manifest.size())?;
        self.check_promise(manifest.size())?;
        self.end = self.end.min(manifest.size());
        self.source = Source::Whole(manifest);
        Ok(())
    }

    fn take_page(&mut self, page: &ManifestPage) {
        let mut offset = page.offset;
        for &chunk in &page.chunks {
            let next = offset + u64::from(chunk.length);
            if next > self.at && offset < self.end {
                self.ready.push_back(Wanted::Chunk {
                    chunk,
                    offset,
                    from: self.at.max(offset),
                    to: self.end.min(next),
                });
                self.at = self.end.min(next);
            }
            offset = next;
        }
    }

    fn take_bytes(&mut self, bytes: VecDeque<Bytes>) {
        let length = (self.end - self.at).min(len_of(&bytes));
        let part = part_of(bytes, 0, length);
        self.at += length;
        self.ready.push_back(Wanted::Bytes(part));
    }
}

impl Service {
    /// The bytes of a range of a stream, whose `size` is known.
    pub(in crate::service) fn open_stream(
        &self,
        id: BlockId,
        source: Source,
        size: u64,
        range: ByteRange,
    ) -> ApiResult<Loaded> {
        let part = range.within(size)?;
        let length = part.end - part.start;
        let bytes = self.bytes_of(id, source, part, Until::Now);
        Ok(Loaded {
            id,
            size,
            body: Body::pulled(Some(length), bytes),
        })
    }

    /// The bytes of a stream from one on, also those that are yet to be written.
    ///
    /// # Errors
    /// As [`load`](Self::load); in the middle of the bytes `Cancelled` where the program that writes went away, and what
    /// was read already was not placed.
    pub async fn stream_follow(&self, id: BlockId, range: ByteRange) -> ApiResult<Loaded> {
        let source = match self.writing.get(id) {
            Some(stream) => {
                range.within(stream.size())?;
                Some(Source::Open(stream))
            }
            None if self.store.meta(id).is_some() || self.store.object(id).is_some() => None,
            None => match self.stream_of_peer(id).await? {
                Some((link, page)) if !page.whole => {
                    range.within(page.size)?;
                    Some(Source::Peer(link))
                }
                Some(_) | None => None,
            },
        };
        let Some(source) = source else {
            return self.load(id, range).await;
        };
        let end = range.offset.saturating_add(range.length);
        let bytes = self.bytes_of(id, source, range.offset..end, Until::Finished);
        Ok(Loaded {
            id,
            // Nobody knows yet.
            size: u64::MAX,
            body: Body::pulled(None, bytes),
        })
    }

    /// The peer that has the manifest of a stream, and what it says of the stream as a whole: the page has no chunks.
    async fn stream_of_peer(&self, id: BlockId) -> ApiResult<Option<(Arc<PeerLink>, ManifestPage)>> {
        for link in self.who_may_have(id).await {
            match self.fetch_page(&link, id, u64::MAX, 0).await {
                Ok(page) => return Ok(Some((link, page))),
                Err(error) if error.code == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn bytes_of(
        &self,
        id: BlockId,
        source: Source,
        range: std::ops::Range<u64>,
        until: Until,
    ) -> BoxStream<'static, ApiResult<Bytes>> {
        let (reading, ahead) = Reading::begin(&self.readers);
        let service = self.shared();
        // The first chunk has the link for itself: fetched beside others it would come as late as all of them.
        let first_came = CancellationToken::new();
        let mut first = Some(first_came.clone().drop_guard());
        self.walk(id, source, range, until)
            .map_ok(move |(wanted, via)| {
                let (service, first, first_came) = (Arc::clone(&service), first.take(), first_came.clone());
                async move {
                    if first.is_none() {
                        first_came.cancelled().await;
                    }
                    service.fetch(id, wanted, via).await
                }
            })
            .try_buffered(ahead)
            .map_ok(move |pieces| {
                // It lives as long as the bytes are read.
                let _ = &reading;
                stream::iter(pieces.into_iter().map(Ok))
            })
            .try_flatten()
            .boxed()
    }

    fn walk(
        &self,
        id: BlockId,
        source: Source,
        range: std::ops::Range<u64>,
        until: Until,
    ) -> impl Stream<Item = ApiResult<(Wanted, Option<Arc<PeerLink>>)>> + Send + use<> {
        let via = match &source {
            Source::Peer(link) => Some(Arc::clone(link)),
            Source::Whole(_) | Source::Open(_) => None,
        };
        let breaks = match &source {
            Source::Open(stream) => stream.growth().breaks,
            Source::Whole(_) | Source::Peer(_) => 0,
        };
        let walk = Walk {
            service: self.shared(),
            id,
            source,
            at: range.start,
            end: range.end,
            until,
            breaks,
            ready: VecDeque::new(),
        };
        stream::try_unfold((walk, via), |(mut walk, via)| async move {
            let wanted = walk.next().await?;
            Ok(wanted.map(|wanted| ((wanted, via.clone()), (walk, via))))
        })
    }

    async fn fetch(
        &self,
        id: BlockId,
        wanted: Wanted,
        via: Option<Arc<PeerLink>>,
    ) -> ApiResult<VecDeque<Bytes>> {
        match wanted {
            Wanted::Bytes(bytes) => Ok(bytes),
            Wanted::AtWriter { from, to } => {
                let link = via.ok_or_else(|| self.chunk_gone(from, self.config.node_id))?;
                self.passed_on(&link, id, from..to).await
            }
            Wanted::Chunk {
                chunk,
                offset,
                from,
                to,
            } => {
                let bytes = self.fetch_chunk(id, &chunk, offset, via).await?;
                Ok(part_of(bytes, from - offset, to - from))
            }
        }
    }

    /// The bytes of a chunk, verified where another node sent them.
    async fn fetch_chunk(
        &self,
        id: BlockId,
        chunk: &PlacedChunk,
        offset: u64,
        via: Option<Arc<PeerLink>>,
    ) -> ApiResult<VecDeque<Bytes>> {
        if chunk.holder == self.config.node_id {
            let value = self
                .store
                .block(chunk.id)
                .ok_or_else(|| self.chunk_gone(offset, chunk.holder))?;
            let (codec, length) = (chunk.codec, chunk.length);
            let stored = VecDeque::from([value.bytes()]);
            return match codec {
                Codec::Raw => restored(stored, codec, length),
                Codec::Zstd => self.compute(move || restored(stored, codec, length)).await,
            };
        }
        let fetched = match (self.peers.link(chunk.holder), via) {
            (Some(holder), _) => self.ask_holder(&holder, chunk, offset).await,
            (None, Some(via)) => {
                let bytes = self.relayed(&via, id, offset, chunk.length.into()).await?;
                self.verified(bytes, chunk, Codec::Raw, &via, offset).await
            }
            (None, None) => Err(self
                .link_to(chunk.holder)
                .map_or_else(|error| error, |_| self.chunk_gone(offset, chunk.holder))),
        };
        match fetched {
            Ok(bytes) => Ok(bytes),
            // Somebody else may have stored the same bytes.
            Err(error) => self.ask_anybody(chunk, offset).await.ok_or(error),
        }
    }

    async fn ask_holder(
        &self,
        holder: &PeerLink,
        chunk: &PlacedChunk,
        offset: u64,
    ) -> ApiResult<VecDeque<Bytes>> {
        match self.load_from(holder, chunk.id, ByteRange::ALL, false).await? {
            Some(Found::Bytes(loaded)) if loaded.size == u64::from(chunk.stored) => {
                let stored = gathered(loaded.body, chunk.stored).await?;
                self.verified(stored, chunk, chunk.codec, holder, offset).await
            }
            Some(Found::Bytes(_)) => Err(self.falsified(holder, offset)),
            Some(Found::Elsewhere(..)) | None => Err(self.chunk_gone(offset, chunk.holder)),
        }
    }

    /// Asks the peers one after the other whether they have bytes with this hash.
    async fn ask_anybody(&self, chunk: &PlacedChunk, offset: u64) -> Option<VecDeque<Bytes>> {
        for link in self.peers.connected() {
            if link.id() == chunk.holder {
                continue;
            }
            let request = PeerRequest::Chunk { hash: chunk.hash };
            let Ok((PeerReply::ChunkLoaded { length, codec }, body)) =
                link.request(request, Body::empty()).await
            else {
                continue;
            };
            if length != chunk.length {
                continue;
            }
            let Some(len) = body.size().filter(|len| *len <= STREAM_CHUNK_SIZE as u64) else {
                continue;
            };
            let Ok(stored) = gathered(body, len as u32).await else {
                continue;
            };
            if let Ok(bytes) = self.verified(stored, chunk, codec, &link, offset).await {
                return Some(bytes);
            }
        }
        None
    }

    /// Bytes of a stream as the node passes them on that writes it.
    async fn relayed(
        &self,
        via: &PeerLink,
        id: BlockId,
        offset: u64,
        length: u64,
    ) -> ApiResult<VecDeque<Bytes>> {
        let range = ByteRange { offset, length };
        match self.load_from(via, id, range, true).await? {
            Some(Found::Bytes(loaded)) if loaded.body.size() == Some(length) => {
                let bytes = gathered(loaded.body, u32::try_from(length).unwrap_or(u32::MAX)).await?;
                Ok(bytes)
            }
            Some(Found::Bytes(_)) => Err(self.falsified(via, offset)),
            Some(Found::Elsewhere(..)) | None => Err(self.chunk_gone(offset, via.id())),
        }
    }

    /// Bytes that are in no chunk yet, from the node that writes the stream.
    async fn passed_on(
        &self,
        writer: &PeerLink,
        id: BlockId,
        part: std::ops::Range<u64>,
    ) -> ApiResult<VecDeque<Bytes>> {
        let length = part.end - part.start;
        let range = ByteRange {
            offset: part.start,
            length,
        };
        match self.load_from(writer, id, range, true).await {
            Ok(Some(Found::Bytes(loaded))) if loaded.body.size() == Some(length) => {
                gathered(loaded.body, u32::try_from(length).unwrap_or(u32::MAX)).await
            }
            Ok(Some(Found::Bytes(loaded))) => Err(broken_off(id, loaded.size)),
            // The range begins behind the end by now.
            Err(error) if error.code == ErrorCode::InvalidArgument => Err(broken_off(id, part.start)),
            Ok(Some(Found::Elsewhere(..)) | None) => Err(self.chunk_gone(part.start, writer.id())),
            Err(error) => Err(error),
        }
    }

    async fn verified(
        &self,
        stored: VecDeque<Bytes>,
        chunk: &PlacedChunk,
        codec: Codec,
        from: &PeerLink,
        offset: u64,
    ) -> ApiResult<VecDeque<Bytes>> {
        let (length, hash) = (chunk.length, chunk.hash);
        let verify = move || {
            restored(stored, codec, length)
                .ok()
                .filter(|bytes| hash_of(bytes) == hash)
        };
        match self.compute(verify).await {
            Some(bytes) => Ok(bytes),
            None => Err(self.falsified(from, offset)),
        }
    }

    fn falsified(&self, by: &PeerLink, offset: u64) -> ApiError {
        tracing::warn!(peer = %by.id().short(), offset, "a peer sent other bytes than were stored there");
        ApiError::new(
            ErrorCode::Corrupt,
            format!(
                "what '{}' sent for the bytes from {offset} on is not what was stored there: their hash differs, and no other node has them. \
                 Store the stream again, and look after that machine",
                by.name()
            ),
        )
    }

    fn chunk_gone(&self, offset: u64, holder: NodeId) -> ApiError {
        ApiError::new(
            ErrorCode::NotFound,
            format!(
                "the bytes from {offset} on are no longer on '{}': they expired, were freed or evicted, or it restarted",
                self.peers.name_of(holder)
            ),
        )
    }

    /// Asks a peer for a page of a manifest.
    pub(in crate::service) async fn fetch_page(
        &self,
        link: &PeerLink,
        id: BlockId,
        offset: u64,
        beyond: u64,
    ) -> ApiResult<ManifestPage> {
        let (reply, body) = link
            .request(PeerRequest::Manifest { id, offset, beyond }, Body::empty())
            .await?;
        match reply {
            PeerReply::Loaded { .. } => {
                let page = ManifestPage::decode(&body.collect(PAGE_LEN_MAX as u64).await?)?;
                if page.offset > offset.min(page.size) {
                    return Err(unexpected_reply(link));
                }
                Ok(page)
            }
            _ => Err(unexpected_reply(link)),
        }
    }

    /// Writes a range of an object to a file, from its byte `at` on. Of a stream several chunks at a time.
    ///
    /// # Errors
    /// As [`load`](Self::load); `OutOfMemory` where the file's system is full, `InvalidArgument` where the file cannot be written.
    ///
    /// # Cancel safety
    /// Dropped, some of the bytes are written.
    pub async fn load_into(&self, id: BlockId, range: ByteRange, file: File, at: u64) -> ApiResult<Written> {
        let file = Arc::new(file);
        let whole = match self.stream_source(id).await? {
            Some((source, size)) => {
                let part = range.within(size)?;
                let (begin, length) = (part.start, part.end - part.start);
                let (_reading, ahead) = Reading::begin(&self.readers);
                let holders = Holders::new(ahead);
                self.counters.hits.increment();
                self.walk(id, source, part, Until::Now)
                    .map_ok(|(wanted, via)| {
                        let (file, holders) = (Arc::clone(&file), &holders);
                        async move {
                            let to = match &wanted {
                                Wanted::Chunk { from, .. } | Wanted::AtWriter { from, .. } => Some(*from),
                                Wanted::Bytes(_) => None,
                            };
                            let turn = holders.turn(&wanted).await;
                            let pieces = self.fetch(id, wanted, via).await?;
                            Ok((to, pieces, file, turn))
                        }
                    })
                    .try_buffer_unordered(ahead * LOOKED_AT)
                    .try_for_each(|(from, pieces, file, turn)| async move {
                        // What is in no chunk has no place of its own: a stream that grows is read in order instead.
                        let from = from.ok_or_else(still_growing)?;
                        let written = self.write_pieces(file, pieces, at + (from - begin)).await;
                        drop(turn);
                        written
                    })
                    .await?;
                return Ok(Written { id, size, length });
            }
            None => self.load(id, range).await?,
        };
        let Loaded { id, size, mut body } = whole;
        let mut length = 0;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            let len = piece.len() as u64;
            self.write_pieces(Arc::clone(&file), VecDeque::from([piece]), at + length)
                .await?;
            length += len;
        }
        Ok(Written { id, size, length })
    }

    async fn write_pieces(&self, file: Arc<File>, pieces: VecDeque<Bytes>, at: u64) -> ApiResult<()> {
        let write = move || {
            let mut at = at;
            for piece in pieces {
                platform::write_all_at(&file, &piece, at)?;
                at += piece.len() as u64;
            }
            Ok(())
        };
        self.compute(write)
            .await
            .map_err(|error: std::io::Error| match error.kind() {
                std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::FileTooLarge => ApiError::new(
                    ErrorCode::OutOfMemory,
                    format!("the file has no room for it: {error}"),
                ),
                _ => ApiError::invalid(format!("the file cannot be written: {error}")),
            })
    }

    /// Who knows the chunks of a stream, and its size; `None` where it is no stream, or nobody has it.
    async fn stream_source(&self, id: BlockId) -> ApiResult<Option<(Source, u64)>> {
        if self.writing.get(id).is_some() || self.store.meta(id).is_some() {
            return Ok(None);
        }
        if let Some(manifest) = self.finished_stream(id) {
            let size = manifest.size();
            return Ok(Some((Source::Whole(manifest), size)));
        }
        if self.store.object(id).is_some() {
            return Ok(None);
        }
        let of_peer = self.stream_of_peer(id).await?;
        let whole = of_peer.filter(|(_, page)| page.whole);
        Ok(whole.map(|(link, page)| (Source::Peer(link), page.size)))
    }
}

/// A body, which must have just so many bytes, in memory that mostly served for another one before: nobody is woken for its pieces, and each
/// is copied once.
async fn gathered(body: Body, len: u32) -> ApiResult<VecDeque<Bytes>> {
    let buffer = BlockBuffer::in_heap(len.into())?;
    let value = body.fill(buffer).await.map_err(|error| match error.code {
        ErrorCode::InvalidArgument => ApiError::new(
            ErrorCode::Corrupt,
            "a peer sent more bytes than it said, or fewer",
        ),
        _ => error,
    })?;
    Ok(VecDeque::from([value.bytes()]))
}

/// A part of pieces, which must lie within them.
fn part_of(pieces: VecDeque<Bytes>, mut skip: u64, mut length: u64) -> VecDeque<Bytes> {
    let mut part = VecDeque::new();
    for piece in pieces {
        let from = skip.min(piece.len() as u64);
        skip -= from;
        let to = (from + length).min(piece.len() as u64);
        length -= to - from;
        if from < to {
            part.push_back(piece.slice(from as usize..to as usize));
        }
    }
    part
}

/// The stream is shorter than a reader has seen it already.
fn broken_off(id: BlockId, size: u64) -> ApiError {
    ApiError::new(
        ErrorCode::Cancelled,
        format!(
            "the program that writes stream {id} went away before its last bytes were placed: they are not there any more behind byte {size}"
        ),
    )
}

fn still_growing() -> ApiError {
    ApiError::new(
        ErrorCode::Busy,
        "the stream is still being written: read it in order, or wait until it is finished",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_pieces_is_cut_at_both_ends() {
        let pieces = || VecDeque::from([&b"abc"[..], b"", b"defg"].map(Bytes::from_static));
        let joined = |skip, length| Vec::from(part_of(pieces(), skip, length)).concat();
        assert_eq!(joined(0, 7), b"abcdefg");
        assert_eq!(joined(2, 2), b"cd");
        assert_eq!(joined(3, 1), b"d");
        assert_eq!(joined(4, 0), b"");
        assert_eq!(joined(6, 1), b"g");
    }
}
