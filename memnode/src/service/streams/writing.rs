//! A stream that is being written: what came of it so far, and where it lies.
//!
//! A program appends to it, as often as it likes, and finishes it. What is under way is bounded by the slots of the lanes and by the room that all
//! streams share; whoever appends is not read any faster. A stream whose program went away keeps what it has for a while, so that another
//! attempt finds its chunks by their hashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, Stream};
use futures_util::{FutureExt, StreamExt};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::peer::message::{ChunkForm, FREE_BATCH_MAX};
use memproto::peer::{Manifest, ManifestPage, PeerReply, PeerRequest, PlacedChunk};
use memproto::stream::{
    Codec, Compress, KnownChunk, StreamFinished, StreamHolder, StreamOptions, StreamStatus,
};
use memproto::{BlockClass, BlockId, ChunkHash, NodeId};
use tokio::time::Instant;

use super::chunks::Claim;
use super::compression::{Compression, compressed};
use super::cutting::{FileSource, Pieces, RawChunk, len_of};
use super::growth::{Grown, Growth};
use super::lanes::{Choice, LANE_SLOTS, Lanes, RETURN_LOOK, RETURN_WAIT};
use crate::body::Body;
use crate::buffer::BlockBuffer;
use crate::expiry::Moment;
use crate::peer::PeerLink;
use crate::placement;
use crate::service::blocks::{Placed, fill};
use crate::service::{ByteRange, Service, lock, unexpected_reply};
use crate::store::{Adoption, Block, Chunk, Content, Object, Owner, Place};

/// How many chunks one stream has under way at most: all slots of two lanes, or some of each of many.
const UNDER_WAY_MAX: usize = 2 * LANE_SLOTS;

/// How long a chunk waits for a peer that has too much to do already, and how often: other programs' transfers make it busy for a moment, for half a minute
/// something else does.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const BUSY_TIMES_MAX: u32 = 300;

/// How many ranges an error names that are missing: a few lines.
const MISSING_RANGES_MAX: usize = 8;

/// A stream that is not finished.
#[derive(Debug)]
pub(in crate::service) struct OpenStream {
    id: BlockId,
    options: StreamOptions,
    lanes: Lanes,
    compression: Compression,
    /// Held by whoever appends.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    growth: Grown,
}

#[derive(Debug)]
struct State {
    /// The chunks that are placed, without a gap.
    manifest: Manifest,
    /// Those behind a gap, by their place in the list.
    ahead: BTreeMap<usize, PlacedChunk>,
    /// Those of an append that was broken off behind a gap: the next attempt finds them by their hashes.
    spare: Vec<BlockId>,
    /// How many chunks were cut, and their bytes.
    cut: usize,
    cut_bytes: u64,
    /// The bytes of chunks that came as a body and are under way.
    flying: BTreeMap<usize, Pieces>,
    /// What came and is no chunk yet.
    tail: Pieces,
    known_bytes: u64,
    stored_bytes: u64,
    /// Bytes of the placed chunks, and bytes under way, on each node.
    lying: BTreeMap<NodeId, u64>,
    under_way: BTreeMap<NodeId, u64>,
    /// When something was last done with it.
    active: Instant,
    ended: bool,
}

/// A chunk that has its place.
#[derive(Clone, Copy, Debug)]
struct Settled {
    chunk: PlacedChunk,
    /// Whether its bytes were there already.
    known: bool,
}

/// What a look for the bytes from one on found.
pub(super) enum Part {
    /// Chunks.
    Page(ManifestPage),
    /// Bytes that are in no chunk yet.
    Bytes(VecDeque<Bytes>),
    /// There are none.
    End(Growth),
}

