//! What entries cost, who pays for them, and the sums over them.

use std::sync::Arc;

use memproto::BlockClass;
use slab::Slab;

use super::{Shard, Sums};
use crate::expiry;
use crate::store::arena::{Handle, slot_len};
use crate::store::entry::{Entry, HEADER_LEN, Kind, Lane, OUTSIDE_LEN};
use crate::store::ledger::Account;
use crate::store::outside::Outside;
use crate::store::{ghosts, index};

/// Why an entry has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Lack {
    /// The budget lacks so many bytes or fewer.
    OfBudget(u64),
    /// The system gives no memory.
    OfSystem,
}

/// What is charged for an entry of this length, beside what lies outside. `has_moment` is whether it pays for a moment at which it expires.
pub(in crate::store) fn entry_cost(
    len: usize,
    has_key: bool,
    has_id: bool,
    class: BlockClass,
    has_moment: bool,
) -> u64 {
    let indexes = u64::from(has_key) + u64::from(has_id);
    let cost_if = |is_charged: bool, cost: u64| if is_charged { cost } else { 0 };
    slot_len(len) as u64
        + indexes * index::COST
        + cost_if(class == BlockClass::Cache, ghosts::COST)
        + cost_if(has_moment, expiry::COST)
}

/// What a peer is charged for the entry of a block; `key_len` is 0 without a key. It pays for a moment whether or not it has told one: it
/// may do so at any time, and must not pass its grant by it.
pub(in crate::store) fn cost_of_lent(key_len: usize, class: BlockClass) -> u64 {
    entry_cost(HEADER_LEN + key_len + OUTSIDE_LEN, key_len > 0, true, class, true)
}

impl Shard {
    /// What the owner of an entry is charged for it and its value.
    pub(in crate::store) fn charged(&self, entry: Entry<'_>) -> u64 {
        charged(entry, &self.outside)
    }

    /// What an entry itself is charged.
    pub(super) fn cost_of(&self, entry: Entry<'_>) -> u64 {
        cost_of(entry, self.outside_of(entry))
    }

    /// Who pays for an entry and its value.
    pub(super) fn account_of(&self, entry: Entry<'_>) -> &Arc<Account> {
        let of_block = self.outside_of(entry).and_then(Outside::account);
        of_block.unwrap_or(self.common.ledger.local())
    }

    /// Pays for a new entry, less what the one in whose place it comes gives back.
    pub(super) fn pay(&self, cost: u64, old_cost: u64) -> Result<(), Lack> {
        if self.common.ledger.settle_entry(cost, old_cost) {
            Ok(())
        } else {
            Err(Lack::OfBudget(cost.saturating_sub(old_cost)))
        }
    }

    pub(super) fn refund(&self, cost: u64) -> Lack {
        let ledger = &self.common.ledger;
        ledger.give_back(ledger.local(), cost);
        Lack::OfSystem
    }

    /// Adds an entry to the sums, or takes it out of them. Returns what of its value other entries have too.
    pub(super) fn count(&mut self, handle: Handle, comes: bool) -> u64 {
        let entry = self.entry(handle);
        let outside = self.outside_of(entry);
        let is_block = entry.kind() == Kind::Inline || matches!(outside, Some(Outside::Block { .. }));
        let cached = if is_block && entry.class() == BlockClass::Cache {
            self.charged(entry)
        } else {
            0
        };
        let one = Sums {
            blocks: is_block.into(),
            keys: (entry.id().is_some() && !entry.key().is_empty()).into(),
            streams: matches!(outside, Some(Outside::Stream { .. })).into(),
            remote_bytes: outside.map_or(0, |outside| outside.remote_bytes(self.common.here)),
            evictions: 0,
        };
        let paid = outside.and_then(Outside::held).map(|held| held.paid());
        let counted = paid.map(|paid| (paid.bytes(), paid.count(entry.class(), comes)));
        let (of_chunk, is_shared) = counted.unwrap_or_default();
        if cached > 0 {
            let account = self.account_of(entry);
            self.common.ledger.count_cache(account, cached, of_chunk, comes);
        }
        self.sums.change(one, comes);
        if is_shared { of_chunk } else { 0 }
    }

    /// Takes note that the cost of an entry changes, where it counts as evictable.
    pub(super) fn count_change(&mut self, handle: Handle, from: u64, to: u64) {
        let lane = self.entry(handle).lane();
        if lane != Lane::None {
            let ledger = &self.common.ledger;
            let account = self.account_of(self.entry(handle));
            ledger.count_cache(account, to.saturating_sub(from), 0, true);
            ledger.count_cache(account, from.saturating_sub(to), 0, false);
            self.queues.change_bytes(lane, from, to);
        }
    }
}

pub(super) fn charged(entry: Entry<'_>, outside: &Slab<Outside>) -> u64 {
    let outside = entry.outside().and_then(|number| outside.get(number));
    cost_of(entry, outside) + outside.map_or(0, Outside::block_charge)
}

pub(super) fn cost_of(entry: Entry<'_>, outside: Option<&Outside>) -> u64 {
    let is_lent = outside.is_some_and(|outside| outside.lent().is_some());
    entry_cost(
        entry.len(),
        !entry.key().is_empty(),
        entry.id().is_some(),
        entry.class(),
        is_lent || entry.expires().is_some(),
    )
}
