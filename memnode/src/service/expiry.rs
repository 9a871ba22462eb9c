//! How long data lives, and how it ends by itself: expired blocks and streams are taken out, and the keys that point to them disappear, here and
//! on the peers that know of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::key::check_key;
use memproto::peer::message::FREE_BATCH_MAX;
use memproto::peer::{Manifest, PeerReply, PeerRequest};
use memproto::{BlockId, LifetimeChange, NodeId, Ttl, ValueName};
use tokio::time::timeout;

use super::{ASK_ALL_TIMEOUT, Service, unexpected_reply};
use crate::body::Body;
use crate::expiry::Moment;
use crate::peer::PeerLink;
use crate::store::{KeyValue, Object, Owner, Place};

/// The pause between two looks at what has expired: data whose moments lie close together goes in one of them.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);

impl Service {
    /// Tells how long a value had to live, wherever it lies, and changes it where that is wanted. `None` is for good.
    ///
    /// # Errors
    /// `NotFound`; `PeerUnreachable` where the node that has it, or a part of it, is away; `InvalidArgument` for a bad
    /// key and for a chunk of a stream.
    pub async fn lifetime(&self, name: &ValueName, change: LifetimeChange) -> ApiResult<Option<Ttl>> {
        match name {
            ValueName::Id(id) => {
                if let Some(before) = self.own_lifetime(*id, change, None).await? {
                    return Ok(before);
                }
                for link in self.who_may_have(*id).await {
                    if let Some(before) = lifetime_at(&link, name, change).await? {
                        return Ok(before);
                    }
                }
                Err(self.absence_of(*id))
            }
            ValueName::Key(key) => {
                check_key(key.as_bytes())?;
                let record = self.store.key(key);
                let before = match record.map(|record| (record.value, record.version.node)) {
                    Some((KeyValue::Ours(id), _)) => self.own_lifetime(id, change, None).await?,
                    Some((KeyValue::Theirs, writer)) => {
                        match lifetime_at(&*self.link_to(writer)?, name, change).await? {
                            Some(before) => Some(before),
                            // It has moved on.
                            None => self.lifetime_anywhere(name, change).await?,
                        }
                    }
                    Some((KeyValue::Deleted, _)) | None => self.lifetime_anywhere(name, change).await?,
                };
                before.ok_or_else(|| {
                    ApiError::new(
                        ErrorCode::NotFound,
                        format!("no connected node has the key '{key}'"),
                    )
                })
            }
        }
    }

    /// The same for what this node answers for, as a peer asks it.
    pub(super) async fn lifetime_for_peer(
        &self,
        peer: NodeId,
        name: &ValueName,
        change: LifetimeChange,
    ) -> ApiResult<PeerReply> {
        let id = match name {
            ValueName::Id(id) => Some(*id),
            ValueName::Key(key) => match self.store.key(key).map(|record| record.value) {
                Some(KeyValue::Ours(id)) => Some(id),
                Some(KeyValue::Theirs | KeyValue::Deleted) | None => None,
            },
        };
        let before = match id {
            Some(id) => self.own_lifetime(id, change, Some(peer)).await?,
            None => None,
        };
        Ok(before.map_or(PeerReply::Missing, PeerReply::Lives))
    }

    /// How long something had to live that this node answers for or holds; the outer `None` where there is no such. `asker` is the peer that
    /// asks, where it is no program of this host.
    async fn own_lifetime(
        &self,
        id: BlockId,
        change: LifetimeChange,
        asker: Option<NodeId>,
    ) -> ApiResult<Option<Option<Ttl>>> {
        let expiry = self.store.expiry();
        let left = |expires: Option<Moment>| expires.map(|moment| expiry.remaining(moment));
        let Some(meta) = self.store.meta(id) else {
            let Some(object) = self.store.object(id) else {
                return Ok(None);
            };
            if let Some(ttl) = change.wanted() {
                self.change_object(id, &object, ttl).await?;
            }
            return Ok(Some(left(object.expires)));
        };
        let Some(ttl) = change.wanted() else {
            return Ok(Some(left(meta.expires)));
        };
        match (meta.owner, meta.chunk) {
            (_, Some(chunk)) => Err(ApiError::invalid(format!(
                "block {id} is a part of stream {}: name that",
                chunk.stream
            ))),
            (Owner::Local, None) => {
                let expires = ttl.map(|ttl| expiry.after(ttl));
                let before = self.store.set_expiry(id, expires, |_| true);
                Ok(before.map(|meta| left(meta.expires)))
            }
            // To pass it on would let a peer do in our name what its owner may not allow it.
            (Owner::Peer(owner), None) if asker.is_some_and(|asker| asker != owner) => {
                let name = self.peers.name_of(owner);
                Err(ApiError::new(
                    ErrorCode::Denied,
                    format!("block {id} belongs to '{name}', which alone says from afar how long it lives"),
                ))
            }
            // The node that stored it here keeps a record of it, which has to say the same.
            (Owner::Peer(owner), None) => {
                lifetime_at(&*self.link_to(owner)?, &ValueName::Id(id), change).await
            }
        }
    }

    /// Changes how long an object lives whose bytes lie on peers, or in chunks. It never lives longer than a part of it,
    /// also where a holder could not be reached.
    async fn change_object(&self, id: BlockId, object: &Object, ttl: Option<Ttl>) -> ApiResult<()> {
        let expires = ttl.map(|ttl| self.store.expiry().after(ttl));
        let is_sooner = expires.is_some_and(|moment| object.expires.is_none_or(|before| moment < before));
        if is_sooner {
            self.store.set_object_expiry(id, expires);
        }
        match &object.place {
            // Freed between two looks.
            Place::Here => {}
            Place::At(holder) => self.expire_on(*holder, &[id], ttl).await?,
            Place::Stream(manifest) => self.expire_chunks(manifest, ttl).await?,
        }
        if !is_sooner {
            self.store.set_object_expiry(id, expires);
        }
        Ok(())
    }