impl OpenStream {
    pub(super) fn new(service: &Service, options: StreamOptions) -> ApiResult<Self> {
        let lanes = Lanes::new(&options.placement, &service.peers)?;
        Ok(Self {
            id: service.store.new_id(options.key.as_deref()),
            compression: Compression::new(options.compress),
            lanes,
            options,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                manifest: Manifest::new(),
                ahead: BTreeMap::new(),
                spare: Vec::new(),
                cut: 0,
                cut_bytes: 0,
                flying: BTreeMap::new(),
                tail: Pieces::default(),
                known_bytes: 0,
                stored_bytes: 0,
                lying: BTreeMap::new(),
                under_way: BTreeMap::new(),
                active: Instant::now(),
                ended: false,
            }),
            growth: Grown::default(),
        })
    }

    pub(super) fn id(&self) -> BlockId {
        self.id
    }

    /// The size as far as it can be read.
    pub(in crate::service) fn size(&self) -> u64 {
        self.growth.now().size
    }

    /// When something was last done with it; `None` while something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.turn.try_lock().is_ok();
        is_idle.then(|| lock(&self.state).active)
    }

    /// Appends a body, whose end is the end of a chunk. Returns the size of the stream.
    ///
    /// # Errors
    /// What the body fails with, and what [`place`](Self::place) does. The stream has what could be placed without a gap.
    ///
    /// # Cancel safety
    /// Dropped, likewise.
    pub(super) async fn append_body(&self, service: &Service, body: Body) -> ApiResult<u64> {
        let _turn = self.turn()?;
        let cutting = stream::try_unfold((body, false), |(mut body, mut at_end)| async move {
            loop {
                let ready = {
                    let state = lock(&self.state);
                    match at_end || state.tail.has_chunk() {
                        true => Some(state.tail.len() > 0),
                        false => None,
                    }
                };
                match ready {
                    Some(false) => return Ok(None),
                    Some(true) => {
                        let room = service.buffers.room().await;
                        let pieces = {
                            let mut state = lock(&self.state);
                            // Nobody else takes one, but the stream may have been freed.
                            let chunk = state.tail.take_chunk();
                            let pieces = chunk.ok_or_else(|| no_longer_open(self.id))?;
                            let flying = Pieces::from_iter(pieces.iter().cloned());
                            state.cut_bytes += flying.len() as u64;
                            let index = state.cut;
                            state.flying.insert(index, flying);
                            state.cut += 1;
                            pieces
                        };
                        let hashing = service.compute(move || RawChunk::of(pieces, room));
                        return Ok(Some((hashing.await, (body, at_end))));
                    }
                    None => match body.next().await.transpose()? {
                        Some(piece) => {
                            lock(&self.state).take_piece(piece, self.id)?;
                            self.publish();
                        }
                        None => at_end = true,
                    },
                }
            }
        });
        self.append(service, cutting).await
    }

    /// Appends a part of a file that this node reads. Chunks of it on peers that were lost meanwhile are read and placed again.
    ///
    /// # Errors
    /// `InvalidArgument` where the descriptor is not one of a regular file, or the file ends before the range, or becomes shorter; else as
    /// [`append_body`](Self::append_body).
    pub(super) async fn append_file(
        &self,
        service: &Service,
        file: File,
        range: ByteRange,
    ) -> ApiResult<u64> {
        let source = FileSource::new(file, &service.buffers);
        let range = range.within(source.size()?)?;
        let _turn = self.turn()?;
        let before = lock(&self.state).manifest.size();
        let read = {
            let source = source.clone();
            move |part: Range<u64>| {
                let source = source.clone();
                async move {
                    let room = service.buffers.room().await;
                    let length = (part.end - part.start) as u32;
                    service
                        .compute(move || source.chunk(part.start, length, room))
                        .await
                }
            }
        };
        let cutting = stream::try_unfold(range.start, |at| {
            let read = read.clone();
            let end = range.end.min(at + STREAM_CHUNK_SIZE as u64);
            async move {
                if at >= end {
                    return Ok(None);
                }
                let chunk = read(at..end).await?;
                let mut state = lock(&self.state);
                state.cut += 1;
                state.cut_bytes += u64::from(chunk.length);
                Ok(Some((chunk, end)))
            }
        });
        let appended = self.append(service, cutting).await?;
        self.mend(service, before, |offset, length| {
            let at = range.start + (offset - before);
            read(at..at + u64::from(length))
        })
        .await?;
        Ok(appended)
    }

    /// Appends those of the chunks that are there already. Returns of each whether it is.
    ///
    /// # Errors
    /// `Busy` where somebody else appends.
    pub(super) async fn append_known(
        &self,
        service: &Service,
        chunks: Vec<KnownChunk>,
    ) -> ApiResult<Vec<bool>> {
        let _turn = self.turn()?;
        let count = chunks.len();
        let mut found: BTreeMap<usize, Claimed<'_>> = BTreeMap::new();
        let mut waiting = chunks.into_iter().enumerate();
        let mut looking = FuturesUnordered::new();
        loop {
            let next = waiting.by_ref().take(UNDER_WAY_MAX - looking.len());
            looking
                .extend(next.map(|(index, chunk)| async move { (index, self.find(service, chunk).await) }));
            let Some((index, one)) = looking.next().await else {
                break;
            };
            found.extend(one.map(|claimed| (index, claimed)));
        }
        drop(looking);
        let is_known = (0..count).map(|index| found.contains_key(&index)).collect();
        while let Some((_, claimed)) = found.pop_first() {
            let settled = Settled {
                chunk: claimed.taken(),
                known: true,
            };
            let index = {
                let mut state = lock(&self.state);
                state.cut += 1;
                state.cut_bytes += u64::from(settled.chunk.length);
                state.cut - 1
            };
            self.settle(service, index, &settled)?;
        }
        self.publish();
        Ok(is_known)
    }

    /// Appends chunks as they come, several under way at a time.
    async fn append(
        &self,
        service: &Service,
        chunks: impl Stream<Item = ApiResult<RawChunk>> + Send,
    ) -> ApiResult<u64> {
        let mut chunks = std::pin::pin!(chunks);
        let _trimmed = Trimmed { stream: self };
        let mut under_way = FuturesUnordered::new();
        let mut next_index = lock(&self.state).cut;
        let mut at_end = false;
        loop {
            let settled = tokio::select! {
                biased;
                Some(settled) = under_way.next(), if !under_way.is_empty() => settled,
                chunk = chunks.next(), if !at_end && under_way.len() < UNDER_WAY_MAX => {
                    match chunk.transpose()? {
                        Some(chunk) => {
                            let index = next_index;
                            next_index += 1;
                            let placing = async move { (index, self.place(service, chunk).await) };
                            under_way.push(placing.boxed());
                        }
                        None => at_end = true,
                    }
                    continue;
                }
                else => break,
            };
            let (index, settled) = settled;
            self.settle(service, index, &settled?)?;
            self.publish();
        }
        Ok(lock(&self.state).manifest.size())
    }

    /// A chunk has its place. Where the stream was freed meanwhile, nobody needs it.
    fn settle(&self, service: &Service, index: usize, settled: &Settled) -> ApiResult<()> {
        let taken = {
            let mut state = lock(&self.state);
            match state.ended {
                true => Err(no_longer_open(self.id)),
                false => state.settle(index, settled),
            }
        };
        if taken.is_err() {
            service.free_chunk(settled.chunk.id);
        }
        taken
    }

    /// Finds a chunk of which only the hash is at hand, or has the peer that is next in turn take it over from somebody else.
    async fn find<'a>(&self, service: &'a Service, known: KnownChunk) -> Option<Claimed<'a>> {
        if self.options.class != BlockClass::Pinned {
            return None;
        }
        let here = service.config.node_id;
        loop {
            match service
                .chunks
                .claim(known.hash, |node| self.lanes.allow(node, here))?
            {
                Claim::Pending(done) => done.cancelled().await,
                Claim::Known(chunk) if chunk.length != known.length => {
                    service.free_chunk(chunk.id);
                    return None;
                }
                Claim::Known(chunk) => {
                    if let Some(claimed) = self.still_there(service, chunk).await {
                        return Some(claimed);
                    }
                }
                Claim::New(placing) => {
                    let chunk = self.adopted_anywhere(service, known).await?;
                    placing.done(chunk);
                    return Some(Claimed::new(service, chunk));
                }
            }
        }
    }

    async fn adopted_anywhere(&self, service: &Service, known: KnownChunk) -> Option<PlacedChunk> {
        let here = service.config.node_id;
        for link in service.peers.connected() {
            if self.lanes.allow(link.id(), here)
                && let Ok(Some(chunk)) = self.offer(service, &link, known.hash, known.length).await
            {
                return Some(chunk);
            }
        }
        if self.lanes.allow(here, here) {
            return self.adopted_here(service, known.hash, known.length);
        }
        None
    }

    /// Brings a chunk to where it is to lie.
    ///
    /// # Errors
    /// `OutOfMemory` and `PeerUnreachable` where no place is left; what a peer fails with.
    async fn place(&self, service: &Service, chunk: RawChunk) -> ApiResult<Settled> {
        let here = service.config.node_id;
        let is_shared = self.options.class == BlockClass::Pinned;
        let claim = || match is_shared {
            true => service
                .chunks
                .claim(chunk.hash, |node| self.lanes.allow(node, here)),
            false => None,
        };
        while let Some(claim) = claim() {
            match claim {
                Claim::Pending(done) => done.cancelled().await,
                Claim::Known(known) => {
                    if let Some(claimed) = self.still_there(service, known).await {
                        return Ok(Settled {
                            chunk: claimed.taken(),
                            known: true,
                        });
                    }
                }
                Claim::New(placing) => {
                    let settled = self.bring(service, chunk).await?;
                    placing.done(settled.chunk);
                    return Ok(settled);
                }
            }
        }
        let settled = self.bring(service, chunk).await?;
        service.chunks.add_unshared(settled.chunk);
        Ok(settled)
    }

    /// A chunk that was claimed, where it is still where it was.
    async fn still_there<'a>(&self, service: &'a Service, chunk: PlacedChunk) -> Option<Claimed<'a>> {
        let claimed = Claimed::new(service, chunk);
        if self.is_there(service, chunk).await {
            return Some(claimed);
        }
        service.chunks.forget(chunk.id);
        None
    }

    /// Whether a chunk that was placed earlier is still where it was; there it belongs to this stream from here on.
    async fn is_there(&self, service: &Service, chunk: PlacedChunk) -> bool {
        if chunk.holder == service.config.node_id {
            return service.store.meta(chunk.id).is_some();
        }
        let Some(link) = service.peers.link(chunk.holder) else {
            return false;
        };
        let held = self.held(&link, vec![chunk.id]).await;
        held.is_ok_and(|held| held == [true])
    }

    async fn held(&self, link: &PeerLink, ids: Vec<BlockId>) -> ApiResult<Vec<bool>> {
        let count = ids.len();
        let request = PeerRequest::Hold { stream: self.id, ids };
        match link.request(request, Body::empty()).await?.0 {
            PeerReply::Held(held) if held.len() == count => Ok(held),
            _ => Err(unexpected_reply(link)),
        }
    }

    /// Sends a chunk to a peer, or keeps it here.
    async fn bring(&self, service: &Service, chunk: RawChunk) -> ApiResult<Settled> {
        let mut failed = Vec::new();
        let mut busy_times = 0;
        let mut form: Option<(Codec, VecDeque<Bytes>)> = None;
        loop {
            let busy = self.lanes.are_busy();
            let (link, slot) = match self
                .lanes
                .choose(&service.peers, chunk.length.into(), &failed)
                .await?
            {
                Choice::Peer(link, slot) => (link, slot),
                Choice::Here => return self.keep(service, &chunk).await,
            };
            let _counted = self.count_under_way(link.id(), chunk.length);
            let sent: ApiResult<Settled> = async {
                if let Some(adopted) = self.offer(service, &link, chunk.hash, chunk.length).await? {
                    return Ok(Settled {
                        chunk: adopted,
                        known: true,
                    });
                }
                if form.is_none() {
                    form = Some(self.form(service, &chunk, busy).await);
                }
                let (codec, stored) = form.as_ref().expect("it was made just now");
                let chunk = self.send(service, &link, &chunk, *codec, stored).await?;
                Ok(Settled { chunk, known: false })
            }
            .await;
            match sent {
                Ok(settled) => {
                    slot.done(if settled.known {
                        0
                    } else {
                        settled.chunk.stored.into()
                    });
                    return Ok(settled);
                }
                Err(error) if error.code == ErrorCode::PeerUnreachable => {
                    // Where it comes back that is another link.
                    failed.push(link);
                }
                Err(error) if placement::is_refusal_for_room(&error) => slot.refused(&link, error),
                Err(error) if error.code == ErrorCode::Busy && busy_times < BUSY_TIMES_MAX => {
                    busy_times += 1;
                    drop(slot);
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The form in which a chunk travels and is kept.
    async fn form(&self, service: &Service, chunk: &RawChunk, busy: bool) -> (Codec, VecDeque<Bytes>) {
        if self.compression.is_worth_a_look(busy) {
            let pieces = chunk.pieces.clone();
            let smaller = service.compute(move || compressed(&pieces)).await;
            self.compression.note(smaller.is_some());
            if let Some(smaller) = smaller {
                return (Codec::Zstd, VecDeque::from([smaller]));
            }
        }
        (Codec::Raw, chunk.pieces.clone())
    }

    /// Asks a peer whether it has the bytes of a chunk already, and to keep it then.
    async fn offer(
        &self,
        service: &Service,
        link: &PeerLink,
        hash: ChunkHash,
        length: u32,
    ) -> ApiResult<Option<PlacedChunk>> {
        let mut placing = OnPeer::new(service, link.id());
        let request = PeerRequest::Offer {
            id: placing.id,
            stream: self.id,
            hash,
            length,
            class: self.options.class,
        };
        match link.request(request, Body::empty()).await?.0 {
            PeerReply::Adopted(None) => {
                placing.is_there = false;
                Ok(None)
            }
            PeerReply::Adopted(Some(adopted)) if (1..=STREAM_CHUNK_SIZE as u32).contains(&adopted.stored) => {
                link.note_borrowed(adopted.usage);
                Ok(Some(placing.done(hash, length, adopted.stored, adopted.codec)))
            }
            _ => Err(unexpected_reply(link)),
        }
    }

    async fn send(
        &self,
        service: &Service,
        link: &PeerLink,
        chunk: &RawChunk,
        codec: Codec,
        stored: &VecDeque<Bytes>,
    ) -> ApiResult<PlacedChunk> {
        let placing = OnPeer::new(service, link.id());
        let size = len_of(stored);
        let request = PeerRequest::Store {
            id: placing.id,
            size,
            class: self.options.class,
            chunk: Some(ChunkForm {
                stream: self.id,
                hash: chunk.hash,
                length: chunk.length,
                codec,
            }),
            // The chunks of a stream begin to age together, when it is whole.
            ttl: None,
        };
        match link.request(request, Body::from_pieces(stored.clone())).await?.0 {
            PeerReply::Stored(usage) => {
                link.note_borrowed(usage);
                Ok(placing.done(chunk.hash, chunk.length, size as u32, codec))
            }
            _ => Err(unexpected_reply(link)),
        }
    }

    /// Keeps a chunk in this node's memory.
    async fn keep(&self, service: &Service, chunk: &RawChunk) -> ApiResult<Settled> {
        let here = service.config.node_id;
        if self.options.class == BlockClass::Pinned
            && let Some(chunk) = self.adopted_here(service, chunk.hash, chunk.length)
        {
            return Ok(Settled { chunk, known: true });
        }
        let _counted = self.count_under_way(here, chunk.length);
        let always = self.options.compress == Compress::Always;
        let (codec, stored) = self.form(service, chunk, always).await;
        let size = len_of(&stored);
        let reservation = service
            .store
            .reserve(Owner::Local, size)
            .map_err(|error| placement::out_of_memory(Some(error), &[], size))?;
        // Not a memory file, however large: no program maps a chunk, and a stream has thousands.
        let buffer = BlockBuffer::in_heap(size)?;
        let bytes = fill(buffer, Body::from_pieces(stored)).await?;
        let id = service.store.new_id(None);
        let block = Block {
            bytes,
            class: self.options.class,
            chunk: Some(Chunk {
                stream: self.id,
                hash: chunk.hash,
                length: chunk.length,
                codec,
            }),
            expires: None,
        };
        service.store.insert(id, block, reservation)?;
        let chunk = PlacedChunk {
            id,
            holder: here,
            length: chunk.length,
            stored: size as u32,
            codec,
            hash: chunk.hash,
        };
        Ok(Settled { chunk, known: false })
    }

    /// Keeps a chunk of which this node has the bytes already, because a peer stored them here.
    fn adopted_here(&self, service: &Service, hash: ChunkHash, length: u32) -> Option<PlacedChunk> {
        let id = service.store.new_id(None);
        let adoption = Adoption {
            owner: Owner::Local,
            stream: self.id,
            hash,
            length,
            class: self.options.class,
            expires: None,
        };
        // In one step: whoever gives up in between would leave it behind.
        let adopted = service.store.adopt(id, adoption).ok()??;
        Some(PlacedChunk {
            id,
            holder: service.config.node_id,
            length,
            stored: adopted.stored_len as u32,
            codec: adopted.codec,
            hash,
        })
    }

    /// Places chunks again that lie where they cannot be reached any more. `read` has the bytes of a chunk from its place in the stream.
    async fn mend<F>(&self, service: &Service, from: u64, read: impl Fn(u64, u32) -> F) -> ApiResult<()>
    where
        F: Future<Output = ApiResult<RawChunk>>,
    {
        let lost = self.lost(service, from).await?;
        for (index, offset, old) in lost {
            let chunk = read(offset, old.length).await?;
            if chunk.hash != old.hash {
                return Err(ApiError::invalid(format!(
                    "the file changed while it was read: the bytes from {offset} on of the stream are others now; run it again"
                )));
            }
            service.chunks.forget(old.id);
            let new = self.place(service, chunk).await?.chunk;
            let mut state = lock(&self.state);
            let replaced = match state.ended {
                true => Err(no_longer_open(self.id)),
                false => state.manifest.replace(index, new),
            };
            if let Err(error) = replaced {
                drop(state);
                service.free_chunk(new.id);
                return Err(error);
            }
            *state.lying.entry(old.holder).or_default() -= u64::from(old.length);
            *state.lying.entry(new.holder).or_default() += u64::from(new.length);
            drop(state);
            service.free_chunk(old.id);
        }
        Ok(())
    }

    /// The chunks from a byte on whose holders no longer have them, or cannot be asked: their places in the list, where they begin.
    async fn lost(&self, service: &Service, from: u64) -> ApiResult<Vec<(usize, u64, PlacedChunk)>> {
        let mut by_holder: BTreeMap<NodeId, Vec<(usize, u64, PlacedChunk)>> = BTreeMap::new();
        {
            let state = lock(&self.state);
            let (first, mut begin) = state.manifest.find(from);
            for index in first..state.manifest.chunks().len() {
                let chunk = state.manifest.placed(index);
                by_holder
                    .entry(chunk.holder)
                    .or_default()
                    .push((index, begin, chunk));
                begin += u64::from(chunk.length);
            }
        }
        let mut lost = Vec::new();
        for (holder, chunks) in by_holder {
            if holder == service.config.node_id {
                let is_lost = |chunk: &PlacedChunk| service.store.meta(chunk.id).is_none();
                lost.extend(chunks.into_iter().filter(|(_, _, chunk)| is_lost(chunk)));
                continue;
            }
            let link = self.wait_for(service, holder).await;
            for chunks in chunks.chunks(FREE_BATCH_MAX) {
                let ids = chunks.iter().map(|(_, _, chunk)| chunk.id).collect();
                let held = match &link {
                    Some(link) => self.held(link, ids).await,
                    None => Err(ApiError::new(ErrorCode::PeerUnreachable, "")),
                };
                match held {
                    Ok(held) => {
                        let missing = chunks.iter().zip(held).filter(|(_, is_there)| !is_there);
                        lost.extend(missing.map(|(chunk, _)| *chunk));
                    }
                    Err(error) if error.code == ErrorCode::PeerUnreachable => lost.extend(chunks),
                    Err(error) => return Err(error),
                }
            }
        }
        lost.sort_unstable_by_key(|(index, ..)| *index);
        Ok(lost)
    }

    /// The link to a holder; where it is gone it may be back soon.
    async fn wait_for(&self, service: &Service, holder: NodeId) -> Option<Arc<PeerLink>> {
        let given_up = Instant::now() + RETURN_WAIT;
        loop {
            let link = service.peers.link(holder);
            if link.is_some() || Instant::now() >= given_up || !service.peers.unreachable().contains(&holder)
            {
                return link;
            }
            tokio::time::sleep(RETURN_LOOK).await;
        }
    }

    /// Makes the stream known. Every holder must still have its chunks, or it could not be read back.
    ///
    /// # Errors
    /// `Busy` while somebody appends; `PeerUnreachable`, `OutOfMemory` where chunks are gone, with the ranges that are missing. The
    /// stream stays as it is, and what is there is found by the next attempt.
    pub(super) async fn finish(&self, service: &Service) -> ApiResult<StreamFinished> {
        let _turn = self.turn()?;
        let lost = self.lost(service, 0).await?;
        if !lost.is_empty() {
            lost.iter()
                .for_each(|(_, _, chunk)| service.chunks.forget(chunk.id));
            return Err(self.missing(service, &lost));
        }
        let manifest = lock(&self.state).manifest.clone().tidied();
        let here = service.config.node_id;
        for &holder in manifest.holders().iter().filter(|&&holder| holder != here) {
            let link = service.link_to(holder)?;
            match link
                .request(PeerRequest::Finish { stream: self.id }, Body::empty())
                .await?
                .0
            {
                PeerReply::Finished { .. } => {}
                _ => return Err(unexpected_reply(&link)),
            }
        }
        let size = manifest.size();
        let manifest = Arc::new(manifest);
        let mut expires = None;
        if let Some(ttl) = self.options.ttl {
            expires = Some(service.store.expiry().after(ttl));
            // Later than what was counted above, so that the stream ends before its chunks.
            service.expire_chunks(&manifest, Some(ttl)).await?;
        }
        // From here on its chunks are those of the object.
        if std::mem::replace(&mut lock(&self.state).ended, true) {
            return Err(no_longer_open(self.id));
        }
        if let Err(error) = self.make_known(service, manifest, expires).await {
            lock(&self.state).ended = false;
            if service.writing.get(self.id).is_none() {
                // Somebody freed it meanwhile.
                self.free(service);
            }
            return Err(error);
        }
        let (spare, finished) = {
            let mut state = lock(&self.state);
            let finished = StreamFinished {
                id: self.id,
                size_bytes: size,
                stored_bytes: state.stored_bytes,
                known_bytes: state.known_bytes,
            };
            (std::mem::take(&mut state.spare), finished)
        };
        spare.into_iter().for_each(|id| service.free_chunk(id));
        let is_freed = service.writing.remove(self.id).is_none();
        self.growth
            .change(|growth| (growth.size, growth.ended) = (size, true));
        if is_freed {
            // Somebody was told that it is, while this was being done.
            service.free_own(self.id).await?;
            return Err(no_longer_open(self.id));
        }
        Ok(finished)
    }

    /// Lets the stream be found under its id and its key, as one that is whole.
    async fn make_known(
        &self,
        service: &Service,
        manifest: Arc<Manifest>,
        expires: Option<Moment>,
    ) -> ApiResult<()> {
        if self.options.live {
            // Its key names it already.
            return match service.store.replace_stream(self.id, manifest, expires) {
                true => Ok(()),
                false => Err(no_longer_open(self.id)),
            };
        }
        let size = manifest.size();
        let placed = Placed {
            id: self.id,
            size,
            content: Content::Object(Object {
                size,
                place: Place::Stream(manifest),
                expires,
            }),
        };
        match &self.options.key {
            Some(key) => service.set_placed(key, placed, false, None).await?,
            None => service.store_placed(placed, None)?,
        };
        Ok(())
    }

    /// Frees all of it, unless it is finished: whoever reads or writes it is told.
    pub(super) fn free(&self, service: &Service) -> u64 {
        let holders: BTreeSet<NodeId>;
        let (manifest, loose) = {
            let mut state = lock(&self.state);
            if std::mem::replace(&mut state.ended, true) {
                return 0;
            }
            holders = state.nodes();
            state.flying.clear();
            state.tail.clear();
            let mut loose = std::mem::take(&mut state.spare);
            loose.extend(
                std::mem::take(&mut state.ahead)
                    .into_values()
                    .map(|chunk| chunk.id),
            );
            (std::mem::take(&mut state.manifest), loose)
        };
        let bytes = manifest.size();
        for (holder, ids) in service.chunks.release_all(&manifest) {
            service.free_on(holder, ids);
        }
        loose.into_iter().for_each(|id| service.free_chunk(id));
        self.settle_with(service, &holders);
        self.growth.change(|growth| growth.ended = true);
        bytes
    }

    /// Bytes that came and are not placed.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn held_bytes(&self) -> u64 {
        let state = lock(&self.state);
        let flying: usize = state.flying.values().map(Pieces::len).sum();
        (flying + state.tail.len()) as u64
    }

    /// Tells the peers on which chunks lay that no more come: what was given up on its way there is not to stay.
    fn settle_with(&self, service: &Service, holders: &BTreeSet<NodeId>) {
        for link in holders.iter().filter_map(|&holder| service.peers.link(holder)) {
            let stream = self.id;
            service.spawn(async move {
                // Without an answer the link is gone, and the peer frees them by itself after a while.
                let _ = link.request(PeerRequest::Finish { stream }, Body::empty()).await;
            });
        }
    }

    /// How far it has come.
    pub(in crate::service) fn status(&self, service: &Service) -> StreamStatus {
        let state = lock(&self.state);
        let here = service.config.node_id;
        let holder = |id: NodeId| StreamHolder {
            id,
            name: match id == here {
                true => service.config.name.clone(),
                false => service.peers.name_of(id),
            },
            bytes: state.lying.get(&id).copied().unwrap_or(0),
            under_way_bytes: state.under_way.get(&id).copied().unwrap_or(0),
            connected: id == here || service.peers.link(id).is_some(),
        };
        let mut holders: Vec<StreamHolder> = state.nodes().into_iter().map(holder).collect();
        holders.retain(|holder| holder.bytes + holder.under_way_bytes > 0);
        holders.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        StreamStatus {
            id: self.id,
            taken_bytes: state.cut_bytes + state.tail.len() as u64,
            placed_bytes: state.manifest.size()
                + state
                    .ahead
                    .values()
                    .map(|chunk| u64::from(chunk.length))
                    .sum::<u64>(),
            known_bytes: state.known_bytes,
            stored_bytes: state.stored_bytes,
            holders,
            finished: state.ended,
        }
    }

    /// What there is from a byte on.
    pub(super) fn look(&self, at: u64) -> Part {
        // Before the look: whoever is told of the end finds all there is behind it.
        let told = self.growth.now();
        let looked = lock(&self.state).look(at);
        looked.unwrap_or_else(|size| Part::End(Growth { size, ..told }))
    }

    /// A page of its manifest, for another node.
    pub(in crate::service) fn page(&self, offset: u64) -> ManifestPage {
        let growth = self.growth.now();
        let state = lock(&self.state);
        let mut page = state.manifest.page(offset, 0, growth.ended);
        // Growth may have been told just before what is looked at here.
        let end = page.offset
            + page
                .chunks
                .iter()
                .map(|chunk| u64::from(chunk.length))
                .sum::<u64>();
        page.size = growth.size.max(end);
        page
    }

    /// How far it can be read.
    pub(in crate::service) fn growth(&self) -> Growth {
        self.growth.now()
    }

    /// Waits until it can be read as far as is wanted.
    pub(in crate::service) async fn until(&self, is_wanted: impl Fn(&Growth) -> bool) {
        self.growth.wait_for(is_wanted).await;
    }

    /// How many wait to be told how it grows.
    #[cfg(test)]
    pub(in crate::service) fn followers(&self) -> usize {
        self.growth.waiting()
    }

    fn turn(&self) -> ApiResult<tokio::sync::MutexGuard<'_, ()>> {
        let turn = self.turn.try_lock().map_err(|_| {
            ApiError::new(
                ErrorCode::Busy,
                format!(
                    "something is being appended to stream {} already: wait for it",
                    self.id
                ),
            )
        })?;
        let mut state = lock(&self.state);
        if state.ended {
            return Err(no_longer_open(self.id));
        }
        state.active = Instant::now();
        drop(state);
        Ok(turn)
    }

    fn publish(&self) {
        let size = lock(&self.state).look(u64::MAX).err().unwrap_or_default();
        self.growth.change(|growth| growth.size = size);
    }

    fn count_under_way(&self, node: NodeId, length: u32) -> UnderWay<'_> {
        *lock(&self.state).under_way.entry(node).or_default() += u64::from(length);
        UnderWay {
            stream: self,
            node,
            length,
        }
    }

    fn missing(&self, service: &Service, lost: &[(usize, u64, PlacedChunk)]) -> ApiError {
        if self.options.class == BlockClass::Cache {
            return evicted_meanwhile();
        }
        // Neighbours on one node are one range.
        let mut ranges: Vec<(Range<u64>, NodeId)> = Vec::new();
        for (_, begin, chunk) in lost {
            let end = begin + u64::from(chunk.length);
            match ranges.last_mut() {
                Some((range, holder)) if range.end == *begin && *holder == chunk.holder => range.end = end,
                _ => ranges.push((*begin..end, chunk.holder)),
            }
        }
        let told: Vec<String> = ranges
            .iter()
            .take(MISSING_RANGES_MAX)
            .map(|(range, holder)| {
                let name = service.peers.name_of(*holder);
                format!("{}-{} on '{name}'", range.start, range.end - 1)
            })
            .collect();
        let more = ranges.len().saturating_sub(MISSING_RANGES_MAX);
        let more = if more > 0 {
            format!(" and {more} more ranges")
        } else {
            String::new()
        };
        ApiError::new(
            ErrorCode::PeerUnreachable,
            format!(
                "parts of the stream can no longer be reached: bytes {}{more}. Run it again: only what is missing is sent",
                told.join(", ")
            ),
        )
    }
}

