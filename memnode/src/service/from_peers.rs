//! What other nodes may ask of this one.
//!
//! A request gets here only over a link to which both sides agreed. A peer reads what lies here, stores
//! within its grant, and frees what it stored itself and what belongs to this node's own programs; what a third node
//! stored here only that node or the person at this machine frees. A flush is for those alone whom the person allowed it. What each request may do is the
//! table in section 5.8 of docs/protocol/peer.md. Sizes and counts were checked by the codec.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use memproto::control::{Freed, GrantUse};
use memproto::error::{ApiError, ApiResult};
use memproto::peer::message::{AdoptedChunk, ChunkForm, GROWTH_WAIT_MS, KeyState, KeyVersion, Location};
use memproto::peer::{ManifestPage, PeerReply, PeerRequest};
use memproto::{BlockClass, BlockId, ChunkHash, NodeId, Ttl, Version};

use super::blocks::{fill, here, loaded_from, read_exactly};
use super::storing::OnItsWay;
use super::{ByteRange, Loaded, PeerEvents, Service, lock};
use crate::body::Body;
use crate::buffer::BlockBuffer;
use crate::peer::PeerLink;
use crate::store::{Adoption, Block, BlockMeta, Chunk, Found, KeyRecord, KeyValue, Lookup, Owner, Place};

impl PeerEvents for Service {
    fn handle_peer_request(
        &self,
        peer: NodeId,
        incarnation: u64,
        request: PeerRequest,
        body: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)> {
        let service = self.shared();
        Box::pin(async move {
            service
                .answer_peer(peer, incarnation, request, body)
                .await
                .unwrap_or_else(|error| {
                    service.counters.errors.increment();
                    (PeerReply::Failed(error), Body::empty())
                })
        })
    }

    fn peer_connected(&self, peer: NodeId, incarnation: u64, quota_bytes: u64) {
        self.store.set_quota(peer, Some(quota_bytes));
        self.store.note_back(peer);
        let before = lock(&self.incarnations).insert(peer, incarnation);
        if before.is_some_and(|before| before != incarnation) {
            self.drop_what_lay_on(peer);
            self.free_orphans(peer);
        }
        let is_kept = self.news.connected(peer, incarnation);
        let service = self.shared();
        let greeting = self.spawn(async move { service.greet(peer, is_kept).await });
        if let Some(greeting) = greeting
            && let Some(earlier) = lock(&self.announcers).insert(peer, greeting)
        {
            earlier.abort();
        }
    }

    fn peer_disconnected(&self, peer: NodeId) {
        self.store.note_away(peer, self.config.absent_grace);
        self.news.disconnected(peer);
        if let Some(announcer) = lock(&self.announcers).remove(&peer) {
            announcer.abort();
        }
        if !self.open_streams.has_any(peer) {
            return;
        }
        let service = self.shared();
        self.spawn(async move {
            tokio::time::sleep(service.config.abandoned_grace).await;
            if service.peers.link(peer).is_none() {
                service.free_abandoned(peer);
            }
        });
    }

    fn grant_changed(&self, peer: NodeId, quota_bytes: u64) {
        self.store.set_quota(peer, Some(quota_bytes));
    }

    fn borrowing_changed(&self, peer: NodeId) {
        let service = self.shared();
        self.spawn(async move {
            if let Some(link) = service.peers.link(peer) {
                // Without an answer the next reply to a write says it.
                let _ = ask_for_usage(&link).await;
            }
        });
    }

    fn lent(&self, peer: NodeId) -> GrantUse {
        self.store.grant_use(peer)
    }
}

