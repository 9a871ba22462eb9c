//! What a node does, whoever asks: authorise, place, do.
//!
//! An adapter (the local API, a peer link, later the gateways) decodes a request, calls the [`Service`] and encodes what
//! it returns. It decides nothing. The service itself never touches a socket: peers are reached through
//! [`crate::peer::Peers`]; bytes, and what is known of keys, lie in [`crate::store::Store`].
//!
//! Read [`keys`] for `set` and `get`, [`listing`] for the keys of the whole pool, [`batches`] for many keys at once, [`blocks`] for blocks, `streams` for large
//! objects, [`expiry`] and [`flush`] for how data ends, `grants` for what a peer may use here, and [`from_peers`] for what
//! other nodes may ask.

pub mod batches;
pub mod blocks;
pub mod expiry;
pub mod flush;
mod for_programs;
pub mod from_peers;
mod grants;
mod intake;
pub mod keys;
pub mod listing;
mod news;
mod open_streams;
mod rewind;
mod storing;
mod streams;
mod telling;
#[cfg(test)]
mod tests;
mod unconfirmed;
mod unfinished;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use memproto::control::{Freed, GrantUse, NodeStatus, PeerInfo, PeerState, ServiceManager, Stats};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::message::FREE_BATCH_MAX;
use memproto::peer::{PeerReply, PeerRequest};
use memproto::version::HybridClock;
use memproto::{BlockClass, BlockId, NodeId, Placement, Ttl, Version};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::flush::FlushAllowed;
pub use self::intake::Intake;
use self::listing::Turns;
use self::news::News;
use self::open_streams::OpenStreams;
use self::storing::Storing;
#[cfg(any(test, feature = "simulation"))]
pub use self::streams::StreamAudit;
pub use self::streams::UNFINISHED_KEPT;
use self::streams::{ChunkBuffers, OwnChunks, Writing};
pub use self::telling::ANNOUNCE_INTERVAL;
use self::unconfirmed::Unconfirmed;
use crate::body::Body;
use crate::counters::Counters;
use crate::hex;
use crate::local::ConnectionGauge;
use crate::memory_file::MemoryFiles;
use crate::peer::{PeerLink, Peers};
use crate::platform;
use crate::store::{Owner, Store};
use crate::timings::Timings;

/// How long one question to all peers may take: a key that nobody has, or the news of an overwrite. A peer that is
/// connected answers within milliseconds; one that hangs is given up by the link's keepalive after 10 s.
pub const ASK_ALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a deletion is remembered, so that a node that was away does not bring the key back.
pub const DELETION_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long what a peer has pinned here is kept whatever happens while it is away: longer than a restart, a way between two networks and a lid
/// that is closed over lunch.
pub const ABSENT_GRACE: Duration = Duration::from_secs(60 * 60);

/// How often deletions that are too old are looked for.
const DELETION_SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How a new block is to be kept and where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutOptions {
    /// How long it lives, counted from when it is stored; `None` is for good.
    pub ttl: Option<Ttl>,
    /// The class.
    pub class: BlockClass,
    /// The placement.
    pub placement: Placement,
    /// Whether a key is set on all connected peers before the answer, see [`Service::set`]. Without a key it means nothing.
    pub strict: bool,
}

/// What a `set`, `store` or `stream` made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The new id.
    pub id: BlockId,
    /// Its size in bytes.
    pub size: u64,
}

/// A part of an object, or all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many bytes at most; `u64::MAX` for all the rest.
    pub length: u64,
}

impl ByteRange {
    /// The whole object.
    pub const ALL: ByteRange = ByteRange {
        offset: 0,
        length: u64::MAX,
    };

    /// The range cut to an object of this size.
    ///
    /// # Errors
    /// `InvalidArgument` where the range begins behind the end.
    pub fn within(self, size: u64) -> ApiResult<std::ops::Range<u64>> {
        if self.offset > size {
            return Err(ApiError::invalid(format!(
                "the range begins at byte {}, but the object has {size} bytes",
                self.offset
            )));
        }
        Ok(self.offset..self.offset.saturating_add(self.length).min(size))
    }
}

/// An object that was found.
#[derive(Debug)]
pub struct Loaded {
    /// Its id.
    pub id: BlockId,
    /// The size of the whole object in bytes.
    pub size: u64,
    /// The bytes of the range that was asked for; its size is known, but for a stream that is followed while it is written.
    pub body: Body,
}

/// An object of which a part, or all, was written to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its id.
    pub id: BlockId,
    /// The size of the whole object in bytes.
    pub size: u64,
    /// How many bytes were written.
    pub length: u64,
}

