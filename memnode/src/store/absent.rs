//! Peers that are away, and from when on their data may go where room is needed.
//!
//! While a peer is connected, and for a grace after that, nothing that it has pinned is touched. When the grace is over it is the last that is
//! evicted: after everything of class cache, and only for what would be refused otherwise. Nobody waits for the moment: whoever needs room
//! looks whether it has come.

use memproto::{NodeId, Ttl};

use super::{Store, lock_any};
use crate::expiry::Moment;

/// A peer that is away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absentee {
    peer: NodeId,
    /// When its grace is over.
    evictable_from: Moment,
}

impl Store {
    /// Takes note that a peer went away. From `grace` on, counted from now, its pinned blocks may be evicted, until it is
    /// [back](Self::note_back).
    pub fn note_away(&self, peer: NodeId, grace: Ttl) {
        let has_data = |peer| self.grant_use(peer).used_bytes > 0;
        let mut absent = lock_any(&self.inner.absent);
        absent.retain(|there| there.peer != peer && has_data(there.peer));
        if has_data(peer) {
            // The grace is the same for all: whoever went first comes first.
            absent.push(Absentee {
                peer,
                evictable_from: self.expiry().after(grace),
            });
        }
    }

    /// Takes note that a peer is back: what it still has here is kept again.
    pub fn note_back(&self, peer: NodeId) {
        lock_any(&self.inner.absent).retain(|there| there.peer != peer);
    }

    /// The peers whose grace is over, those that went first before the others, with the bytes that each has pinned.
    pub(super) fn evictable_absentees(&self) -> Vec<(NodeId, u64)> {
        let absent = lock_any(&self.inner.absent).clone();
        absent
            .into_iter()
            .filter(|there| self.expiry().is_past(there.evictable_from))
            .map(|there| (there.peer, self.ledger().pinned_bytes_of(there.peer)))
            .collect()
    }
}