impl Service {
    async fn answer_peer(
        &self,
        peer: NodeId,
        incarnation: u64,
        request: PeerRequest,
        body: Body,
    ) -> ApiResult<(PeerReply, Body)> {
        let reply = match request {
            PeerRequest::Store {
                id,
                size,
                class,
                chunk,
                ttl,
            } => {
                let block = IncomingBlock {
                    id,
                    size,
                    class,
                    chunk,
                    ttl,
                };
                self.store_for_peer(peer, incarnation, block, body).await?
            }
            PeerRequest::Load {
                id,
                offset,
                length,
                relay,
            } => {
                return self.load_for_peer(id, ByteRange { offset, length }, relay).await;
            }
            PeerRequest::Locate { id } => PeerReply::Located(self.location_of(id)),
            PeerRequest::Manifest { id, offset, beyond } => {
                return self.manifest_for_peer(id, offset, beyond).await;
            }
            PeerRequest::Free { ids } => self.free_for_peer(peer, ids).await?,
            PeerRequest::Read { key, offset, length } => {
                return self.read_for_peer(&key, ByteRange { offset, length });
            }
            PeerRequest::Outdate {
                key,
                version,
                deleted,
            } => {
                let told = KeyVersion {
                    key,
                    version,
                    deleted,
                };
                self.outdate_for_peer(peer, &told)?
            }
            PeerRequest::Reconcile {
                keys,
                complete,
                clock,
            } => {
                self.note_clock(peer, clock);
                self.reconcile_for_peer(peer, &keys, complete)?
            }
            PeerRequest::Usage => PeerReply::Usage(self.store.grant_use(peer)),
            PeerRequest::Clock => PeerReply::Clock {
                unix_ms: self.unix_ms(),
            },
            PeerRequest::Finish { stream } => {
                let (held, given_up) = self.open_streams.finish(peer, stream);
                for chunk in given_up {
                    self.store.remove(chunk);
                }
                // Those of class cache may have been evicted.
                let there = held.into_iter().filter(|&chunk| self.store.meta(chunk).is_some());
                PeerReply::Finished {
                    chunks: there.count() as u64,
                }
            }
            PeerRequest::Keys {
                patterns,
                cursor,
                limit,
                details,
            } => self.keys_for_peer(&patterns, cursor, limit, details)?,
            PeerRequest::Lifetime { name, change } => self.lifetime_for_peer(peer, &name, change).await?,
            PeerRequest::Expire { ids, ttl } => PeerReply::Expiring {
                blocks: self.expire_blocks(Owner::Peer(peer), &ids, ttl),
            },
            PeerRequest::Newest { key } => PeerReply::Newest(self.store.key(&key).map(state_of)),
            PeerRequest::Retell => {
                self.news.retell(peer);
                PeerReply::Retelling
            }
            PeerRequest::Flush => self.flush_for_peer(peer).await?,
            PeerRequest::Offer {
                id,
                stream,
                hash,
                length,
                class,
            } => {
                let adoption = Adoption {
                    owner: Owner::Peer(peer),
                    stream,
                    hash,
                    length,
                    class,
                    expires: None,
                };
                self.adopt_for_peer(peer, incarnation, id, adoption)?
            }
            PeerRequest::Hold { stream, ids } => PeerReply::Held(self.hold_for_peer(peer, stream, &ids)),
            PeerRequest::Chunk { hash } => return Ok(self.chunk_for_peer(hash).await),
        };
        Ok((reply, Body::empty()))
    }

    /// Keeps what arrives as the bytes of `block`.
    async fn store_for_peer(
        &self,
        peer: NodeId,
        incarnation: u64,
        block: IncomingBlock,
        body: Body,
    ) -> ApiResult<PeerReply> {
        let IncomingBlock {
            id,
            size,
            class,
            chunk,
            ttl,
        } = block;
        let chunk = chunk.map(|form| Chunk {
            stream: form.stream,
            hash: form.hash,
            length: form.length,
            codec: form.codec,
        });
        let chunk_of = chunk.map(|chunk| chunk.stream);
        check_home(peer, id)?;
        let on_its_way = self.storing.begin(peer, id).ok_or_else(|| taken(id))?;
        let reservation = self.store.reserve_for_peer(peer, size, class, chunk_of)?;
        let bytes = match chunk_of {
            // No program maps a chunk.
            Some(_) => fill(BlockBuffer::in_heap(size)?, body).await?,
            None => read_exactly(&self.config.files, body, size).await?,
        };
        let block = Block {
            chunk,
            bytes,
            class,
            expires: ttl.map(|ttl| self.store.expiry().after(ttl)),
        };
        self.store.insert(id, block, reservation)?;
        self.keep_for_peer(peer, incarnation, id, &on_its_way, chunk_of)?;
        Ok(PeerReply::Stored(self.store.grant_use(peer)))
    }

    /// Keeps a chunk of which the bytes are here already, whoever stored them.
    fn adopt_for_peer(
        &self,
        peer: NodeId,
        incarnation: u64,
        id: BlockId,
        adoption: Adoption,
    ) -> ApiResult<PeerReply> {
        check_home(peer, id)?;
        let on_its_way = self.storing.begin(peer, id).ok_or_else(|| taken(id))?;
        // In one step: what is freed meanwhile is not to come behind that.
        let Some(adopted) = self.store.adopt(id, adoption)? else {
            return Ok(PeerReply::Adopted(None));
        };
        self.keep_for_peer(peer, incarnation, id, &on_its_way, Some(adoption.stream))?;
        Ok(PeerReply::Adopted(Some(AdoptedChunk {
            stored: adopted.stored_len as u32,
            codec: adopted.codec,
            usage: self.store.grant_use(peer),
        })))
    }