/// What a read found in this node's memory, for as long as the look lasts.
#[derive(Debug)]
pub enum Here<'a> {
    /// A small value, or the part of it that was asked for.
    Small {
        /// Its id.
        id: BlockId,
        /// The size of the whole value in bytes.
        size: u64,
        /// The bytes of the range.
        bytes: &'a [u8],
    },
    /// Another one.
    Large(Loaded),
}

impl From<Here<'_>> for Loaded {
    fn from(here: Here<'_>) -> Self {
        match here {
            Here::Small { id, size, bytes } => Loaded {
                id,
                size,
                body: Body::from(bytes::Bytes::copy_from_slice(bytes)),
            },
            Here::Large(loaded) => loaded,
        }
    }
}

/// What the peer links need of the node: implemented by the service, called by [`crate::peer`].
pub trait PeerEvents: Send + Sync + 'static {
    /// Answers a request of a connected peer's process. Failures are `PeerReply::Failed`, never a closed link.
    fn handle_peer_request(
        &self,
        peer: NodeId,
        incarnation: u64,
        request: PeerRequest,
        body: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)>;

    /// A link came up and both sides agreed. `incarnation` is a random number that the peer's process drew at its
    /// start: another one than last time means that the peer restarted and what it held is gone.
    fn peer_connected(&self, peer: NodeId, incarnation: u64, quota_bytes: u64);

    /// The link of a peer is gone.
    fn peer_disconnected(&self, peer: NodeId);

    /// A person changed what a peer may use here. Told in the order of the changes, and of the links.
    fn grant_changed(&self, peer: NodeId, quota_bytes: u64);

    /// A connected peer changed what this node may use there.
    fn borrowing_changed(&self, peer: NodeId);

    /// What this peer may use here and what it uses.
    fn lent(&self, peer: NodeId) -> GrantUse;
}

/// What the service is told about its node.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The node's name.
    pub name: String,
    /// The node's id.
    pub node_id: NodeId,
    /// The folder of the node's files.
    pub home: PathBuf,
    /// The socket of the local API.
    pub socket: PathBuf,
    /// See [`DELETION_MEMORY`].
    pub deletion_memory: Duration,
    /// See [`UNFINISHED_KEPT`].
    pub abandoned_grace: Duration,
    /// See [`ABSENT_GRACE`].
    pub absent_grace: Ttl,
    /// See [`ANNOUNCE_INTERVAL`].
    pub announce_interval: Duration,
    /// Where large blocks lie.
    pub files: MemoryFiles,
    /// Which peers may flush this node.
    pub allow_flush: FlushAllowed,
    /// How the process was started.
    pub started: StartedAs,
}

/// How the process of a node was started, as `status` tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartedAs {
    /// The file of its log, if it has one.
    pub log_file: Option<PathBuf>,
    /// Who started it, if it was no person.
    pub service_manager: Option<ServiceManager>,
    /// See [`NodeStatus::started_with`].
    pub flags: Option<Vec<String>>,
    /// What is wrong with its settings, in whole sentences.
    pub warnings: Vec<String>,
}

/// Where the node listens.
struct Listening {
    peer_addresses: Vec<SocketAddr>,
    api_address: Option<SocketAddr>,
    programs: ConnectionGauge,
}

/// The node's operations. Used as `Arc<Service>`.
pub struct Service {
    config: ServiceConfig,
    started: Instant,
    store: Store,
    clock: Mutex<HybridClock>,
    peers: Arc<Peers>,
    counters: Counters,
    timings: Timings,
    /// The incarnation of each peer that was connected, to notice a restart.
    incarnations: Mutex<BTreeMap<NodeId, u64>>,
    /// Blocks of ours on peers that are away, to be freed when they come back.
    owed_frees: Mutex<BTreeMap<NodeId, Vec<BlockId>>>,
    news: News,
    unconfirmed: Unconfirmed,
    /// Who tells each connected peer of the news.
    announcers: Mutex<BTreeMap<NodeId, tokio::task::AbortHandle>>,
    storing: Storing,
    open_streams: OpenStreams,
    writing: Writing,
    chunks: OwnChunks,
    buffers: ChunkBuffers,
    /// How many streams are being read.
    readers: Arc<AtomicUsize>,
    turns: Turns,
    listening: OnceLock<Listening>,
    tasks: TaskTracker,
    stop: CancellationToken,
    this: Weak<Service>,
}

