//! Telling peers of writes: at once where one has an older value, and a little later, in batches, for all the others.
//!
//! A write that displaces a value of a peer is acknowledged when that peer has dropped it ([`Service::make_known`]). Everybody else hears of it within an
//! announcement interval ([`Service::announce`]), so that a later read costs one round trip, and a later write knows whom to tell.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::message::{KeyVersion, RECONCILE_BATCH_MAX};
use memproto::peer::{PeerReply, PeerRequest};
use memproto::version::{CLOCK_SKEW_MAX_MS, VERSION_COUNTER_BITS};
use memproto::{NodeId, Version};
use tokio::time::timeout;

use super::keys::OVERTAKEN_MAX;
use super::news::Next;
use super::unconfirmed::Hold;
use super::{ASK_ALL_TIMEOUT, Service, unexpected_reply};
use crate::body::Body;
use crate::peer::PeerLink;
use crate::store::{KeyRecord, KeyValue};

/// How long writes are collected before peers are told of them: short beside what a person or a script does between two machines, and enough
/// for a thousand writes to leave in four messages instead of a thousand.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(5);

/// How many announcements to a peer may be without its answer: over a slow network the next one does not wait for it, and what a peer has to
/// take in at a time stays below 2,048 keys.
const UNDER_WAY_MAX: usize = 8;

/// How often two nodes tell each other their clocks where they have nothing else to say: within such a time a machine whose clock was set is no
/// longer ahead of the others.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// A write of a key that is being made known.
pub(super) struct Write<'a> {
    pub(super) key: &'a str,
    pub(super) version: Version,
    pub(super) deleted: bool,
    /// Whether the store has a record of it, which follows where the write gets a later version.
    pub(super) is_recorded: bool,
}

impl<'a> Write<'a> {
    /// One that the store has a record of.
    pub(super) fn recorded(key: &'a str, version: Version, deleted: bool) -> Self {
        Self {
            key,
            version,
            deleted,
            is_recorded: true,
        }
    }
}

/// A write that goes among the news when this is dropped, also where its caller goes away: not before the peers that have an older value have dropped it, for
/// who knows of a write need not wait for them.
struct Announced<'a> {
    service: &'a Service,
    write: Write<'a>,
    /// Whether it is news: an overwrite of a value of this node is not, for whom to ask stays as it is.
    is_news: bool,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if self.is_news {
            let Write {
                key,
                version,
                deleted,
                ..
            } = self.write;
            self.service.news.push(key, version, deleted);
        } else {
            self.service
                .news
                .push_overwrite(self.write.key, self.write.version);
        }
    }
}

/// What becomes of a write where a peer that is told of it knows of a newer version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Newer {
    /// The other write came before the end of this one, which gets a version that is newer still: else it could lose to one that
    /// its node had not heard of, however old.
    IsBeaten,
    /// The other write began before the end of this one, for peers were asked before it. It may have been read, and this one too: which of them is newer
    /// must not change any more.
    Stays,
}

/// What came of telling peers.
#[derive(Default)]
pub(super) struct Told {
    /// Whether one of them had an older value.
    pub(super) dropped: bool,
    /// Why one of them was not told.
    pub(super) failure: Option<ApiError>,
}

impl Service {
    /// Makes a write known: waits until every peer that has an older value, or may have one that is not known of here, has dropped it, and puts
    /// it among the news. `before` is what was known of the key before the write.
    ///
    /// # Cancel safety
    /// The news go their way.
    pub(super) async fn make_known(&self, write: Write<'_>, before: Option<KeyRecord>) {
        let links = self.who_must_know(write.key, before);
        let is_overwrite = before.is_some_and(|before| matches!(before.value, KeyValue::Ours(_)));
        let mut news = Announced {
            service: self,
            is_news: write.deleted || !is_overwrite || !links.is_empty(),
            write,
        };
        if !links.is_empty() {
            // A link that fails is followed by an announcement of what was missed.
            self.tell(&links, &mut news.write, Newer::IsBeaten).await;
        }
        drop(news);
        // A peer that takes nothing for so long is given up by the link's keepalive before long.
        let _ = timeout(ASK_ALL_TIMEOUT, self.news.catches_up()).await;
    }

    /// Makes a write known to all connected peers, and waits for all of them.
    ///
    /// # Errors
    /// `PeerUnreachable` and `Timeout` where one of them could not be told. The write has happened here, and is announced to who comes back.
    pub(super) async fn make_known_to_all(&self, links: &[Arc<PeerLink>], write: Write<'_>) -> ApiResult<()> {
        let mut news = Announced {
            service: self,
            is_news: true,
            write,
        };
        let told = self.tell(links, &mut news.write, Newer::Stays).await;
        drop(news);
        match told.failure {
            Some(error) => Err(ApiError::new(
                error.code,
                format!(
                    "it was done here, but not every peer has confirmed it: {}",
                    error.message
                ),
            )),
            None => Ok(()),
        }
    }