    /// Looks for a value on all connected peers at once.
    async fn lifetime_anywhere(
        &self,
        name: &ValueName,
        change: LifetimeChange,
    ) -> ApiResult<Option<Option<Ttl>>> {
        let links = self.peers.connected();
        let mut questions: FuturesUnordered<_> = links
            .iter()
            .map(|link| timeout(ASK_ALL_TIMEOUT, lifetime_at(link, name, change)))
            .collect();
        let mut failure = None;
        while let Some(answer) = questions.next().await {
            match answer {
                Ok(Ok(None)) => {}
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => failure = Some(error),
                Err(_) => {
                    failure = Some(ApiError::new(
                        ErrorCode::Timeout,
                        "a peer did not say whether it has the key: try again",
                    ));
                }
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Takes out what has expired, and what cannot be read any more because a part of it was evicted, until the node stops. While there is
    /// no such thing it sleeps.
    pub async fn sweep_expired(&self) {
        let sweep = async {
            loop {
                tokio::select! {
                    biased;
                    () = self.store.expiry().due() => self.drop_expired().await,
                    torn = self.store.torn_streams() => self.drop_torn(torn).await,
                }
                tokio::time::sleep(SWEEP_PAUSE).await;
            }
        };
        self.stop.run_until_cancelled(sweep).await;
    }

    /// Frees streams of which a chunk was evicted.
    async fn drop_torn(&self, streams: Vec<BlockId>) {
        for id in streams {
            // One that is still being written has no entry yet: its reader is told of the missing chunk.
            let _ = self.free_own(id).await;
        }
    }

    /// Takes out what has expired by now.
    pub(super) async fn drop_expired(&self) {
        // As those that somebody deleted.
        let is_alone = self.is_alone();
        for shard in 0..self.store.shards() {
            loop {
                let taken = self
                    .store
                    .take_expired(shard, |value| (!is_alone).then(|| self.end_of(value)));
                if taken.is_empty() {
                    break;
                }
                let mut lying_on: BTreeMap<NodeId, Vec<BlockId>> = BTreeMap::new();
                for (removed, version) in taken {
                    if let (Some(key), Some(version)) = (removed.key, version) {
                        self.news.push(&key, version, true);
                    }
                    match removed.place {
                        Place::Here => {}
                        Place::At(holder) => lying_on.entry(holder).or_default().push(removed.id),
                        Place::Stream(manifest) => {
                            for (holder, ids) in self.chunks.release_all(&manifest) {
                                lying_on.entry(holder).or_default().extend(ids);
                            }
                        }
                    }
                }
                for (holder, ids) in lying_on {
                    if holder == self.config.node_id {
                        for id in ids {
                            self.store.remove(id);
                        }
                    } else {
                        // The holder counts the same time itself, from a little later on; where it was told another
                        // one and the answer got lost, this makes sure.
                        self.free_later(holder, ids);
                    }
                }
                // Others get their turn: a million blocks may end at once.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Sets how long blocks of an owner live that lie here; `None` is for good. Returns how many of them are here.
    pub(super) fn expire_blocks(&self, owner: Owner, ids: &[BlockId], ttl: Option<Ttl>) -> u64 {
        let expires = ttl.map(|ttl| self.store.expiry().after(ttl));
        ids.iter()
            .filter_map(|&id| self.store.set_expiry(id, expires, |meta| meta.owner == owner))
            .count() as u64
    }

    /// Sets how long the chunks of a stream live that no other stream needs, wherever they lie.
    ///
    /// # Errors
    /// `PeerUnreachable` where a holder is away, and `NotFound` where it no longer has its chunks; others may have changed
    /// theirs by then.
    pub(super) async fn expire_chunks(&self, manifest: &Manifest, ttl: Option<Ttl>) -> ApiResult<()> {
        for (holder, ids) in self.chunks.of_this_alone(manifest) {
            self.expire_on(holder, &ids, ttl).await?;
        }
        Ok(())
    }

    /// Sets how long blocks of ours live that lie on one node, be it this one or a peer.
    async fn expire_on(&self, holder: NodeId, ids: &[BlockId], ttl: Option<Ttl>) -> ApiResult<()> {
        for ids in ids.chunks(FREE_BATCH_MAX) {
            let blocks = if holder == self.config.node_id {
                self.expire_blocks(Owner::Local, ids, ttl)
            } else {
                let link = self.link_to(holder)?;
                let request = PeerRequest::Expire {
                    ids: ids.to_vec(),
                    ttl,
                };
                match link.request(request, Body::empty()).await?.0 {
                    PeerReply::Expiring { blocks } => blocks,
                    _ => return Err(unexpected_reply(&link)),
                }
            };
            if blocks != ids.len() as u64 {
                return Err(ApiError::new(
                    ErrorCode::NotFound,
                    format!("'{}' no longer has all of it", self.peers.name_of(holder)),
                ));
            }
        }
        Ok(())
    }
}

/// Asks one peer about a value.
async fn lifetime_at(
    link: &PeerLink,
    name: &ValueName,
    change: LifetimeChange,
) -> ApiResult<Option<Option<Ttl>>> {
    let request = PeerRequest::Lifetime {
        name: name.clone(),
        change,
    };
    match link.request(request, Body::empty()).await?.0 {
        PeerReply::Lives(before) => Ok(Some(before)),
        PeerReply::Missing => Ok(None),
        _ => Err(unexpected_reply(link)),
    }
}
