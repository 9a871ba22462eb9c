//! What is new about this node's keys, for its peers: a log of writes, from which each peer is told at its own pace.
//!
//! A key that was set here anew, or has ended, is appended once ([`News::push`]); whoever tells a peer takes what that peer has not been told
//! yet, in batches. The log is bounded: a peer that falls behind its beginning, or is new, is told of all keys instead, from the
//! store. A peer that was away for a short time, and is the same process, goes on where it was.
//!
//! Here also stands which peers are **settled**: they know of all keys of this node, and this node of all of theirs, up to what is on its way
//! for an announcement interval. A write need not tell a settled peer of which it knows that it has no older value. One that
//! is not settled is told directly, before the write is acknowledged.
//!
//! This module neither sends nor stores anything; see `telling`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use memproto::peer::message::{KeyVersion, RECONCILE_BATCH_MAX};
use memproto::{NodeId, Version};
use tokio::sync::Notify;

use super::lock;

/// The most writes in the log. With keys of 30 bytes that is 12 MiB at most; at 10,000 new keys a second a peer may be away for
/// 6 seconds and go on where it was.
const LOG_LEN_MAX: usize = 65_536;

/// The most bytes of keys in the log: keys of 1,024 bytes do not make it 64 MiB.
const LOG_KEY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many writes a settled peer may be behind before new ones wait for it: what it takes in within about an announcement interval.
const BACKLOG_MAX: u64 = 4_096;

/// The most peers that are remembered with where they stand. Those that are away are forgotten first.
const LISTENERS_MAX: usize = 1_024;

/// See the module.
#[derive(Default)]
pub(super) struct News {
    log: Mutex<Log>,
    /// Something was appended.
    arrived: Notify,
    /// A peer was told of something, or is no longer waited for.
    told: Notify,
    /// Whether anybody is to be told at all.
    is_wanted: AtomicBool,
    /// Number of connected peers that are not settled.
    unsettled: AtomicUsize,
    /// Whether a settled peer is too far behind.
    is_behind: AtomicBool,
    /// Whether a connected peer has not confirmed all that it is told from the log.
    is_telling: AtomicBool,
    /// The greatest lead of a connected peer.
    lead_ms: AtomicU64,
}

#[derive(Default)]
struct Log {
    writes: VecDeque<KeyVersion>,
    /// The number of the first write in the log; they are counted from the start of the node.
    first: u64,
    key_bytes: usize,
    /// The keys that were pushed, with where they stand.
    keys: HashMap<String, Place>,
    listeners: BTreeMap<NodeId, Listener>,
}

/// Where a key stands in the log, by the numbers of its writes.
struct Place {
    /// The last one that was pushed.
    news: u64,
    /// The last overwrite behind it.
    overwrite: Option<u64>,
}

/// Where a peer stands.
struct Listener {
    /// Of its process, which keeps in mind what it was told.
    incarnation: u64,
    is_connected: bool,
    /// The number of the first write that it has not confirmed.
    next: u64,
    /// The number of the first write that was not sent to it over the present link.
    unsent: u64,
    stage: Stage,
    /// Whether what was sent to it over the present link makes it know all keys of this node.
    is_sent_all: bool,
    /// Whether it has confirmed that.
    knows_ours: bool,
    /// Whether it was asked to tell all its keys, since this node had not all of them in mind.
    is_asked: bool,
    /// Whether this node has all its keys in mind that it was told of.
    is_kept: bool,
    /// Whether this node knows, by the present link, of all its keys.
    is_known: bool,
    /// By how many milliseconds its clock was ahead of this node's when it was heard of last.
    lead_ms: u64,
}

/// How a peer gets to know what it was not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// From the store, for the log does not have it.
    NeedsAll,
    /// The store is being gone through, and the log has what is written meanwhile.
    Telling,
    /// From the log.
    Follows,
}

