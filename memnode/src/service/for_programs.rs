//! The operations as the programs of this host call them.
//!
//! Data operations are the service's own; here they only count their failures. Control operations go to the peers.

use std::fs::File;

use bytes::Bytes;
use memproto::control::{
    ConnectRequest, ConsentDecision, ConsentRequest, ConsentState, ConsentWait, DoctorReport, DoctorRequest,
    FlushRequest, Freed, NodeStatus, PairCodeShown, PairJoin, PairOffer, PairWait, PeerInfo, PeerName,
    PeerUpdate, PeerUpdated, PeerWait, Stats, TrustAdded, TrustAddition, TrustRemoval, TrustedDevice,
};
use memproto::error::{ApiResult, ErrorCode};
use memproto::local::batch::BatchAnswer;
use memproto::local::keys::{KeysReply, KeysRequest};
use memproto::stream::{KnownChunk, StreamFinished, StreamOpened, StreamOptions, StreamStatus};
use memproto::{BlockId, LifetimeChange, NodeId, Ttl, ValueName};

use super::{ByteRange, Here, Intake, Loaded, PutOptions, Service, Stored, Written};
use crate::body::Body;
use crate::doctor;
use crate::local::Backend;
use crate::memory_file::MemoryFiles;
use crate::timings::Timings;

impl Backend for Service {
    fn node_id(&self) -> NodeId {
        self.config.node_id
    }

    fn timings(&self) -> &Timings {
        &self.timings
    }

    fn files(&self) -> &MemoryFiles {
        &self.config.files
    }

