//! A node of two maps, for tests of sessions and of clients. Keys that begin with `gated` and blocks that a test laid out
//! as bodies go the asynchronous way; `gate` holds them up.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use memproto::control::{
    Check, CheckResult, CheckSubject, ConnectRequest, ConsentDecision, ConsentRequest, ConsentState,
    ConsentWait, DoctorReport, DoctorRequest, FlushRequest, Freed, GrantUse, NodeStatus, PairCodeShown,
    PairJoin, PairOffer, PairWait, PeerInfo, PeerName, PeerState, PeerUpdate, PeerUpdated, PeerWait, Stats,
    TrustAdded, TrustAddition, TrustRemoval, TrustedDevice,
};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::listing::{KeyDetails, ListedKey, MissingNode};
use memproto::local::batch::{BatchAnswer, BatchReply};
use memproto::local::keys::{KeysPage, KeysReply, KeysRequest};
use memproto::pattern::Globs;
use memproto::stream::{KnownChunk, StreamFinished, StreamOpened, StreamOptions, StreamStatus};
use memproto::{BlockClass, BlockId, LifetimeChange, NodeId, Ttl, ValueName};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::growing::Growing;
use super::node::{
    Backend, Body, ByteRange, Here, Intake, Loaded, MemoryFiles, PutOptions, Stored, Timings, Written,
};

pub(crate) struct Fake {
    pub(crate) blocks: Mutex<BTreeMap<BlockId, bytes::Bytes>>,
    pub(crate) keys: Mutex<BTreeMap<String, BlockId>>,
    pub(crate) lifetimes: Mutex<HashMap<ValueName, Ttl>>,
    /// Nodes whose keys are missing from a listing.
    pub(crate) missing: Mutex<Vec<MissingNode>>,
    /// How each key was last asked to be kept.
    pub(crate) options: Mutex<HashMap<String, PutOptions>>,
    /// Bodies that a load gives away, once each.
    pub(crate) bodies: Mutex<BTreeMap<BlockId, Body>>,
    pub(crate) growing: Growing,
    /// The parts of blocks and streams that were read by their ids, in order.
    pub(crate) reads: Mutex<Vec<(u64, u64)>>,
    /// One permit lets one gated operation, or one piece of a gated write, pass.
    pub(crate) gate: Semaphore,
    /// Calls that began and were not dropped yet.
    pub(crate) running: AtomicU64,
    pub(crate) stop: CancellationToken,
    pub(crate) timings: Timings,
    pub(crate) files: MemoryFiles,
    next: AtomicU64,
}