    /// All connected peers, for an operation that needs an answer of each.
    ///
    /// # Errors
    /// `PeerUnreachable` where one is away that may have keys.
    pub(super) fn everyone(&self) -> ApiResult<Vec<Arc<PeerLink>>> {
        match self.peers.unreachable().first() {
            None => Ok(self.peers.connected()),
            Some(&away) => Err(ApiError::new(
                ErrorCode::PeerUnreachable,
                format!(
                    "'{}' is away, so that it cannot confirm anything: leave out --strict, or see `memcli peer list`",
                    self.peers.name_of(away)
                ),
            )),
        }
    }

    /// Notes, before a key is written, that its older value may lie on a peer: another write of it that comes in between waits for that peer, too.
    pub(super) fn hold_older<'a>(&'a self, key: &'a str) -> Hold<'a> {
        let older = self
            .store
            .key(key)
            .filter(|older| older.value == KeyValue::Theirs);
        let writer = older.map(|older| older.version.node);
        self.unconfirmed.hold(key, writer.into_iter().collect())
    }

    /// Peers that have to drop an older value before a write is acknowledged.
    fn who_must_know(&self, key: &str, before: Option<KeyRecord>) -> Vec<Arc<PeerLink>> {
        let mut peers = self.news.unsettled();
        peers.extend(self.unconfirmed.peers(key));
        if let Some(before) = before.filter(|before| before.value == KeyValue::Theirs) {
            let writer = before.version.node;
            if self.peers.link(writer).is_none() {
                // Others may be able to read it there.
                return self.peers.connected();
            }
            peers.push(writer);
        }
        peers.sort_unstable();
        peers.dedup();
        let links = peers.into_iter();
        links.filter_map(|peer| self.peers.link(peer)).collect()
    }

