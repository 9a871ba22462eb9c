//! The same client for programs without a runtime: every method of [`crate::MemCloud`] under its name, which returns when
//! it is done.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/example.rs"));
//! # fn main() -> memsdk::Result<()> {
//! # let _node = default_node();
//! use memsdk::blocking::MemCloud;
//!
//! let cloud = MemCloud::connect()?;
//! cloud.set("greeting", "Hello from MemCloud!").send()?;
//! let greeting = cloud.get("greeting")?;
//! assert_eq!(greeting.as_deref(), Some(&b"Hello from MemCloud!"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! A call runs on the thread that makes it, sockets included: nothing is handed to another thread and back. Clones share one
//! connection and may be used on several threads at the same time; concurrent calls leave together, as those of
//! [`crate::MemCloud`] do. What that promises about deadlines and lost connections holds here, too.
//!
//! Inside an asynchronous runtime a call would hold up everything else that runs there. It fails with
//! [`Error::InsideRuntime`]; it does not panic.

mod mapped;
mod object;
mod put;
mod put_many;
mod scan;
mod send_stream;
mod stream_reader;
mod stream_writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use memproto::control::{
    ConnectRequest, ConsentDecision, ConsentRequest, ConsentState, ConsentWait, DoctorReport, Freed,
    NodeStatus, PairCodeShown, PairJoin, PeerInfo, PeerUpdated, PeerWait, Stats, TrustAdded, TrustAddition,
    TrustedDevice,
};
use memproto::{ApiError, BlockId, ValueName};
use tokio::runtime::{Builder as RuntimeBuilder, Handle, Runtime};

pub use mapped::PutMapped;
pub use object::Object;
pub use put::{Put, PutStream};
pub use put_many::PutMany;
pub use scan::Scan;
pub use send_stream::SendStream;
pub use stream_reader::{StreamReader, StreamReaderBuilder};
pub use stream_writer::{StreamWriter, StreamWriterBuilder};

use crate::{Builder, Error, Lifetime, Patterns, Result};

/// After a pause of this length the connection is looked after before a call begins: the node may have closed it.
const PAUSE: Duration = Duration::from_millis(1);

/// How often the runtime turns for that: once for the socket to be found ready, once for the connection's task to look at
/// it, once for what follows from that.
const TURNS: usize = 3;

/// A client of the node of this host that blocks. Clones are cheap and share one connection.
#[derive(Clone, Debug)]
pub struct MemCloud {
    cloud: crate::MemCloud,
    driver: Arc<Driver>,
}

/// What moves the connection while a call waits.
#[derive(Debug)]
struct Driver {
    /// `None` while it is dropped.
    runtime: Option<Runtime>,
    /// When the last call ended.
    rests_since: Mutex<Instant>,
}

impl Driver {
    fn start() -> Result<Self> {
        let runtime = RuntimeBuilder::new_current_thread().enable_all().build()?;
        Ok(Self {
            runtime: Some(runtime),
            rests_since: Mutex::new(Instant::now()),
        })
    }

    /// Runs a call to its end on this thread.
    fn run<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if Handle::try_current().is_ok() {
            return Err(Error::InsideRuntime);
        }
        let Some(runtime) = &self.runtime else {
            return Err(Error::ConnectionLost);
        };
        let rests_since = *self.rests_since.lock().unwrap_or_else(PoisonError::into_inner);
        let done = runtime.block_on(async {
            if rests_since.elapsed() > PAUSE {
                turn().await;
            }
            call.await
        });
        *self.rests_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        done
    }

    /// Sends what a dropped call leaves to be said. It would otherwise leave with the next call.
    fn settle(&self) {
        // Inside a runtime it has to wait for that.
        let _ = self.run(async {
            turn().await;
            Ok(())
        });
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops the client may be inside another runtime, where waiting for this one is not allowed.
            runtime.shutdown_background();
        }
    }
}

async fn turn() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

impl Builder {
    /// Connects a client that blocks.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`Error::InsideRuntime`] inside an asynchronous runtime.
    pub fn connect_blocking(self) -> Result<MemCloud> {
        let driver = Driver::start()?;
        let cloud = driver.run(self.connect())?;
        Ok(MemCloud {
            cloud,
            driver: Arc::new(driver),
        })
    }
}

/// Each method as its namesake of [`crate::MemCloud`], which says more, and with its errors; and with
/// [`Error::InsideRuntime`] inside an asynchronous runtime.
impl MemCloud {
    /// Connects to the node at [`default_socket_path`](crate::default_socket_path).
    pub fn connect() -> Result<Self> {
        Self::builder().connect_blocking()
    }

    /// For a connection with other settings: see [`Builder::connect_blocking`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client for strict operations on keys. One call alone: `cloud.strict().get("key")`.
    #[must_use = "the client itself stays as it is"]
    pub fn strict(&self) -> Self {
        Self {
            cloud: self.cloud.strict(),
            driver: Arc::clone(&self.driver),
        }
    }