impl Listener {
    /// One that knows nothing.
    fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            is_connected: false,
            next: 0,
            unsent: 0,
            stage: Stage::NeedsAll,
            is_sent_all: false,
            knows_ours: false,
            is_asked: false,
            is_kept: false,
            is_known: false,
            lead_ms: 0,
        }
    }

    fn is_settled(&self) -> bool {
        self.knows_ours && self.is_known
    }

    fn needs_all(&mut self) {
        (self.stage, self.is_sent_all, self.knows_ours) = (Stage::NeedsAll, false, false);
    }

    fn has_news(&self, end: u64) -> bool {
        self.stage == Stage::NeedsAll || self.unsent < end || !self.is_sent_all
    }
}

/// What a peer is to be told next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// All keys of the store. Whatever is written from now on is in the log.
    All,
    /// These writes.
    Batch {
        /// The keys.
        keys: Vec<KeyVersion>,
        /// The number of the write behind them.
        behind: u64,
        /// Whether the peer knows of all keys then.
        complete: bool,
    },
    /// Nothing is new.
    Nothing,
}

impl News {
    /// A peer has connected. Returns whether this node has all keys in mind that this process of it told; otherwise it has to be asked to tell them.
    pub(super) fn connected(&self, peer: NodeId, incarnation: u64) -> bool {
        let mut log = lock(&self.log);
        let first = log.first;
        if log.listeners.len() >= LISTENERS_MAX {
            log.listeners.retain(|_, listener| listener.is_connected);
        }
        let listener = log
            .listeners
            .entry(peer)
            .or_insert_with(|| Listener::new(incarnation));
        if listener.incarnation != incarnation || listener.next < first {
            *listener = Listener {
                is_kept: listener.is_kept && listener.incarnation == incarnation,
                ..Listener::new(incarnation)
            };
        }
        (listener.is_connected, listener.is_known) = (true, false);
        (listener.is_sent_all, listener.knows_ours) = (false, false);
        listener.unsent = listener.next;
        let is_kept = listener.is_kept;
        self.settle(&mut log);
        is_kept
    }

    /// A peer is away. It may come back as the same process.
    pub(super) fn disconnected(&self, peer: NodeId) {
        self.change(peer, |listener| {
            listener.is_connected = false;
            if listener.stage == Stage::Telling {
                listener.needs_all();
            }
        });
    }

    /// Not all that a peer told is in mind any more.
    pub(super) fn forgot(&self, peer: NodeId) {
        self.change(peer, |listener| {
            (listener.is_asked, listener.is_kept, listener.is_known) = (false, false, false);
        });
    }

    /// A peer was asked to tell all its keys, and is going to.
    pub(super) fn asked(&self, peer: NodeId) {
        self.change(peer, |listener| listener.is_asked = true);
    }

    /// A peer has told of keys. `complete` says that these were the last of all.
    pub(super) fn heard(&self, peer: NodeId, complete: bool) {
        self.change(peer, |listener| {
            listener.is_kept |= complete && listener.is_asked;
            listener.is_known = complete && listener.is_kept;
        });
    }

    /// By how much the clock of a peer is ahead of this node's.
    pub(super) fn note_lead(&self, peer: NodeId, lead_ms: u64) {
        self.change(peer, |listener| listener.lead_ms = lead_ms);
    }

    /// By how many milliseconds the foremost clock of the connected peers is ahead of this node's. It errs by the time that a message takes, on the
    /// small side.
    pub(super) fn lead_ms(&self) -> u64 {
        self.lead_ms.load(Ordering::Relaxed)
    }

    /// A peer asks to be told of all keys.
    pub(super) fn retell(&self, peer: NodeId) {
        self.change(peer, Listener::needs_all);
        self.arrived.notify_waiters();
    }