    /// The last step of storing something for a peer, which is in the store already.
    fn keep_for_peer(
        &self,
        peer: NodeId,
        incarnation: u64,
        id: BlockId,
        on_its_way: &OnItsWay<'_>,
        chunk_of: Option<BlockId>,
    ) -> ApiResult<()> {
        // Whoever asked may have given up, or may be another process by now: then nobody knows this block.
        let is_wanted = lock(&self.incarnations).get(&peer) == Some(&incarnation);
        if on_its_way.was_freed() || !is_wanted {
            self.store.remove(id);
            let message = "the block was freed while it was stored";
            return Err(ApiError::new(memproto::ErrorCode::Cancelled, message));
        }
        if let Some(stream) = chunk_of {
            self.open_streams.note(peer, stream, id);
        }
        Ok(())
    }

    /// A chunk by the hash of its bytes, as it is stored here.
    async fn chunk_for_peer(&self, hash: ChunkHash) -> (PeerReply, Body) {
        let store = self.store.clone();
        match self.compute(move || store.chunk(&hash)).await {
            None => (PeerReply::Missing, Body::empty()),
            Some(found) => {
                let reply = PeerReply::ChunkLoaded {
                    length: found.length,
                    codec: found.codec,
                };
                (reply, Body::from(found.bytes))
            }
        }
    }

    async fn load_for_peer(
        &self,
        id: BlockId,
        range: ByteRange,
        relay: bool,
    ) -> ApiResult<(PeerReply, Body)> {
        if let Some(bytes) = self.store.block(id) {
            return loaded_from(id, &bytes, range).map(|loaded| as_reply(loaded, None));
        }
        if relay {
            let loaded = self.load_own(id, range).await?;
            return Ok(loaded.map_or((PeerReply::Missing, Body::empty()), |loaded| {
                as_reply(loaded, None)
            }));
        }
        let reply = match self.location_of(id) {
            Some(location) => PeerReply::Elsewhere {
                id,
                location,
                version: None,
            },
            None => PeerReply::Missing,
        };
        Ok((reply, Body::empty()))
    }

    /// The value of a key that this node answers for, in one look with its version; else what it knows of the key.
    fn read_for_peer(&self, key: &str, range: ByteRange) -> ApiResult<(PeerReply, Body)> {
        let looked = self.store.look_up(key, |found| match found {
            Lookup::Ours(version, Found::Object(id, _)) => ControlFlow::Continue((id, version)),
            Lookup::Ours(version, found) => {
                let here = here(found, range).expect("what is no object is here");
                ControlFlow::Break(here.map(|here| as_reply(here.into(), Some(version))))
            }
            Lookup::Theirs(version) => ControlFlow::Break(moved(version, false)),
            Lookup::Deleted(version) => ControlFlow::Break(moved(version, true)),
            Lookup::Absent => ControlFlow::Break(Ok((PeerReply::Missing, Body::empty()))),
        });
        let (id, version) = match looked {
            ControlFlow::Continue(object) => object,
            ControlFlow::Break(answer) => return answer,
        };
        let reply = match self.location_of(id) {
            Some(location) => PeerReply::Elsewhere {
                id,
                location,
                version: Some(version),
            },
            // Freed between the two looks.
            None => PeerReply::Missing,
        };
        Ok((reply, Body::empty()))
    }

    /// A page of a manifest. Of a stream that is being written it comes once there is more than `beyond`, or after a while.
    async fn manifest_for_peer(&self, id: BlockId, offset: u64, beyond: u64) -> ApiResult<(PeerReply, Body)> {
        if let Some(stream) = self.writing.get(id)
            && beyond > 0
        {
            let breaks = stream.growth().breaks;
            let grown =
                stream.until(|growth| growth.size > beyond || growth.ended || growth.breaks != breaks);
            // Without growth the page says so.
            let _ = tokio::time::timeout(Duration::from_millis(GROWTH_WAIT_MS), grown).await;
            let growth = stream.growth();
            if growth.is_broken(breaks, beyond) {
                // Who has read so far has read what is not there any more, whatever comes in its place.
                let size = growth.left.min(beyond - 1);
                return Ok(manifest_reply(
                    id,
                    &ManifestPage {
                        size,
                        whole: false,
                        offset: size,
                        chunks: Vec::new(),
                    },
                ));
            }
        }
        let page = match (self.writing.get(id), self.finished_stream(id)) {
            (Some(stream), _) => stream.page(offset),
            (None, Some(manifest)) => manifest.page(offset, manifest.size(), true),
            (None, None) => {
                return Err(ApiError::new(
                    memproto::ErrorCode::NotFound,
                    format!("no stream {id}: it expired, was freed, or its node restarted"),
                ));
            }
        };
        Ok(manifest_reply(id, &page))
    }