    /// Tells peers of a write, and waits until each dropped what was older.
    pub(super) async fn tell(&self, links: &[Arc<PeerLink>], write: &mut Write<'_>, newer: Newer) -> Told {
        let mut told = Told::default();
        let peers = links.iter().map(|link| link.id()).collect();
        let _hold = self.unconfirmed.hold(write.key, peers);
        for _ in 0..OVERTAKEN_MAX {
            let mut answers: FuturesUnordered<_> =
                links.iter().map(|link| self.tell_one(link, write)).collect();
            let mut newest = None;
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok((dropped, newer)) => {
                        told.dropped |= dropped;
                        newest = newest.max(newer);
                    }
                    Err(error) => told.failure = Some(error),
                }
            }
            drop(answers);
            let newest = newest.filter(|&newest| newest > write.version && newer == Newer::IsBeaten);
            let Some(newest) = newest else {
                break;
            };
            if !self.observe(newest) {
                told.failure = Some(self.too_far_ahead(newest.node));
                break;
            }
            let later = self.tick();
            if write.is_recorded && !self.store.raise(write.key, write.version, later) {
                // Somebody wrote it at the same moment, and that is what stays.
                break;
            }
            write.version = later;
        }
        told
    }

    /// Tells one peer. Returns whether it had an older value, and the version that it knows of where that is newer.
    async fn tell_one(&self, link: &PeerLink, write: &Write<'_>) -> ApiResult<(bool, Option<Version>)> {
        let request = PeerRequest::Outdate {
            key: write.key.to_owned(),
            version: write.version,
            deleted: write.deleted,
        };
        let asked = link.request(request, Body::empty());
        match timeout(ASK_ALL_TIMEOUT, asked).await {
            Ok(Ok((PeerReply::Outdated { dropped, newer }, _))) => {
                // That a deletion came before this one changes nothing.
                let newer = newer.filter(|newer| !(newer.deleted && write.deleted));
                Ok((dropped, newer.map(|newer| newer.version)))
            }
            Ok(Ok(_)) => Err(unexpected_reply(link)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(no_answer(link)),
        }
    }

    fn too_far_ahead(&self, peer: NodeId) -> ApiError {
        let name = self.peers.name_of(peer);
        ApiError::new(
            ErrorCode::Internal,
            format!("the clock of '{name}' is more than a day ahead of this node's: set the wrong one right"),
        )
    }

    /// Tells a peer of this node's keys, as long as the link to it lasts: of all that it does not know, then of what is new.
    ///
    /// # Errors
    /// Why the link can no longer be used.
    pub(super) async fn announce(&self, link: &PeerLink) -> ApiResult<()> {
        let peer = link.id();
        let mut under_way = FuturesUnordered::new();
        let mut news = std::pin::pin!(self.wait_for_news(peer));
        let mut is_due = true;
        loop {
            if is_due && under_way.len() < UNDER_WAY_MAX {
                match self.news.next(peer) {
                    Next::All => {
                        while let Some(told) = under_way.next().await {
                            told?;
                        }
                        self.tell_all(link).await?;
                        self.news.told_all(peer);
                    }
                    Next::Batch {
                        keys,
                        behind,
                        complete,
                    } => under_way.push(self.tell_batch(link, keys, behind, complete)),
                    Next::Nothing => is_due = false,
                }
                // So that it is on its way.
                if let Some(Some(told)) = under_way.next().now_or_never() {
                    told?;
                }
                continue;
            }
            tokio::select! {
                biased;
                Some(told) = under_way.next() => told?,
                () = &mut news, if !is_due => {
                    is_due = true;
                    news.set(self.wait_for_news(peer));
                }
                () = tokio::time::sleep(CLOCK_INTERVAL), if under_way.is_empty() => {
                    self.tell_keys(link, Vec::new(), true).await?;
                }
            }
        }
    }

    /// Waits for something to tell a peer, and then for what else comes within an announcement interval.
    async fn wait_for_news(&self, peer: NodeId) {
        self.news.arrives(peer).await;
        tokio::time::sleep(self.config.announce_interval).await;
    }

    async fn tell_all(&self, link: &PeerLink) -> ApiResult<()> {
        let mut under_way = FuturesUnordered::new();
        let mut cursor = 0;
        loop {
            let (mut keys, next) = self.store.versions(cursor, RECONCILE_BATCH_MAX);
            cursor = next;
            while !keys.is_empty() {
                let rest = keys.split_off(keys.len().min(RECONCILE_BATCH_MAX));
                under_way.push(self.tell_keys(link, std::mem::replace(&mut keys, rest), false));
            }
            let left = if cursor == 0 { 0 } else { UNDER_WAY_MAX };
            while under_way.len() > left
                && let Some(told) = under_way.next().await
            {
                told?;
            }
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    async fn tell_batch(
        &self,
        link: &PeerLink,
        keys: Vec<KeyVersion>,
        behind: u64,
        complete: bool,
    ) -> ApiResult<()> {
        self.tell_keys(link, keys, complete).await?;
        self.news.told(link.id(), behind, complete);
        Ok(())
    }

    async fn tell_keys(&self, link: &PeerLink, keys: Vec<KeyVersion>, complete: bool) -> ApiResult<()> {
        let clock = self.clock_reading();
        let request = PeerRequest::Reconcile {
            keys,
            complete,
            clock,
        };
        match link.request(request, Body::empty()).await? {
            (PeerReply::Reconciled { newer, clock }, _) => {
                self.note_clock(link.id(), clock);
                for told in &newer {
                    self.outdate(told);
                }
                Ok(())
            }
            _ => Err(unexpected_reply(link)),
        }
    }

    /// Takes note of what a peer's clock shows, so that writes of this node are later than those of the peer that it knows of, also where the peer is ahead
    /// and does not tell of each of them.
    pub(super) fn note_clock(&self, peer: NodeId, clock: u64) {
        let lead_ms = (clock >> VERSION_COUNTER_BITS).saturating_sub(self.unix_ms());
        if lead_ms > CLOCK_SKEW_MAX_MS {
            tracing::warn!(peer = %peer.short(), lead_ms, "the clock of a peer is more than a day ahead of this node's: its writes are ignored");
            return;
        }
        self.news.note_lead(peer, lead_ms);
    }

    /// Asks peers anew for the keys that could not be taken note of when they were told.
    pub(super) fn ask_for_what_is_lacking(&self) {
        for link in self
            .news
            .lacking()
            .into_iter()
            .filter_map(|peer| self.peers.link(peer))
        {
            let service = self.shared();
            self.spawn(async move {
                // A link that fails is followed by another one, which begins with the same question.
                let _ = service.ask_for_all(&link).await;
            });
        }
    }

    /// Asks a peer to tell all its keys.
    pub(super) async fn ask_for_all(&self, link: &PeerLink) -> ApiResult<()> {
        match link.request(PeerRequest::Retell, Body::empty()).await? {
            (PeerReply::Retelling, _) => {
                self.news.asked(link.id());
                Ok(())
            }
            _ => Err(unexpected_reply(link)),
        }
    }
}

/// A connected peer did not answer in time.
pub(super) fn no_answer(link: &PeerLink) -> ApiError {
    ApiError::new(
        ErrorCode::Timeout,
        format!(
            "'{}' is connected but did not answer within {} s: try again",
            link.name(),
            ASK_ALL_TIMEOUT.as_secs()
        ),
    )
}
