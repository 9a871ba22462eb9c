//! Who pays for bytes that are held once, though several have them.
//!
//! The budget's part of it, a [`SharedCharge`], lives as long as the bytes. The part of each owner is a [`Share`], which is as large and lives
//! as long as the owner's entry, and as long as somebody reads the bytes through it. So each owner pays what it would pay alone, whoever
//! else comes or goes, and the budget pays once.

use std::sync::{Arc, Mutex};

use memproto::BlockClass;
use memproto::error::ApiResult;

use super::Owner;
use super::charges::Charge;
use super::ledger::{Account, Ledger};
use super::lock_any;

/// Who has some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sharers {
    /// Shares of this host's programs.
    local: u32,
    /// Shares of peers.
    peers: u32,
    /// Entries that keep them.
    pinned: u32,
    /// Entries of class cache.
    cached: u32,
}

impl Sharers {
    /// Number of shares.
    pub(super) fn payers(self) -> u32 {
        self.local + self.peers
    }

    /// Whether peers pay and no program of this host.
    pub(super) fn is_of_peers_alone(self) -> bool {
        self.peers > 0 && self.local == 0
    }

    /// Whether they go when all entries of class cache do.
    pub(super) fn is_evictable(self) -> bool {
        self.cached > 0 && self.pinned == 0
    }

    fn shares_of(&mut self, owner: Owner) -> &mut u32 {
        match owner {
            Owner::Local => &mut self.local,
            Owner::Peer(_) => &mut self.peers,
        }
    }

    fn entries_of(&mut self, class: BlockClass) -> &mut u32 {
        match class {
            BlockClass::Pinned => &mut self.pinned,
            BlockClass::Cache => &mut self.cached,
        }
    }
}

/// What the budget pays for bytes that may have several owners. Dropped with them, it is given back.
pub(super) struct SharedCharge {
    ledger: Arc<Ledger>,
    bytes: u64,
    /// The sums of the ledger change under this lock, so that no two changes are counted in the wrong order.
    sharers: Mutex<Sharers>,
}

impl SharedCharge {
    /// Takes so many bytes out of what the first owner pays.
    pub(super) fn found(mut charge: Charge, bytes: u64) -> (Arc<Self>, Share) {
        charge.hand_over_part(bytes);
        let mut sharers = Sharers::default();
        *sharers.shares_of(charge.owner()) = 1;
        let shared = Arc::new(Self {
            ledger: Arc::clone(charge.ledger()),
            bytes,
            sharers: Mutex::new(sharers),
        });
        let share = Share {
            shared: Arc::clone(&shared),
            own: charge,
        };
        (shared, share)
    }

    /// Makes somebody a further owner who has paid for bytes of its own: the budget has theirs back.
    pub(super) fn join(self: &Arc<Self>, mut charge: Charge) -> Share {
        charge.hand_over_part(self.bytes);
        self.ledger.give_back_shared(charge.account(), self.bytes);
        self.share(charge)
    }

    /// Takes what a further owner pays: for the bytes from its account, and `own` bytes, for what it has beside them, from the budget as well.
    ///
    /// # Errors
    /// `QuotaExceeded` where the peer's grant has no room, `OutOfMemory` where the budget has none. Nothing is taken then.
    pub(super) fn adopt(self: &Arc<Self>, owner: Owner, own: u64) -> ApiResult<Share> {
        let charge = self
            .ledger
            .reserve_share(owner, own, self.bytes, own + self.bytes)?;
        Ok(self.share(charge))
    }

    fn share(self: &Arc<Self>, own: Charge) -> Share {
        self.change(|sharers| *sharers.shares_of(own.owner()) += 1);
        Share {
            shared: Arc::clone(self),
            own,
        }
    }

    /// What the bytes take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts an entry of this class. Returns whether any is left. Called under the lock of its shard.
    pub(super) fn count(&self, class: BlockClass, comes: bool) -> bool {
        let left = self.change(|sharers| {
            let entries = sharers.entries_of(class);
            *entries = if comes { *entries + 1 } else { *entries - 1 };
        });
        left.pinned + left.cached > 0
    }

    /// Whether any entry has the bytes.
    pub(super) fn is_kept(&self) -> bool {
        let sharers = lock_any(&self.sharers);
        sharers.pinned + sharers.cached > 0
    }

    /// Number of entries of each class, pinned and cache.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn entries(&self) -> [u32; 2] {
        let sharers = lock_any(&self.sharers);
        [sharers.pinned, sharers.cached]
    }

    fn change(&self, change: impl FnOnce(&mut Sharers)) -> Sharers {
        let mut sharers = lock_any(&self.sharers);
        let before = *sharers;
        change(&mut sharers);
        self.ledger.count_shared(self.bytes, before, *sharers);
        *sharers
    }
}

impl Drop for SharedCharge {
    fn drop(&mut self) {
        self.ledger.give_back_unpaid(self.bytes);
    }
}

/// What one owner pays for bytes that others may have too, and for what it has beside them. Dropped, it is given back.
#[must_use = "dropped, a share is given back"]
pub(super) struct Share {
    shared: Arc<SharedCharge>,
    /// What the budget pays as well.
    own: Charge,
}

impl Share {
    pub(super) fn account(&self) -> &Arc<Account> {
        self.own.account()
    }

    /// Takes so many bytes out of what the owner has beside the shared ones: for the entry.
    pub(super) fn split_off(&mut self, bytes: u64) -> Charge {
        self.own.split_off(bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let owner = self.own.owner();
        self.shared.change(|sharers| *sharers.shares_of(owner) -= 1);
        Ledger::give_back_share(self.own.account(), self.shared.bytes);
    }
}
