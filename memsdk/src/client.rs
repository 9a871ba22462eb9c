//! The client: one method for each operation of a node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memproto::control::{
    ConnectRequest, ConsentDecision, ConsentRequest, ConsentState, ConsentWait, DoctorReport, DoctorRequest,
    FlushRequest, Freed, NodeStatus, PairCodeShown, PairJoin, PairOffer, PairWait, PeerInfo, PeerName,
    PeerUpdate, PeerUpdated, PeerWait, Stats, TrustAdded, TrustAddition, TrustRemoval, TrustedDevice,
};
use memproto::key::check_key;
use memproto::local::reply::{decode_deleted, decode_freed, decode_lifetime};
use memproto::local::request::{DelRequest, FreeRequest, LifetimeRequest, ReadRequest};
use memproto::local::{FREE_IDS_MAX, Op};
use memproto::{ApiError, BlockId, ErrorCode, LifetimeChange, ValueName};
use tokio::io::AsyncRead;

use crate::admission::Held;
use crate::calls::Inner;
use crate::connection::broken;
use crate::put::{Put, PutStream, Target};
use crate::socket::Endpoint;
use crate::{Builder, Error, Lifetime, Object, Result, SendStream};

/// How long DOCTOR may take at least: it tries all addresses at once, a connection and a handshake each.
const DOCTOR_TIMEOUT: Duration = Duration::from_secs(30);

/// How long CONNECT may take at least: the node tries several addresses, 3 s each, and then a handshake.
const CONNECT_PEER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a flush may take at least: some ten million keys, or a million that peers are told of.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long a pairing may take once somebody tries a code: finding the node, dialling, the exchange and the agreement, each with the
/// node's own deadline (3, 8, 10 and 10 s).
const PAIR_TIMEOUT: Duration = Duration::from_secs(45);

/// A client of the node of this host. Clones are cheap and share one connection.
///
/// Where the connection is lost, calls in flight fail with [`Error::ConnectionLost`], and the next call connects again.
/// Every call has a deadline, see [`Builder::timeout`]. Dropping the future of a call cancels it.
#[derive(Clone, Debug)]
pub struct MemCloud {
    pub(crate) inner: Arc<Inner>,
    /// See [`strict`](Self::strict).
    pub(crate) is_strict: bool,
}

impl MemCloud {
    /// Connects to the node at [`default_socket_path`](crate::default_socket_path).
    ///
    /// # Errors
    /// [`Error::NotRunning`] where nobody listens there.
    pub async fn connect() -> Result<Self> {
        Self::builder().connect().await
    }

