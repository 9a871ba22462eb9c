//! Keys: set, get, delete.
//!
//! Whoever wrote the newest version of a key answers for it; every other node has a note of it, which says whom to ask. A write waits only for
//! the peer whose value it displaces (see `telling`). A read goes to the node that the note names, and where the key has moved on is sent on
//! from there; a key of which nothing is known is looked for on all connected peers at once.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::key::check_key;
use memproto::peer::message::{KeyState, KeyVersion};
use memproto::peer::{PeerReply, PeerRequest};
use memproto::{BlockId, Version};
use tokio::time::timeout;

use super::blocks::{Found, Placed, found_in, here, is_out_of_memory, may_stay};
use super::telling::{Newer, Write, no_answer};
use super::unfinished::Unfinished;
use super::{ASK_ALL_TIMEOUT, ByteRange, Here, Loaded, PutOptions, Service, Stored, unexpected_reply};
use crate::body::Body;
use crate::peer::PeerLink;
use crate::store::{Content, KeyNote, KeyRecord, KeyValue, KeyWrite, Lookup, Place, Removed, Store};

/// How often a read follows a key that is being overwritten under its eyes, and a write tries to be the newest, before it gives up.
/// Each round means that another writer was faster.
pub(super) const OVERTAKEN_MAX: usize = 16;

/// What a peer says to a read of a key.
enum ReadAnswer {
    /// It answers for the key.
    Found(Found, Version),
    /// It does not, but knows of this.
    Moved(KeyState),
    /// It knows nothing of it.
    Missing,
}