/// Counts a running call.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            blocks: Mutex::default(),
            keys: Mutex::default(),
            lifetimes: Mutex::default(),
            missing: Mutex::default(),
            options: Mutex::default(),
            bodies: Mutex::default(),
            growing: Growing::default(),
            reads: Mutex::default(),
            gate: Semaphore::new(0),
            running: AtomicU64::new(0),
            stop: CancellationToken::new(),
            timings: Timings::default(),
            files: MemoryFiles::new(100),
            next: AtomicU64::new(1),
        }
    }

    fn enter(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(&self.running)
    }

    async fn pass(&self, key: &str) {
        if key.starts_with("gated") {
            self.gate.acquire().await.unwrap().forget();
        }
        assert!(!key.starts_with("panic"), "as the test asked");
    }

    fn next_id(&self) -> BlockId {
        BlockId::new(self.next.fetch_add(1, Ordering::SeqCst)).unwrap()
    }

    pub(crate) fn insert(&self, value: bytes::Bytes) -> Stored {
        let id = self.next_id();
        let size = value.len() as u64;
        self.blocks.lock().unwrap().insert(id, value);
        Stored { id, size }
    }

    fn note(&self, key: &str, options: &PutOptions) {
        let mut noted = self.options.lock().unwrap();
        noted.insert(key.to_owned(), options.clone());
    }

    /// That a read or deletion was strict is noted as an option, too.
    fn note_strict(&self, key: &str, strict: bool) {
        if strict {
            let options = PutOptions {
                strict,
                ..PutOptions::default()
            };
            self.note(key, &options);
        }
    }

    pub(crate) fn name(&self, key: &str, value: bytes::Bytes) -> Stored {
        let stored = self.insert(value);
        let old = self.keys.lock().unwrap().insert(key.to_owned(), stored.id);
        old.and_then(|old| self.blocks.lock().unwrap().remove(&old));
        stored
    }

    fn read(&self, id: BlockId, range: ByteRange) -> ApiResult<Loaded> {
        let blocks = self.blocks.lock().unwrap();
        let growing = self.growing.stream(id).map(|stream| stream.bytes.freeze());
        let value = blocks
            .get(&id)
            .or(growing.as_ref())
            .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("no block {id}")))?;
        let size = value.len() as u64;
        let from = range.offset.min(size) as usize;
        let to = range.offset.saturating_add(range.length).min(size) as usize;
        Ok(Loaded {
            id,
            size,
            body: Body::from(value.slice(from..to)),
        })
    }

    fn find(&self, key: &str, range: ByteRange) -> ApiResult<Option<Loaded>> {
        let id = self.keys.lock().unwrap().get(key).copied();
        id.map(|id| self.read(id, range)).transpose()
    }

    async fn take(&self, key: &str, mut body: Body) -> ApiResult<bytes::Bytes> {
        let mut all = Vec::new();
        loop {
            self.pass(key).await;
            match body.next().await {
                Some(piece) => all.extend_from_slice(&piece?),
                None => return Ok(all.into()),
            }
        }
    }
}

fn peer(name: &str, state: PeerState) -> PeerInfo {
    PeerInfo {
        id: Some(NodeId::from_bytes([9; 16])),
        address: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
        ..PeerInfo::named(name, state)
    }
}

