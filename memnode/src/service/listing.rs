//! The keys of the whole pool, a page at a time.
//!
//! Each node knows its own keys, and of those of its peers only hashes. So a listing goes from one node to the next: the keys of this one first, then those
//! of each peer as it tells them, page by page. A key has one node that answers for it, so that it comes once from a pool that stands still. A node that
//! cannot be asked is named in the reply: nobody shall take a part of the pool for all of it.
//!
//! Between two pages nothing is remembered but the order in which peers have their turns.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use memproto::NodeId;
use memproto::control::PeerState;
use memproto::error::ApiResult;
use memproto::limits::NODE_NAME_LEN_MAX;
use memproto::listing::{KeyDetails, ListedKey, MissingNode, OWN_CURSOR_BITS};
use memproto::local::KEYS_MISSING_MAX;
use memproto::local::keys::{KeysOptions, KeysPage, KeysReply, KeysRequest};
use memproto::pattern::Globs;
use memproto::peer::{PeerReply, PeerRequest};
use tokio::time::timeout;

use super::{ASK_ALL_TIMEOUT, Service, lock, unexpected_reply};
use crate::body::Body;
use crate::peer::PeerLink;
use crate::store::{Place, Scanned};

/// How many keys are looked at for one page at most: about a millisecond, which others do not feel, and yet only a thousand
/// pages where none of ten million keys matches.
const KEYS_LOOKED_AT_MAX: usize = 10_000;

/// How long a peer may take for a page.
const PAGE_TIMEOUT: Duration = ASK_ALL_TIMEOUT;

/// How many peers have their turns before those that are not known any more give up theirs: far more than a node has at a time.
const TURNS_MAX: usize = 4_096;

/// Where a listing stands: whose turn it is, 0 for this node's, and the cursor of that node's own keys.
///
/// ```text
///  63     44 43           0
/// +---------+--------------+
/// |  turn   | own cursor   |
/// +---------+--------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Position {
    turn: usize,
    own_cursor: u64,
}

/// The order in which peers are asked. A peer keeps its turn while the node runs, so that a cursor means the same on the next page.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The peer of turn 1 first.
    peers: Mutex<Vec<NodeId>>,
}

/// What came of asking a peer.
enum Asked {
    /// Keys, and the cursor for the next ones.
    Keys(KeysPage, u64),
    /// It failed, or said what cannot be.
    Failed,
    /// It did not answer in time.
    Late,
}

impl Position {
    fn from_cursor(cursor: u64) -> Self {
        Self {
            turn: (cursor >> OWN_CURSOR_BITS) as usize,
            own_cursor: cursor & ((1 << OWN_CURSOR_BITS) - 1),
        }
    }

    fn to_cursor(self) -> u64 {
        (self.turn as u64) << OWN_CURSOR_BITS | self.own_cursor
    }

    /// The begin of another turn.
    fn of_turn(turn: usize) -> Self {
        Self { turn, own_cursor: 0 }
    }
}

impl Turns {
    /// The first of these peers whose turn is this one or later, with its turn. Those that have none yet come last.
    fn next(&self, turn: usize, peers: &[NodeId]) -> Option<(usize, NodeId)> {
        let mut turns = lock(&self.peers);
        if turns.len() + peers.len() > TURNS_MAX {
            turns.retain(|peer| peers.contains(peer));
        }
        for peer in peers {
            if !turns.contains(peer) {
                turns.push(*peer);
            }
        }
        let from = turn.max(1);
        let mut rest = (from..).zip(turns.iter().skip(from - 1));
        rest.find(|(_, peer)| peers.contains(peer))
            .map(|(turn, peer)| (turn, *peer))
    }
}

impl Service {
    /// A page of the keys of the whole pool that match any of the patterns, in no order. It may be empty and yet not the
    /// last; a key that is there from the first page to the last comes at least once, unless its node is named as missing.
    ///
    /// # Errors
    /// `InvalidArgument` for no pattern, `TooLarge` for too many or too long ones.
    pub async fn keys(&self, request: &KeysRequest) -> ApiResult<KeysReply> {
        let globs = Globs::new(&request.patterns)?;
        let KeysOptions { local, details } = request.options;
        let mut position = Position::from_cursor(request.cursor);
        if position.turn == 0 {
            let (page, next) = self.own_keys(&globs, position.own_cursor, request.limit, details);
            if next != 0 || local {
                return Ok(page.finish(next));
            }
            if !page.is_empty() {
                return Ok(page.finish(self.begin_of_turn(1)));
            }
            position = Position::of_turn(1);
        }
        if local {
            return Ok(KeysReply::default());
        }
        self.keys_of_peers(request, position).await
    }

