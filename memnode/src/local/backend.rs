//! What a session needs of the node.

use std::fs::File;
use std::future::Future;

use bytes::Bytes;
use memproto::control::{
    ConnectRequest, ConsentDecision, ConsentRequest, ConsentState, ConsentWait, DoctorReport, DoctorRequest,
    FlushRequest, Freed, NodeStatus, PairCodeShown, PairJoin, PairOffer, PairWait, PeerInfo, PeerName,
    PeerUpdate, PeerUpdated, PeerWait, Stats, TrustAdded, TrustAddition, TrustRemoval, TrustedDevice,
};
use memproto::error::ApiResult;
use memproto::local::batch::BatchAnswer;
use memproto::local::keys::{KeysReply, KeysRequest};
use memproto::stream::{KnownChunk, StreamFinished, StreamOpened, StreamOptions, StreamStatus};
use memproto::{BlockId, LifetimeChange, NodeId, Ttl, ValueName};

use crate::body::Body;
use crate::memory_file::MemoryFiles;
use crate::service::{ByteRange, Here, Intake, Loaded, PutOptions, Stored, Written};
use crate::timings::Timings;

/// The operations of a node, as a session calls them for a program of this host's owner.
///
/// Each `*_now` method answers here and now, without waiting, or returns `None`: then the session calls the asynchronous
/// one. An asynchronous method that is dropped before its end was cancelled by the program, and leaves nothing
/// behind that a program could see half done.
pub trait Backend: Send + Sync + 'static {
    /// The node's id.
    fn node_id(&self) -> NodeId;

    /// Where a session writes down how long its answers took.
    fn timings(&self) -> &Timings;

    /// Where a session takes over the memory files of programs.
    fn files(&self) -> &MemoryFiles;

    /// [`set`](Self::set) of a small value where nothing needs to be waited for.
    fn set_now(&self, key: &str, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>>;

    /// [`store`](Self::store) of a small value where nothing needs to be waited for.
    fn store_now(&self, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>>;

    /// [`get`](Self::get) of what lies here, which `answer` is given while it is looked at: it may copy it, and no more.
    fn get_now<R>(
        &self,
        key: &str,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Option<Here<'_>>>) -> R,
    ) -> Option<R>;

    /// [`load`](Self::load) of what lies here, in the same way.
    fn load_now<R>(
        &self,
        id: BlockId,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Here<'_>>) -> R,
    ) -> Option<R>;

    /// Takes memory for a value of a known size that is to be set, or stored where there is no key. `None` where it has to go the way of
    /// [`set`](Self::set) or [`store`](Self::store).
    fn begin_intake(&self, key: Option<&str>, size: u64, options: &PutOptions) -> Option<ApiResult<Intake>>;

    /// Sets or stores a value that was received whole.
    fn finish_intake(&self, intake: Intake) -> impl Future<Output = ApiResult<Stored>> + Send;

    /// Makes a key name a value.
    fn set(
        &self,
        key: &str,
        body: Body,
        options: PutOptions,
    ) -> impl Future<Output = ApiResult<Stored>> + Send;

    /// Reads the value of a key; strict, the newest that any connected peer knows of.
    fn get(
        &self,
        key: &str,
        range: ByteRange,
        strict: bool,
    ) -> impl Future<Output = ApiResult<Option<Loaded>>> + Send;

    /// Deletes a key; strict, with the confirmation of every connected peer. Returns whether there was one.
    fn del(&self, key: &str, strict: bool) -> impl Future<Output = ApiResult<bool>> + Send;

    /// Reads several keys; each has its answer, `NotFound` where no node has it. A value that no longer fits into `room`
    /// bytes of values is answered with its size alone.
    fn mget(
        &self,
        keys: Vec<String>,
        room: usize,
        strict: bool,
    ) -> impl Future<Output = Vec<ApiResult<BatchAnswer>>> + Send;

    /// Sets several keys, all by the same options; each has its answer.
    fn mset(
        &self,
        pairs: Vec<(String, Bytes)>,
        options: PutOptions,
    ) -> impl Future<Output = Vec<ApiResult<()>>> + Send;

    /// Deletes several keys. Returns of each whether there was one.
    fn mdel(&self, keys: Vec<String>, strict: bool) -> impl Future<Output = Vec<ApiResult<bool>>> + Send;

    /// Stores a block.
    fn store(&self, body: Body, options: PutOptions) -> impl Future<Output = ApiResult<Stored>> + Send;

    /// Reads a block or stream.
    fn load(&self, id: BlockId, range: ByteRange) -> impl Future<Output = ApiResult<Loaded>> + Send;

    /// Frees blocks and streams; ids that are not there are passed over.
    fn free(&self, ids: Vec<BlockId>) -> impl Future<Output = ApiResult<Freed>> + Send;

    /// Stores a stream.
    fn stream(&self, body: Body, options: PutOptions) -> impl Future<Output = ApiResult<Stored>> + Send;

    /// Opens a stream, to be written piece by piece. It does not belong to a connection: it stays until it is finished or freed, or nobody
    /// wrote to it for a time.
    fn stream_open(&self, options: StreamOptions) -> impl Future<Output = ApiResult<StreamOpened>> + Send;

    /// Appends bytes to a stream that is open; their end also ends a chunk. Returns its size so far. Dropped before its end, it leaves the
    /// stream open with what it has taken.
    fn stream_write(&self, id: BlockId, body: Body) -> impl Future<Output = ApiResult<Stored>> + Send;

    /// Appends bytes of a file, which may change meanwhile, to a stream that is open; as [`stream_write`](Self::stream_write) otherwise.
    fn stream_file(
        &self,
        id: BlockId,
        file: File,
        range: ByteRange,
    ) -> impl Future<Output = ApiResult<Stored>> + Send;

    /// Appends those chunks to a stream that is open which need not be sent, in their order. Returns of each whether it did.
    fn stream_known(
        &self,
        id: BlockId,
        chunks: Vec<KnownChunk>,
    ) -> impl Future<Output = ApiResult<Vec<bool>>> + Send;

    /// How far a stream has come.
    fn stream_status(&self, id: BlockId) -> impl Future<Output = ApiResult<StreamStatus>> + Send;

    /// Ends a stream that is open, once all of it lies where it is to stay.
    fn stream_finish(&self, id: BlockId) -> impl Future<Output = ApiResult<StreamFinished>> + Send;

    /// Reads a block or stream; of a stream that is still being written, what comes until it ends. The size of such a body is not known.
    fn follow(&self, id: BlockId, range: ByteRange) -> impl Future<Output = ApiResult<Loaded>> + Send;

    /// Writes a block or stream, or a part of it, to a file, from byte `at` of it on.
    fn load_into(
        &self,
        id: BlockId,
        range: ByteRange,
        file: File,
        at: u64,
    ) -> impl Future<Output = ApiResult<Written>> + Send;

    /// Tells how long a value had to live, `None` is for good, and changes it where that is wanted.
    fn lifetime(
        &self,
        name: ValueName,
        change: LifetimeChange,
    ) -> impl Future<Output = ApiResult<Option<Ttl>>> + Send;

    /// Lists keys that match any of the patterns, at most as many as are wanted and no more than fit a frame, from a cursor on.
    fn keys(&self, request: KeysRequest) -> impl Future<Output = ApiResult<KeysReply>> + Send;

    /// What the node is.
    fn status(&self) -> impl Future<Output = ApiResult<NodeStatus>> + Send;

    /// What lies in it.
    fn stats(&self) -> impl Future<Output = ApiResult<Stats>> + Send;

    /// Its peers.
    fn peers(&self) -> impl Future<Output = ApiResult<Vec<PeerInfo>>> + Send;

    /// Asks for a link.
    fn connect(&self, request: ConnectRequest) -> impl Future<Output = ApiResult<PeerInfo>> + Send;

    /// Waits for a change of a peer's state.
    fn peer_wait(&self, wait: PeerWait) -> impl Future<Output = ApiResult<PeerInfo>> + Send;

    /// Changes what a peer may use.
    fn peer_update(&self, update: PeerUpdate) -> impl Future<Output = ApiResult<PeerUpdated>> + Send;

    /// Ends a link.
    fn disconnect(&self, peer: PeerName) -> impl Future<Output = ApiResult<PeerInfo>> + Send;

    /// Who waits for the consent of the person at this machine.
    fn consent_list(&self) -> impl Future<Output = ApiResult<Vec<ConsentRequest>>> + Send;

    /// Waits until others wait.
    fn consent_wait(&self, wait: ConsentWait) -> impl Future<Output = ApiResult<ConsentState>> + Send;

    /// Answers one of them.
    fn consent_decide(
        &self,
        decision: ConsentDecision,
    ) -> impl Future<Output = ApiResult<ConsentRequest>> + Send;

    /// Offers a code for pairing.
    fn pair_offer(&self, offer: PairOffer) -> impl Future<Output = ApiResult<PairCodeShown>> + Send;

    /// Waits for what becomes of an offer, which ends where this is dropped.
    fn pair_wait(&self, wait: PairWait) -> impl Future<Output = ApiResult<PeerInfo>> + Send;

    /// Tries the code of another node.
    fn pair_join(&self, join: PairJoin) -> impl Future<Output = ApiResult<PeerInfo>> + Send;

    /// The devices that are trusted for good.
    fn trust_list(&self) -> impl Future<Output = ApiResult<Vec<TrustedDevice>>> + Send;

    /// Trusts one by its key.
    fn trust_add(&self, addition: TrustAddition) -> impl Future<Output = ApiResult<TrustAdded>> + Send;

    /// Trusts one no longer.
    fn trust_remove(&self, removal: TrustRemoval) -> impl Future<Output = ApiResult<Freed>> + Send;

    /// Looks for what keeps nodes apart.
    fn doctor(&self, request: DoctorRequest) -> impl Future<Output = ApiResult<DoctorReport>> + Send;

    /// Frees all that the programs of a node stored.
    fn flush(&self, request: FlushRequest) -> impl Future<Output = ApiResult<Freed>> + Send;

    /// Asks the node to stop; returns at once.
    fn request_stop(&self);
}
