//! Who uses how much of the budget.
//!
//! Every byte that the store is going to hold is taken from the ledger first. What lies outside of the pages is taken by a
//! [`Reservation`], and given back by the same guard's drop; entries are taken and given back by their shard. A refusal takes nothing. The
//! sums are therefore exact at every moment: what is used is the sum of all entries, reservations and charges that live.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use memproto::control::GrantUse;
use memproto::{ApiError, ErrorCode, NodeId};

use super::{ENTRY_OVERHEAD, Owner, Usage};
use crate::size::ByteSize;
use crate::span::memory_len;

/// The part of the budget that notes of keys of other nodes may take, as a divisor: an eighth. Without a note a read costs a question to all peers;
/// without memory a write is refused. An eighth of 1 GiB has notes of some four million keys.
const NOTES_SHARE: u64 = 8;

/// Whether notes have room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotesCharge {
    /// It was taken.
    Taken,
    /// Notes have all that they may have.
    NoShare,
    /// The budget has no room.
    NoRoom,
}

/// The budget and the accounts of all owners.
///
/// The counters are independent sums, nobody infers other memory from them, so `Relaxed` suffices throughout.
#[derive(Debug)]
pub(super) struct Ledger {
    budget: AtomicU64,
    used: AtomicU64,
    peers_used: AtomicU64,
    /// Of `used`, the blocks of class cache that can be evicted.
    cache: AtomicU64,
    /// Of `used`, the notes of keys of other nodes.
    notes: AtomicU64,
    local: Arc<Account>,
    peers: RwLock<HashMap<NodeId, Arc<Account>>>,
}

#[derive(Debug)]
struct Account {
    owner: Owner,
    quota: AtomicU64,
    used: AtomicU64,
}

impl Account {
    fn new(owner: Owner, quota: u64) -> Arc<Self> {
        Arc::new(Self {
            owner,
            quota: AtomicU64::new(quota),
            used: AtomicU64::new(0),
        })
    }

    fn grant_use(&self) -> GrantUse {
        GrantUse {
            quota_bytes: self.quota.load(Relaxed),
            used_bytes: self.used.load(Relaxed),
        }
    }
}

/// Adds to a counter unless the sum would pass the limit. The counter never stands above the limit because of it, not even
/// for a moment in which another thread would be refused wrongly.
fn add_within(counter: &AtomicU64, bytes: u64, limit: u64) -> bool {
    counter
        .fetch_update(Relaxed, Relaxed, |used| {
            used.checked_add(bytes).filter(|&sum| sum <= limit)
        })
        .is_ok()
}

