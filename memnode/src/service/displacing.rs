//! Writes that are not acknowledged yet, because a peer still has to drop an older value.
//!
//! Whoever writes the same key here meanwhile finds a value of this node and would have nobody to wait for, though that older value is still
//! there to be read. So it waits for the same peers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use memproto::NodeId;

use super::lock;

/// See the module.
#[derive(Default)]
pub(super) struct Displacing {
    /// How many writes there are, so that nobody takes the lock while there is none.
    count: AtomicUsize,
    /// Of each key the peers that are being told, once for each write that tells them.
    keys: Mutex<BTreeMap<String, Vec<NodeId>>>,
}

/// A write that displaces a value of some peers. Dropped, it no longer does.
pub(super) struct Displacement<'a> {
    displacing: &'a Displacing,
    key: &'a str,
    peers: Vec<NodeId>,
}

impl Displacing {
    /// Notes that peers are being told of a write.
    pub(super) fn begin<'a>(&'a self, key: &'a str, peers: Vec<NodeId>) -> Displacement<'a> {
        self.count.fetch_add(1, Ordering::AcqRel);
        lock(&self.keys)
            .entry(key.to_owned())
            .or_default()
            .extend_from_slice(&peers);
        Displacement {
            displacing: self,
            key,
            peers,
        }
    }

    /// The peers that are being told of a write of this key, some of them more than once.
    pub(super) fn peers(&self, key: &str) -> Vec<NodeId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        lock(&self.keys).get(key).cloned().unwrap_or_default()
    }
}

impl Drop for Displacement<'_> {
    fn drop(&mut self) {
        let mut keys = lock(&self.displacing.keys);
        if let Some(told) = keys.get_mut(self.key) {
            for peer in &self.peers {
                if let Some(at) = told.iter().position(|other| other == peer) {
                    told.swap_remove(at);
                }
            }
            if told.is_empty() {
                keys.remove(self.key);
            }
        }
        self.displacing.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_waited_for_until_the_last_write_is_through() {
        let [a, b] = [1, 2].map(|byte| NodeId::from_bytes([byte; 16]));
        let displacing = Displacing::default();
        let first = displacing.begin("k", vec![a, b]);
        let second = displacing.begin("k", vec![a]);
        assert!(displacing.peers("other").is_empty());
        drop(first);
        assert_eq!(displacing.peers("k"), [a]);
        drop(second);
        assert!(displacing.peers("k").is_empty());
        assert!(lock(&displacing.keys).is_empty());
    }
}