    /// Whether no connected peer needs to be told of a write before it is acknowledged, but for an older value that lies there.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.load(Ordering::Acquire) == 0 && !self.is_behind.load(Ordering::Relaxed)
    }

    /// The connected peers that are not settled.
    pub(super) fn unsettled(&self) -> Vec<NodeId> {
        if self.unsettled.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let log = lock(&self.log);
        let unsettled = log
            .connected()
            .filter(|(_, listener)| !listener.is_settled())
            .map(|(&peer, _)| peer);
        unsettled.collect()
    }

    /// The connected peers of which not all keys are in mind.
    pub(super) fn lacking(&self) -> Vec<NodeId> {
        let log = lock(&self.log);
        let lacking = log.connected().filter(|(_, listener)| !listener.is_kept);
        lacking.map(|(&peer, _)| peer).collect()
    }

    /// Appends a write, where anybody is to be told.
    pub(super) fn push(&self, key: &str, version: Version, deleted: bool) {
        if !self.is_wanted.load(Ordering::Acquire) {
            return;
        }
        let write = KeyVersion {
            key: key.to_owned(),
            version,
            deleted,
        };
        let mut log = lock(&self.log);
        let place = Place {
            news: log.end(),
            overwrite: None,
        };
        log.keys.insert(write.key.clone(), place);
        log.append(write);
        self.settle(&mut log);
        drop(log);
        self.arrived.notify_waiters();
    }

    /// Takes note of a value of this node that took the place of another one of this node. Whom to ask for the key stays as it is; but where not everybody has
    /// been told of the key yet, another node may be writing it at this moment, and is told of the newest version.
    pub(super) fn push_overwrite(&self, key: &str, version: Version) {
        if !self.is_telling.load(Ordering::Acquire) {
            return;
        }
        let mut log = lock(&self.log);
        if log.append_overwrite(key, version) {
            self.settle(&mut log);
            drop(log);
            self.arrived.notify_waiters();
        }
    }

    /// What a peer is to be told next. It counts as sent: [`told`](Self::told) confirms it, and a peer that connects anew is sent what it did not confirm.
    pub(super) fn next(&self, peer: NodeId) -> Next {
        let mut log = lock(&self.log);
        let (first, end) = (log.first, log.end());
        let Some(listener) = log.listeners.get_mut(&peer) else {
            return Next::Nothing;
        };
        if listener.stage == Stage::NeedsAll {
            // What is written from now on may be missed by who goes through the store.
            (listener.stage, listener.next, listener.unsent) = (Stage::Telling, end, end);
            return Next::All;
        }
        if !listener.has_news(end) {
            return Next::Nothing;
        }
        let from = listener.unsent;
        let behind = end.min(from + RECONCILE_BATCH_MAX as u64);
        // One that has caught up once is told soon enough, whatever is on its way.
        let complete = listener.is_sent_all || behind == end;
        (listener.unsent, listener.is_sent_all) = (behind, complete);
        let skip = (from - first) as usize;
        let keys = log.writes.iter().skip(skip).take((behind - from) as usize);
        Next::Batch {
            keys: keys.cloned().collect(),
            behind,
            complete,
        }
    }

    /// A peer was told of all keys that the store had.
    pub(super) fn told_all(&self, peer: NodeId) {
        self.change(peer, |listener| {
            if listener.stage == Stage::Telling {
                listener.stage = Stage::Follows;
            }
        });
    }

    /// A peer has confirmed that it was told of the writes up to this one, and of all before.
    pub(super) fn told(&self, peer: NodeId, behind: u64, complete: bool) {
        self.change(peer, |listener| {
            // Where it fell off the log meanwhile, or asked for all, it begins anew.
            if listener.stage == Stage::Follows {
                listener.next = listener.next.max(behind);
                listener.knows_ours |= complete;
            }
        });
    }

    /// Waits until there is something to tell a peer.
    pub(super) async fn arrives(&self, peer: NodeId) {
        loop {
            let arrived = self.arrived.notified();
            if self.has_news(peer) {
                return;
            }
            arrived.await;
        }
    }

    /// Waits until no settled peer is too far behind.
    pub(super) async fn catches_up(&self) {
        loop {
            let told = self.told.notified();
            if !self.is_behind.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    fn has_news(&self, peer: NodeId) -> bool {
        let log = lock(&self.log);
        let listener = log.listeners.get(&peer);
        listener.is_some_and(|listener| listener.has_news(log.end()))
    }

    fn change<R>(&self, peer: NodeId, change: impl FnOnce(&mut Listener) -> R) {
        let mut log = lock(&self.log);
        if let Some(listener) = log.listeners.get_mut(&peer) {
            change(listener);
            self.settle(&mut log);
        }
        drop(log);
        self.told.notify_waiters();
    }

    /// Drops what nobody is going to be told, and takes stock.
    fn settle(&self, log: &mut Log) {
        log.trim();
        let end = log.end();
        let is_telling = log.followers().any(|listener| listener.next < end);
        self.is_telling.store(is_telling, Ordering::Release);
        let unsettled = log.connected().filter(|(_, listener)| !listener.is_settled());
        self.unsettled.store(unsettled.count(), Ordering::Release);
        let is_behind = log
            .connected()
            .any(|(_, listener)| listener.is_settled() && end - listener.next > BACKLOG_MAX);
        self.is_behind.store(is_behind, Ordering::Release);
        let lead = log.connected().map(|(_, listener)| listener.lead_ms).max();
        self.lead_ms.store(lead.unwrap_or(0), Ordering::Relaxed);
        let is_wanted = |listener: &Listener| listener.is_connected || listener.stage == Stage::Follows;
        self.is_wanted
            .store(log.listeners.values().any(is_wanted), Ordering::Release);
    }
}

impl Log {
    /// The number of the write that comes next.
    fn end(&self) -> u64 {
        self.first + self.writes.len() as u64
    }

    fn connected(&self) -> impl Iterator<Item = (&NodeId, &Listener)> {
        self.listeners
            .iter()
            .filter(|(_, listener)| listener.is_connected)
    }

    fn append(&mut self, write: KeyVersion) {
        self.key_bytes += write.key.len();
        self.writes.push_back(write);
        while self.writes.len() > LOG_LEN_MAX || self.key_bytes > LOG_KEY_BYTES_MAX {
            self.drop_first();
        }
        let first = self.first;
        for listener in self.listeners.values_mut() {
            // What was sent and is not confirmed yet need not be kept, unless the link fails.
            let needed = if listener.is_connected {
                listener.unsent
            } else {
                listener.next
            };
            if needed < first {
                listener.needs_all();
            }
        }
    }

    /// Appends an overwrite of a key of which a connected peer has not confirmed the news; or where nobody was sent the last such, puts it in its place, so that a
    /// key that is written all the time is told once in an interval. Returns whether there is something to tell.
    fn append_overwrite(&mut self, key: &str, version: Version) -> bool {
        let confirmed = self.followers().map(|listener| listener.next).min();
        let sent = self.followers().map(|listener| listener.unsent).max();
        let (Some(confirmed), Some(sent)) = (confirmed, sent) else {
            return false;
        };
        let (first, end) = (self.first, self.end());
        let Some(place) = self.keys.get_mut(key).filter(|place| place.news >= confirmed) else {
            return false;
        };
        match place.overwrite {
            Some(at) if at >= sent => self.writes[(at - first) as usize].version = version,
            _ => {
                place.overwrite = Some(end);
                self.append(KeyVersion {
                    key: key.to_owned(),
                    version,
                    deleted: false,
                });
            }
        }
        true
    }

    /// The connected peers that are told from the log.
    fn followers(&self) -> impl Iterator<Item = &Listener> {
        let connected = self.connected().map(|(_, listener)| listener);
        connected.filter(|listener| listener.stage != Stage::NeedsAll)
    }

    /// Drops what everybody was told. A peer that needs all keys is told from the store, and from where the log stands then.
    fn trim(&mut self) {
        let waiting = self
            .listeners
            .values()
            .filter(|listener| listener.stage != Stage::NeedsAll);
        let needed = waiting.map(|listener| listener.next).min().unwrap_or(u64::MAX);
        while self.first < needed && self.drop_first() {}
    }

    fn drop_first(&mut self) -> bool {
        let Some(write) = self.writes.pop_front() else {
            return false;
        };
        self.key_bytes -= write.key.len();
        if self
            .keys
            .get(&write.key)
            .is_some_and(|place| place.news == self.first)
        {
            self.keys.remove(&write.key);
        }
        self.first += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [NodeId; 2] = [NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16])];

    fn version(time: u64) -> Version {
        Version {
            time,
            node: NodeId::from_bytes([7; 16]),
        }
    }

    fn push(news: &News, from: u64, count: u64) {
        for time in from..from + count {
            news.push(&format!("k{time}"), version(time), false);
        }
    }

    /// Tells a peer all that there is to tell. Returns the times of the versions, or `None` where it was all of the store.
    fn tell(news: &News, peer: NodeId) -> Vec<Option<u64>> {
        let mut told = Vec::new();
        loop {
            let next = news.next(peer);
            match next {
                Next::All => {
                    told.push(None);
                    news.told_all(peer);
                }
                Next::Batch {
                    keys,
                    behind,
                    complete,
                } => {
                    assert!(keys.len() <= RECONCILE_BATCH_MAX);
                    told.extend(keys.iter().map(|key| Some(key.version.time)));
                    news.told(peer, behind, complete);
                }
                Next::Nothing => return told,
            }
        }
    }

    fn connect(news: &News, peer: NodeId, incarnation: u64) {
        if !news.connected(peer, incarnation) {
            news.asked(peer);
        }
    }

    #[test]
    fn a_peer_is_told_of_everything_and_then_of_what_is_new() {
        let news = News::default();
        push(&news, 0, 10);
        connect(&news, PEERS[0], 1);
        assert!(!news.is_settled());
        assert_eq!(news.unsettled(), [PEERS[0]]);
        push(&news, 10, 2);
        assert_eq!(tell(&news, PEERS[0]), [None]);
        assert!(!news.is_settled(), "its keys are not known yet");
        news.heard(PEERS[0], false);
        assert!(!news.is_settled());
        news.heard(PEERS[0], true);
        assert!(news.is_settled() && news.unsettled().is_empty());
        push(&news, 20, 600);
        let told: Vec<_> = (20..620).map(Some).collect();
        assert_eq!(tell(&news, PEERS[0]), told);
        assert!(news.is_settled());
        assert_eq!(lock(&news.log).writes.len(), 0, "what all were told is dropped");
    }

    #[test]
    fn a_peer_that_comes_back_goes_on_where_it_was_and_one_that_restarted_does_not() {
        let news = News::default();
        connect(&news, PEERS[0], 1);
        tell(&news, PEERS[0]);
        news.heard(PEERS[0], true);
        news.disconnected(PEERS[0]);
        assert!(news.is_settled(), "it is away");
        push(&news, 5, 3);
        assert!(news.connected(PEERS[0], 1), "its keys are in mind");
        assert!(!news.is_settled(), "what it did meanwhile is not known");
        assert_eq!(tell(&news, PEERS[0]), [Some(5), Some(6), Some(7)]);
        news.heard(PEERS[0], true);
        assert!(news.is_settled());
        news.disconnected(PEERS[0]);
        assert!(!news.connected(PEERS[0], 2), "it is another process");
        assert_eq!(tell(&news, PEERS[0]), [None]);
    }

    #[test]
    fn a_peer_that_was_interrupted_is_told_again() {
        let news = News::default();
        connect(&news, PEERS[0], 1);
        assert_eq!(news.next(PEERS[0]), Next::All);
        news.disconnected(PEERS[0]);
        connect(&news, PEERS[0], 1);
        assert_eq!(tell(&news, PEERS[0]), [None]);
        push(&news, 0, 3);
        let first = news.next(PEERS[0]);
        news.disconnected(PEERS[0]);
        connect(&news, PEERS[0], 1);
        assert_eq!(news.next(PEERS[0]), first, "nobody confirmed it");
    }

    #[test]
    fn a_peer_that_falls_behind_the_log_is_told_of_everything() {
        let news = News::default();
        for peer in PEERS {
            connect(&news, peer, 1);
            tell(&news, peer);
            news.heard(peer, true);
        }
        push(&news, 0, BACKLOG_MAX + 1);
        assert!(!news.is_settled(), "writers wait for the slowest");
        tell(&news, PEERS[0]);
        assert!(!news.is_settled());
        news.disconnected(PEERS[1]);
        assert!(news.is_settled(), "nobody waits for one that is away");
        push(&news, 0, LOG_LEN_MAX as u64);
        assert!(lock(&news.log).writes.len() <= LOG_LEN_MAX);
        assert_eq!(tell(&news, PEERS[0]).len(), LOG_LEN_MAX);
        connect(&news, PEERS[1], 1);
        assert_eq!(tell(&news, PEERS[1]), [None]);
        let long = "k".repeat(1_024);
        for time in 0..5_000 {
            news.push(&long, version(time), false);
        }
        assert!(lock(&news.log).key_bytes <= LOG_KEY_BYTES_MAX);
    }

    #[test]
    fn what_could_not_be_kept_is_asked_for_again() {
        let news = News::default();
        connect(&news, PEERS[0], 1);
        tell(&news, PEERS[0]);
        news.heard(PEERS[0], true);
        assert!(news.lacking().is_empty());
        news.forgot(PEERS[0]);
        assert_eq!(news.lacking(), [PEERS[0]]);
        news.heard(PEERS[0], true);
        assert!(!news.is_settled(), "what it told before is still not in mind");
        news.asked(PEERS[0]);
        news.heard(PEERS[0], true);
        assert!(news.is_settled());
        // And the other way round.
        news.retell(PEERS[0]);
        assert!(!news.is_settled());
        assert_eq!(tell(&news, PEERS[0]), [None]);
        assert!(news.is_settled());
    }

    #[test]
    fn an_overwrite_is_told_while_not_everybody_knows_of_the_key() {
        let news = News::default();
        connect(&news, PEERS[0], 1);
        tell(&news, PEERS[0]);
        news.push_overwrite("k", version(1));
        assert_eq!(tell(&news, PEERS[0]), [], "it is known who has it");
        news.push("k", version(2), false);
        news.push_overwrite("l", version(3));
        news.push_overwrite("k", version(4));
        news.push_overwrite("k", version(5));
        let sent = news.next(PEERS[0]);
        news.push_overwrite("k", version(6));
        news.push_overwrite("k", version(7));
        let Next::Batch {
            keys,
            behind,
            complete,
        } = sent
        else {
            panic!("there are news: {sent:?}");
        };
        let times: Vec<u64> = keys.iter().map(|key| key.version.time).collect();
        assert_eq!(times, [2, 5], "the last one before it was sent");
        news.told(PEERS[0], behind, complete);
        news.push_overwrite("k", version(8));
        assert_eq!(
            tell(&news, PEERS[0]),
            [Some(7)],
            "its news were confirmed meanwhile"
        );
        assert!(lock(&news.log).keys.is_empty());
        // What is kept for a peer that is away makes no overwrite news.
        connect(&news, PEERS[1], 1);
        tell(&news, PEERS[1]);
        news.disconnected(PEERS[1]);
        news.push("k", version(9), false);
        assert_eq!(tell(&news, PEERS[0]), [Some(9)]);
        news.push_overwrite("k", version(10));
        assert_eq!(tell(&news, PEERS[0]), []);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let news = News::default();
        push(&news, 0, 10);
        assert_eq!(lock(&news.log).end(), 0);
        connect(&news, PEERS[0], 1);
        news.disconnected(PEERS[0]);
        push(&news, 0, 10);
        assert_eq!(
            lock(&news.log).writes.len(),
            0,
            "it is told of everything when it comes back"
        );
        assert_eq!(news.next(PEERS[1]), Next::Nothing);
    }
}