    /// Which of a peer's chunks are here. Those of streams that it has not finished belong to another one from here on.
    fn hold_for_peer(&self, peer: NodeId, stream: BlockId, ids: &[BlockId]) -> Vec<bool> {
        let is_here = |&id: &BlockId| {
            self.open_streams.hold(peer, stream, id);
            let is_its_own = |meta: &BlockMeta, _: &Chunk| meta.owner == Owner::Peer(peer);
            self.store.set_stream(id, stream, is_its_own).is_some()
        };
        ids.iter().map(is_here).collect()
    }

    /// Where an object lies that this node answers for or holds.
    fn location_of(&self, id: BlockId) -> Option<Location> {
        let here = self.config.node_id;
        if let Some(meta) = self.store.meta(id) {
            return Some(Location {
                holder: here,
                size: meta.size,
                is_stream: false,
            });
        }
        if let Some(stream) = self.writing.get(id) {
            return Some(Location {
                holder: here,
                size: stream.size(),
                is_stream: true,
            });
        }
        let object = self.store.object(id)?;
        let (holder, is_stream) = match object.place {
            Place::Here => return None,
            Place::At(holder) => (holder, false),
            Place::Stream(_) => (here, true),
        };
        Some(Location {
            holder,
            size: object.size,
            is_stream,
        })
    }

    async fn free_for_peer(&self, peer: NodeId, ids: Vec<BlockId>) -> ApiResult<PeerReply> {
        let mut freed = Freed::default();
        let mut refused = None;
        for id in ids {
            if let Err(error) = self.check_free(peer, id) {
                refused = Some(error);
                continue;
            }
            self.open_streams.forget(peer, id);
            self.storing.note_freed(peer, id);
            if let Some(one) = self.free_own(id).await? {
                freed.blocks += one.blocks;
                freed.bytes += one.bytes;
            }
        }
        match refused {
            Some(error) if freed.blocks == 0 => Err(error),
            _ => Ok(PeerReply::Freed {
                blocks: freed.blocks,
                bytes: freed.bytes,
                usage: self.store.grant_use(peer),
            }),
        }
    }

    /// Whether a peer may free what has this id here: what it stored itself, and what belongs to this host's programs as a whole.
    fn check_free(&self, peer: NodeId, id: BlockId) -> ApiResult<()> {
        let Some(meta) = self.store.meta(id) else {
            return Ok(());
        };
        match (meta.owner, meta.chunk) {
            (Owner::Peer(other), _) if other != peer => {
                let name = self.peers.name_of(other);
                Err(ApiError::new(
                    memproto::ErrorCode::Denied,
                    format!("block {id} belongs to '{name}', which alone may free it from afar"),
                ))
            }
            (Owner::Local, Some(chunk)) => Err(ApiError::invalid(format!(
                "block {id} is a part of stream {}: free that",
                chunk.stream
            ))),
            _ => Ok(()),
        }
    }

    /// Drops what is older than a write that a peer tells of before it acknowledges it.
    fn outdate_for_peer(&self, peer: NodeId, told: &KeyVersion) -> ApiResult<PeerReply> {
        self.check_writer(peer, told)?;
        let before = self.store.key(&told.key);
        if told.deleted && before.is_none() {
            // The deletion of a key that nobody has is not worth a record; where somebody has it an announcement follows.
            return Ok(PeerReply::Outdated {
                dropped: false,
                newer: None,
            });
        }
        let outdated = self.outdate(told);
        if outdated.not_kept {
            self.news.forgot(peer);
        }
        let displaced =
            before.filter(|before| before.value == KeyValue::Theirs && before.version < told.version);
        if let Some(holder) = displaced.map(|displaced| displaced.version.node)
            && holder != peer
        {
            self.unconfirmed.hold_for_peer(&told.key, holder);
        }
        Ok(PeerReply::Outdated {
            dropped: outdated.dropped,
            newer: outdated.newer,
        })
    }

