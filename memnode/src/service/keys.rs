//! Keys: set, get, delete, list.
//!
//! A node that sets or deletes a key tells all connected peers before it acknowledges. Those that held an older value
//! drop it, all note who has the key now, so that a later read costs one round trip, and nobody reads an old value after the
//! acknowledgement.

use std::sync::Arc;

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

use super::blocks::{PlacedBlock, found_in};
use super::unfinished::Unfinished;
use super::{ASK_ALL_TIMEOUT, ByteRange, Loaded, PutOptions, Service, Stored};
use crate::body::Body;
use crate::directory::{KeyRecord, KeyValue, KeyWrite, Place};
use crate::store::{Owner, Reservation};

/// How many keys are looked at for one page at most: about a millisecond, which others do not feel, and yet only a thousand
/// pages where none of ten million keys matches.
const KEYS_LOOKED_AT_MAX: usize = 10_000;

/// How often a read follows a key that is being overwritten under its eyes before it answers that the node is busy.
/// Each round means that a writer was faster, so that the value moved on.
const OVERTAKEN_MAX: usize = 16;

impl Service {
    /// Sets a key to a small value, where that needs no waiting; `None` means: call [`set`](Self::set).
    pub fn set_now(&self, key: &str, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>> {
        if self.peers.any_connected() {
            return None;
        }
        if let Err(error) = check_key(key.as_bytes()) {
            return Some(Err(error));
        }
        let id = match self.put_now(value, options)? {
            Ok(id) => id,
            Err(error) => return Some(Err(error)),
        };
        self.counters.writes.increment();
        let placed = PlacedBlock {
            id,
            size: value.len() as u64,
            place: Place::Here,
            expires: None,
        };
        let version = self.tick();
        match self.point_key(key, placed, version) {
            Ok(None) => {}
            Ok(Some(displaced)) => self.free_displaced(displaced),
            Err(error) => {
                self.store.remove(id);
                return Some(Err(error));
            }
        }
        if self.peers.any_connected() {
            // A peer connected just now, and its reconciliation may have passed this key already.
            let (service, key) = (self.shared(), key.to_owned());
            self.spawn(async move {
                service.tell_peers(&key, version, false).await;
            });
        }
        Some(Ok(Stored {
            id,
            size: value.len() as u64,
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
        let placed = self.put(body, &options, &mut unfinished).await?;
        let stored = Stored {
            id: placed.id,
            size: placed.size,
        };
        let version = self.tick();
        let displaced = self.point_key(key, placed, version)?;
        unfinished.finish();
        if let Some(displaced) = displaced {
            self.free_displaced(displaced);
        }
        self.tell_peers(key, version, false).await;
        Ok(stored)
    }

    /// Reads a key whose value lies in this node's store; `None` means: call [`get`](Self::get).
    pub fn get_now(&self, key: &str, range: ByteRange) -> Option<ApiResult<Option<Loaded>>> {
        match self.directory.key(key).map(|record| record.value) {
            Some(KeyValue::Ours(id)) => self.load_now(id, range).map(|loaded| loaded.map(Some)),
            Some(KeyValue::Theirs) => None,
            Some(KeyValue::Deleted) | None if self.peers.any_connected() => None,
            Some(KeyValue::Deleted) | None => {
                self.counters.misses.increment();
                Some(check_key(key.as_bytes()).map(|_| None))
            }
        }
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
            .directory
            .key(key)
            .is_some_and(|record| record.value != KeyValue::Deleted);
        if known {
            self.record_version(key, version, KeyValue::Deleted);
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
        let next = self.directory.scan(cursor, KEYS_LOOKED_AT_MAX, &mut |key| {
            !globs.match_key(key) || page.push(key)
        });
        Ok(page.finish(next))
    }

    /// Lets a key point to a placed block. Returns the object it pointed to before, or the new one where a write at
    /// the same moment was newer.
    pub(super) fn point_key(
        &self,
        key: &str,
        placed: PlacedBlock,
        version: Version,
    ) -> ApiResult<Option<BlockId>> {
        let charge = self.store.reserve(Owner::Local, key.len() as u64)?.keep();
        let id = placed.id;
        self.add_object(placed, Some(&Arc::from(key)))?;
        match self
            .directory
            .write_key(key, version, KeyValue::Ours(id), || Some(charge))
        {
            KeyWrite::Recorded { displaced } => Ok(displaced),
            KeyWrite::Stale(_) => Ok(Some(id)),
        }
    }

    /// Takes note of a version from elsewhere. Returns what is known instead, where that is newer, and whether an older
    /// value was dropped.
    pub(super) fn outdate(&self, told: &KeyVersion) -> (bool, Option<KeyVersion>) {
        if !self.observe(told.version) {
            tracing::warn!(peer = %told.version.node, "ignored a version more than a day ahead of this clock");
            return (false, None);
        }
        let value = if told.deleted {
            KeyValue::Deleted
        } else {
            KeyValue::Theirs
        };
        let had_value = self
            .directory
            .key(&told.key)
            .is_some_and(|record| record.value != KeyValue::Deleted && record.version < told.version);
        let newer = self
            .record_version(&told.key, told.version, value)
            .map(|record| KeyVersion {
                key: told.key.clone(),
                version: record.version,
                deleted: record.value == KeyValue::Deleted,
            });
        (had_value, newer)
    }

    /// The object of a key was freed by its id: the key goes with it.
    pub(super) fn delete_key_of(&self, key: &str, id: BlockId) {
        let points_here = |record: &KeyRecord| record.value == KeyValue::Ours(id);
        if !self.directory.key(key).as_ref().is_some_and(points_here) {
            return;
        }
        let version = self.tick();
        self.record_version(key, version, KeyValue::Deleted);
        let (service, key) = (self.shared(), key.to_owned());
        self.spawn(async move {
            service.tell_peers(&key, version, true).await;
        });
    }

    /// Records that a key has no value of ours in this version. Returns what is known instead, where that is newer.
    fn record_version(&self, key: &str, version: Version, value: KeyValue) -> Option<KeyRecord> {
        let pay = || {
            self.store
                .reserve(Owner::Local, key.len() as u64)
                .ok()
                .map(Reservation::keep)
        };
        match self.directory.write_key(key, version, value, pay) {
            KeyWrite::Recorded { displaced } => {
                if let Some(displaced) = displaced {
                    self.free_displaced(displaced);
                }
                None
            }
            KeyWrite::Stale(record) => (record.version > version).then_some(record),
        }
    }

    /// Frees what a key pointed to.
    fn free_displaced(&self, id: BlockId) {
        // The usual case needs no task: a block of this store.
        if let Some(object) = self.directory.object(id)
            && !matches!(object.place, Place::Here)
        {
            let service = self.shared();
            self.spawn(async move {
                // Nothing is lost by a failure: what lies on a peer that is away is owed to it.
                let _ = service.free_own(id).await;
            });
            return;
        }
        self.directory.remove_object(id);
        self.store.remove(id);
    }

    /// Tells all connected peers that a key was set or deleted, and waits until each dropped what was older. Returns
    /// whether one had an older value.
    ///
    /// The news goes on its way even where the caller goes away or a peer is slow: a link delivers in order, and a
    /// link that fails is followed by a reconciliation.
    async fn tell_peers(&self, key: &str, version: Version, deleted: bool) -> bool {
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
            let telling = self.tasks.spawn(async move {
                match link.request(request, Body::empty()).await {
                    Ok((PeerReply::Outdated { dropped, newer }, _)) => {
                        if let Some(newer) = newer {
                            service.outdate(&newer);
                        }
                        dropped
                    }
                    _ => false,
                }
            });
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
            let Some(record) = self.directory.key(key) else {
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
            if let KeyValue::Ours(id) = record.value
                && (self.store.has_expired(id) || self.directory.has_expired(id))
            {
                return Ok(None);
            }
            // It moved on while we looked, or its bytes are gone with the peer that held them.
            self.directory.forget_key(key, record);
            if let KeyValue::Ours(id) = record.value {
                self.free_own(id).await?;
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
