//! Making room: what is of class cache goes where the budget, or a peer's grant, has none; then what peers left that stay away.

use std::sync::atomic::Ordering;

use memproto::control::Freed;
use memproto::error::ApiResult;
use memproto::{BlockClass, BlockId, ErrorCode, NodeId};

use super::shard::{Displaced, Lack, Shard};
use super::{InsertError, Owner, Store, lock, lock_any};

/// How often a write that lacks room evicts and tries again before it is refused: others may take the room that it made.
const EVICTION_ROUNDS_MAX: u64 = 8;

/// How many bytes more each further round evicts: others took what the one before had freed, and may do so again. As much as some dozens
/// of small writes take, among which a larger one would have no chance.
const EVICTED_BEYOND: u64 = 32 * 1024;

/// How many bytes one shard evicts before the next one has its turn, so that they stay equally full: a few small entries.
const EVICTED_AT_ONCE: u64 = 4 * 1024;

impl Store {
    /// Waits until a chunk of a stream was evicted. Returns the streams that cannot be read any more.
    ///
    /// # Cancel safety
    /// Dropped before it returns, nothing is forgotten.
    pub async fn torn_streams(&self) -> Vec<BlockId> {
        loop {
            let torn = std::mem::take(&mut *lock_any(&self.inner.torn_streams));
            if !torn.is_empty() {
                return torn;
            }
            self.inner.torn.notified().await;
        }
    }

    /// Tries something that takes memory. Where the budget has no room, lets data of class cache go and tries again; where the grant of a peer
    /// has none, data of class cache of that very peer.
    pub(super) fn making_room<R>(
        &self,
        wanted: &Wanted,
        mut attempt: impl FnMut() -> ApiResult<R>,
    ) -> ApiResult<R> {
        let mut result = attempt();
        for round in 0..EVICTION_ROUNDS_MAX {
            let made = match (&result, wanted.owner) {
                (Err(error), _) if error.code == ErrorCode::OutOfMemory => {
                    self.evict_for(wanted.of_budget, round)
                }
                (Err(error), Owner::Peer(peer)) if error.code == ErrorCode::QuotaExceeded => {
                    self.evict_within_grant(peer, wanted)
                }
                _ => false,
            };
            if !made {
                break;
            }
            result = attempt();
        }
        result
    }

    /// The same for an entry.
    pub(super) fn making_room_for_entry<R>(
        &self,
        mut attempt: impl FnMut() -> Result<R, Lack>,
    ) -> ApiResult<R> {
        let mut round = 0;
        loop {
            match attempt() {
                Ok(result) => return Ok(result),
                Err(Lack::OfSystem) => return Err(InsertError::SystemIsFull.into()),
                Err(Lack::OfBudget(bytes)) if round < EVICTION_ROUNDS_MAX && self.evict_for(bytes, round) => {
                    round += 1;
                }
                Err(Lack::OfBudget(bytes)) => return Err(self.ledger().out_of_memory(bytes)),
            }
        }
    }

    /// Evicts until the budget has room for so many bytes, in further rounds (counted from 0) for more: what is of class cache, and where
    /// that is not enough, what peers have pinned that have been away for too long. Returns false where it cannot be reached.
    fn evict_for(&self, bytes: u64, round: u64) -> bool {
        let (missing, cached) = self.ledger().shortage(bytes);
        let absent = if missing > cached {
            self.evictable_absentees()
        } else {
            Vec::new()
        };
        let pinned: u64 = absent.iter().map(|&(_, bytes)| bytes).sum();
        if missing > cached.saturating_add(pinned) {
            return false;
        }
        let wanted = match missing {
            0 => 0,
            missing => missing + round * EVICTED_BEYOND,
        };
        let freed = self.evict_by_turns(wanted, super::shard::Shard::evict).charged;
        let mut left = missing.saturating_sub(freed);
        for (peer, _) in absent {
            let evict = |shard: &mut Shard, bytes| shard.evict_lent(peer, BlockClass::Pinned, bytes, None);
            left = left.saturating_sub(self.evict_by_turns(left, evict).charged);
        }
        true
    }

    /// Evicts data of class cache of a peer until its grant has room. Returns false where that cannot be reached.
    fn evict_within_grant(&self, peer: NodeId, wanted: &Wanted) -> bool {
        let (missing, cached) = self.ledger().shortage_of_grant(peer, wanted.of_grant);
        if missing > cached {
            return false;
        }
        let evicted = self.evict_by_turns(missing, |shard, bytes| {
            shard.evict_lent(peer, BlockClass::Cache, bytes, wanted.chunk_of)
        });
        missing == 0 || evicted.charged > 0
    }

    /// Evicts data of class cache of a peer that uses more than its grant, until it does not or none is left, but about `step_bytes` at
    /// most. Returns what went; nothing where there is no more to do.
    pub fn evict_over_grant(&self, peer: NodeId, step_bytes: u64) -> Freed {
        let (over, cached) = self.ledger().shortage_of_grant(peer, 0);
        self.evict_by_turns(over.min(cached).min(step_bytes), |shard, bytes| {
            shard.evict_lent(peer, BlockClass::Cache, bytes, None)
        })
        .freed
    }

    /// Lets shards evict in turn until so many bytes are free, or none of them has any left.
    fn evict_by_turns(
        &self,
        mut missing: u64,
        mut evict: impl FnMut(&mut Shard, u64) -> (u64, Vec<Displaced>),
    ) -> Evicted {
        let mut sum = Evicted::default();
        // One turn after the other from there: were each drawn, threads that draw by turns could pass by the only shard that has any.
        let mut turn = self.inner.evicts_next.fetch_add(1, Ordering::Relaxed);
        let mut empty = 0;
        while missing > 0 && empty < self.shards() {
            let shard = &self.inner.shards[turn % self.shards()];
            let (freed, evicted) = evict(&mut lock(shard), missing.min(EVICTED_AT_ONCE));
            turn = turn.wrapping_add(1);
            empty = if freed == 0 { empty + 1 } else { 0 };
            missing = missing.saturating_sub(freed);
            sum.charged += freed;
            // What lies next to its entry is not told of: it is a program's of this host, and nobody asks for the count.
            let removed = evicted.iter().filter_map(|displaced| displaced.removed.as_ref());
            for removed in removed.clone() {
                sum.freed.blocks += 1;
                sum.freed.bytes += removed.size;
            }
            // What a peer stored belongs to no stream of this node, whatever the peer says.
            let mut torn = evicted
                .iter()
                .filter(|displaced| {
                    displaced
                        .outside
                        .as_ref()
                        .is_some_and(|outside| outside.lent().is_none())
                })
                .filter_map(|displaced| Some(displaced.removed.as_ref()?.chunk?.stream))
                .peekable();
            if torn.peek().is_some() {
                lock_any(&self.inner.torn_streams).extend(torn);
                self.inner.torn.notify_one();
            }
        }
        sum
    }
}

/// For what room is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) owner: Owner,
    /// What its owner is charged for it.
    pub(super) of_grant: u64,
    /// What is taken from the budget.
    pub(super) of_budget: u64,
    /// The stream of which it is a chunk: to evict an earlier chunk for a later one would be of no use.
    pub(super) chunk_of: Option<BlockId>,
}

/// What was evicted.
#[derive(Clone, Copy, Default)]
struct Evicted {
    /// What is free by it: of the budget, or of the grant of a peer where that was to be made room in.
    charged: u64,
    /// The blocks outside of their entries, and their bytes.
    freed: Freed,
}