impl Backend for Fake {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes([7; 16])
    }

    fn timings(&self) -> &Timings {
        &self.timings
    }

    fn files(&self) -> &MemoryFiles {
        &self.files
    }

    fn set_now(&self, key: &str, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>> {
        (!key.starts_with("gated")).then(|| {
            self.note(key, options);
            Ok(self.name(key, bytes::Bytes::copy_from_slice(value)))
        })
    }

    fn store_now(&self, _: &[u8], _: &PutOptions) -> Option<ApiResult<Stored>> {
        None
    }

    fn get_now<R>(
        &self,
        key: &str,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Option<Here<'_>>>) -> R,
    ) -> Option<R> {
        let waits = key.starts_with("gated") || key.starts_with("panic");
        (!waits).then(|| answer(self.find(key, range).map(|found| found.map(Here::Large))))
    }

    fn load_now<R>(
        &self,
        id: BlockId,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Here<'_>>) -> R,
    ) -> Option<R> {
        self.reads.lock().unwrap().push((range.offset, range.length));
        let waits = self.bodies.lock().unwrap().contains_key(&id);
        (!waits).then(|| answer(self.read(id, range).map(Here::Large)))
    }

    fn begin_intake(&self, _: Option<&str>, _: u64, _: &PutOptions) -> Option<ApiResult<Intake>> {
        None
    }

    async fn finish_intake(&self, _: Intake) -> ApiResult<Stored> {
        unreachable!("none is begun")
    }

    async fn set(&self, key: &str, body: Body, options: PutOptions) -> ApiResult<Stored> {
        let _running = self.enter();
        self.note(key, &options);
        Ok(self.name(key, self.take(key, body).await?))
    }

    async fn get(&self, key: &str, range: ByteRange, strict: bool) -> ApiResult<Option<Loaded>> {
        let _running = self.enter();
        self.note_strict(key, strict);
        self.pass(key).await;
        self.find(key, range)
    }

    async fn del(&self, key: &str, strict: bool) -> ApiResult<bool> {
        self.note_strict(key, strict);
        self.pass(key).await;
        let id = self.keys.lock().unwrap().remove(key);
        Ok(id.is_some_and(|id| self.blocks.lock().unwrap().remove(&id).is_some()))
    }

    async fn mget(&self, keys: Vec<String>, room: usize, strict: bool) -> Vec<ApiResult<BatchAnswer>> {
        let mut answers = Vec::new();
        for key in keys {
            answers.push(match self.get(&key, ByteRange::ALL, strict).await {
                Ok(Some(found)) if found.size > room as u64 => Ok(BatchAnswer::Later { size: found.size }),
                Ok(Some(found)) => found.body.collect(found.size).await.map(BatchAnswer::Done),
                Ok(None) => Err(BatchReply::missing()),
                Err(error) => Err(error),
            });
        }
        answers
    }

    async fn mset(&self, pairs: Vec<(String, bytes::Bytes)>, options: PutOptions) -> Vec<ApiResult<()>> {
        let mut answers = Vec::new();
        for (key, value) in pairs {
            answers.push(match key.starts_with("gated refused") {
                true => Err(ApiError::new(ErrorCode::OutOfMemory, "no room")),
                false => self.set(&key, value.into(), options.clone()).await.map(drop),
            });
        }
        answers
    }

    async fn mdel(&self, keys: Vec<String>, strict: bool) -> Vec<ApiResult<bool>> {
        let mut answers = Vec::new();
        for key in keys {
            answers.push(self.del(&key, strict).await);
        }
        answers
    }

    async fn store(&self, body: Body, options: PutOptions) -> ApiResult<Stored> {
        let _running = self.enter();
        if options.placement == memproto::Placement::Remote {
            return Err(ApiError::new(ErrorCode::OutOfMemory, "no peer has room"));
        }
        Ok(self.insert(self.take("", body).await?))
    }

    async fn load(&self, id: BlockId, range: ByteRange) -> ApiResult<Loaded> {
        let body = self.bodies.lock().unwrap().remove(&id);
        match body {
            Some(body) => Ok(Loaded {
                id,
                size: body.size().unwrap_or(0),
                body,
            }),
            None => self.read(id, range),
        }
    }

    async fn lifetime(&self, name: ValueName, change: LifetimeChange) -> ApiResult<Option<Ttl>> {
        let known = match &name {
            ValueName::Id(id) => self.blocks.lock().unwrap().contains_key(id),
            ValueName::Key(key) => self.keys.lock().unwrap().contains_key(key),
        };
        let unknown = || ApiError::new(ErrorCode::NotFound, "no such value");
        let mut lifetimes = self.lifetimes.lock().unwrap();
        let before = lifetimes.get(&name).copied();
        match change.wanted() {
            Some(Some(ttl)) => drop(lifetimes.insert(name, ttl)),
            Some(None) => drop(lifetimes.remove(&name)),
            None => {}
        }
        known.then_some(before).ok_or_else(unknown)
    }

    async fn free(&self, ids: Vec<BlockId>) -> ApiResult<Freed> {
        let mut freed = Freed::default();
        for id in ids {
            self.growing.free(id);
            if let Some(value) = self.blocks.lock().unwrap().remove(&id) {
                freed.blocks += 1;
                freed.bytes += value.len() as u64;
            }
        }
        Ok(freed)
    }

    async fn stream_open(&self, options: StreamOptions) -> ApiResult<StreamOpened> {
        let id = self.next_id();
        if let Some(key) = options.key.clone().filter(|_| options.live) {
            self.keys.lock().unwrap().insert(key, id);
        }
        self.growing.open(id, options);
        Ok(StreamOpened { id })
    }

    async fn stream_write(&self, id: BlockId, mut body: Body) -> ApiResult<Stored> {
        let _running = self.enter();
        let appending = self.growing.append(id)?;
        let key = self.growing.stream(id).and_then(|stream| stream.options.key);
        let key = key.unwrap_or_default();
        loop {
            self.pass(&key).await;
            match body.next().await {
                Some(piece) => appending.push(&piece?)?,
                None => break,
            }
        }
        let size = appending.end_chunk()?;
        Ok(Stored { id, size })
    }

    async fn stream_file(&self, id: BlockId, file: File, range: ByteRange) -> ApiResult<Stored> {
        let size = self.growing.file(id, &file, range)?;
        Ok(Stored { id, size })
    }

    async fn stream_known(&self, id: BlockId, chunks: Vec<KnownChunk>) -> ApiResult<Vec<bool>> {
        self.growing.known(id, &chunks)
    }

    async fn stream_status(&self, id: BlockId) -> ApiResult<StreamStatus> {
        self.growing.status(id)
    }

    async fn stream_finish(&self, id: BlockId) -> ApiResult<StreamFinished> {
        let stream = self.growing.finish(id)?;
        let size = stream.bytes.len() as u64;
        self.blocks.lock().unwrap().insert(id, stream.bytes.freeze());
        if let Some(key) = stream.options.key {
            self.keys.lock().unwrap().insert(key, id);
        }
        Ok(StreamFinished {
            id,
            size_bytes: size,
            stored_bytes: size - stream.known,
            known_bytes: stream.known,
        })
    }

    async fn follow(&self, id: BlockId, range: ByteRange) -> ApiResult<Loaded> {
        match self.growing.stream(id) {
            Some(stream) if !stream.finished => Ok(Loaded {
                id,
                size: u64::MAX,
                body: self.growing.follow(id, range),
            }),
            _ => self.read(id, range),
        }
    }

    async fn load_into(&self, id: BlockId, range: ByteRange, file: File, at: u64) -> ApiResult<Written> {
        let Loaded { id, size, body } = self.read(id, range)?;
        let bytes = body.collect(size).await?;
        file.write_all_at(&bytes, at)
            .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
        let length = bytes.len() as u64;
        Ok(Written { id, size, length })
    }

    fn stream(&self, body: Body, options: PutOptions) -> impl Future<Output = ApiResult<Stored>> + Send {
        self.store(body, options)
    }

    /// In ascending order; a cursor is the number of keys that came before, plus one so that an empty page has one too.
    async fn keys(&self, request: KeysRequest) -> ApiResult<KeysReply> {
        let (cursor, options) = (request.cursor, request.options);
        let globs = Globs::new(&request.patterns)?;
        // As if all had five bytes and a minute to live.
        let details = options.details.then(|| KeyDetails {
            node: self.node_id(),
            holder: self.node_id(),
            size: 5,
            class: Some(BlockClass::Cache),
            ttl: Ttl::from_millis(60_000).ok(),
            is_stream: false,
        });
        let missing = if options.local {
            Vec::new()
        } else {
            self.missing.lock().unwrap().clone()
        };
        let keys = self.keys.lock().unwrap();
        let mut page = KeysPage::new(request.limit);
        for (passed, key) in keys.keys().enumerate().skip(cursor.saturating_sub(1) as usize) {
            if !globs.match_key(key) {
                continue;
            }
            let key = key.clone();
            if !page.push(ListedKey { key, details }) {
                let next = passed + 1;
                return Ok(page.finish(if next == keys.len() { 0 } else { next as u64 + 1 }));
            }
        }
        Ok(KeysReply {
            missing,
            ..page.finish(0)
        })
    }

    async fn status(&self) -> ApiResult<NodeStatus> {
        Ok(NodeStatus {
            name: "fake".to_owned(),
            node_id: self.node_id(),
            public_key: "00".repeat(32),
            version: "0.1.0".to_owned(),
            pid: 1,
            uptime_secs: 0,
            home: "/".into(),
            socket: "/".into(),
            peer_addresses: Vec::new(),
            api_address: None,
            budget_bytes: 0,
            used_bytes: 0,
            peers_connected: 0,
            log_file: None,
            service_manager: None,
            warnings: Vec::new(),
            started_with: None,
        })
    }

    async fn stats(&self) -> ApiResult<Stats> {
        Ok(Stats::default())
    }

    /// So many that the JSON does not fit one frame.
    async fn peers(&self) -> ApiResult<Vec<PeerInfo>> {
        Ok((0..5_000)
            .map(|i| peer(&format!("Node{i}"), PeerState::Connected))
            .collect())
    }

    async fn connect(&self, request: ConnectRequest) -> ApiResult<PeerInfo> {
        Ok(peer(&request.target, PeerState::WaitingForTheirConsent))
    }

    async fn peer_wait(&self, wait: PeerWait) -> ApiResult<PeerInfo> {
        self.gate.acquire().await.unwrap().forget();
        Ok(peer(&wait.peer, PeerState::Connected))
    }

    async fn peer_update(&self, update: PeerUpdate) -> ApiResult<PeerUpdated> {
        Ok(PeerUpdated {
            id: NodeId::from_bytes([7; 16]),
            name: update.peer,
            before_bytes: 1,
            lent: GrantUse {
                quota_bytes: update.quota_bytes,
                used_bytes: 0,
            },
            evicted: Freed::default(),
            trusted: true,
        })
    }

    async fn disconnect(&self, name: PeerName) -> ApiResult<PeerInfo> {
        Err(ApiError::new(
            ErrorCode::UnknownPeer,
            format!("no peer is called '{}'", name.peer),
        ))
    }

    async fn consent_list(&self) -> ApiResult<Vec<ConsentRequest>> {
        Ok(Vec::new())
    }

    async fn consent_decide(&self, decision: ConsentDecision) -> ApiResult<ConsentRequest> {
        Err(ApiError::new(ErrorCode::UnknownPeer, decision.peer))
    }

    async fn pair_offer(&self, _offer: PairOffer) -> ApiResult<PairCodeShown> {
        Ok(PairCodeShown {
            number: 1,
            code: "417-582-9310".to_owned(),
            expires_in_secs: 300,
        })
    }

    async fn pair_wait(&self, wait: PairWait) -> ApiResult<PeerInfo> {
        self.gate.acquire().await.unwrap().forget();
        Ok(peer(&wait.number.to_string(), PeerState::Connected))
    }

    async fn pair_join(&self, join: PairJoin) -> ApiResult<PeerInfo> {
        Ok(peer(&join.code, PeerState::Connected))
    }

    async fn trust_list(&self) -> ApiResult<Vec<TrustedDevice>> {
        Ok(Vec::new())
    }

    async fn consent_wait(&self, wait: ConsentWait) -> ApiResult<ConsentState> {
        if wait.known_revision.is_some() {
            self.gate.acquire().await.unwrap().forget();
        }
        Ok(ConsentState {
            revision: 1,
            requests: Vec::new(),
        })
    }

    async fn trust_add(&self, addition: TrustAddition) -> ApiResult<TrustAdded> {
        let device = TrustedDevice {
            id: NodeId::from_bytes([9; 16]),
            public_key: addition.public_key,
            name: addition.name,
            quota_bytes: addition.quota_bytes.unwrap_or(5),
            trusted_at_unix_secs: 0,
            addresses: Vec::new(),
        };
        Ok(TrustAdded {
            device,
            was_trusted: false,
        })
    }

    async fn flush(&self, request: FlushRequest) -> ApiResult<Freed> {
        match request.peer {
            None => Ok(Freed {
                blocks: self.keys.lock().unwrap().len() as u64,
                bytes: 0,
            }),
            Some(peer) => Err(ApiError::new(ErrorCode::Denied, peer)),
        }
    }

    async fn trust_remove(&self, removal: TrustRemoval) -> ApiResult<Freed> {
        Ok(Freed {
            blocks: removal.free_data.into(),
            bytes: 0,
        })
    }

    async fn doctor(&self, request: DoctorRequest) -> ApiResult<DoctorReport> {
        Ok(DoctorReport {
            checks: vec![Check {
                subject: CheckSubject::Peer,
                about: request.target,
                result: CheckResult::Ok,
                found: "connected".to_owned(),
                advice: None,
            }],
        })
    }

    fn request_stop(&self) {
        self.stop.cancel();
    }
}