    fn set_now(&self, key: &str, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>> {
        Some(self.counted(Service::set_now(self, key, value, options)?))
    }

    fn store_now(&self, value: &[u8], options: &PutOptions) -> Option<ApiResult<Stored>> {
        Some(self.counted(Service::store_now(self, value, options)?))
    }

    fn get_now<R>(
        &self,
        key: &str,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Option<Here<'_>>>) -> R,
    ) -> Option<R> {
        Service::get_now(self, key, range, |found| answer(self.counted(found)))
    }

    fn load_now<R>(
        &self,
        id: BlockId,
        range: ByteRange,
        answer: impl FnOnce(ApiResult<Here<'_>>) -> R,
    ) -> Option<R> {
        Service::load_now(self, id, range, |found| answer(self.counted(found)))
    }

    fn begin_intake(&self, key: Option<&str>, size: u64, options: &PutOptions) -> Option<ApiResult<Intake>> {
        Some(self.counted(Service::begin_intake(self, key, size, options)?))
    }

    async fn finish_intake(&self, intake: Intake) -> ApiResult<Stored> {
        self.counted(Service::finish_intake(self, intake).await)
    }

    async fn set(&self, key: &str, body: Body, options: PutOptions) -> ApiResult<Stored> {
        self.counted(Service::set(self, key, body, options).await)
    }

    async fn get(&self, key: &str, range: ByteRange, strict: bool) -> ApiResult<Option<Loaded>> {
        self.counted(Service::get(self, key, range, strict).await)
    }

    async fn del(&self, key: &str, strict: bool) -> ApiResult<bool> {
        self.counted(Service::del(self, key, strict).await)
    }

    async fn mget(&self, keys: Vec<String>, room: usize, strict: bool) -> Vec<ApiResult<BatchAnswer>> {
        let answers = Service::mget(self, keys, room, strict).await;
        self.each_counted(answers)
    }

    async fn mset(&self, pairs: Vec<(String, Bytes)>, options: PutOptions) -> Vec<ApiResult<()>> {
        let answers = Service::mset(self, pairs, options).await;
        self.each_counted(answers)
    }

    async fn mdel(&self, keys: Vec<String>, strict: bool) -> Vec<ApiResult<bool>> {
        let answers = Service::mdel(self, keys, strict).await;
        self.each_counted(answers)
    }

    async fn store(&self, body: Body, options: PutOptions) -> ApiResult<Stored> {
        self.counted(Service::store(self, body, options).await)
    }

    async fn load(&self, id: BlockId, range: ByteRange) -> ApiResult<Loaded> {
        self.counted(Service::load(self, id, range).await)
    }

    async fn free(&self, ids: Vec<BlockId>) -> ApiResult<Freed> {
        self.counted(Service::free(self, ids).await)
    }

    async fn stream(&self, body: Body, options: PutOptions) -> ApiResult<Stored> {
        self.counted(Service::stream(self, body, options).await)
    }

    async fn stream_open(&self, options: StreamOptions) -> ApiResult<StreamOpened> {
        self.counted(Service::stream_open(self, options).await)
    }

    async fn stream_write(&self, id: BlockId, body: Body) -> ApiResult<Stored> {
        self.counted(Service::stream_write(self, id, body).await)
    }

    async fn stream_file(&self, id: BlockId, file: File, range: ByteRange) -> ApiResult<Stored> {
        self.counted(Service::stream_file(self, id, file, range).await)
    }

    async fn stream_known(&self, id: BlockId, chunks: Vec<KnownChunk>) -> ApiResult<Vec<bool>> {
        self.counted(Service::stream_known(self, id, chunks).await)
    }

    async fn stream_status(&self, id: BlockId) -> ApiResult<StreamStatus> {
        self.counted(Service::stream_status(self, id).await)
    }

    async fn stream_finish(&self, id: BlockId) -> ApiResult<StreamFinished> {
        self.counted(Service::stream_finish(self, id).await)
    }

    async fn follow(&self, id: BlockId, range: ByteRange) -> ApiResult<Loaded> {
        self.counted(Service::stream_follow(self, id, range).await)
    }

    async fn load_into(&self, id: BlockId, range: ByteRange, file: File, at: u64) -> ApiResult<Written> {
        self.counted(Service::load_into(self, id, range, file, at).await)
    }

    async fn lifetime(&self, name: ValueName, change: LifetimeChange) -> ApiResult<Option<Ttl>> {
        self.counted(Service::lifetime(self, &name, change).await)
    }

    async fn keys(&self, request: KeysRequest) -> ApiResult<KeysReply> {
        self.counted(Service::keys(self, &request).await)
    }

    async fn status(&self) -> ApiResult<NodeStatus> {
        Ok(Service::status(self))
    }

    async fn stats(&self) -> ApiResult<Stats> {
        Ok(Service::stats(self))
    }

    async fn peers(&self) -> ApiResult<Vec<PeerInfo>> {
        Ok(self.peers.list())
    }

    async fn connect(&self, request: ConnectRequest) -> ApiResult<PeerInfo> {
        self.counted(self.peers.connect(request).await)
    }

    async fn peer_wait(&self, wait: PeerWait) -> ApiResult<PeerInfo> {
        self.counted(self.peers.wait(wait).await)
    }

    async fn peer_update(&self, update: PeerUpdate) -> ApiResult<PeerUpdated> {
        self.counted(self.update_peer(update).await)
    }

    async fn disconnect(&self, peer: PeerName) -> ApiResult<PeerInfo> {
        self.counted(self.peers.disconnect(&peer.peer))
    }

    async fn consent_list(&self) -> ApiResult<Vec<ConsentRequest>> {
        Ok(self.peers.consent_requests())
    }

    async fn consent_wait(&self, wait: ConsentWait) -> ApiResult<ConsentState> {
        Ok(self.peers.consent_wait(wait).await)
    }

    async fn consent_decide(&self, decision: ConsentDecision) -> ApiResult<ConsentRequest> {
        self.counted(self.peers.decide(decision))
    }

    async fn pair_offer(&self, offer: PairOffer) -> ApiResult<PairCodeShown> {
        self.counted(self.peers.offer_pairing(&offer))
    }

    async fn pair_wait(&self, wait: PairWait) -> ApiResult<PeerInfo> {
        self.counted(self.peers.wait_pairing(wait).await)
    }

    async fn pair_join(&self, join: PairJoin) -> ApiResult<PeerInfo> {
        self.counted(self.peers.join_pairing(join).await)
    }

    async fn trust_list(&self) -> ApiResult<Vec<TrustedDevice>> {
        Ok(self.peers.trusted())
    }

    async fn trust_add(&self, addition: TrustAddition) -> ApiResult<TrustAdded> {
        let added = self.counted(self.peers.trust_add(&addition))?;
        if let Some(quota_bytes) = addition.quota_bytes {
            // What the person names now also holds on a link that is up.
            let peer = added.device.id.to_string();
            self.counted(self.update_peer(PeerUpdate { peer, quota_bytes }).await)?;
        }
        Ok(added)
    }

    async fn trust_remove(&self, removal: TrustRemoval) -> ApiResult<Freed> {
        self.counted(Service::trust_remove(self, &removal.peer, removal.free_data))
    }

    async fn doctor(&self, request: DoctorRequest) -> ApiResult<DoctorReport> {
        let node = doctor::Node {
            peers: &self.peers,
            listening: self.listening.get().map_or(&[], |at| &at.peer_addresses),
        };
        Ok(doctor::examine(&node, request.target.as_deref()).await)
    }

    async fn flush(&self, request: FlushRequest) -> ApiResult<Freed> {
        let flushed = match request.peer {
            None => Service::flush(self).await,
            Some(peer) => self.flush_peer(&peer).await,
        };
        self.counted(flushed)
    }

    fn request_stop(&self) {
        Service::request_stop(self);
    }
}

impl Service {
    /// Counts the failures in a batch; that a key is not there is none.
    fn each_counted<T>(&self, answers: Vec<ApiResult<T>>) -> Vec<ApiResult<T>> {
        let is_failure = |answer: &&ApiResult<T>| {
            answer
                .as_ref()
                .is_err_and(|error| error.code != ErrorCode::NotFound)
        };
        answers
            .iter()
            .filter(is_failure)
            .for_each(|_| self.counters.errors.increment());
        answers
    }

    fn counted<T>(&self, result: ApiResult<T>) -> ApiResult<T> {
        if result.is_err() {
            self.counters.errors.increment();
        }
        result
    }
}
