//! The client: one method for each operation of a node.

use std::path::Path;

use bytes::Bytes;
use memproto::BlockId;
use memproto::control::{
    ConnectRequest, ConsentDecision, ConsentRequest, Freed, NodeStatus, PeerInfo, PeerWait, Stats,
    TrustedDevice,
};
use tokio::io::AsyncRead;

use crate::put::{Put, PutStream, Target};
use crate::{Builder, Object, Result};

/// A client of the node of this host. Clones are cheap and share one connection.
#[derive(Clone, Debug)]
pub struct MemCloud {}

impl MemCloud {
    /// Connects to the node at [`default_socket_path`](crate::default_socket_path).
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning) where nobody listens there.
    pub async fn connect() -> Result<Self> {
        Self::builder().connect().await
    }

    /// For a connection with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn connect_with(_settings: Builder) -> Result<Self> {
        todo!()
    }

    /// The socket that this client talks to.
    pub fn socket(&self) -> &Path {
        todo!()
    }

    /// Makes `key` name this value; frees what it named before.
    pub fn set(&self, key: impl Into<String>, value: impl Into<Bytes>) -> Put {
        Put::new(self, Target::Key(key.into()), value.into())
    }

    /// The value of a key, or `None` where no connected node has one.
    pub async fn get(&self, _key: &str) -> Result<Option<Bytes>> {
        todo!()
    }

    /// Deletes a key and frees its value. Returns whether there was one.
    pub async fn del(&self, _key: &str) -> Result<bool> {
        todo!()
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
    pub async fn load_range(&self, _id: BlockId, _offset: u64, _length: u64) -> Result<Bytes> {
        todo!()
    }

    /// Frees a block or stream.
    ///
    /// # Errors
    /// An id that is not there is no error: it counts as 0 blocks.
    pub async fn free(&self, id: BlockId) -> Result<Freed> {
        self.free_all(&[id]).await
    }

    /// Frees several blocks and streams.
    pub async fn free_all(&self, _ids: &[BlockId]) -> Result<Freed> {
        todo!()
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
    pub fn stream<R>(&self, reader: R) -> PutStream<R>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        PutStream::new(self, Target::Stream, reader, None)
    }

    /// Opens a block or stream for reading piece by piece.
    pub async fn open(&self, id: BlockId) -> Result<Object> {
        self.open_range(id, 0, u64::MAX).await
    }

    /// Opens up to `length` bytes of a block or stream from `offset` on.
    pub async fn open_range(&self, _id: BlockId, _offset: u64, _length: u64) -> Result<Object> {
        todo!()
    }

    /// Opens the value of a key for reading piece by piece; `None` where no connected node has one.
    pub async fn open_key(&self, key: &str) -> Result<Option<Object>> {
        self.open_key_range(key, 0, u64::MAX).await
    }

    /// Opens up to `length` bytes of the value of a key from `offset` on.
    pub async fn open_key_range(&self, _key: &str, _offset: u64, _length: u64) -> Result<Option<Object>> {
        todo!()
    }

    /// All keys that match a glob such as `user:*`, in ascending order; see [`memproto::pattern`].
    pub async fn keys(&self, _pattern: &str) -> Result<Vec<String>> {
        todo!()
    }

    /// Waits for the answer to an empty request.
    pub async fn ping(&self) -> Result<()> {
        todo!()
    }

    /// What the node is and where it listens.
    pub async fn status(&self) -> Result<NodeStatus> {
        todo!()
    }

    /// What lies in the node and what it did.
    pub async fn stats(&self) -> Result<Stats> {
        todo!()
    }

    /// All peers that the node knows.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>> {
        todo!()
    }

    /// Asks for a link to a peer, which is this side's consent. Returns when the handshake is done.
    pub async fn connect_peer(&self, _request: ConnectRequest) -> Result<PeerInfo> {
        todo!()
    }

    /// Waits until a peer's state is no longer the known one, or `timeout_ms` passed.
    pub async fn wait_peer(&self, _wait: PeerWait) -> Result<PeerInfo> {
        todo!()
    }

    /// Ends the link of a peer.
    pub async fn disconnect_peer(&self, _peer: &str) -> Result<PeerInfo> {
        todo!()
    }

    /// The peers that wait for the answer of the person at this machine.
    pub async fn consent_requests(&self) -> Result<Vec<ConsentRequest>> {
        todo!()
    }

    /// Answers one of them.
    pub async fn decide(&self, _decision: ConsentDecision) -> Result<ConsentRequest> {
        todo!()
    }

    /// The devices that are trusted for good.
    pub async fn trusted(&self) -> Result<Vec<TrustedDevice>> {
        todo!()
    }

    /// Trusts a device no longer and ends its link; with `free_data` also frees what it stored here.
    pub async fn distrust(&self, _peer: &str, _free_data: bool) -> Result<Freed> {
        todo!()
    }

    /// Asks the node to stop. Returns when it agreed, which is before it is gone.
    pub async fn stop_node(&self) -> Result<()> {
        todo!()
    }
}