    /// A page of the keys of one peer, the first from a position on that has any.
    async fn keys_of_peers(&self, request: &KeysRequest, from: Position) -> ApiResult<KeysReply> {
        let mut position = from;
        let mut missing = Vec::new();
        while let Some((turn, peer)) = self.turns.next(position.turn, &self.listed_peers()) {
            let own_cursor = if turn == position.turn {
                position.own_cursor
            } else {
                0
            };
            let asked = match self.peers.link(peer) {
                Some(link) => ask(&link, request, own_cursor).await,
                None => Asked::Failed,
            };
            position = Position::of_turn(turn + 1);
            let is_late = matches!(asked, Asked::Late);
            match asked {
                Asked::Keys(page, next) if next != 0 || !page.is_empty() => {
                    let cursor = match next {
                        0 => self.begin_of_turn(turn + 1),
                        own_cursor => Position { turn, own_cursor }.to_cursor(),
                    };
                    return Ok(KeysReply {
                        missing,
                        ..page.finish(cursor)
                    });
                }
                Asked::Keys(..) => {}
                Asked::Failed | Asked::Late => missing.push(self.missing(peer)),
            }
            // Whoever waited once is told so, rather than to wait for each of those that are slow.
            if is_late || missing.len() == KEYS_MISSING_MAX {
                break;
            }
        }
        Ok(KeysReply {
            keys: Vec::new(),
            missing,
            cursor: self.begin_of_turn(position.turn),
        })
    }

    /// The cursor with which the next turn begins, 0 where there is none.
    fn begin_of_turn(&self, turn: usize) -> u64 {
        self.turns
            .next(turn, &self.listed_peers())
            .map_or(0, |(turn, _)| Position::of_turn(turn).to_cursor())
    }

    /// The peers whose keys belong to the pool: those that are connected, and those that hold something and are out of reach.
    fn listed_peers(&self) -> Vec<NodeId> {
        let (unreachable, noted) = (self.peers.unreachable(), self.store.noted_nodes());
        let mut peers = self.peers.list();
        peers.retain(|peer| {
            let is_away = |id: NodeId| unreachable.contains(&id) || noted.contains(&id);
            peer.state == PeerState::Connected || peer.id.is_some_and(is_away)
        });
        peers.into_iter().filter_map(|peer| peer.id).collect()
    }

    fn missing(&self, node: NodeId) -> MissingNode {
        let mut name = self.peers.name_of(node);
        name.truncate(name.floor_char_boundary(NODE_NAME_LEN_MAX));
        MissingNode { node, name }
    }

    /// Answers a peer that asks for the keys of this node.
    pub(super) fn keys_for_peer(
        &self,
        patterns: &[String],
        cursor: u64,
        limit: u32,
        details: bool,
    ) -> ApiResult<PeerReply> {
        let globs = Globs::new(patterns)?;
        let (page, next) = self.own_keys(&globs, cursor, limit, details);
        Ok(PeerReply::Keys {
            keys: page.into_keys(),
            cursor: next,
        })
    }

    /// Keys that this node answers for, and the cursor for the next ones.
    pub(super) fn own_keys(&self, globs: &Globs, cursor: u64, limit: u32, details: bool) -> (KeysPage, u64) {
        let mut page = KeysPage::new(limit);
        let next = self.store.scan(cursor, KEYS_LOOKED_AT_MAX, &mut |scanned| {
            !globs.match_key(scanned.key)
                || page.push(ListedKey {
                    key: scanned.key.to_owned(),
                    details: details.then(|| self.details_of(&scanned)),
                })
        });
        (page, next)
    }

    fn details_of(&self, scanned: &Scanned<'_>) -> KeyDetails {
        let here = self.config.node_id;
        let (holder, is_stream) = match scanned.place() {
            Place::Here => (here, false),
            Place::At(holder) => (holder, false),
            Place::Stream(_) => (here, true),
        };
        KeyDetails {
            node: here,
            holder,
            size: scanned.size(),
            class: scanned.class(),
            ttl: scanned
                .expires()
                .map(|moment| self.store.expiry().remaining(moment)),
            is_stream,
        }
    }
}

/// Asks a peer for a page of its keys. What it says is held to what this node would have said.
async fn ask(link: &Arc<PeerLink>, request: &KeysRequest, cursor: u64) -> Asked {
    let details = request.options.details;
    let question = PeerRequest::Keys {
        patterns: request.patterns.clone(),
        cursor,
        limit: request.limit,
        details,
    };
    let (keys, next) = match timeout(PAGE_TIMEOUT, link.request(question, Body::empty())).await {
        Ok(Ok((PeerReply::Keys { keys, cursor }, _))) => (keys, cursor),
        Ok(Ok(_)) => {
            unexpected_reply(link);
            return Asked::Failed;
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %link.id(), %error, "a peer does not tell its keys");
            return Asked::Failed;
        }
        Err(_) => return Asked::Late,
    };
    match checked(keys, request, link.id()) {
        // A cursor that does not get on would let a listing run for ever.
        Some(page) if next == 0 || (next > cursor && next >> OWN_CURSOR_BITS == 0) => Asked::Keys(page, next),
        _ => {
            unexpected_reply(link);
            Asked::Failed
        }
    }
}

/// The keys as a page, if they are what was asked for and have room on one. A peer answers for its own keys and no others.
fn checked(keys: Vec<ListedKey>, request: &KeysRequest, peer: NodeId) -> Option<KeysPage> {
    let mut page = KeysPage::new(request.limit);
    let mut has_room = true;
    for mut listed in keys {
        let is_right = has_room
            && memproto::key::check_key(listed.key.as_bytes()).is_ok()
            && listed.details.is_some() == request.options.details;
        if !is_right {
            return None;
        }
        if let Some(details) = &mut listed.details {
            details.node = peer;
        }
        has_room = page.push(listed);
    }
    Some(page)
}
