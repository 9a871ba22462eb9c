//! Keys: set, get, delete, list.
//!
//! A node that sets or deletes a key tells all connected peers before it acknowledges. Those that held an older value
//! drop it, all note who has the key now, so that a later read costs one round trip, and nobody reads an old value after the
//! acknowledgement.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::key::check_key;
use memproto::local::keys::{KeysPage, KeysReply};
use memproto::pattern::Globs;
use memproto::peer::message::KeyVersion;
use memproto::peer::{PeerReply, PeerRequest};
use memproto::{BlockId, Version};
use tokio::time::timeout;

use super::blocks::{Placed, found_in, here, is_out_of_memory, may_stay};
use super::unfinished::Unfinished;
use super::{ASK_ALL_TIMEOUT, ByteRange, Here, Loaded, PutOptions, Service, Stored};
use crate::body::Body;
use crate::store::{Content, KeyNote, KeyRecord, KeyValue, KeyWrite, Lookup, Place, Removed, Store};

/// How many keys are looked at for one page at most: about a millisecond, which others do not feel, and yet only a thousand
/// pages where none of ten million keys matches.
const KEYS_LOOKED_AT_MAX: usize = 10_000;

/// How often a read follows a key that is being overwritten under its eyes before it answers that the node is busy.
/// Each round means that a writer was faster, so that the value moved on.
const OVERTAKEN_MAX: usize = 16;

