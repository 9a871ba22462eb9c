//! Blocks: store, load, free.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memproto::control::Freed;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::limits::OBJECT_SIZE_MAX;
use memproto::peer::message::Location;
use memproto::peer::{PeerReply, PeerRequest};
use memproto::{BlockId, NodeId, Placement, Version};
use tokio::time::timeout;

use super::rewind::Rewind;
use super::streams::Source;
use super::unfinished::Unfinished;
use super::{ASK_ALL_TIMEOUT, ByteRange, Here, Loaded, PutOptions, Service, Stored, unexpected_reply};
use crate::body::Body;
use crate::buffer::BlockBuffer;
use crate::memory_file::MemoryFiles;
use crate::peer::PeerLink;
use crate::placement;
use crate::store::{
    Block, BlockMeta, Content, Found as Looked, Object, Owner, Place, Removed, Reservation, SmallValue, Store,
};
use crate::value::Value;

/// By how much the reservation of a value of unknown size grows at a time: few enough steps, little room held in vain.
const GATHER_STEP: u64 = 1024 * 1024;

/// A value that has its place and its id, and that nobody can reach yet.
pub(super) struct Placed {
    pub(super) id: BlockId,
    pub(super) size: u64,
    pub(super) content: Content,
}

impl Service {
    /// Stores a value here, where that needs no waiting; `None` means: call [`store`](Self::store).
    pub fn store_now(&self, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>> {
        let may_go_elsewhere = may_stay(&options.placement)?;
        let stored = if Store::is_small(0, value.len()) {
            self.store.store_small(self.small(value, options))
        } else {
            self.content_now(value, options).and_then(|(block, reservation)| {
                let id = self.store.new_id(None);
                self.store.insert(id, block, reservation)?;
                Ok(id)
            })
        };
        if may_go_elsewhere && is_out_of_memory(&stored) {
            return None;
        }
        self.counters.writes.increment();
        Some(stored.map(|id| Stored {
            id,
            size: value.len() as u64,
        }))
    }

    /// Stores a value as a block.
    ///
    /// # Errors
    /// `OutOfMemory`, `QuotaExceeded`, `PeerUnreachable` and the other refusals of a named peer, `TooLarge`, and
    /// what the body fails with.
    ///
    /// # Cancel safety
    /// Dropped before it is done, everything it placed is freed.
    pub async fn store(&self, body: Body, options: PutOptions) -> ApiResult<Stored> {
        self.counters.writes.increment();
        let mut unfinished = Unfinished::new(self.shared());
        let placed = self.put(body, &options, None, &mut unfinished).await?;
        self.store_placed(placed, Some(unfinished))
    }

    /// Makes known what has its place.
    pub(super) fn store_placed(&self, placed: Placed, unfinished: Option<Unfinished>) -> ApiResult<Stored> {
        let Placed { id, size, content } = placed;
        match content {
            Content::Block(block, reservation) => self.store.insert(id, block, reservation)?,
            Content::Object(object) => self.store.add_object(id, object)?,
        }
        if let Some(unfinished) = unfinished {
            unfinished.finish();
        }
        Ok(Stored { id, size })
    }

    /// Reads a block of this node's store and has it answered; `None` means: call [`load`](Self::load).
    pub fn load_now<R>(
        &self,
        id: BlockId,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Here<'_>>) -> R,
    ) -> Option<R> {
        self.store.look_up_id(id, |found| {
            let here = here(found?, range)?;
            self.counters.hits.increment();
            Some(answer(here))
        })
    }

    /// Reads a block or a stream, wherever it lies.
    ///
    /// # Errors
    /// `NotFound`; `PeerUnreachable` where the node that has it is away; `InvalidArgument` where the range begins
    /// behind the end.
    pub async fn load(&self, id: BlockId, range: ByteRange) -> ApiResult<Loaded> {
        let found = match self.load_own(id, range).await? {
            Some(loaded) => Some(loaded),
            None => {
                if let Some(lost) = self.take_lost(id) {
                    self.counters.misses.increment();
                    return Err(lost);
                }
                self.load_elsewhere(id, range).await?
            }
        };
        match found {
            Some(loaded) => {
                self.counters.hits.increment();
                Ok(loaded)
            }
            None => {
                self.counters.misses.increment();
                Err(self.absence_of(id))
            }
        }
    }

    /// Frees blocks and streams, wherever they lie.
    ///
    /// # Errors
    /// `NotFound` or `PeerUnreachable` where none of them was there; `Denied` for what another node keeps for itself.
    pub async fn free(&self, ids: Vec<BlockId>) -> ApiResult<Freed> {
        let mut freed = Freed::default();
        let mut refused = None;
        for id in ids {
            let owner = self.store.meta(id).map(|meta| meta.owner);
            let one = match self.free_own(id).await? {
                Some(one) => {
                    if let Some(Owner::Peer(owner)) = owner {
                        // It would go on to answer for a block that is gone.
                        self.free_later(owner, vec![id]);
                    }
                    Ok(one)
                }
                None => self.free_elsewhere(id).await,
            };
            match one {
                Ok(one) => {
                    freed.blocks += one.blocks;
                    freed.bytes += one.bytes;
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if freed.blocks == 0 => Err(error),
            _ => Ok(freed),
        }
    }

    /// Keeps a value ready for this node's memory without waiting.
    pub(super) fn content_now(&self, value: &[u8], options: &PutOptions) -> ApiResult<(Block, Reservation)> {
        let reservation = self.store.reserve(Owner::Local, value.len() as u64)?;
        let mut buffer = BlockBuffer::in_heap(value.len() as u64)?;
        buffer.extend(value)?;
        Ok((self.block(buffer.finish()?, options), reservation))
    }

    pub(super) fn small<'a>(&self, bytes: &'a [u8], options: &PutOptions) -> SmallValue<'a> {
        SmallValue {
            bytes,
            class: options.class,
            expires: options.ttl.map(|ttl| self.store.expiry().after(ttl)),
        }
    }

    pub(super) fn block(&self, bytes: Value, options: &PutOptions) -> Block {
        Block {
            bytes,
            class: options.class,
            chunk: None,
            expires: options.ttl.map(|ttl| self.store.expiry().after(ttl)),
        }
    }

    /// Places a value as one block, which `key` is going to name. What it placed on a peer is noted in `unfinished`.
    pub(super) async fn put(
        &self,
        body: Body,
        options: &PutOptions,
        key: Option<&str>,
        unfinished: &mut Unfinished,
    ) -> ApiResult<Placed> {
        let (body, size, gathered) = match body.size() {
            Some(size) => (body, size, None),
            None => self.gather(body).await?,
        };
        if size > OBJECT_SIZE_MAX {
            return Err(too_large(size));
        }
        let wants_here = matches!(options.placement, Placement::Auto | Placement::Local);
        let reserved = match gathered {
            Some(reservation) if wants_here => Some(Ok(reservation)),
            _ if wants_here => Some(self.store.reserve(Owner::Local, size)),
            _ => None,
        };
        let refusal = match reserved {
            Some(Ok(reservation)) => {
                let bytes = match whole_file(&body, size) {
                    Some(file) => file,
                    None => read_exactly(&self.config.files, body, size).await?,
                };
                return Ok(Placed {
                    id: self.store.new_id(key),
                    size,
                    content: Content::Block(self.block(bytes, options), reservation),
                });
            }
            Some(Err(error)) if options.placement == Placement::Local => return Err(error),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let candidates = placement::candidates(&self.peers, &options.placement)?;
        let id = self.store.new_id(key);
        let holder = self
            .put_on_peers(body, size, options, &candidates, refusal, id, unfinished)
            .await?;
        Ok(Placed {
            id,
            size,
            content: Content::Object(Object {
                size,
                place: Place::At(holder),
                expires: options.ttl.map(|ttl| self.store.expiry().after(ttl)),
            }),
        })
    }

    /// Sends a block to the first of the candidates that takes it.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is needed, and they have nothing else in common"
    )]
    async fn put_on_peers(
        &self,
        body: Body,
        size: u64,
        options: &PutOptions,
        candidates: &[Arc<PeerLink>],
        refusal: Option<ApiError>,
        id: BlockId,
        unfinished: &mut Unfinished,
    ) -> ApiResult<NodeId> {
        let is_named = matches!(options.placement, Placement::Peer(_));
        let mut tried = Vec::new();
        let whole = body.as_whole();
        let arriving = Rewind::new(body, size);
        for link in candidates {
            // A value that is still arriving can be sent only as far as it is kept, so those that cannot have room are not asked.
            if whole.is_none() && !is_named && link.borrowed().free_bytes() < size {
                continue;
            }
            let Some(body) = whole.clone().map(Body::from).or_else(|| arriving.body()) else {
                break;
            };
            unfinished.note_on_peer(link.id(), id);
            match self.send_block(link, id, body, size, options).await {
                Ok(()) => return Ok(link.id()),
                Err(error) if is_named || !placement::is_refusal_for_room(&error) => return Err(error),
                Err(error) => {
                    self.free_unanswered(link, id, &error);
                    tried.push((link.name().to_owned(), error));
                }
            }
        }
        Err(placement::out_of_memory(refusal, &tried, size))
    }