impl Ledger {
    pub(super) fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            budget: AtomicU64::new(budget_bytes),
            used: AtomicU64::new(0),
            peers_used: AtomicU64::new(0),
            cache: AtomicU64::new(0),
            notes: AtomicU64::new(0),
            local: Account::new(Owner::Local, u64::MAX),
            peers: RwLock::default(),
        })
    }

    /// Takes `bytes` and the cost of an entry.
    pub(super) fn reserve(self: &Arc<Self>, owner: Owner, bytes: u64) -> Result<Reservation, ApiError> {
        let Some(charged) = charged(bytes) else {
            return Err(self.out_of_memory(bytes));
        };
        let account = match owner {
            Owner::Local => {
                let account = Arc::clone(&self.local);
                self.take(&account, charged, bytes)?;
                account
            }
            Owner::Peer(node) => {
                // The lock is held until the account is charged: `set_quota` drops only accounts that nobody uses.
                let peers = self.peers();
                let Some(account) = peers.get(&node) else {
                    return Err(quota_exceeded(GrantUse::default(), bytes));
                };
                self.take(account, charged, bytes)?;
                Arc::clone(account)
            }
        };
        Ok(Reservation {
            bytes,
            charge: Charge {
                ledger: Arc::clone(self),
                account,
                bytes: charged,
            },
        })
    }

    /// Takes `bytes` and the cost of an entry from the account of this host's programs, whether there is room or not.
    pub(super) fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        let bytes = bytes + ENTRY_OVERHEAD;
        self.used.fetch_add(bytes, Relaxed);
        self.local.used.fetch_add(bytes, Relaxed);
        Charge {
            ledger: Arc::clone(self),
            account: Arc::clone(&self.local),
            bytes,
        }
    }

    /// Takes `sum` from an account and from the budget, or nothing. It is for `bytes`, which a refusal names.
    fn take(&self, account: &Account, sum: u64, bytes: u64) -> Result<(), ApiError> {
        if !add_within(&account.used, sum, account.quota.load(Relaxed)) {
            return Err(match account.owner {
                // Its quota is all that 64 bits can count.
                Owner::Local => self.out_of_memory(bytes),
                Owner::Peer(_) => quota_exceeded(account.grant_use(), bytes),
            });
        }
        if !add_within(&self.used, sum, self.budget.load(Relaxed)) {
            account.used.fetch_sub(sum, Relaxed);
            return Err(self.out_of_memory(bytes));
        }
        if account.owner != Owner::Local {
            self.peers_used.fetch_add(sum, Relaxed);
        }
        Ok(())
    }

    fn give_back(&self, account: &Account, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
        account.used.fetch_sub(bytes, Relaxed);
        if account.owner != Owner::Local {
            self.peers_used.fetch_sub(bytes, Relaxed);
        }
    }

    pub(super) fn set_quota(&self, node: NodeId, quota: Option<u64>) {
        let mut peers = self.peers_mut();
        match (quota, peers.get(&node)) {
            (Some(quota), Some(account)) => account.quota.store(quota, Relaxed),
            (Some(quota), None) => {
                peers.insert(node, Account::new(Owner::Peer(node), quota));
            }
            (None, Some(account)) => account.quota.store(0, Relaxed),
            (None, None) => {}
        }
        peers.retain(|_, account| account.quota.load(Relaxed) > 0 || account.used.load(Relaxed) > 0);
    }

    pub(super) fn grant_use(&self, node: NodeId) -> GrantUse {
        self.peers()
            .get(&node)
            .map(|account| account.grant_use())
            .unwrap_or_default()
    }

    /// Takes what an entry costs, less what it gives back of another one that it takes the place of, from this host's programs. Returns
    /// false, and takes nothing, where the budget has no room.
    pub(super) fn settle_entry(&self, cost: u64, old_cost: u64) -> bool {
        if cost <= old_cost {
            self.give_back_entry(old_cost - cost);
            return true;
        }
        let more = cost - old_cost;
        if !add_within(&self.used, more, self.budget.load(Relaxed)) {
            return false;
        }
        self.local.used.fetch_add(more, Relaxed);
        true
    }

    /// Takes what an entry costs whether there is room or not.
    pub(super) fn charge_entry(&self, cost: u64) {
        self.used.fetch_add(cost, Relaxed);
        self.local.used.fetch_add(cost, Relaxed);
    }

    /// Gives back what an entry cost.
    pub(super) fn give_back_entry(&self, cost: u64) {
        if cost > 0 {
            self.give_back(&self.local, cost);
        }
    }

    /// Takes so many bytes for notes of keys of other nodes, or nothing.
    pub(super) fn charge_notes(&self, bytes: u64) -> NotesCharge {
        if !add_within(&self.notes, bytes, self.budget.load(Relaxed) / NOTES_SHARE) {
            return NotesCharge::NoShare;
        }
        if !self.settle_entry(bytes, 0) {
            self.notes.fetch_sub(bytes, Relaxed);
            return NotesCharge::NoRoom;
        }
        NotesCharge::Taken
    }

    /// Gives back so many bytes of what was taken for notes.
    pub(super) fn give_back_notes(&self, bytes: u64) {
        self.notes.fetch_sub(bytes, Relaxed);
        self.give_back_entry(bytes);
    }

    /// How many bytes of the budget are missing for so many more, and whether evicting could make room for them. What was charged
    /// beyond the budget is missing as well.
    pub(super) fn shortage(&self, more: u64) -> (u64, bool) {
        let wanted = self.used.load(Relaxed).saturating_add(more);
        let missing = wanted.saturating_sub(self.budget.load(Relaxed));
        (missing, missing <= self.cache.load(Relaxed))
    }

    /// The sums, without those that the shards keep.
    pub(super) fn usage(&self) -> Usage {
        // The cache first: it is a part of what is used, and stays one if a block is freed in between.
        let cache = self.cache.load(Relaxed);
        let used = self.used.load(Relaxed).max(cache);
        Usage {
            budget_bytes: self.budget.load(Relaxed),
            used_bytes: used,
            pinned_bytes: used - cache,
            cache_bytes: cache,
            peers_used_bytes: self.peers_used.load(Relaxed),
            ..Usage::default()
        }
    }

    /// Counts what can be evicted. Called under the lock of its shard.
    pub(super) fn count_cache(&self, charged: u64, comes: bool) {
        if comes {
            self.cache.fetch_add(charged, Relaxed);
        } else {
            self.cache.fetch_sub(charged, Relaxed);
        }
    }

    fn peers(&self) -> RwLockReadGuard<'_, HashMap<NodeId, Arc<Account>>> {
        self.peers
            .read()
            .expect("no code panics while it holds the accounts")
    }

    fn peers_mut(&self) -> RwLockWriteGuard<'_, HashMap<NodeId, Arc<Account>>> {
        self.peers
            .write()
            .expect("no code panics while it holds the accounts")
    }

    pub(super) fn out_of_memory(&self, wanted: u64) -> ApiError {
        let usage = self.usage();
        let message = format!(
            "{} more do not fit: the node has {} of budget, {} used ({} pinned, {} cache). Free blocks with `memcli free ID`, \
             or start the node with a larger --memory",
            ByteSize(wanted),
            ByteSize(usage.budget_bytes),
            ByteSize(usage.used_bytes),
            ByteSize(usage.pinned_bytes),
            ByteSize(usage.cache_bytes),
        );
        ApiError::new(ErrorCode::OutOfMemory, message)
    }
}

