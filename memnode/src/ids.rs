//! Where new block ids come from.

use std::sync::atomic::{AtomicU64, Ordering};

use memproto::id::{BlockId, HomeHint, NodeId};

/// Makes block ids that carry this node's home hint, counting up from a place drawn at random at each start.
#[derive(Debug)]
pub struct BlockIds {
    home: HomeHint,
    next: AtomicU64,
}

impl BlockIds {
    /// Ids of this node. `start` is a random number: a run must not give out again what an earlier run gave out, since
    /// a stale id would then read another block's bytes.
    pub fn new(node: NodeId, start: u64) -> Self {
        Self {
            home: node.home_hint(),
            next: AtomicU64::new(start),
        }
    }

    /// The next id.
    pub fn next(&self) -> BlockId {
        loop {
            let sequence = self.next.fetch_add(1, Ordering::Relaxed);
            if let Some(id) = BlockId::from_parts(self.home, sequence) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use memproto::id::BLOCK_ID_SEQUENCE_BITS;

    use super::*;

    #[test]
    fn ids_differ_and_never_are_zero_where_the_sequence_wraps() {
        let node = NodeId::from_bytes([0; 16]);
        let ids = BlockIds::new(node, (1 << BLOCK_ID_SEQUENCE_BITS) - 2);
        let made: HashSet<u64> = (0..4).map(|_| ids.next().as_u64()).collect();
        assert_eq!(made.len(), 4);
        assert!(!made.contains(&0));
    }
}