    /// Sends one block to one peer. It must be noted as unfinished before.
    pub(super) async fn send_block(
        &self,
        link: &PeerLink,
        id: BlockId,
        body: Body,
        size: u64,
        options: &PutOptions,
    ) -> ApiResult<()> {
        let request = PeerRequest::Store {
            id,
            size,
            class: options.class,
            chunk: None,
            ttl: options.ttl,
        };
        match link.request(request, body).await?.0 {
            PeerReply::Stored(usage) => {
                link.note_borrowed(usage);
                Ok(())
            }
            _ => Err(unexpected_reply(link)),
        }
    }

    /// A peer went away before it said whether it stored a block, which now goes to another one: what may lie there is freed, now or when it
    /// comes back.
    pub(super) fn free_unanswered(&self, link: &PeerLink, id: BlockId, error: &ApiError) {
        if error.code == ErrorCode::PeerUnreachable {
            self.free_later(link.id(), vec![id]);
        }
    }

    /// Collects a value whose size nobody knows, under a reservation that grows with it.
    async fn gather(&self, mut body: Body) -> ApiResult<(Body, u64, Option<Reservation>)> {
        let mut reservation = self.store.reserve(Owner::Local, 0)?;
        let mut pieces = std::collections::VecDeque::new();
        let (mut size, mut reserved) = (0, 0);
        while let Some(piece) = body.next().await {
            let piece = piece?;
            size += piece.len() as u64;
            if size > reserved {
                let step = GATHER_STEP.max(size - reserved);
                self.store.grow(&mut reservation, step)?;
                reserved += step;
            }
            pieces.push_back(piece);
        }
        reservation.shrink_to(size);
        Ok((Body::from_pieces(pieces), size, Some(reservation)))
    }

