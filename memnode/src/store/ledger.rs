//! Who uses how much of the budget.
//!
//! Every byte that the store is going to hold is taken from the ledger first. What lies outside of the pages is taken by a
//! [`Reservation`], and given back by the same guard's drop; entries are taken and given back by their shard, on the account of whoever's they
//! are. A refusal takes nothing. The sums are therefore exact at every moment: what is used is the sum of all entries, reservations and
//! charges that live, and what an owner uses the sum of its own. Where several owners have equal bytes, which are held once, each pays in full
//! and the budget once (see [`super::shares`]): what they pay together is what is used, and what is shared.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use memproto::control::GrantUse;
use memproto::{ApiError, ErrorCode, NodeId};

use super::charges::{Charge, Reservation, charged};
use super::shares::Sharers;
use super::{ENTRY_OVERHEAD, Owner, Usage};
use crate::size::ByteSize;

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
    /// Of `used`, what peers pay and no program of this host.
    peers_used: AtomicU64,
    /// What accounts pay beyond `used`, because several pay for bytes that are held once.
    shared: AtomicU64,
    /// Of `used`, the blocks of class cache that can be evicted.
    cache: AtomicU64,
    /// Of `used`, the notes of keys of other nodes.
    notes: AtomicU64,
    local: Arc<Account>,
    peers: RwLock<HashMap<NodeId, Arc<Account>>>,
}

/// What one owner may use and uses.
#[derive(Debug)]
pub(super) struct Account {
    owner: Owner,
    quota: AtomicU64,
    used: AtomicU64,
    /// Of `used`, the blocks of class cache that can be evicted.
    cache: AtomicU64,
}

impl Account {
    fn new(owner: Owner, quota: u64) -> Arc<Self> {
        Arc::new(Self {
            owner,
            quota: AtomicU64::new(quota),
            used: AtomicU64::new(0),
            cache: AtomicU64::new(0),
        })
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// The peer that it belongs to.
    pub(super) fn peer(&self) -> Option<NodeId> {
        match self.owner {
            Owner::Local => None,
            Owner::Peer(node) => Some(node),
        }
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

fn change(counter: &AtomicU64, by: u64, comes: bool) {
    if comes {
        counter.fetch_add(by, Relaxed);
    } else {
        counter.fetch_sub(by, Relaxed);
    }
}

impl Ledger {
    pub(super) fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            budget: AtomicU64::new(budget_bytes),
            used: AtomicU64::new(0),
            peers_used: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            cache: AtomicU64::new(0),
            notes: AtomicU64::new(0),
            local: Account::new(Owner::Local, u64::MAX),
            peers: RwLock::default(),
        })
    }

    /// Takes `bytes` with what memory of its own costs, and what its entry costs where the owner pays for that beforehand.
    pub(super) fn reserve(
        self: &Arc<Self>,
        owner: Owner,
        bytes: u64,
        entry_cost: u64,
    ) -> Result<Reservation, ApiError> {
        let Some(charged) = charged(bytes).map(|charged| charged + entry_cost) else {
            return Err(self.out_of_memory(bytes));
        };
        let charge = self.charge_owner(owner, charged, 0, bytes)?;
        Ok(Reservation::new(bytes, entry_cost, charge))
    }

    /// Takes `sum` for one more owner of bytes that are held already, and from the owner's account alone what these take: that is not in the
    /// charge. A refusal names `bytes`.
    pub(super) fn reserve_share(
        self: &Arc<Self>,
        owner: Owner,
        sum: u64,
        shared: u64,
        bytes: u64,
    ) -> Result<Charge, ApiError> {
        self.charge_owner(owner, sum, shared, bytes)
    }

    fn charge_owner(
        self: &Arc<Self>,
        owner: Owner,
        sum: u64,
        shared: u64,
        bytes: u64,
    ) -> Result<Charge, ApiError> {
        let account = match owner {
            Owner::Local => {
                let account = Arc::clone(&self.local);
                self.take_with_shared(&account, sum, shared, bytes)?;
                account
            }
            Owner::Peer(node) => {
                // The lock is held until the account is charged: `set_quota` drops only accounts that nobody uses.
                let peers = self.peers();
                let Some(account) = peers.get(&node) else {
                    return Err(quota_exceeded(GrantUse::default(), bytes));
                };
                self.take_with_shared(account, sum, shared, bytes)?;
                Arc::clone(account)
            }
        };
        Ok(Charge::new(Arc::clone(self), account, sum))
    }

