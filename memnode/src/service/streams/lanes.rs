//! Which peer the next chunk of a stream goes to.
//!
//! Each peer is a **lane** with a few slots. A chunk takes the slot of the lane that is going to have it stored soonest, by what the lane has carried so
//! far, and of two alike the one that has more of its room left. So the shares follow from speed and room by themselves, also when they change
//! while the stream is written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memproto::NodeId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::stream::StreamPlacement;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::peer::{PeerLink, Peers};
use crate::placement;
use crate::service::lock;

/// How many chunks one peer has under way: while one is stored and acknowledged the others are on the wire. 6 MiB hide a round trip of 6 ms at 1 GB/s.
pub(super) const LANE_SLOTS: usize = 6;

/// How long a stream waits for peers that it needs and that went away: a link that broke is up again within seconds, or is not.
pub(super) const RETURN_WAIT: Duration = Duration::from_secs(10);

/// How often it looks whether they are back.
pub(super) const RETURN_LOOK: Duration = Duration::from_millis(100);

/// After how much time under load half of what was measured of a lane is forgotten.
const RATE_MEMORY: Duration = Duration::from_secs(2);

/// The lanes of one stream.
#[derive(Debug)]
pub(super) struct Lanes {
    reach: Reach,
    state: Mutex<BTreeMap<NodeId, Lane>>,
    freed: Notify,
}

/// Where the chunks may lie.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reach {
    PeersFirst,
    Here,
    AnyPeer,
    Peers(Vec<NodeId>),
}

#[derive(Debug, Default)]
struct Lane {
    busy: usize,
    /// How much room there was when it refused a chunk, and how it did.
    full: Option<(u64, ApiError)>,
    /// Bytes that it took.
    carried: u64,
    measured: Measured,
}

/// What a lane carries while it has anything to carry.
#[derive(Debug, Default)]
struct Measured {
    bytes: f64,
    seconds: f64,
    since: Option<Instant>,
}

impl Measured {
    /// Counts the time since the last look, and the bytes that were done in it.
    fn note(&mut self, bytes: u64, now: Instant, goes_on: bool) {
        if let Some(since) = self.since {
            self.seconds += now.duration_since(since).as_secs_f64();
        }
        self.bytes += bytes as f64;
        self.since = goes_on.then_some(now);
        if self.seconds > RATE_MEMORY.as_secs_f64() {
            self.seconds /= 2.0;
            self.bytes /= 2.0;
        }
    }

    /// Seconds for a byte; 0 where nothing was measured, so that every lane is tried.
    fn cost(&self) -> f64 {
        if self.bytes > 0.0 {
            self.seconds / self.bytes
        } else {
            0.0
        }
    }
}

/// Where a chunk goes.
pub(super) enum Choice<'a> {
    /// To a peer.
    Peer(Arc<PeerLink>, Slot<'a>),
    /// Into this node's memory.
    Here,
}

/// A slot of a lane, taken. Dropped, it is free.
pub(super) struct Slot<'a> {
    lanes: &'a Lanes,
    peer: NodeId,
    done_bytes: u64,
}

impl Slot<'_> {
    /// The chunk is stored; it took so many bytes on the wire.
    pub(super) fn done(mut self, bytes: u64) {
        self.done_bytes = bytes;
    }

    /// The peer has no room for it.
    pub(super) fn refused(self, link: &PeerLink, error: ApiError) {
        let free = link.borrowed().free_bytes();
        if let Some(lane) = lock(&self.lanes.state).get_mut(&self.peer) {
            lane.full = Some((free, error));
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(lane) = lock(&self.lanes.state).get_mut(&self.peer) {
            lane.busy -= 1;
            lane.carried += self.done_bytes;
            lane.measured.note(self.done_bytes, Instant::now(), lane.busy > 0);
        }
        self.lanes.freed.notify_waiters();
    }
}