    /// Reads what this node answers for: its own store, what it placed on a peer, its streams.
    pub(super) async fn load_own(&self, id: BlockId, range: ByteRange) -> ApiResult<Option<Loaded>> {
        if let Some(bytes) = self.store.block(id) {
            return loaded_from(id, &bytes, range).map(Some);
        }
        if let Some(stream) = self.writing.get(id) {
            let size = stream.size();
            return self.open_stream(id, Source::Open(stream), size, range).map(Some);
        }
        let Some(object) = self.store.object(id) else {
            return Ok(None);
        };
        match object.place {
            // Freed between the two looks.
            Place::Here => Ok(None),
            Place::At(holder) => {
                let link = self.link_to(holder)?;
                match self.load_from(&link, id, range, false).await? {
                    Some(Found::Bytes(loaded)) => Ok(Some(loaded)),
                    Some(Found::Elsewhere(..)) => Err(unexpected_reply(&link)),
                    None => Ok(None),
                }
            }
            Place::Stream(manifest) => {
                let size = manifest.size();
                self.open_stream(id, Source::Whole(manifest), size, range)
                    .map(Some)
            }
        }
    }

    /// Takes out an object of ours of which its holder has just said that it has it no more, with the key that names it. Returns why, for
    /// whoever reads it: afterwards nobody knows that there was such an object. `None` where there is none, or it lies elsewhere.
    pub(super) fn take_lost(&self, id: BlockId) -> Option<ApiError> {
        let Place::At(holder) = self.store.object(id)?.place else {
            return None;
        };
        self.store.remove(id)?;
        let name = self.peers.name_of(holder);
        tracing::warn!(block = %id, peer = %holder.short(), "a peer no longer has a block of this node");
        Some(ApiError::new(
            ErrorCode::NotFound,
            format!(
                "it lay on '{name}', which has it no more: it made room there (as data of class cache, or because this node was away for \
                 longer than '{name}' keeps pinned data), expired, or was freed by the person there. Store it again"
            ),
        ))
    }