impl State {
    /// The nodes on which chunks lie, or to which they are on their way.
    fn nodes(&self) -> BTreeSet<NodeId> {
        self.lying.keys().chain(self.under_way.keys()).copied().collect()
    }

    /// Takes bytes in that are to become chunks.
    fn take_piece(&mut self, piece: Bytes, id: BlockId) -> ApiResult<()> {
        if self.ended {
            return Err(no_longer_open(id));
        }
        self.tail.push(piece);
        Ok(())
    }

    /// A chunk has its place; those behind it may follow without a gap now.
    fn settle(&mut self, index: usize, settled: &Settled) -> ApiResult<()> {
        let length = u64::from(settled.chunk.length);
        match settled.known {
            true => self.known_bytes += length,
            false => self.stored_bytes += u64::from(settled.chunk.stored),
        }
        *self.lying.entry(settled.chunk.holder).or_default() += length;
        self.flying.remove(&index);
        self.ahead.insert(index, settled.chunk);
        while let Some(chunk) = self.ahead.remove(&self.manifest.chunks().len()) {
            self.manifest.push(chunk)?;
        }
        self.active = Instant::now();
        Ok(())
    }

    /// What there is from a byte on; or up to which byte there is anything.
    fn look(&self, at: u64) -> Result<Part, u64> {
        if at < self.manifest.size() {
            return Ok(Part::Page(self.manifest.page(at, self.manifest.size(), false)));
        }
        let mut begin = self.manifest.size();
        for index in self.manifest.chunks().len()..self.cut {
            let end = match (self.flying.get(&index), self.ahead.get(&index)) {
                (Some(flying), _) if at < begin + flying.len() as u64 => {
                    return Ok(Part::Bytes(flying.from((at - begin) as usize)));
                }
                (Some(flying), _) => begin + flying.len() as u64,
                (None, Some(&chunk)) if at < begin + u64::from(chunk.length) => {
                    return Ok(Part::Page(ManifestPage {
                        size: begin + u64::from(chunk.length),
                        whole: false,
                        offset: begin,
                        chunks: vec![chunk],
                    }));
                }
                (None, Some(chunk)) => begin + u64::from(chunk.length),
                // Of a file: it can be read once it is placed.
                (None, None) => return Err(begin),
            };
            begin = end;
        }
        let end = begin + self.tail.len() as u64;
        if at < end {
            return Ok(Part::Bytes(self.tail.from((at - begin) as usize)));
        }
        Err(end)
    }
}

