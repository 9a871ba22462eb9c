//! Memory that was taken from the [`Ledger`]: what is about to be filled, and what is in use.

use std::fmt;
use std::sync::Arc;

use memproto::ApiError;

use super::ledger::{Account, Ledger};
use super::{ENTRY_OVERHEAD, Owner};
use crate::span::memory_len;

/// What is taken for a block of so many bytes that lies outside of its entry, without the entry.
pub(super) fn charged(bytes: u64) -> Option<u64> {
    // The largest object is far below: what is above has no room anywhere.
    (bytes <= u64::MAX / 2).then(|| memory_len(bytes) + ENTRY_OVERHEAD)
}

/// Memory that was taken from the budget and is about to be filled. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "dropped, a reservation is given back"]
pub struct Reservation {
    /// What may be filled.
    bytes: u64,
    /// The part of the charge that is for the entry.
    entry_cost: u64,
    charge: Charge,
}

impl Reservation {
    pub(super) fn new(bytes: u64, entry_cost: u64, charge: Charge) -> Self {
        Self {
            bytes,
            entry_cost,
            charge,
        }
    }

    /// Whose account pays.
    pub fn owner(&self) -> Owner {
        self.charge.owner()
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
        let Some((sum, charged)) = sum.and_then(|sum| Some((sum, self.charged(sum)?))) else {
            return Err(ledger.out_of_memory(bytes));
        };
        ledger.take(account, charged - self.charge.bytes, bytes)?;
        self.bytes = sum;
        self.charge.bytes = charged;
        Ok(())
    }

    /// What is taken to grow by so many bytes; more than anybody has where that cannot be counted.
    pub(super) fn growth(&self, bytes: u64) -> u64 {
        let grown = self.bytes.checked_add(bytes).and_then(|sum| self.charged(sum));
        grown.map_or(u64::MAX, |grown| grown - self.charge.bytes)
    }

    /// Gives back all but `bytes` (and the cost of the entry). A smaller reservation stays as it is.
    pub fn shrink_to(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        let charged = self.charged(bytes).expect("it is no more than was reserved");
        self.charge
            .ledger
            .give_back(&self.charge.account, self.charge.bytes - charged);
        self.bytes = bytes;
        self.charge.bytes = charged;
    }

    /// Pays an entry with all of what was reserved, for what lies next to its entry; the difference is given back, or taken whether there is
    /// room or not. The entry gives it back.
    pub(super) fn pay_entry(mut self, cost: u64) {
        let Charge { ledger, account, .. } = &self.charge;
        ledger.give_back(account, self.charge.bytes.saturating_sub(cost));
        ledger.charge_to(account, cost.saturating_sub(self.charge.bytes));
        self.charge.bytes = 0;
    }

    /// Takes out what pays for the entry, of what lies outside of it; where too little was reserved the rest is taken whether there is
    /// room or not.
    pub(super) fn split_entry(&mut self, cost: u64) -> Charge {
        let had = std::mem::take(&mut self.entry_cost);
        self.charge.bytes -= had;
        let Charge { ledger, account, .. } = &self.charge;
        ledger.give_back(account, had.saturating_sub(cost));
        ledger.charge_to(account, cost.saturating_sub(had));
        Charge::new(Arc::clone(ledger), Arc::clone(account), cost)
    }

    /// What is charged where so many bytes may be filled.
    fn charged(&self, bytes: u64) -> Option<u64> {
        charged(bytes).map(|charged| charged + self.entry_cost)
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
    pub(super) fn new(ledger: Arc<Ledger>, account: Arc<Account>, bytes: u64) -> Self {
        Self {
            ledger,
            account,
            bytes,
        }
    }

    /// Whose account pays.
    pub fn owner(&self) -> Owner {
        self.account.owner()
    }

    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Takes so many of its bytes out, into a charge of their own.
    ///
    /// # Panics
    /// Where it has fewer.
    pub(super) fn split_off(&mut self, bytes: u64) -> Charge {
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .expect("only what was taken is split");
        Charge::new(Arc::clone(&self.ledger), Arc::clone(&self.account), bytes)
    }

    /// Adds what was taken from the same account.
    pub(super) fn join(&mut self, mut other: Charge) {
        debug_assert!(Arc::ptr_eq(&self.account, &other.account));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Leaves so many of its bytes to somebody else, who gives them back.
    ///
    /// # Panics
    /// Where it has fewer.
    pub(super) fn hand_over_part(&mut self, bytes: u64) {
        self.split_off(bytes).hand_over();
    }

    /// Leaves what was taken to an entry, which gives it back.
    pub(super) fn hand_over(mut self) {
        self.bytes = 0;
    }

    /// The bytes taken, with what memory of its own costs.
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