impl Service {
    /// Sets a key to a value here, where that needs no waiting; `None` means: call [`set`](Self::set).
    pub fn set_now(&self, key: &str, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>> {
        let may_go_elsewhere = may_stay(&options.placement)?;
        if self.peers.any_connected() && !self.needs_nobody(key, options) {
            return None;
        }
        if let Err(error) = check_key(key.as_bytes()) {
            return Some(Err(error));
        }
        let set = if Store::is_small(key.len(), value.len()) {
            let set = self
                .store
                .set_small(key, self.small(value, options), || self.tick());
            set.map(|(set, version)| (set.id, set.displaced, set.before, version))
        } else {
            self.content_now(value, options).and_then(|(block, reservation)| {
                let (id, version) = (self.store.new_id(Some(key)), self.tick());
                let (displaced, before) = self.write(key, version, id, Content::Block(block, reservation))?;
                Ok((id, displaced, before, version))
            })
        };
        if may_go_elsewhere && is_out_of_memory(&set) {
            return None;
        }
        self.counters.writes.increment();
        Some(set.map(|(id, displaced, before, version)| {
            if let Some(displaced) = displaced {
                self.free_displaced(displaced);
            }
            match before.map(|before| before.value) {
                Some(KeyValue::Ours(_)) => self.news.push_overwrite(key, version),
                Some(KeyValue::Deleted) | None => self.news.push(key, version, false),
                // A peer wrote it just now, at the same moment.
                Some(KeyValue::Theirs) => {
                    let (service, key) = (self.shared(), key.to_owned());
                    self.spawn(async move {
                        let write = Write::recorded(&key, version, false);
                        service.make_known(write, before).await;
                    });
                }
            }
            Stored {
                id,
                size: value.len() as u64,
            }
        }))
    }

    /// Whether a key can be set without a word to anybody: no peer has a value of it as far as this node knows, and it knows of all.
    fn needs_nobody(&self, key: &str, options: &PutOptions) -> bool {
        let is_theirs = || {
            let record = self.store.key(key);
            record.is_some_and(|record| record.value == KeyValue::Theirs)
        };
        !options.strict && self.news.is_settled() && self.unconfirmed.is_confirmed(key) && !is_theirs()
    }

    /// Sets a key. What it held before is freed, on all connected nodes, before this returns.
    ///
    /// # Errors
    /// As [`store`](Self::store), and `InvalidArgument` or `TooLarge` for a bad key. Strict: `PeerUnreachable` where a peer is away, before
    /// anything has happened, or when it was done here and a peer could not confirm it; likewise `Timeout`.
    ///
    /// # Cancel safety
    /// Dropped before it is done, the key either has the new value or the old one, and nothing is leaked.
    pub async fn set(&self, key: &str, body: Body, options: PutOptions) -> ApiResult<Stored> {
        check_key(key.as_bytes())?;
        self.counters.writes.increment();
        if options.strict {
            self.everyone()?;
        }
        let mut unfinished = Unfinished::new(self.shared());
        let placed = self.put(body, &options, Some(key), &mut unfinished).await?;
        self.set_placed(key, placed, options.strict, Some(unfinished))
            .await
    }

    /// Sets a key to what has its place.
    pub(super) async fn set_placed(
        &self,
        key: &str,
        placed: Placed,
        strict: bool,
        unfinished: Option<Unfinished>,
    ) -> ApiResult<Stored> {
        let Placed { id, size, content } = placed;
        let everyone = self.asked_first(key, strict).await?;
        let _hold = self.hold_older(key);
        let version = self.tick();
        let (displaced, before) = self.write(key, version, id, content)?;
        if let Some(unfinished) = unfinished {
            unfinished.finish();
        }
        if let Some(displaced) = displaced {
            self.free_displaced(displaced);
        }
        let write = Write::recorded(key, version, false);
        match everyone {
            Some(everyone) => self.make_known_to_all(&everyone, write).await?,
            None => self.make_known(write, before).await,
        }
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
            Lookup::Ours(_, found) => match here(found, range) {
                Some(found) => (false, answer(found.map(Some))),
                None => (false, None),
            },
            Lookup::Theirs(_) => (false, None),
            Lookup::Deleted(_) | Lookup::Absent => (true, None),
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

    /// Reads the value of a key, wherever it lies. `None` where no node has the key. Strict, it is the newest value that any
    /// connected peer knows of.
    ///
    /// # Errors
    /// `PeerUnreachable` where the node that has it is away, or strict any, `Timeout` where a connected peer did not answer,
    /// `InvalidArgument` for a bad key or a range that begins behind the end.
    pub async fn get(&self, key: &str, range: ByteRange, strict: bool) -> ApiResult<Option<Loaded>> {
        check_key(key.as_bytes())?;
        if strict {
            self.learn_newest(key).await?;
        }
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
    /// `InvalidArgument` or `TooLarge` for a bad key; `Timeout` where it is not known here and a connected peer did not say whether it has
    /// it. Strict, as [`set`](Self::set).
    pub async fn del(&self, key: &str, strict: bool) -> ApiResult<bool> {
        check_key(key.as_bytes())?;
        self.counters.writes.increment();
        let everyone = self.asked_first(key, strict).await?;
        let version = self.tick();
        let before = self.store.key(key);
        if before.is_none_or(|before| before.value == KeyValue::Deleted) {
            // Asked first, nobody had it.
            return match everyone {
                Some(_) => Ok(false),
                None => self.del_elsewhere(key, version).await,
            };
        }
        if self.is_alone() {
            if let Some(removed) = self.store.remove_key(key, version) {
                self.free_displaced(removed);
            }
            return Ok(true);
        }
        let _hold = self.hold_older(key);
        self.record_version(key, version, KeyNote::Deleted);
        let write = Write::recorded(key, version, true);
        match everyone {
            Some(everyone) => self.make_known_to_all(&everyone, write).await?,
            None => self.make_known(write, before).await,
        }
        Ok(true)
    }

    /// Deletes a key of which no value is known here, on all connected peers. Only where one had it the deletion is remembered.
    async fn del_elsewhere(&self, key: &str, version: Version) -> ApiResult<bool> {
        let mut write = Write {
            is_recorded: false,
            ..Write::recorded(key, version, true)
        };
        let told = self
            .tell(&self.peers.connected(), &mut write, Newer::IsBeaten)
            .await;
        // What was learned of an older value here meanwhile shows that there was one.
        let learned = self.store.key(key);
        let learned =
            learned.filter(|record| record.value != KeyValue::Deleted && record.version < write.version);
        if told.dropped || learned.is_some() {
            self.record_version(key, write.version, KeyNote::Deleted);
            self.news.push(key, write.version, true);
            return Ok(true);
        }
        match told.failure {
            // One that went away in between is as one that was away before.
            Some(error) if error.code != ErrorCode::PeerUnreachable => Err(error),
            _ => Ok(false),
        }
    }

    /// Lets a key name something. Returns what it named before, or the new one where a write at the same moment was newer; and what was known of
    /// the key.
    fn write(
        &self,
        key: &str,
        version: Version,
        id: BlockId,
        content: Content,
    ) -> ApiResult<(Option<Removed>, Option<KeyRecord>)> {
        let rejected = match &content {
            Content::Block(..) => None,
            Content::Object(object) => Some(Removed {
                id,
                size: object.size,
                place: object.place.clone(),
                key: None,
                chunk: None,
            }),
        };
        Ok(match self.store.set(key, version, id, content)? {
            KeyWrite::Recorded { displaced, before } | KeyWrite::NotKept { displaced, before } => {
                (displaced, before)
            }
            KeyWrite::Stale(record) => (rejected, Some(record)),
        })
    }

    /// Takes note of a version from elsewhere.
    pub(super) fn outdate(&self, told: &KeyVersion) -> Outdated {
        if !self.observe(told.version) {
            tracing::warn!(peer = %told.version.node, "ignored a version more than a day ahead of this clock");
            return Outdated::default();
        }
        let note = if told.deleted {
            KeyNote::Deleted
        } else {
            KeyNote::Theirs
        };
        match self.record_version(&told.key, told.version, note) {
            KeyWrite::Recorded { before, .. } => Outdated {
                dropped: had_value(before),
                ..Outdated::default()
            },
            KeyWrite::Stale(record) => {
                if record.version > told.version && matches!(record.value, KeyValue::Ours(_)) {
                    // Others believe it as well, and an overwrite of a value of ours is not announced by itself.
                    self.news.push(&told.key, record.version, false);
                }
                Outdated {
                    // A deletion came this way already, by a node that had heard of it and was told of the value.
                    dropped: told.deleted && record.version == told.version,
                    newer: (record.version > told.version).then(|| KeyVersion {
                        key: told.key.clone(),
                        version: record.version,
                        deleted: record.value == KeyValue::Deleted,
                    }),
                    is_noted: record.value == KeyValue::Theirs,
                    ..Outdated::default()
                }
            }
            KeyWrite::NotKept { before, .. } => Outdated {
                dropped: had_value(before),
                not_kept: true,
                ..Outdated::default()
            },
        }
    }

    /// Records that a key has no value of ours in this version, and frees what it held.
    fn record_version(&self, key: &str, version: Version, note: KeyNote) -> KeyWrite {
        let mut written = self.store.note(key, version, note);
        if let KeyWrite::Recorded { displaced, .. } | KeyWrite::NotKept { displaced, .. } = &mut written
            && let Some(displaced) = displaced.take()
        {
            self.free_displaced(displaced);
        }
        written
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

    async fn find_key(&self, key: &str, range: ByteRange) -> ApiResult<Option<Loaded>> {
        let mut lost = None;
        let mut bytes_gone = None;
        // Versions that their writers no longer have: peers may have them in mind for long.
        let mut gone = Vec::new();
        for _ in 0..OVERTAKEN_MAX {
            let known = self.store.key(key);
            let found = match known.map(|known| (known.value, known)) {
                Some((KeyValue::Ours(id), _)) => self.find_ours(id, range).await?,
                Some((KeyValue::Theirs, note)) => self.find_theirs(key, note, range).await?,
                Some((KeyValue::Deleted, _)) | None => self.ask_all(key, range, &gone).await?,
            };
            match found {
                Looked::Found(loaded) => return Ok(Some(loaded)),
                Looked::Nowhere => return lost.map_or(Ok(None), Err),
                Looked::MovedOn => {}
                Looked::Lost(why) => {
                    lost = Some(why);
                    gone.extend(known.map(|known| known.version));
                }
                Looked::Gone(error) => bytes_gone = Some(error),
                Looked::Forgotten(version) => gone.push(version),
            }
        }
        Err(bytes_gone.unwrap_or_else(|| {
            ApiError::new(
                ErrorCode::Busy,
                format!("the key '{key}' is being overwritten faster than it can be read: try again"),
            )
        }))
    }

    async fn find_ours(&self, id: BlockId, range: ByteRange) -> ApiResult<Looked> {
        if let Some(loaded) = self.load_own(id, range).await? {
            return Ok(Looked::Found(loaded));
        }
        if self.store.has_expired(id) {
            return Ok(Looked::Nowhere);
        }
        // Its holder no longer has it, or it was overwritten while we looked.
        Ok(self.take_lost(id).map_or(Looked::MovedOn, Looked::Lost))
    }

    /// Reads a key from the node that wrote it.
    async fn find_theirs(&self, key: &str, note: KeyRecord, range: ByteRange) -> ApiResult<Looked> {
        let link = self.link_to(note.version.node)?;
        match self.read_at(&link, key, range).await? {
            ReadAnswer::Found(found, version) => {
                if version > note.version {
                    self.learn(key, version, false);
                }
                return Looked::of(self.go_to(&link, found, range).await);
            }
            ReadAnswer::Moved(state) if state.version > note.version => {
                self.learn(key, state.version, state.deleted);
                Ok(Looked::MovedOn)
            }
            // It knows nothing newer, and no longer has what it had.
            ReadAnswer::Moved(_) | ReadAnswer::Missing => {
                self.store.forget_key(key, note);
                Ok(Looked::Forgotten(note.version))
            }
        }
    }

    /// Looks for a key on all connected peers at once. The first that has it answers. What they know of versions that are gone is passed over.
    async fn ask_all(&self, key: &str, range: ByteRange, gone: &[Version]) -> ApiResult<Looked> {
        let links = self.peers.connected();
        let mut questions: FuturesUnordered<_> = links
            .iter()
            .map(|link| async move {
                let answer = match timeout(ASK_ALL_TIMEOUT, self.read_at(link, key, range)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(no_answer(link)),
                };
                (link, answer)
            })
            .collect();
        let mut failure = None;
        let mut moved: Option<KeyState> = None;
        while let Some((link, answer)) = questions.next().await {
            match answer {
                Ok(ReadAnswer::Found(found, version)) if self.learn(key, version, false) => {
                    return Looked::of(self.go_to(link, found, range).await);
                }
                Ok(ReadAnswer::Moved(state)) if gone.contains(&state.version) => {}
                Ok(ReadAnswer::Moved(state)) => {
                    moved = moved.into_iter().chain([state]).max_by_key(|state| state.version);
                }
                // What it has was deleted or overwritten, which it is going to be told.
                Ok(ReadAnswer::Found(..) | ReadAnswer::Missing) => {}
                Err(error) => failure = Some(error),
            }
        }
        drop(questions);
        match moved.filter(|state| !state.deleted) {
            // It moved while they were asked, or the node that has it is away.
            Some(state) if self.knows(state.version.node) && self.learn(key, state.version, false) => {
                return Ok(Looked::MovedOn);
            }
            _ => {}
        }
        let known = self.store.key(key);
        if known.is_some_and(|known| known.value != KeyValue::Deleted) {
            // It was set while they were asked.
            return Ok(Looked::MovedOn);
        }
        failure.map_or(Ok(Looked::Nowhere), Err)
    }

    async fn read_at(&self, link: &PeerLink, key: &str, range: ByteRange) -> ApiResult<ReadAnswer> {
        let request = PeerRequest::Read {
            key: key.to_owned(),
            offset: range.offset,
            length: range.length,
        };
        let (reply, body) = link.request(request, Body::empty()).await?;
        Ok(match &reply {
            PeerReply::Moved(state) => ReadAnswer::Moved(*state),
            PeerReply::Missing => ReadAnswer::Missing,
            PeerReply::Loaded { version, .. } | PeerReply::Elsewhere { version, .. } => {
                let version = version.ok_or_else(|| unexpected_reply(link))?;
                match found_in(link, (reply, body))? {
                    Some(found) => ReadAnswer::Found(found, version),
                    None => ReadAnswer::Missing,
                }
            }
            _ => return Err(unexpected_reply(link)),
        })
    }

    /// Where a write is strict, all peers, who have said what they know of the key: the version of the write is then newer than all that anybody has
    /// read before it began.
    async fn asked_first(&self, key: &str, strict: bool) -> ApiResult<Option<Vec<Arc<PeerLink>>>> {
        if !strict {
            return Ok(None);
        }
        self.learn_newest(key).await?;
        self.everyone().map(Some)
    }

    /// Learns the newest version of a key that any connected peer knows of.
    ///
    /// # Errors
    /// `PeerUnreachable`, `Timeout` where a peer cannot be asked.
    async fn learn_newest(&self, key: &str) -> ApiResult<()> {
        let everyone = self.everyone()?;
        let mut questions: FuturesUnordered<_> = everyone
            .iter()
            .map(|link| async move {
                let request = PeerRequest::Newest { key: key.to_owned() };
                match timeout(ASK_ALL_TIMEOUT, link.request(request, Body::empty())).await {
                    Ok(Ok((PeerReply::Newest(state), _))) => Ok(state),
                    Ok(Ok(_)) => Err(unexpected_reply(link)),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(no_answer(link)),
                }
            })
            .collect();
        while let Some(state) = questions.next().await {
            if let Some(state) = state? {
                self.learn(key, state.version, state.deleted);
            }
        }
        Ok(())
    }

    /// Takes note of what a peer says of a key. False where something newer is known: what the peer has is no longer true.
    fn learn(&self, key: &str, version: Version, deleted: bool) -> bool {
        if version.node == self.config.node_id && !deleted {
            // This node knows best. But a deletion of a key that it did not know of itself it may not have recorded.
            return false;
        }
        let told = KeyVersion {
            key: key.to_owned(),
            version,
            deleted,
        };
        self.outdate(&told).newer.is_none()
    }

    /// Whether a node is connected, or one that may come back.
    fn knows(&self, node: memproto::NodeId) -> bool {
        self.peers.link(node).is_some() || self.peers.unreachable().contains(&node)
    }
}

/// Whether what was known of a key was a value.
fn had_value(before: Option<KeyRecord>) -> bool {
    before.is_some_and(|before| before.value != KeyValue::Deleted)
}

/// What came of a look for a key.
enum Looked {
    Found(Loaded),
    Nowhere,
    /// Something changed meanwhile, or was learned: look again.
    MovedOn,
    /// The peer that held it has it no more, and why: look whether others have a newer value.
    Lost(ApiError),
    /// The node that wrote this version no longer has it: look again elsewhere.
    Forgotten(Version),
    /// The bytes were not where they lay a moment ago: the key was overwritten meanwhile, or they are lost.
    Gone(ApiError),
}

impl Looked {
    fn of(followed: ApiResult<Loaded>) -> ApiResult<Self> {
        match followed {
            Err(error) if error.code == ErrorCode::NotFound => Ok(Looked::Gone(error)),
            followed => followed.map(Looked::Found),
        }
    }
}

/// What came of a version that a peer told.
#[derive(Debug, Default)]
pub(super) struct Outdated {
    /// Whether an older value was there, here or by a note.
    pub(super) dropped: bool,
    /// What is known instead, where that is newer.
    pub(super) newer: Option<KeyVersion>,
    /// Whether that rests on a note, and so on a hash of the key: no node is to drop a value on the strength of it.
    pub(super) is_noted: bool,
    /// Whether it could not be taken note of.
    pub(super) not_kept: bool,
}
