//! Where new block ids come from.

use memproto::id::{BlockId, HomeHint, NodeId};

/// Makes block ids that carry this node's home hint, counting up from a place drawn at random at each start, in steps, so that several
/// makers give out different ids.
#[derive(Debug)]
pub struct BlockIds {
    home: HomeHint,
    next: u64,
    step: u64,
}

impl BlockIds {
    /// Ids of this node whose remainder by `step`, a power of two, is `remainder`. `start` is a random number: a run must not give out
    /// again what an earlier run gave out, since a stale id would then read another block's bytes.
    pub fn new(node: NodeId, start: u64, remainder: u64, step: u64) -> Self {
        Self {
            home: node.home_hint(),
            next: start & !(step - 1) | remainder,
            step,
        }
    }

    /// A new id.
    pub fn make(&mut self) -> BlockId {
        loop {
            let sequence = self.next;
            self.next = self.next.wrapping_add(self.step);
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
        let start = (1 << BLOCK_ID_SEQUENCE_BITS) - 5;
        let mut made = HashSet::new();
        for remainder in 0..4 {
            let mut ids = BlockIds::new(node, start, remainder, 4);
            for _ in 0..4 {
                let id = ids.make().as_u64();
                assert!(id % 4 == remainder && id != 0 && made.insert(id), "{id}");
            }
        }
    }
}
