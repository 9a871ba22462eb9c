//! Keys that were written, and whose older values peers have not confirmed yet to have dropped.
//!
//! A second write of such a key must not be acknowledged before they have: to it the first one's value is all that is known, but an older one can still
//! be read elsewhere. The first one may be this node's, or that of a peer that tells this node before it acknowledges the write: it may not have
//! told yet the one that has the older value.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use memproto::NodeId;
use tokio::time::Instant;

use super::{ASK_ALL_TIMEOUT, lock};

/// The most writes of peers that are kept in mind; the oldest go first. As many need 400 KiB with keys of 30 bytes, and are what comes in 2 s at
/// 2,000 a second, of which hardly any displace a value of a third node.
const OF_PEERS_MAX: usize = 4_096;

/// See the module.
#[derive(Default)]
pub(super) struct Unconfirmed {
    held: Mutex<Held>,
    /// Number of keys, for a look without the lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct Held {
    /// For each key the peers that are being told, one as often as it is.
    keys: HashMap<Box<str>, Vec<NodeId>>,
    /// What peers write, with the holder of the older value, and until when it is kept in mind: whoever tells is done by then.
    of_peers: VecDeque<(Instant, Box<str>, NodeId)>,
}

/// A key for which peers are being told. Until it is dropped.
pub(super) struct Hold<'a> {
    unconfirmed: &'a Unconfirmed,
    key: &'a str,
    peers: Vec<NodeId>,
}

impl Unconfirmed {
    /// Notes that peers are going to be told of a key.
    pub(super) fn hold<'a>(&'a self, key: &'a str, peers: Vec<NodeId>) -> Hold<'a> {
        if !peers.is_empty() {
            self.change(|held| held.add(key, &peers));
        }
        Hold {
            unconfirmed: self,
            key,
            peers,
        }
    }

    /// Notes that a peer tells of a write which displaces a value of another one, for as long as telling may take.
    pub(super) fn hold_for_peer(&self, key: &str, holder: NodeId) {
        self.change(|held| {
            held.add(key, &[holder]);
            held.of_peers
                .push_back((Instant::now() + ASK_ALL_TIMEOUT, key.into(), holder));
        });
    }

    /// The peers that may still have an older value of a key.
    pub(super) fn peers(&self, key: &str) -> Vec<NodeId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.change(|held| held.keys.get(key).cloned().unwrap_or_default())
    }

    /// Whether no peer is being told of a key.
    pub(super) fn is_confirmed(&self, key: &str) -> bool {
        self.count.load(Ordering::Acquire) == 0 || self.change(|held| !held.keys.contains_key(key))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Held) -> R) -> R {
        let mut held = lock(&self.held);
        held.let_go();
        let result = change(&mut held);
        self.count.store(held.keys.len(), Ordering::Release);
        result
    }
}

impl Held {
    fn add(&mut self, key: &str, peers: &[NodeId]) {
        self.keys.entry(key.into()).or_default().extend(peers);
    }

    fn remove(&mut self, key: &str, peers: &[NodeId]) {
        let Some(told) = self.keys.get_mut(key) else {
            return;
        };
        for peer in peers {
            if let Some(at) = told.iter().position(|told| told == peer) {
                told.swap_remove(at);
            }
        }
        if told.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Lets go of what peers have told by now, and of what is too much.
    fn let_go(&mut self) {
        let is_over = |(until, ..): &mut (Instant, Box<str>, NodeId)| *until <= Instant::now();
        while self.of_peers.len() >= OF_PEERS_MAX || self.of_peers.front_mut().is_some_and(is_over) {
            if let Some((_, key, holder)) = self.of_peers.pop_front() {
                self.remove(&key, &[holder]);
            }
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if !self.peers.is_empty() {
            self.unconfirmed.change(|held| held.remove(self.key, &self.peers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_confirmed_when_the_last_that_tells_is_done() {
        let peers = [NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16])];
        let unconfirmed = Unconfirmed::default();
        let nobody = unconfirmed.hold("k", Vec::new());
        assert!(unconfirmed.is_confirmed("k"));
        let first = unconfirmed.hold("k", vec![peers[0]]);
        let second = unconfirmed.hold("k", vec![peers[0], peers[1]]);
        assert!(!unconfirmed.is_confirmed("k") && unconfirmed.is_confirmed("l"));
        drop((first, nobody));
        let mut left = unconfirmed.peers("k");
        left.sort();
        assert_eq!(left, peers);
        drop(second);
        assert!(unconfirmed.is_confirmed("k") && unconfirmed.peers("k").is_empty());
        assert!(lock(&unconfirmed.held).keys.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_peer_writes_is_kept_in_mind_while_it_may_tell_and_within_bounds() {
        let holder = NodeId::from_bytes([1; 16]);
        let unconfirmed = Unconfirmed::default();
        unconfirmed.hold_for_peer("k", holder);
        tokio::time::advance(ASK_ALL_TIMEOUT / 2).await;
        unconfirmed.hold_for_peer("l", holder);
        assert_eq!(unconfirmed.peers("k"), [holder]);
        tokio::time::advance(ASK_ALL_TIMEOUT / 2).await;
        assert!(unconfirmed.is_confirmed("k") && !unconfirmed.is_confirmed("l"));
        for at in 0..2 * OF_PEERS_MAX {
            unconfirmed.hold_for_peer(&at.to_string(), holder);
        }
        assert!(lock(&unconfirmed.held).of_peers.len() <= OF_PEERS_MAX);
        tokio::time::advance(ASK_ALL_TIMEOUT).await;
        assert!(unconfirmed.peers("l").is_empty());
        let held = lock(&unconfirmed.held);
        assert!(held.keys.is_empty() && held.of_peers.is_empty());
    }
}