    /// Reads what another node answers for.
    async fn load_elsewhere(&self, id: BlockId, range: ByteRange) -> ApiResult<Option<Loaded>> {
        let connected = self.peers.connected();
        let (homes, others): (Vec<_>, Vec<_>) = connected
            .into_iter()
            .partition(|link| link.id().home_hint() == id.home_hint());
        for link in homes {
            if let Some(found) = self.load_from(&link, id, range, false).await? {
                return self.go_to(&link, found, range).await.map(Some);
            }
        }
        match self.locate(id, others).await {
            Some((link, _)) => match self.load_from(&link, id, range, false).await? {
                Some(found) => self.go_to(&link, found, range).await.map(Some),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Asks peers which of them knows where a block lies; the first that does answers.
    async fn locate(&self, id: BlockId, links: Vec<Arc<PeerLink>>) -> Option<(Arc<PeerLink>, Location)> {
        let mut questions: FuturesUnordered<_> = links
            .into_iter()
            .map(|link| async move {
                let question = link.request(PeerRequest::Locate { id }, Body::empty());
                match timeout(ASK_ALL_TIMEOUT, question).await {
                    Ok(Ok((PeerReply::Located(Some(location)), _))) => Some((link, location)),
                    _ => None,
                }
            })
            .collect();
        while let Some(answer) = questions.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// Asks one peer for a block.
    pub(super) async fn load_from(
        &self,
        link: &PeerLink,
        id: BlockId,
        range: ByteRange,
        relay: bool,
    ) -> ApiResult<Option<Found>> {
        let request = PeerRequest::Load {
            id,
            offset: range.offset,
            length: range.length,
            relay,
        };
        found_in(link, link.request(request, Body::empty()).await?)
    }

    /// Turns a peer's answer into bytes: goes to the holder where the peer named one.
    pub(super) async fn go_to(
        &self,
        link: &Arc<PeerLink>,
        found: Found,
        range: ByteRange,
    ) -> ApiResult<Loaded> {
        let (id, location) = match found {
            Found::Bytes(loaded) => return Ok(loaded),
            Found::Elsewhere(id, location) => (id, location),
        };
        if location.is_stream {
            return self.open_stream(id, Source::Peer(Arc::clone(link)), location.size, range);
        }
        if location.holder == self.config.node_id {
            let bytes = self.store.block(id).ok_or_else(|| self.absence_of(id))?;
            return loaded_from(id, &bytes, range);
        }
        let answer = match self.peers.link(location.holder) {
            Some(holder) => self.load_from(&holder, id, range, false).await?,
            None => self.load_from(link, id, range, true).await?,
        };
        match answer {
            Some(Found::Bytes(loaded)) => Ok(loaded),
            Some(Found::Elsewhere(..)) => Err(unexpected_reply(link)),
            None => Err(self.absence_of(id)),
        }
    }

    /// Frees an object this node answers for, and with it the key that points to it. `None` where there is none.
    pub(super) async fn free_own(&self, id: BlockId) -> ApiResult<Option<Freed>> {
        if let Some(freed) = self.free_open(id) {
            return Ok(Some(freed));
        }
        match self.end_value(id, |_| true) {
            Some(removed) => Ok(Some(self.free_removed(removed).await)),
            None => Ok(None),
        }
    }

    /// Takes a value out where `condition` holds for its block. The key that pointed to it is deleted, for everybody, but not what somebody has set it to since.
    pub(super) fn end_value(
        &self,
        id: BlockId,
        condition: impl FnOnce(&BlockMeta) -> bool,
    ) -> Option<Removed> {
        let is_alone = self.is_alone();
        let mut ended = None;
        let end = |value| {
            ended = (!is_alone).then(|| self.end_of(value));
            ended
        };
        let removed = self.store.remove_recording(id, end, condition)?;
        if let (Some(key), Some(version)) = (&removed.key, ended) {
            self.news.push(key, version, true);
        }
        Some(removed)
    }

    /// The version of the deletion of a value that ended by itself or was freed by its id: the next one behind that of the value. One of the present could displace a
    /// value that another node has set since, and of which this node does not know yet.
    pub(super) fn end_of(&self, value: Version) -> Version {
        let end = Version {
            time: value.time + 1,
            node: self.config.node_id,
        };
        // What is written here from now on is later. It cannot be too far ahead, for the value was not.
        self.observe(end);
        end
    }

    /// Frees what lies elsewhere of something that was taken out. Where a peer is away that is owed to it.
    pub(super) async fn free_removed(&self, removed: Removed) -> Freed {
        match removed.place {
            Place::Here => Freed {
                blocks: 1,
                bytes: removed.size,
            },
            Place::At(holder) => self.free_or_owe(holder, vec![removed.id]).await,
            Place::Stream(manifest) => {
                // One that had its key before it was whole.
                self.free_open(removed.id);
                let freed = self.free_chunks(&manifest).await;
                Freed {
                    blocks: 1,
                    bytes: freed.bytes,
                }
            }
        }
    }

    /// Frees blocks on a peer; where it is away, as soon as it is back.
    pub(super) async fn free_or_owe(&self, holder: NodeId, ids: Vec<BlockId>) -> Freed {
        match self.free_on_peer(holder, &ids).await {
            Ok(freed) => freed,
            Err(_) => {
                let blocks = ids.len() as u64;
                self.free_later(holder, ids);
                Freed { blocks, bytes: 0 }
            }
        }
    }

    /// The peers to ask about an object that another node answers for: the one that made the id, or where it is not
    /// connected, one that knows where the object lies.
    pub(super) async fn who_may_have(&self, id: BlockId) -> Vec<Arc<PeerLink>> {
        let connected = self.peers.connected();
        let (mut asked, others): (Vec<_>, Vec<_>) = connected
            .into_iter()
            .partition(|link| link.id().home_hint() == id.home_hint());
        if asked.is_empty() {
            asked.extend(self.locate(id, others).await.map(|(link, _)| link));
        }
        asked
    }

    /// Frees an object that another node answers for.
    async fn free_elsewhere(&self, id: BlockId) -> ApiResult<Freed> {
        for link in self.who_may_have(id).await {
            match link
                .request(PeerRequest::Free { ids: vec![id] }, Body::empty())
                .await?
                .0
            {
                PeerReply::Freed { blocks: 0, .. } => {}
                PeerReply::Freed { blocks, bytes, usage } => {
                    link.note_borrowed(usage);
                    return Ok(Freed { blocks, bytes });
                }
                _ => return Err(unexpected_reply(&link)),
            }
        }
        Err(self.absence_of(id))
    }

    /// Why a block was not found: the node that made the id is away, or nobody has it.
    pub(super) fn absence_of(&self, id: BlockId) -> ApiError {
        let away = self
            .peers
            .unreachable()
            .into_iter()
            .find(|peer| peer.home_hint() == id.home_hint());
        match away {
            Some(peer) => ApiError::new(
                ErrorCode::PeerUnreachable,
                format!(
                    "block {id} was made by '{}', which is not connected now: see `memcli peer list`",
                    self.peers.name_of(peer)
                ),
            ),
            None => ApiError::new(
                ErrorCode::NotFound,
                format!(
                    "no block {id} on this node or a connected peer: it expired, was freed or evicted, or its node restarted"
                ),
            ),
        }
    }
}

/// A peer's answer to a read.
pub(super) enum Found {
    Bytes(Loaded),
    Elsewhere(BlockId, Location),
}

/// Reads the reply to a `Load` or `Read`.
pub(super) fn found_in(link: &PeerLink, (reply, body): (PeerReply, Body)) -> ApiResult<Option<Found>> {
    match reply {
        PeerReply::Missing => Ok(None),
        PeerReply::Elsewhere { id, location, .. } => Ok(Some(Found::Elsewhere(id, location))),
        PeerReply::Loaded { id, size, length, .. } if body.size() == Some(length) => {
            Ok(Some(Found::Bytes(Loaded { id, size, body })))
        }
        _ => Err(unexpected_reply(link)),
    }
}

/// A part of bytes that are here, without a copy.
pub(super) fn loaded_from(id: BlockId, bytes: &Value, range: ByteRange) -> ApiResult<Loaded> {
    let size = bytes.len() as u64;
    let part = range.within(size)?;
    let body = Body::part_of(bytes, part);
    Ok(Loaded { id, size, body })
}

/// What a look-up found, cut to a range; `None` where it does not lie here.
pub(super) fn here(found: Looked<'_>, range: ByteRange) -> Option<ApiResult<Here<'_>>> {
    match found {
        Looked::Small(id, bytes) => {
            let size = bytes.len() as u64;
            Some(range.within(size).map(|part| Here::Small {
                id,
                size,
                bytes: &bytes[part.start as usize..part.end as usize],
            }))
        }
        Looked::Block(id, value) => Some(loaded_from(id, &value, range).map(Here::Large)),
        Looked::Object(..) => None,
    }
}

/// Whether a value with this placement may go elsewhere where there is no room here; `None` where it may not stay here.
pub(super) fn may_stay(placement: &Placement) -> Option<bool> {
    match placement {
        Placement::Local => Some(false),
        Placement::Auto => Some(true),
        Placement::Remote | Placement::Peer(_) => None,
    }
}

pub(super) fn is_out_of_memory<T>(result: &ApiResult<T>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.code == ErrorCode::OutOfMemory)
}

/// The memory file that a body is all of, where a program gave it and it is no block yet.
fn whole_file(body: &Body, size: u64) -> Option<Value> {
    let (file, _) = body
        .file()
        .filter(|(file, _)| file.len() as u64 == size && !file.is_kept())?;
    Some(Value::File(Arc::clone(file)))
}

/// Reads a body of a known size into memory of exactly that size: a memory file where it is large.
///
/// # Errors
/// `InvalidArgument` where the body is longer or shorter, `OutOfMemory` where the system has less than the budget says,
/// and what the body fails with.
pub(super) async fn read_exactly(files: &MemoryFiles, body: Body, size: u64) -> ApiResult<Value> {
    fill(BlockBuffer::new(files, size)?, body).await
}

/// Fills memory with a body that must have just as many bytes.
///
/// # Errors
/// As [`read_exactly`].
pub(super) async fn fill(buffer: BlockBuffer, body: Body) -> ApiResult<Value> {
    body.fill(buffer).await
}

pub(super) fn too_large(size: u64) -> ApiError {
    ApiError::new(
        ErrorCode::TooLarge,
        format!("{size} bytes are more than one object may have ({OBJECT_SIZE_MAX})"),
    )
}