/// A use of a chunk that is in no stream yet. Dropped before it is [`taken`](Self::taken), it is given back.
struct Claimed<'a> {
    service: &'a Service,
    chunk: Option<PlacedChunk>,
}

impl<'a> Claimed<'a> {
    fn new(service: &'a Service, chunk: PlacedChunk) -> Self {
        Self {
            service,
            chunk: Some(chunk),
        }
    }

    fn taken(mut self) -> PlacedChunk {
        self.chunk.take().expect("it is taken once")
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk {
            self.service.free_chunk(chunk.id);
        }
    }
}

/// The end of an append, also of one that was broken off: the stream ends where its chunks are without a gap.
struct Trimmed<'a> {
    stream: &'a OpenStream,
}

impl Drop for Trimmed<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.stream.state);
        let loose: Vec<BlockId> = std::mem::take(&mut state.ahead)
            .into_values()
            .map(|chunk| chunk.id)
            .collect();
        state.spare.extend(loose);
        state.flying.clear();
        state.tail.clear();
        state.cut = state.manifest.chunks().len();
        state.cut_bytes = state.manifest.size();
        state.active = Instant::now();
        let left = state.manifest.size();
        drop(state);
        self.stream.growth.change(|growth| {
            if left < growth.size {
                (growth.size, growth.left) = (left, left);
                growth.breaks = growth.breaks.wrapping_add(1);
            }
        });
        self.stream.publish();
    }
}