    /// Takes `bytes` with what memory of its own costs from the account of this host's programs, whether there is room or not.
    pub(super) fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        let bytes = bytes + ENTRY_OVERHEAD;
        self.charge_to(&self.local, bytes);
        Charge::new(Arc::clone(self), Arc::clone(&self.local), bytes)
    }

    /// The account of this host's programs.
    pub(super) fn local(&self) -> &Arc<Account> {
        &self.local
    }

    /// Takes `sum` from an account and from the budget, or nothing. It is for `bytes`, which a refusal names.
    pub(super) fn take(&self, account: &Account, sum: u64, bytes: u64) -> Result<(), ApiError> {
        self.take_with_shared(account, sum, 0, bytes)
    }

    /// The same, and `shared` from the account alone: the budget has paid for that already.
    fn take_with_shared(&self, account: &Account, sum: u64, shared: u64, bytes: u64) -> Result<(), ApiError> {
        let of_account = sum + shared;
        if !add_within(&account.used, of_account, account.quota.load(Relaxed)) {
            return Err(match account.owner {
                // Its quota is all that 64 bits can count.
                Owner::Local => self.out_of_memory(bytes),
                Owner::Peer(_) => quota_exceeded(account.grant_use(), bytes),
            });
        }
        if !add_within(&self.used, sum, self.budget.load(Relaxed)) {
            account.used.fetch_sub(of_account, Relaxed);
            return Err(self.out_of_memory(bytes));
        }
        if account.owner != Owner::Local {
            self.peers_used.fetch_add(sum, Relaxed);
        }
        Ok(())
    }

    /// Takes from an account and from the budget whether there is room or not.
    pub(super) fn charge_to(&self, account: &Account, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
        account.used.fetch_add(bytes, Relaxed);
        if account.owner != Owner::Local {
            self.peers_used.fetch_add(bytes, Relaxed);
        }
    }

    pub(super) fn give_back(&self, account: &Account, bytes: u64) {
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
            self.give_back(&self.local, old_cost - cost);
            return true;
        }
        let more = cost - old_cost;
        if !add_within(&self.used, more, self.budget.load(Relaxed)) {
            return false;
        }
        self.local.used.fetch_add(more, Relaxed);
        true
    }

    /// How many bytes of the budget are missing for so many more, and how many of class cache there are. What was charged
    /// beyond the budget is missing as well.
    pub(super) fn shortage(&self, more: u64) -> (u64, u64) {
        let wanted = self.used.load(Relaxed).saturating_add(more);
        let missing = wanted.saturating_sub(self.budget.load(Relaxed));
        (missing, self.cache.load(Relaxed))
    }

    /// The same for a peer's grant and the peer's own data of class cache.
    pub(super) fn shortage_of_grant(&self, node: NodeId, more: u64) -> (u64, u64) {
        let peers = self.peers();
        let Some(account) = peers.get(&node) else {
            return (more, 0);
        };
        let wanted = account.used.load(Relaxed).saturating_add(more);
        let missing = wanted.saturating_sub(account.quota.load(Relaxed));
        (missing, account.cache.load(Relaxed))
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
        self.give_back(&self.local, bytes);
    }

    /// What a peer uses that is not of class cache.
    pub(super) fn pinned_bytes_of(&self, node: NodeId) -> u64 {
        self.peers().get(&node).map_or(0, |account| {
            let cache = account.cache.load(Relaxed);
            account.used.load(Relaxed).saturating_sub(cache)
        })
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
            shared_bytes: self.shared.load(Relaxed),
            ..Usage::default()
        }
    }

    /// Counts what can be evicted of an owner, `charged` in all; `shared` of it is counted for the budget by
    /// [`count_shared`](Self::count_shared). Called under the lock of its shard.
    pub(super) fn count_cache(&self, account: &Account, charged: u64, shared: u64, comes: bool) {
        change(&account.cache, charged, comes);
        change(&self.cache, charged - shared, comes);
    }

    /// Counts bytes that are held once anew, where who pays for them and who keeps them changes.
    pub(super) fn count_shared(&self, bytes: u64, before: Sharers, after: Sharers) {
        let once_too_often = |sharers: Sharers| bytes * u64::from(sharers.payers().saturating_sub(1));
        let (was, is) = (once_too_often(before), once_too_often(after));
        change(&self.shared, was.abs_diff(is), is > was);
        for (counter, was, is) in [
            (
                &self.peers_used,
                before.is_of_peers_alone(),
                after.is_of_peers_alone(),
            ),
            (&self.cache, before.is_evictable(), after.is_evictable()),
        ] {
            if was != is {
                change(counter, bytes, is);
            }
        }
    }

    /// Gives back to the budget what was taken for bytes that are held once, of an owner who goes on paying for them.
    pub(super) fn give_back_shared(&self, account: &Account, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
        if account.owner != Owner::Local {
            self.peers_used.fetch_sub(bytes, Relaxed);
        }
    }

    /// Gives back to the budget what bytes took that are gone. Nobody pays for them any more.
    pub(super) fn give_back_unpaid(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    /// Gives back to an account alone what an owner paid for bytes that are held once.
    pub(super) fn give_back_share(account: &Account, bytes: u64) {
        account.used.fetch_sub(bytes, Relaxed);
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
        "there is no grant: ask the person at the lending node for one (`memcli peer update NAME --quota SIZE` there)".to_owned()
    } else {
        format!(
            "{} more do not fit the grant: {}, {} of it used. Free blocks with `memcli free ID`, or ask the person at the \
             lending node for a larger one (`memcli peer update NAME --quota SIZE` there)",
            ByteSize(wanted),
            ByteSize(grant.quota_bytes),
            ByteSize(grant.used_bytes),
        )
    };
    ApiError::new(ErrorCode::QuotaExceeded, message)
}