impl Lanes {
    /// The lanes for a placement.
    ///
    /// # Errors
    /// For named peers why they cannot be used: `UnknownPeer`, `AmbiguousPeer`, `PeerUnreachable`.
    pub(super) fn new(placement: &StreamPlacement, peers: &Peers) -> ApiResult<Self> {
        let reach = match placement {
            StreamPlacement::Auto => Reach::PeersFirst,
            StreamPlacement::Local => Reach::Here,
            StreamPlacement::Remote => Reach::AnyPeer,
            StreamPlacement::Peers(names) if names.is_empty() => {
                return Err(ApiError::invalid(
                    "the list of peers for the stream is empty: name one",
                ));
            }
            StreamPlacement::Peers(names) => {
                let mut ids = Vec::new();
                for name in names {
                    let id = peers.resolve_link(name)?.id();
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                Reach::Peers(ids)
            }
        };
        if reach == Reach::AnyPeer && peers.connected().is_empty() {
            return Err(nobody_connected());
        }
        Ok(Self {
            reach,
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Whether chunks may lie on a node; `here` is this one.
    pub(super) fn allow(&self, node: NodeId, here: NodeId) -> bool {
        match &self.reach {
            Reach::PeersFirst => true,
            Reach::Here => node == here,
            Reach::AnyPeer => node != here,
            Reach::Peers(ids) => ids.contains(&node),
        }
    }

    /// Whether as much as half of the slots of all lanes is taken: the links are what the stream waits for.
    pub(super) fn are_busy(&self) -> bool {
        let state = lock(&self.state);
        let busy: usize = state.values().map(|lane| lane.busy).sum();
        busy * 2 >= state.len().max(1) * LANE_SLOTS
    }

    /// Waits for a place for a chunk of so many bytes. Links in `but` have failed with it.
    ///
    /// # Errors
    /// `OutOfMemory` where nobody has room, of a single named peer what it says, `PeerUnreachable` where no peer is left that it may lie on, and none comes back within
    /// [`RETURN_WAIT`].
    pub(super) async fn choose(
        &self,
        peers: &Peers,
        bytes: u64,
        but: &[Arc<PeerLink>],
    ) -> ApiResult<Choice<'_>> {
        if self.reach == Reach::Here {
            return Ok(Choice::Here);
        }
        let given_up = Instant::now() + RETURN_WAIT;
        loop {
            // Before the look: a slot that becomes free behind it is not missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let links = self.links(peers, but);
            match self.best(&links, bytes) {
                Best::Free(link, slot) => return Ok(Choice::Peer(link, slot)),
                Best::Busy => freed.await,
                Best::Full(_) if self.reach == Reach::PeersFirst => return Ok(Choice::Here),
                Best::Full(mut refusals) if !refusals.is_empty() => {
                    // Who named one peer wants to know what that one says.
                    if let (Reach::Peers(ids), 1) = (&self.reach, refusals.len())
                        && ids.len() == 1
                    {
                        return Err(refusals.remove(0).1);
                    }
                    return Err(placement::out_of_memory(None, &refusals, bytes));
                }
                Best::Full(_) if Instant::now() >= given_up => return Err(self.unreachable(peers)),
                Best::Full(_) => tokio::time::sleep(RETURN_LOOK).await,
            }
        }
    }

    fn links(&self, peers: &Peers, but: &[Arc<PeerLink>]) -> Vec<Arc<PeerLink>> {
        let mut links = match &self.reach {
            Reach::Peers(ids) => ids.iter().filter_map(|&id| peers.link(id)).collect(),
            _ => peers.connected(),
        };
        links.retain(|link| !but.iter().any(|failed| Arc::ptr_eq(failed, link)));
        links
    }

    fn best(&self, links: &[Arc<PeerLink>], bytes: u64) -> Best<'_> {
        let mut state = lock(&self.state);
        let mut refusals = Vec::new();
        let mut best: Option<(f64, &Arc<PeerLink>)> = None;
        let mut any_busy = false;
        for link in links {
            let lane = state.entry(link.id()).or_default();
            let free = link.borrowed().free_bytes();
            if let Some((then, error)) = &lane.full {
                if free < then.saturating_add(bytes) {
                    refusals.push((link.name().to_owned(), error.clone()));
                    continue;
                }
                lane.full = None;
            }
            if lane.busy >= LANE_SLOTS {
                any_busy = true;
                continue;
            }
            let waiting = (lane.busy + 1) as f64 * bytes as f64;
            let room = (lane.carried + free + 1) as f64 / (free + 1) as f64;
            // Where nothing was measured yet what is under way decides, and room.
            let cost = waiting * lane.measured.cost().max(f64::MIN_POSITIVE) * room;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, link));
            }
        }
        let Some((_, link)) = best else {
            return if any_busy {
                Best::Busy
            } else {
                Best::Full(refusals)
            };
        };
        let lane = state.entry(link.id()).or_default();
        if lane.busy == 0 {
            lane.measured.since = Some(Instant::now());
        }
        lane.busy += 1;
        let slot = Slot {
            lanes: self,
            peer: link.id(),
            done_bytes: 0,
        };
        Best::Free(Arc::clone(link), slot)
    }

    fn unreachable(&self, peers: &Peers) -> ApiError {
        match &self.reach {
            Reach::Peers(ids) => {
                let names: Vec<String> = ids.iter().map(|&id| format!("'{}'", peers.name_of(id))).collect();
                ApiError::new(
                    ErrorCode::PeerUnreachable,
                    format!(
                        "the stream may lie on {} alone, and there is no connection: see `memcli peer list`",
                        names.join(", ")
                    ),
                )
            }
            _ => nobody_connected(),
        }
    }
}

/// What a look at the lanes found.
enum Best<'a> {
    Free(Arc<PeerLink>, Slot<'a>),
    /// All slots are taken.
    Busy,
    /// No lane has room, or there is none; with what those said that refused.
    Full(Vec<(String, ApiError)>),
}

fn nobody_connected() -> ApiError {
    ApiError::new(
        ErrorCode::PeerUnreachable,
        "no peer is connected: see `memcli peer list`, and connect one with `memcli connect NAME`",
    )
}