    /// The Unix socket that this client talks to; `None` on TCP.
    pub fn socket(&self) -> Option<&Path> {
        self.cloud.socket()
    }

    /// Makes `key` name this value; frees what it named before.
    pub fn set(&self, key: impl Into<String>, value: impl Into<Bytes>) -> Put {
        Put::new(self.cloud.set(key, value), &self.driver)
    }

    /// The value of a key, or `None` where no connected node has one.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.driver.run(self.cloud.get(key))
    }

    /// Deletes a key and frees its value. Returns whether there was one.
    pub fn del(&self, key: &str) -> Result<bool> {
        self.driver.run(self.cloud.del(key))
    }

    /// The values of several keys, in the order of the keys.
    pub fn mget<K: AsRef<str> + Sync>(&self, keys: &[K]) -> Result<Vec<Option<Bytes>>> {
        self.driver.run(self.cloud.mget(keys))
    }

    /// As [`mget`](Self::mget), with the error of each key.
    pub fn mget_each<K: AsRef<str> + Sync>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Result<Option<Bytes>, ApiError>>> {
        self.driver.run(self.cloud.mget_each(keys))
    }

    /// Makes each key name its value.
    pub fn mset<'a, K: AsRef<str> + Sync>(&self, pairs: &'a [(K, Bytes)]) -> PutMany<'a, K> {
        PutMany::new(self.cloud.mset(pairs), &self.driver)
    }

    /// Deletes several keys. Returns how many there were.
    pub fn mdel<K: AsRef<str> + Sync>(&self, keys: &[K]) -> Result<u64> {
        self.driver.run(self.cloud.mdel(keys))
    }

    /// As [`mdel`](Self::mdel), with the answer of each key.
    pub fn mdel_each<K: AsRef<str> + Sync>(&self, keys: &[K]) -> Result<Vec<Result<bool, ApiError>>> {
        self.driver.run(self.cloud.mdel_each(keys))
    }

    /// Stores a value as a block without a key.
    pub fn store(&self, value: impl Into<Bytes>) -> Put {
        Put::new(self.cloud.store(value), &self.driver)
    }

    /// All the bytes of a block or stream, in memory.
    pub fn load(&self, id: BlockId) -> Result<Bytes> {
        self.driver.run(self.cloud.load(id))
    }

    /// Up to `length` bytes of a block or stream from `offset` on.
    pub fn load_range(&self, id: BlockId, offset: u64, length: u64) -> Result<Bytes> {
        self.driver.run(self.cloud.load_range(id, offset, length))
    }

    /// Frees a block or stream.
    pub fn free(&self, id: BlockId) -> Result<Freed> {
        self.driver.run(self.cloud.free(id))
    }

    /// Frees several blocks and streams.
    pub fn free_all(&self, ids: &[BlockId]) -> Result<Freed> {
        self.driver.run(self.cloud.free_all(ids))
    }

    /// Opens a block or stream for reading piece by piece.
    pub fn open(&self, id: BlockId) -> Result<Object> {
        let object = self.driver.run(self.cloud.open(id))?;
        Ok(Object::new(object, &self.driver))
    }

    /// Opens up to `length` bytes of a block or stream from `offset` on.
    pub fn open_range(&self, id: BlockId, offset: u64, length: u64) -> Result<Object> {
        let object = self.driver.run(self.cloud.open_range(id, offset, length))?;
        Ok(Object::new(object, &self.driver))
    }

    /// Opens a stream that may still be written: what is written comes as it is written, and the end when it is finished.
    pub fn follow(&self, id: BlockId) -> Result<Object> {
        self.follow_from(id, 0)
    }

    /// As [`follow`](Self::follow), from byte `offset` on.
    pub fn follow_from(&self, id: BlockId, offset: u64) -> Result<Object> {
        let object = self.driver.run(self.cloud.follow_from(id, offset))?;
        Ok(Object::new(object, &self.driver))
    }

    /// Opens the value of a key for reading piece by piece; `None` where no connected node has one.
    pub fn open_key(&self, key: &str) -> Result<Option<Object>> {
        let object = self.driver.run(self.cloud.open_key(key))?;
        Ok(object.map(|object| Object::new(object, &self.driver)))
    }

    /// Opens up to `length` bytes of the value of a key from `offset` on.
    pub fn open_key_range(&self, key: &str, offset: u64, length: u64) -> Result<Option<Object>> {
        let object = self.driver.run(self.cloud.open_key_range(key, offset, length))?;
        Ok(object.map(|object| Object::new(object, &self.driver)))
    }

    /// How long a value lives, named by its key or id; `None` where no connected node has it.
    pub fn ttl(&self, name: impl Into<ValueName>) -> Result<Option<Lifetime>> {
        self.driver.run(self.cloud.ttl(name))
    }

    /// Lets a value live this long from now on. Returns how long it had to live before.
    pub fn expire(&self, name: impl Into<ValueName>, ttl: Duration) -> Result<Option<Lifetime>> {
        self.driver.run(self.cloud.expire(name, ttl))
    }

    /// Lets a value live for good. Returns how long it had to live before.
    pub fn persist(&self, name: impl Into<ValueName>) -> Result<Option<Lifetime>> {
        self.driver.run(self.cloud.persist(name))
    }

    /// All keys of the pool that match, in ascending order, each once; all of them are in memory.
    pub fn keys(&self, patterns: impl Into<Patterns>) -> Result<Vec<String>> {
        self.driver.run(self.cloud.keys(patterns))
    }

    /// The keys of the pool that match, one after the other, in no order.
    pub fn scan(&self, patterns: impl Into<Patterns>) -> Scan {
        Scan::new(self.cloud.scan(patterns), &self.driver)
    }

    /// Waits for the answer to an empty request.
    pub fn ping(&self) -> Result<()> {
        self.driver.run(self.cloud.ping())
    }

    /// What the node is and where it listens.
    pub fn status(&self) -> Result<NodeStatus> {
        self.driver.run(self.cloud.status())
    }

    /// What lies in the node and what it did.
    pub fn stats(&self) -> Result<Stats> {
        self.driver.run(self.cloud.stats())
    }

    /// All peers that the node knows.
    pub fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.driver.run(self.cloud.peers())
    }

    /// Asks for a link to a peer, which is this side's consent.
    pub fn connect_peer(&self, request: ConnectRequest) -> Result<PeerInfo> {
        self.driver.run(self.cloud.connect_peer(request))
    }

    /// Waits until a peer's state is no longer the known one, or `timeout_ms` passed.
    pub fn wait_peer(&self, wait: PeerWait) -> Result<PeerInfo> {
        self.driver.run(self.cloud.wait_peer(wait))
    }

    /// Changes how much of this node's budget a peer may use, in bytes; 0 lets it read, not store. What it has over it of class cache is
    /// evicted; what is pinned stays.
    pub fn update_peer(&self, peer: &str, quota_bytes: u64) -> Result<PeerUpdated> {
        self.driver.run(self.cloud.update_peer(peer, quota_bytes))
    }

    /// Ends the link of a peer.
    pub fn disconnect_peer(&self, peer: &str) -> Result<PeerInfo> {
        self.driver.run(self.cloud.disconnect_peer(peer))
    }

    /// The peers that wait for the answer of the person at this machine.
    pub fn consent_requests(&self) -> Result<Vec<ConsentRequest>> {
        self.driver.run(self.cloud.consent_requests())
    }

    /// Waits until other peers wait for an answer than at the known revision, or `timeout_ms` passed; at once where no revision is known.
    pub fn wait_consent(&self, wait: ConsentWait) -> Result<ConsentState> {
        self.driver.run(self.cloud.wait_consent(wait))
    }

    /// Answers one of them.
    pub fn decide(&self, decision: ConsentDecision) -> Result<ConsentRequest> {
        self.driver.run(self.cloud.decide(decision))
    }

    /// Offers a code with which another node pairs with this one.
    pub fn offer_pairing(&self, quota_bytes: Option<u64>) -> Result<PairCodeShown> {
        self.driver.run(self.cloud.offer_pairing(quota_bytes))
    }

    /// Waits until somebody tried the code.
    pub fn wait_pairing(&self, shown: &PairCodeShown) -> Result<PeerInfo> {
        self.driver.run(self.cloud.wait_pairing(shown))
    }

    /// Tries a code that another node offers.
    pub fn pair(&self, join: PairJoin) -> Result<PeerInfo> {
        self.driver.run(self.cloud.pair(join))
    }

    /// The devices that are trusted for good.
    pub fn trusted(&self) -> Result<Vec<TrustedDevice>> {
        self.driver.run(self.cloud.trusted())
    }

    /// Trusts a device for good by its public key; replaces the name and quota of one that is trusted.
    pub fn trust(&self, addition: TrustAddition) -> Result<TrustAdded> {
        self.driver.run(self.cloud.trust(addition))
    }

    /// Trusts a device no longer and ends its link.
    pub fn distrust(&self, peer: &str, free_data: bool) -> Result<Freed> {
        self.driver.run(self.cloud.distrust(peer, free_data))
    }

    /// Looks for what keeps nodes apart.
    pub fn doctor(&self, target: Option<&str>) -> Result<DoctorReport> {
        self.driver.run(self.cloud.doctor(target))
    }

    /// Frees all keys, blocks and streams that programs of this host stored. What peers stored here stays.
    pub fn flush(&self) -> Result<Freed> {
        self.driver.run(self.cloud.flush())
    }

    /// Frees all that programs of a peer's own host stored there, where its owner allows that.
    pub fn flush_peer(&self, peer: &str) -> Result<Freed> {
        self.driver.run(self.cloud.flush_peer(peer))
    }

    /// Asks the node to stop.
    pub fn stop_node(&self) -> Result<()> {
        self.driver.run(self.cloud.stop_node())
    }
}