impl Service {
    /// A service over a store and peers. `stop` is cancelled by [`request_stop`](Self::request_stop).
    pub fn new(config: ServiceConfig, store: Store, peers: Arc<Peers>, stop: CancellationToken) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            started: Instant::now(),
            clock: Mutex::new(HybridClock::new(config.node_id)),
            counters: Counters::default(),
            timings: Timings::default(),
            incarnations: Mutex::default(),
            owed_frees: Mutex::default(),
            news: News::default(),
            unconfirmed: Unconfirmed::default(),
            announcers: Mutex::default(),
            storing: Storing::default(),
            open_streams: OpenStreams::default(),
            writing: Writing::default(),
            chunks: OwnChunks::default(),
            buffers: ChunkBuffers::default(),
            readers: Arc::default(),
            turns: Turns::default(),
            listening: OnceLock::new(),
            tasks: TaskTracker::new(),
            this: this.clone(),
            config,
            store,
            peers,
            stop,
        })
    }

    /// The peers.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// What lies here, for a simulation to look over.
    #[cfg(any(test, feature = "simulation"))]
    pub fn audited_store(&self) -> &Store {
        &self.store
    }

    /// What the node counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tells where the node listens, once it does.
    pub fn note_listening(
        &self,
        peer_addresses: Vec<SocketAddr>,
        api_address: Option<SocketAddr>,
        programs: ConnectionGauge,
    ) {
        // A node starts once; a second call would change nothing.
        let _ = self.listening.set(Listening {
            peer_addresses,
            api_address,
            programs,
        });
    }

    /// What the node is and where it listens.
    pub fn status(&self) -> NodeStatus {
        let usage = self.store.usage();
        NodeStatus {
            name: self.config.name.clone(),
            node_id: self.config.node_id,
            public_key: hex::encode(&self.peers.public_key()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            home: self.config.home.clone(),
            socket: self.config.socket.clone(),
            peer_addresses: self
                .listening
                .get()
                .map_or_else(Vec::new, |at| at.peer_addresses.clone()),
            api_address: self.listening.get().and_then(|at| at.api_address),
            budget_bytes: usage.budget_bytes,
            used_bytes: usage.used_bytes,
            peers_connected: self.peers.connected().len(),
            log_file: self.config.started.log_file.clone(),
            service_manager: self.config.started.service_manager,
            warnings: [
                self.config.started.warnings.clone(),
                self.peers.identity_warnings(),
            ]
            .concat(),
            started_with: self.config.started.flags.clone(),
        }
    }

    /// What lies in the node and what it did.
    pub fn stats(&self) -> Stats {
        let usage = self.store.usage();
        let counters = &self.counters;
        let (mapped_bytes, mapped_freed_bytes) = self.mapped_bytes();
        let chunks = self.chunks.totals();
        Stats {
            blocks: usage.blocks,
            keys: usage.keys,
            streams: usage.streams,
            budget_bytes: usage.budget_bytes,
            used_bytes: usage.used_bytes,
            pinned_bytes: usage.pinned_bytes,
            cache_bytes: usage.cache_bytes,
            peers_used_bytes: usage.peers_used_bytes,
            mapped_bytes,
            mapped_freed_bytes,
            remote_bytes: usage.remote_bytes,
            chunk_bytes: chunks.bytes,
            chunk_stored_bytes: chunks.stored_bytes,
            resident_bytes: platform::resident_bytes().unwrap_or(0),
            hits: counters.hits.count(),
            misses: counters.misses.count(),
            writes: counters.writes.count(),
            errors: counters.errors.count(),
            evictions: usage.evictions,
            local_connections: self.listening.get().map_or(0, |at| at.programs.open()),
            uptime_secs: self.started.elapsed().as_secs(),
            operations: self.timings.stats(),
            peers: self.connected_peers(),
        }
    }

    /// What programs have mapped, and the part of it that is no block any more.
    fn mapped_bytes(&self) -> (u64, u64) {
        let mapped = self.config.files.mapped();
        let freed = mapped.iter().filter(|&(&id, _)| self.store.meta(id).is_none());
        (mapped.values().sum(), freed.map(|(_, len)| len).sum())
    }

    fn connected_peers(&self) -> Vec<PeerInfo> {
        let mut peers = self.peers.list();
        peers.retain(|peer| peer.state == PeerState::Connected);
        peers
    }

    /// Stops the node, as `memcli node stop` asks.
    pub fn request_stop(&self) {
        self.stop.cancel();
    }

    /// Removes a peer from the trusted devices and ends its link. What it stored here is freed with `free_data`,
    /// else kept.
    ///
    /// # Errors
    /// `UnknownPeer`, `AmbiguousPeer`.
    pub fn trust_remove(&self, name: &str, free_data: bool) -> ApiResult<Freed> {
        let device = self.peers.distrust(name)?;
        self.drop_what_lay_on(device.id);
        Ok(if free_data {
            self.store.remove_owned(Owner::Peer(device.id), |_, _| true)
        } else {
            Freed::default()
        })
    }

    /// Forgets deletions that are too old, and asks for what could not be kept in mind, until the node stops.
    pub async fn sweep_deletions(&self) {
        let mut interval = tokio::time::interval(DELETION_SWEEP_INTERVAL);
        while self.stop.run_until_cancelled(interval.tick()).await.is_some() {
            self.ask_for_what_is_lacking();
            self.store
                .forget_deletions(self.config.deletion_memory, self.unix_ms());
        }
    }

    /// Waits for the tasks that the service began. Called when nobody calls the service any more.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether this node has no peer and trusts none, and had none since it started. Then it forgets keys that are deleted or expire. Else they
    /// are remembered as deleted: a node that is away may hold an older value, which must not come back in their place.
    fn is_alone(&self) -> bool {
        lock(&self.incarnations).is_empty() && !self.peers.trusts_any()
    }

    /// The wall clock of this node.
    fn unix_ms(&self) -> u64 {
        self.peers.surroundings().unix_ms()
    }

    /// The version of a write now: by the foremost clock of the connected nodes.
    fn tick(&self) -> Version {
        let unix_ms = self.unix_ms() + self.news.lead_ms();
        lock(&self.clock).tick(unix_ms)
    }

    /// What this node's hybrid clock shows.
    fn clock_reading(&self) -> u64 {
        let unix_ms = self.unix_ms() + self.news.lead_ms();
        lock(&self.clock).reading(unix_ms)
    }

    fn observe(&self, version: Version) -> bool {
        lock(&self.clock).observe(version, self.unix_ms())
    }

    /// Runs something in the background, until it ends or the node stops.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::AbortHandle> {
        // While the runtime itself is being torn down there is nothing left to do anything for.
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let stop = self.stop.clone();
        let work = async move {
            stop.run_until_cancelled(work).await;
        };
        let work = self.peers.surroundings().task(work);
        Some(self.tasks.spawn_on(work, &runtime).abort_handle())
    }

    fn shared(&self) -> Arc<Self> {
        self.this
            .upgrade()
            .expect("a service exists only in its Arc, and a method is running on it")
    }

    /// The link to a peer that holds something.
    fn link_to(&self, holder: NodeId) -> ApiResult<Arc<PeerLink>> {
        self.peers.link(holder).ok_or_else(|| {
            let name = self.peers.name_of(holder);
            ApiError::new(
                ErrorCode::PeerUnreachable,
                format!("it lies on '{name}', which is not connected: see `memcli peer list`"),
            )
        })
    }

    /// Frees blocks of ours on a peer: now where it is connected, else when it comes back.
    fn free_later(&self, holder: NodeId, ids: Vec<BlockId>) {
        if ids.is_empty() {
            return;
        }
        let service = self.shared();
        self.spawn(async move {
            let link = service.peers.link(holder);
            if service.free_on_peer(holder, &ids).await.is_err() {
                lock(&service.owed_frees).entry(holder).or_default().extend(ids);
                // A link that came up meanwhile has found nothing owed.
                if let Some(next) = service.peers.link(holder)
                    && link.is_none_or(|link| !Arc::ptr_eq(&link, &next))
                {
                    service.free_owed(holder);
                }
            }
        });
    }

    /// Frees on a peer, to which there is a link, what was owed to it.
    fn free_owed(&self, holder: NodeId) {
        let owed = lock(&self.owed_frees).remove(&holder);
        self.free_later(holder, owed.unwrap_or_default());
    }

    async fn free_on_peer(&self, holder: NodeId, ids: &[BlockId]) -> ApiResult<Freed> {
        let link = self.link_to(holder)?;
        let mut freed = Freed::default();
        for batch in ids.chunks(FREE_BATCH_MAX) {
            let request = PeerRequest::Free { ids: batch.to_vec() };
            match link.request(request, Body::empty()).await?.0 {
                PeerReply::Freed { blocks, bytes, usage } => {
                    link.note_borrowed(usage);
                    freed.blocks += blocks;
                    freed.bytes += bytes;
                }
                _ => return Err(unexpected_reply(&link)),
            }
        }
        Ok(freed)
    }

    /// The objects of ours that lay on a peer are gone, and so are the keys it answered for.
    fn drop_what_lay_on(&self, peer: NodeId) {
        lock(&self.owed_frees).remove(&peer);
        self.news.forgot(peer);
        for id in self.store.forget_peer(peer) {
            let service = self.shared();
            self.spawn(async move {
                // What a lost holder no longer has cannot be freed there; the rest of a stream can, and is.
                let _ = service.free_own(id).await;
            });
        }
    }
}

/// A peer answered with something that does not belong to the question.
fn unexpected_reply(link: &PeerLink) -> ApiError {
    tracing::warn!(peer = %link.id(), "a peer's reply does not belong to its request");
    ApiError::new(
        ErrorCode::Internal,
        format!(
            "'{}' sent an answer that does not belong to the question",
            link.name()
        ),
    )
}

/// The maps behind these locks stay whole when a thread panics: each change is one call on the map.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