/// Bytes that are on their way to a node.
struct UnderWay<'a> {
    stream: &'a OpenStream,
    node: NodeId,
    length: u32,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(bytes) = lock(&self.stream.state).under_way.get_mut(&self.node) {
            *bytes -= u64::from(self.length);
        }
    }
}

/// A chunk that is being stored on a peer. Dropped before [`done`](Self::done), it is freed there: what arrived must be freed even where
/// the reply got lost.
struct OnPeer<'a> {
    service: &'a Service,
    holder: NodeId,
    id: BlockId,
    is_there: bool,
}

impl<'a> OnPeer<'a> {
    fn new(service: &'a Service, holder: NodeId) -> Self {
        Self {
            service,
            holder,
            id: service.store.new_id(None),
            is_there: true,
        }
    }

    fn done(mut self, hash: ChunkHash, length: u32, stored: u32, codec: Codec) -> PlacedChunk {
        self.is_there = false;
        PlacedChunk {
            id: self.id,
            holder: self.holder,
            length,
            stored,
            codec,
            hash,
        }
    }
}

impl Drop for OnPeer<'_> {
    fn drop(&mut self) {
        if self.is_there {
            self.service.free_later(self.holder, vec![self.id]);
        }
    }
}

pub(super) fn no_longer_open(id: BlockId) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!(
            "stream {id} is not being written: it is finished, was freed, or nothing was done with it for too long"
        ),
    )
}

/// Chunks of class cache made room for those behind them, or for other data.
fn evicted_meanwhile() -> ApiError {
    ApiError::new(
        ErrorCode::OutOfMemory,
        "a part of the stream was evicted before its end came, and what was stored is freed: store it as pinned, or give the node a larger --memory",
    )
}