fn quota_exceeded(grant: GrantUse, wanted: u64) -> ApiError {
    let message = if grant.quota_bytes == 0 {
        "there is no grant: ask the person at the lending node for one (`memcli connect NAME --quota SIZE` there)".to_owned()
    } else {
        format!(
            "{} more do not fit the grant: {}, {} of it used. Free blocks with `memcli free ID`, or ask the person at the \
             lending node for a larger one (`memcli connect NAME --quota SIZE` there)",
            ByteSize(wanted),
            ByteSize(grant.quota_bytes),
            ByteSize(grant.used_bytes),
        )
    };
    ApiError::new(ErrorCode::QuotaExceeded, message)
}

/// Memory that was taken from the budget and is about to be filled. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "dropped, a reservation is given back"]
pub struct Reservation {
    /// What may be filled.
    bytes: u64,
    charge: Charge,
}

/// What is taken for a block of so many bytes: its memory and the cost of an entry.
fn charged(bytes: u64) -> Option<u64> {
    // The largest object is far below: what is above has no room anywhere.
    (bytes <= u64::MAX / 2).then(|| memory_len(bytes) + ENTRY_OVERHEAD)
}

impl Reservation {
    /// Whose account pays.
    pub fn owner(&self) -> Owner {
        self.charge.account.owner
    }

    /// The bytes that may be filled, without the cost of the entry.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more for a value whose size is not known beforehand.
    ///
    /// # Errors
    /// `OutOfMemory` or `QuotaExceeded`; then it is as large as before.
    pub fn grow(&mut self, bytes: u64) -> Result<(), ApiError> {
        let Charge { ledger, account, .. } = &self.charge;
        let sum = self.bytes.checked_add(bytes);
        let Some((sum, charged)) = sum.and_then(|sum| Some((sum, charged(sum)?))) else {
            return Err(ledger.out_of_memory(bytes));
        };
        ledger.take(account, charged - self.charge.bytes, bytes)?;
        self.bytes = sum;
        self.charge.bytes = charged;
        Ok(())
    }

    /// What is taken to grow by so many bytes; more than anybody has where that cannot be counted.
    pub(super) fn growth(&self, bytes: u64) -> u64 {
        let grown = self.bytes.checked_add(bytes).and_then(charged);
        grown.map_or(u64::MAX, |grown| grown - self.charge.bytes)
    }

    /// Gives back all but `bytes` (and the cost of the entry). A smaller reservation stays as it is.
    pub fn shrink_to(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        let charged = charged(bytes).expect("it is no more than was reserved");
        self.charge
            .ledger
            .give_back(&self.charge.account, self.charge.bytes - charged);
        self.bytes = bytes;
        self.charge.bytes = charged;
    }

    /// Pays an entry of this host's programs with what was reserved for them; the difference is given back, or taken whether there is room or
    /// not.
    pub(super) fn pay_entry(mut self, cost: u64) {
        debug_assert_eq!(self.owner(), Owner::Local, "entries are on that account");
        let had = std::mem::take(&mut self.charge.bytes);
        self.charge.ledger.give_back_entry(had.saturating_sub(cost));
        self.charge.ledger.charge_entry(cost.saturating_sub(had));
    }

    /// Keeps the memory taken for something other than a block: a key, a tombstone, a manifest.
    pub fn keep(self) -> Charge {
        self.charge
    }
}

/// Memory of the budget that is in use. Dropped, it is given back.
#[must_use = "dropped, a charge is given back"]
pub struct Charge {
    ledger: Arc<Ledger>,
    account: Arc<Account>,
    bytes: u64,
}

impl Charge {
    /// Whose account pays.
    pub fn owner(&self) -> Owner {
        self.account.owner
    }

    /// The bytes taken, with the cost of the entry.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("owner", &self.owner())
            .field("bytes", &self.bytes)
            .finish()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.give_back(&self.account, self.bytes);
    }
}