    /// For a connection with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client for operations on keys that ask all connected peers first: a read gets the newest value that any of them knows of, a write or
    /// deletion is done when all of them have dropped what is older. On one key they are linearizable among each other. Each costs a round trip to the slowest peer
    /// and fails with `PeerUnreachable` where one is away that may have keys. One call alone: `cloud.strict().get("key")`.
    #[must_use = "the client itself stays as it is"]
    pub fn strict(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            is_strict: true,
        }
    }

    /// The Unix socket that this client talks to; `None` on TCP.
    pub fn socket(&self) -> Option<&Path> {
        match &self.inner.endpoint {
            Endpoint::Unix(path) => Some(path),
            Endpoint::Tcp(..) => None,
        }
    }

    /// Makes `key` name this value; frees what it named before.
    pub fn set(&self, key: impl Into<String>, value: impl Into<Bytes>) -> Put {
        Put::new(self, Target::Key(key.into()), value.into())
    }

    /// The value of a key, or `None` where no connected node has one.
    ///
    /// # Errors
    /// [`Error::Api`] with `PeerUnreachable` where only a peer that is away has it.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        match self.open_key(key).await? {
            Some(object) => object.collect().await.map(Some),
            None => Ok(None),
        }
    }

    /// Deletes a key and frees its value. Returns whether there was one.
    pub async fn del(&self, key: &str) -> Result<bool> {
        let key = check_key(key.as_bytes())?;
        let reply = self
            .ask(Op::Del, |out| {
                let strict = self.is_strict;
                DelRequest { key, strict }.encode(out);
            })
            .await?;
        decode_deleted(&reply.payload).map_err(broken)
    }

    /// Stores a value as a block without a key.
    pub fn store(&self, value: impl Into<Bytes>) -> Put {
        Put::new(self, Target::Block, value.into())
    }

    /// All the bytes of a block or stream, in memory. For large ones see [`open`](Self::open).
    pub async fn load(&self, id: BlockId) -> Result<Bytes> {
        self.load_range(id, 0, u64::MAX).await
    }

    /// Up to `length` bytes of a block or stream from `offset` on; fewer where it ends before.
    pub async fn load_range(&self, id: BlockId, offset: u64, length: u64) -> Result<Bytes> {
        self.open_range(id, offset, length).await?.collect().await
    }

    /// Frees a block or stream.
    ///
    /// # Errors
    /// An id that is not there is no error: it counts as 0 blocks.
    pub async fn free(&self, id: BlockId) -> Result<Freed> {
        self.free_all(&[id]).await
    }

    /// Frees several blocks and streams.
    pub async fn free_all(&self, ids: &[BlockId]) -> Result<Freed> {
        let mut freed = Freed::default();
        for ids in ids.chunks(FREE_IDS_MAX) {
            let reply = self.ask(Op::Free, |out| FreeRequest::encode(ids, out)).await?;
            let Freed { blocks, bytes } = decode_freed(&reply.payload).map_err(broken)?;
            freed.blocks += blocks;
            freed.bytes += bytes;
        }
        Ok(freed)
    }

    /// Makes `key` name what a reader yields.
    pub fn set_stream<R>(&self, key: impl Into<String>, reader: R, size: Option<u64>) -> PutStream<R>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        PutStream::new(self, Target::Key(key.into()), reader, size)
    }

    /// Stores what a reader yields as one block.
    pub fn store_stream<R>(&self, reader: R, size: Option<u64>) -> PutStream<R>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        PutStream::new(self, Target::Block, reader, size)
    }

    /// Stores what a reader yields as a stream: in chunks, which may lie on several nodes, peers first.
    pub fn stream<R>(&self, reader: R) -> SendStream<R>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        SendStream::new(self, reader)
    }

    /// Opens a block or stream for reading piece by piece.
    pub async fn open(&self, id: BlockId) -> Result<Object> {
        self.open_range(id, 0, u64::MAX).await
    }

    /// Opens up to `length` bytes of a block or stream from `offset` on.
    pub async fn open_range(&self, id: BlockId, offset: u64, length: u64) -> Result<Object> {
        let read = ReadRequest {
            offset,
            length,
            target: id,
            strict: false,
            follow: false,
        };
        let args = |out: &mut BytesMut| read.encode(out);
        let (call, reply) = self
            .exchange(Op::Load, Held::Bytes(0), args, Bytes::new(), self.timeout())
            .await?;
        Object::of(call, reply, self.timeout())
    }

    /// Opens a stream that may still be written, from its first byte on: what is written comes as it is written, and the end when it is finished.
    ///
    /// # Errors
    /// As [`open`](Self::open), each in its time; there is no deadline for bytes that nobody has written yet.
    pub async fn follow(&self, id: BlockId) -> Result<Object> {
        self.follow_from(id, 0).await
    }

    /// As [`follow`](Self::follow), from byte `offset` on.
    pub async fn follow_from(&self, id: BlockId, offset: u64) -> Result<Object> {
        let read = ReadRequest {
            offset,
            length: u64::MAX,
            target: id,
            strict: false,
            follow: true,
        };
        let args = |out: &mut BytesMut| read.encode(out);
        let (call, reply) = self
            .exchange(Op::Load, Held::Bytes(0), args, Bytes::new(), self.timeout())
            .await?;
        Object::followed(call, reply, self.timeout())
    }

    /// Opens the value of a key for reading piece by piece; `None` where no connected node has one.
    pub async fn open_key(&self, key: &str) -> Result<Option<Object>> {
        self.open_key_range(key, 0, u64::MAX).await
    }

    /// Opens up to `length` bytes of the value of a key from `offset` on.
    pub async fn open_key_range(&self, key: &str, offset: u64, length: u64) -> Result<Option<Object>> {
        let read = ReadRequest {
            offset,
            length,
            target: check_key(key.as_bytes())?,
            strict: self.is_strict,
            follow: false,
        };
        let args = |out: &mut BytesMut| read.encode(out);
        match self
            .exchange(Op::Get, Held::Bytes(0), args, Bytes::new(), self.timeout())
            .await
        {
            Ok((call, reply)) => Object::of(call, reply, self.timeout()).map(Some),
            Err(Error::Api(ApiError {
                code: ErrorCode::NotFound,
                ..
            })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How long a value lives, named by its key or id; `None` where no connected node has it.
    pub async fn ttl(&self, name: impl Into<ValueName>) -> Result<Option<Lifetime>> {
        self.lifetime(name.into(), LifetimeChange::Tell).await
    }

    /// Lets a value live this long from now on, at least 1 ms. Returns how long it had to live before; `None` where no
    /// connected node has it.
    pub async fn expire(&self, name: impl Into<ValueName>, ttl: Duration) -> Result<Option<Lifetime>> {
        self.lifetime(name.into(), LifetimeChange::Expire(ttl.try_into()?))
            .await
    }

    /// Lets a value live for good. Returns how long it had to live before; `None` where no connected node has it.
    pub async fn persist(&self, name: impl Into<ValueName>) -> Result<Option<Lifetime>> {
        self.lifetime(name.into(), LifetimeChange::Persist).await
    }

    async fn lifetime(&self, name: ValueName, change: LifetimeChange) -> Result<Option<Lifetime>> {
        if let ValueName::Key(key) = &name {
            check_key(key.as_bytes())?;
        }
        let request = LifetimeRequest { name, change };
        match self.ask(request.op(), |out| request.encode(out)).await {
            Ok(reply) => {
                let ttl = decode_lifetime(&reply.payload).map_err(broken)?;
                Ok(Some(
                    ttl.map_or(Lifetime::Endless, |ttl| Lifetime::Left(ttl.into())),
                ))
            }
            Err(Error::Api(ApiError {
                code: ErrorCode::NotFound,
                ..
            })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for the answer to an empty request.
    pub async fn ping(&self) -> Result<()> {
        self.ask(Op::Ping, |_| {}).await.map(drop)
    }

    /// What the node is and where it listens.
    pub async fn status(&self) -> Result<NodeStatus> {
        self.control(Op::Status, None::<&()>, self.timeout()).await
    }

    /// What lies in the node and what it did.
    pub async fn stats(&self) -> Result<Stats> {
        self.control(Op::Stats, None::<&()>, self.timeout()).await
    }

    /// All peers that the node knows.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>> {
        self.control(Op::Peers, None::<&()>, self.timeout()).await
    }

    /// Asks for a link to a peer, which is this side's consent. Returns when the handshake is done.
    pub async fn connect_peer(&self, request: ConnectRequest) -> Result<PeerInfo> {
        self.control(
            Op::Connect,
            Some(&request),
            self.timeout().max(CONNECT_PEER_TIMEOUT),
        )
        .await
    }

    /// Waits until a peer's state is no longer the known one, or `timeout_ms` passed.
    pub async fn wait_peer(&self, wait: PeerWait) -> Result<PeerInfo> {
        let timeout = self
            .timeout()
            .saturating_add(Duration::from_millis(wait.timeout_ms));
        self.control(Op::PeerWait, Some(&wait), timeout).await
    }

    /// Changes how much of this node's budget a peer may use, in bytes; 0 lets it read, not store. Where it uses more, its data of class
    /// cache is evicted until the rest fits; what is pinned stays.
    pub async fn update_peer(&self, peer: &str, quota_bytes: u64) -> Result<PeerUpdated> {
        let update = PeerUpdate {
            peer: peer.to_owned(),
            quota_bytes,
        };
        self.control(Op::PeerUpdate, Some(&update), self.timeout()).await
    }

    /// Ends the link of a peer.
    pub async fn disconnect_peer(&self, peer: &str) -> Result<PeerInfo> {
        let peer = PeerName {
            peer: peer.to_owned(),
        };
        self.control(Op::Disconnect, Some(&peer), self.timeout()).await
    }

    /// The peers that wait for the answer of the person at this machine.
    pub async fn consent_requests(&self) -> Result<Vec<ConsentRequest>> {
        self.control(Op::ConsentList, None::<&()>, self.timeout()).await
    }

    /// Waits until other peers wait for an answer than at the known revision, or `timeout_ms` passed; at once where no revision is known.
    pub async fn wait_consent(&self, wait: ConsentWait) -> Result<ConsentState> {
        let timeout = self
            .timeout()
            .saturating_add(Duration::from_millis(wait.timeout_ms));
        self.control(Op::ConsentWait, Some(&wait), timeout).await
    }

    /// Answers one of them.
    pub async fn decide(&self, decision: ConsentDecision) -> Result<ConsentRequest> {
        self.control(Op::ConsentDecide, Some(&decision), self.timeout())
            .await
    }

    /// Offers a code with which another node pairs with this one, granting it `quota_bytes` or the default. The offer lasts as long
    /// as [`wait_pairing`](Self::wait_pairing) waits for it, and no longer than the node says.
    pub async fn offer_pairing(&self, quota_bytes: Option<u64>) -> Result<PairCodeShown> {
        let offer = PairOffer { quota_bytes };
        self.control(Op::PairOffer, Some(&offer), self.timeout()).await
    }

    /// Waits until somebody tried the code. Then both nodes trust each other for good, or the error says why not; either way
    /// the code has been used. Dropping the future takes the offer back.
    pub async fn wait_pairing(&self, shown: &PairCodeShown) -> Result<PeerInfo> {
        let wait = PairWait { number: shown.number };
        // Behind its expiry the node still sees an exchange that has begun to its end.
        let timeout = self
            .timeout()
            .max(PAIR_TIMEOUT)
            .saturating_add(Duration::from_secs(shown.expires_in_secs));
        self.control(Op::PairWait, Some(&wait), timeout).await
    }

    /// Tries a code that another node offers. Returns when both nodes trust each other for good.
    pub async fn pair(&self, join: PairJoin) -> Result<PeerInfo> {
        self.control(Op::PairJoin, Some(&join), self.timeout().max(PAIR_TIMEOUT))
            .await
    }

    /// The devices that are trusted for good.
    pub async fn trusted(&self) -> Result<Vec<TrustedDevice>> {
        self.control(Op::TrustList, None::<&()>, self.timeout()).await
    }

    /// Trusts a device for good by its public key, also one that was never met; replaces the name and quota of one that is trusted.
    pub async fn trust(&self, addition: TrustAddition) -> Result<TrustAdded> {
        self.control(Op::TrustAdd, Some(&addition), self.timeout()).await
    }

    /// Trusts a device no longer and ends its link; with `free_data` also frees what it stored here.
    pub async fn distrust(&self, peer: &str, free_data: bool) -> Result<Freed> {
        let removal = TrustRemoval {
            peer: peer.to_owned(),
            free_data,
        };
        self.control(Op::TrustRemove, Some(&removal), self.timeout())
            .await
    }

    /// Looks for what keeps nodes apart: on this machine, and between it and one peer (its name, its id, a prefix of that, or
    /// `HOST:PORT`), or else all peers that should be connected and are not. Takes some seconds where somebody does not answer.
    pub async fn doctor(&self, target: Option<&str>) -> Result<DoctorReport> {
        let request = DoctorRequest {
            target: target.map(str::to_owned),
        };
        self.control(Op::Doctor, Some(&request), self.timeout().max(DOCTOR_TIMEOUT))
            .await
    }

    /// Frees all keys, blocks and streams that programs of this host stored, wherever they lie. What peers stored here stays.
    pub async fn flush(&self) -> Result<Freed> {
        self.flush_at(None).await
    }

    /// Frees all that programs of a peer's own host stored there, where its owner allows that to this node.
    pub async fn flush_peer(&self, peer: &str) -> Result<Freed> {
        self.flush_at(Some(peer.to_owned())).await
    }

    async fn flush_at(&self, peer: Option<String>) -> Result<Freed> {
        let timeout = self.timeout().max(FLUSH_TIMEOUT);
        self.control(Op::Flush, Some(&FlushRequest { peer }), timeout)
            .await
    }

    /// Asks the node to stop. Returns when it agreed, which is before it is gone.
    pub async fn stop_node(&self) -> Result<()> {
        self.ask(Op::Stop, |_| {}).await.map(drop)
    }
}
