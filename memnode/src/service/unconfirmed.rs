//! Keys that this node has written, and whose older values peers have not confirmed yet to have dropped.
//!
//! A second write of such a key must not be acknowledged before they have: to it the first one's value is this node's own, but an older one can still
//! be read elsewhere.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use memproto::NodeId;

use super::lock;

/// See the module.
#[derive(Default)]
pub(super) struct Unconfirmed {
    /// For each key the peers that are being told, one as often as it is.
    keys: Mutex<HashMap<Box<str>, Vec<NodeId>>>,
    /// Number of keys, for a look without the lock.
    count: AtomicUsize,
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
            let mut keys = lock(&self.keys);
            keys.entry(key.into()).or_default().extend(&peers);
            self.count.store(keys.len(), Ordering::Release);
        }
        Hold {
            unconfirmed: self,
            key,
            peers,
        }
    }

    /// The peers that may still have an older value of a key.
    pub(super) fn peers(&self, key: &str) -> Vec<NodeId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        lock(&self.keys).get(key).cloned().unwrap_or_default()
    }

    /// Whether no peer is being told of a key.
    pub(super) fn is_confirmed(&self, key: &str) -> bool {
        self.count.load(Ordering::Acquire) == 0 || !lock(&self.keys).contains_key(key)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let mut keys = lock(&self.unconfirmed.keys);
        if let Some(told) = keys.get_mut(self.key) {
            for peer in &self.peers {
                if let Some(at) = told.iter().position(|told| told == peer) {
                    told.swap_remove(at);
                }
            }
            if told.is_empty() {
                keys.remove(self.key);
            }
        }
        self.unconfirmed.count.store(keys.len(), Ordering::Release);
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
        assert!(lock(&unconfirmed.keys).is_empty());
    }
}