    fn reconcile_for_peer(&self, peer: NodeId, keys: &[KeyVersion], complete: bool) -> ApiResult<PeerReply> {
        let mut newer = Vec::new();
        let mut is_kept = true;
        for told in keys {
            self.check_writer(peer, told)?;
            let outdated = self.outdate(told);
            newer.extend(outdated.newer.filter(|_| !outdated.is_noted));
            is_kept &= !outdated.not_kept;
        }
        if is_kept {
            self.news.heard(peer, complete);
        } else {
            self.news.forgot(peer);
        }
        Ok(PeerReply::Reconciled {
            newer,
            clock: self.clock_reading(),
        })
    }

    /// A peer speaks for itself: what it says to be written by another node would displace values in that one's name. Deletions are passed on.
    fn check_writer(&self, peer: NodeId, told: &KeyVersion) -> ApiResult<()> {
        if told.deleted || told.version.node == peer {
            return Ok(());
        }
        Err(ApiError::new(
            memproto::ErrorCode::Denied,
            "a node tells of the values that it wrote itself, not of those of others",
        ))
    }

    /// Frees the chunks of an earlier process of a peer: nobody has their manifest any more.
    fn free_orphans(&self, peer: NodeId) {
        self.open_streams.abandon(peer);
        let orphans = self
            .store
            .remove_owned(Owner::Peer(peer), |_, meta| meta.chunk.is_some());
        if orphans.blocks > 0 {
            tracing::info!(peer = %peer.short(), blocks = orphans.blocks, bytes = orphans.bytes, "freed the streams of a peer that restarted");
        }
    }

    /// Frees the streams that a peer has begun here and not finished.
    fn free_abandoned(&self, peer: NodeId) {
        let removed = self
            .open_streams
            .abandon(peer)
            .into_iter()
            .filter_map(|id| self.store.remove(id));
        let blocks = removed.count();
        tracing::info!(peer = %peer.short(), blocks, "freed the unfinished streams of a peer that went away");
    }

    /// What this node does when a peer has connected: frees what it owes, asks for its grant, and, where it does not have them in mind, for its keys;
    /// then it tells its own, so that the newest version wins on both sides, and what is new, as long as the link lasts. The peer does the same.
    async fn greet(&self, peer: NodeId, is_kept: bool) {
        self.free_owed(peer);
        let Some(link) = self.peers.link(peer) else { return };
        let greeted = async {
            if !is_kept {
                self.ask_for_all(&link).await?;
            }
            ask_for_usage(&link).await?;
            self.announce(&link).await
        };
        // The link is gone again: the next one goes on from here.
        if let Err(error) = greeted.await {
            tracing::debug!(peer = %peer.short(), %error, "no more announcements to a peer");
        }
    }
}

/// Whether an id was made by the peer that gives it to a block.
fn check_home(peer: NodeId, id: BlockId) -> ApiResult<()> {
    match id.home_hint() == peer.home_hint() {
        true => Ok(()),
        false => Err(ApiError::invalid(format!(
            "block id {id} was not made by the node that sent it"
        ))),
    }
}

fn taken(id: BlockId) -> ApiError {
    ApiError::invalid(format!("block id {id} is taken"))
}

/// Asks a peer what this node may use there, and uses.
async fn ask_for_usage(link: &PeerLink) -> ApiResult<()> {
    if let (PeerReply::Usage(usage), _) = link.request(PeerRequest::Usage, Body::empty()).await? {
        link.note_borrowed(usage);
    }
    Ok(())
}

/// A block that a peer wants stored.
struct IncomingBlock {
    id: BlockId,
    size: u64,
    class: BlockClass,
    chunk: Option<ChunkForm>,
    ttl: Option<Ttl>,
}

fn moved(version: Version, deleted: bool) -> ApiResult<(PeerReply, Body)> {
    Ok((PeerReply::Moved(KeyState { version, deleted }), Body::empty()))
}

fn state_of(record: KeyRecord) -> KeyState {
    KeyState {
        version: record.version,
        deleted: record.value == KeyValue::Deleted,
    }
}

fn manifest_reply(id: BlockId, page: &ManifestPage) -> (PeerReply, Body) {
    let bytes = Bytes::from(page.encode());
    let length = bytes.len() as u64;
    let reply = PeerReply::Loaded {
        id,
        size: length,
        length,
        version: None,
    };
    (reply, Body::from(bytes))
}

fn as_reply(loaded: Loaded, version: Option<Version>) -> (PeerReply, Body) {
    let length = loaded.body.size().expect("a loaded body has a known size");
    (
        PeerReply::Loaded {
            id: loaded.id,
            size: loaded.size,
            length,
            version,
        },
        loaded.body,
    )
}