impl Service {
    /// Sets a key to a value here, where that needs no waiting; `None` means: call [`set`](Self::set).
    pub fn set_now(&self, key: &str, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>> {
        let may_go_elsewhere = may_stay(&options.placement)?;
        if self.peers.any_connected() {
            return None;
        }
        if let Err(error) = check_key(key.as_bytes()) {
            return Some(Err(error));
        }
        let set = if Store::is_small(key.len(), value.len()) {
            let set = self
                .store
                .set_small(key, self.small(value, options), || self.tick());
            set.map(|(set, version)| (set.id, set.displaced, version))
        } else {
            self.content_now(value, options).and_then(|(block, reservation)| {
                let (id, version) = (self.store.new_id(Some(key)), self.tick());
                let displaced = self.write(key, version, id, Content::Block(block, reservation))?;
                Ok((id, displaced, version))
            })
        };
        if may_go_elsewhere && is_out_of_memory(&set) {
            return None;
        }
        self.counters.writes.increment();
        Some(set.map(|(id, displaced, version)| {
            if let Some(displaced) = displaced {
                self.free_displaced(displaced);
            }
            if self.peers.any_connected() {
                // A peer connected just now, and its reconciliation may have passed this key already.
                let (service, key) = (self.shared(), key.to_owned());
                self.spawn(async move {
                    service.tell_peers(&key, version, false).await;
                });
            }
            Stored {
                id,
                size: value.len() as u64,
            }
        }))
    }

    /// Sets a key. What it held before is freed, on all connected nodes, before this returns.
    ///
    /// # Errors
    /// As [`store`](Self::store), and `InvalidArgument` or `TooLarge` for a bad key.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the key either has the new value or the old one, and nothing is leaked.
    pub async fn set(&self, key: &str, body: Body, options: PutOptions) -> ApiResult<Stored> {
        check_key(key.as_bytes())?;
        self.counters.writes.increment();
        let mut unfinished = Unfinished::new(self.shared());
        let placed = self.put(body, &options, Some(key), &mut unfinished).await?;
        self.set_placed(key, placed, Some(unfinished)).await
    }

    /// Sets a key to what has its place.
    pub(super) async fn set_placed(
        &self,
        key: &str,
        placed: Placed,
        unfinished: Option<Unfinished>,
    ) -> ApiResult<Stored> {
        let Placed { id, size, content } = placed;
        let version = self.tick();
        let displaced = self.write(key, version, id, content)?;
        if let Some(unfinished) = unfinished {
            unfinished.finish();
        }
        if let Some(displaced) = displaced {
            self.free_displaced(displaced);
        }
        self.tell_peers(key, version, false).await;
        Ok(Stored { id, size })
    }

    /// Reads a key whose value lies in this node's store and has it answered; `None` means: call [`get`](Self::get).
    pub fn get_now<R>(
        &self,
        key: &str,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Option<Here<'_>>>) -> R,
    ) -> Option<R> {
        let mut answer = Some(answer);
        let mut answer = |found: ApiResult<Option<Here<'_>>>| Some(answer.take()?(found));
        let (is_absent, answered) = self.store.look_up(key, |lookup| match lookup {
            Lookup::Ours(found) => match here(found, range) {
                Some(found) => (false, answer(found.map(Some))),
                None => (false, None),
            },
            Lookup::Theirs(_) => (false, None),
            Lookup::Deleted | Lookup::Absent => (true, None),
        });
        if answered.is_some() {
            self.counters.hits.increment();
        }
        if !is_absent || self.peers.any_connected() {
            return answered;
        }
        self.counters.misses.increment();
        answer(check_key(key.as_bytes()).map(|_| None))
    }

    /// Reads the value of a key, wherever it lies. `None` where no node has the key.
    ///
    /// # Errors
    /// `PeerUnreachable` where the node that has it is away, `Timeout` where a connected peer did not answer,
    /// `InvalidArgument` for a bad key or a range that begins behind the end.
    pub async fn get(&self, key: &str, range: ByteRange) -> ApiResult<Option<Loaded>> {
        check_key(key.as_bytes())?;
        let found = self.find_key(key, range).await?;
        match &found {
            Some(_) => self.counters.hits.increment(),
            None => self.counters.misses.increment(),
        }
        Ok(found)
    }

    /// Deletes a key everywhere. Tells whether any node had it.
    ///
    /// # Errors
    /// `InvalidArgument` or `TooLarge` for a bad key.
    pub async fn del(&self, key: &str) -> ApiResult<bool> {
        check_key(key.as_bytes())?;
        self.counters.writes.increment();
        let version = self.tick();
        let known = self
            .store
            .key(key)
            .is_some_and(|record| record.value != KeyValue::Deleted);
        if known && self.is_alone() {
            let removed = self.store.remove_key(key, version);
            if let Some(removed) = removed {
                self.free_displaced(removed);
            }
        } else if known {
            self.record_version(key, version, KeyNote::Deleted);
        }
        let dropped = self.tell_peers(key, version, true).await;
        Ok(known || dropped)
    }

    /// A page of the keys of the whole pool that match any of the patterns, in no order. It may be empty and yet not the
    /// last; a key that is there from the first page to the last comes at least once.
    ///
    /// # Errors
    /// `InvalidArgument` for no pattern, `TooLarge` for too many or too long ones.
    pub fn keys(&self, patterns: &[impl AsRef<str>], cursor: u64, limit: u32) -> ApiResult<KeysReply> {
        let globs = Globs::new(patterns)?;
        let mut page = KeysPage::new(limit);
        let next = self.store.scan(cursor, KEYS_LOOKED_AT_MAX, &mut |key| {
            !globs.match_key(key) || page.push(key)
        });
        Ok(page.finish(next))
    }

    /// Lets a key name something. Returns what it named before, or the new one where a write at the same moment was newer.
    fn write(
        &self,
        key: &str,
        version: Version,
        id: BlockId,
        content: Content,
    ) -> ApiResult<Option<Removed>> {
        let rejected = match &content {
            Content::Block(..) => None,
            Content::Object(object) => Some(Removed {
                id,
                size: object.size,
                place: object.place.clone(),
                key: None,
                chunk_of: None,
            }),
        };
        Ok(match self.store.set(key, version, id, content)? {
            KeyWrite::Recorded { displaced } => displaced,
            KeyWrite::Stale(_) => rejected,
        })
    }

    /// Takes note of a version from elsewhere. Returns what is known instead, where that is newer, and whether an older
    /// value was dropped.
    pub(super) fn outdate(&self, told: &KeyVersion) -> (bool, Option<KeyVersion>) {
        if !self.observe(told.version) {
            tracing::warn!(peer = %told.version.node, "ignored a version more than a day ahead of this clock");
            return (false, None);
        }
        let note = if told.deleted {
            KeyNote::Deleted
        } else {
            KeyNote::Theirs
        };
        let had_value = self
            .store
            .key(&told.key)
            .is_some_and(|record| record.value != KeyValue::Deleted && record.version < told.version);
        let newer = self
            .record_version(&told.key, told.version, note)
            .map(|record| KeyVersion {
                key: told.key.clone(),
                version: record.version,
                deleted: record.value == KeyValue::Deleted,
            });
        (had_value, newer)
    }

    /// Records that a key has no value of ours in this version. Returns what is known instead, where that is newer.
    fn record_version(&self, key: &str, version: Version, note: KeyNote) -> Option<KeyRecord> {
        match self.store.note(key, version, note) {
            KeyWrite::Recorded { displaced } => {
                if let Some(displaced) = displaced {
                    self.free_displaced(displaced);
                }
                None
            }
            KeyWrite::Stale(record) => (record.version > version).then_some(record),
        }
    }

    /// Frees what a key named and what does not lie here. Nothing is lost by a failure: what lies on a peer that is away is owed to it.
    fn free_displaced(&self, displaced: Removed) {
        if !matches!(displaced.place, Place::Here) {
            let service = self.shared();
            self.spawn(async move {
                service.free_removed(displaced).await;
            });
        }
    }

    /// Tells all connected peers that a key was set or deleted, and waits until each dropped what was older. Returns
    /// whether one had an older value.
    ///
    /// The news goes on its way even where the caller goes away or a peer is slow: a link delivers in order, and a
    /// link that fails is followed by a reconciliation.
    pub(super) async fn tell_peers(&self, key: &str, version: Version, deleted: bool) -> bool {
        let links = self.peers.connected();
        if links.is_empty() {
            return false;
        }
        let mut answers = FuturesUnordered::new();
        for link in links {
            let request = PeerRequest::Outdate {
                key: key.to_owned(),
                version,
                deleted,
            };
            let service = self.shared();
            let telling = self.tasks.spawn(self.peers.surroundings().task(async move {
                match link.request(request, Body::empty()).await {
                    Ok((PeerReply::Outdated { dropped, newer }, _)) => {
                        if let Some(newer) = newer {
                            service.outdate(&newer);
                        }
                        dropped
                    }
                    _ => false,
                }
            }));
            answers.push(timeout(ASK_ALL_TIMEOUT, telling));
        }
        let mut dropped = false;
        while let Some(answer) = answers.next().await {
            dropped |= matches!(answer, Ok(Ok(true)));
        }
        dropped
    }

    async fn find_key(&self, key: &str, range: ByteRange) -> ApiResult<Option<Loaded>> {
        for _ in 0..OVERTAKEN_MAX {
            let Some(record) = self.store.key(key) else {
                break;
            };
            let found = match record.value {
                KeyValue::Ours(id) => self.load_own(id, range).await?,
                KeyValue::Theirs => self.read_from_writer(key, record, range).await?,
                KeyValue::Deleted => break,
            };
            if found.is_some() {
                return Ok(found);
            }
            // It moved on while we looked, or its bytes are gone with the peer that held them.
            match record.value {
                KeyValue::Ours(id) if self.store.has_expired(id) => return Ok(None),
                KeyValue::Ours(id) => {
                    if let Some(removed) = self.store.remove(id) {
                        self.free_removed(removed).await;
                    }
                }
                KeyValue::Theirs | KeyValue::Deleted => self.store.forget_key(key, record),
            }
        }
        self.ask_all(key, range).await
    }

    /// Reads a key from the node that wrote it.
    async fn read_from_writer(
        &self,
        key: &str,
        record: KeyRecord,
        range: ByteRange,
    ) -> ApiResult<Option<Loaded>> {
        let link = self.link_to(record.version.node)?;
        let request = PeerRequest::Read {
            key: key.to_owned(),
            offset: range.offset,
            length: range.length,
        };
        match found_in(&link, link.request(request, Body::empty()).await?)? {
            Some(found) => self.follow(&link, found, range).await.map(Some),
            None => Ok(None),
        }
    }

    /// Looks for a key on all connected peers at once.
    async fn ask_all(&self, key: &str, range: ByteRange) -> ApiResult<Option<Loaded>> {
        let mut questions: FuturesUnordered<_> = self
            .peers
            .connected()
            .into_iter()
            .map(|link| async move {
                let request = PeerRequest::Read {
                    key: key.to_owned(),
                    offset: range.offset,
                    length: range.length,
                };
                let answer = match timeout(ASK_ALL_TIMEOUT, link.request(request, Body::empty())).await {
                    Ok(answer) => answer.and_then(|answer| found_in(&link, answer)),
                    Err(_) => Err(ApiError::new(
                        ErrorCode::Timeout,
                        format!("'{}' did not say whether it has the key: try again", link.name()),
                    )),
                };
                (link, answer)
            })
            .collect();
        let mut failure = None;
        while let Some((link, answer)) = questions.next().await {
            match answer {
                Ok(Some(found)) => return self.follow(&link, found, range).await.map(Some),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }
}
