//! Making room: what is of class cache goes where the budget has none.

use std::sync::atomic::Ordering;

use memproto::error::ApiResult;
use memproto::{BlockId, ErrorCode};

use super::shard::Lack;
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

    /// Tries something that takes memory; where the budget has no room, lets data of class cache go and tries again.
    pub(super) fn making_room<R>(
        &self,
        bytes: u64,
        mut attempt: impl FnMut() -> ApiResult<R>,
    ) -> ApiResult<R> {
        let mut result = attempt();
        for round in 0..EVICTION_ROUNDS_MAX {
            match &result {
                Err(error) if error.code == ErrorCode::OutOfMemory && self.evict_for(bytes, round) => {
                    result = attempt();
                }
                _ => break,
            }
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

    /// Evicts until the budget has room for so many bytes, in further rounds (counted from 0) for more. Returns false where that cannot be
    /// reached.
    fn evict_for(&self, bytes: u64, round: u64) -> bool {
        let (mut missing, can_be) = self.ledger().shortage(bytes);
        if !can_be {
            return false;
        }
        if missing > 0 {
            missing += round * EVICTED_BEYOND;
        }
        // One turn after the other from there: were each drawn, threads that draw by turns could pass by the only shard that has any.
        let mut turn = self.inner.evicts_next.fetch_add(1, Ordering::Relaxed);
        let mut empty = 0;
        while missing > 0 && empty < self.shards() {
            let shard = &self.inner.shards[turn % self.shards()];
            let (freed, evicted) = lock(shard).evict(missing.min(EVICTED_AT_ONCE));
            turn = turn.wrapping_add(1);
            empty = if freed == 0 { empty + 1 } else { 0 };
            missing = missing.saturating_sub(freed);
            // What a peer stored belongs to no stream of this node, whatever the peer says.
            let mut torn = evicted
                .iter()
                .filter(|displaced| {
                    displaced
                        .outside
                        .as_ref()
                        .is_some_and(|outside| outside.owner() == Owner::Local)
                })
                .filter_map(|displaced| displaced.removed.as_ref()?.chunk_of)
                .peekable();
            if torn.peek().is_some() {
                lock_any(&self.inner.torn_streams).extend(torn);
                self.inner.torn.notify_one();
            }
        }
        true
    }
}
