//! Short numbers for the nodes that notes name: 2 bytes in each note instead of 16.
//!
//! A number is a node's as long as there is a note with it, and is given out anew behind the last. So whoever sees a note under the lock of its shard
//! can rely on its number.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use memproto::NodeId;

/// The most nodes that notes name at a time: far more than a node has links to, and yet no more than some hundred KiB where a peer makes nodes
/// up. Keys of further ones are found by asking.
const NODES_MAX: usize = 4_096;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct NodeNumbers {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    by_node: HashMap<NodeId, u16>,
    /// By their numbers.
    nodes: Vec<Named>,
    /// Numbers that nobody has.
    free: Vec<u16>,
}

struct Named {
    node: NodeId,
    notes: u64,
}

impl NodeNumbers {
    /// The number of a node for one more note. `None` where too many nodes have one.
    pub(super) fn take(&self, node: NodeId) -> Option<u16> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        let number = match inner.by_node.get(&node) {
            Some(&number) => number,
            None => {
                let number = match inner.free.pop() {
                    Some(number) => number,
                    None if inner.nodes.len() < NODES_MAX => inner.nodes.len() as u16,
                    None => return None,
                };
                let named = Named { node, notes: 0 };
                match inner.nodes.get_mut(usize::from(number)) {
                    Some(place) => *place = named,
                    None => inner.nodes.push(named),
                }
                inner.by_node.insert(node, number);
                number
            }
        };
        inner.nodes[usize::from(number)].notes += 1;
        Some(number)
    }

    /// Tells that so many notes with this number are gone.
    pub(super) fn give_back(&self, number: u16, notes: u64) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let named = &mut inner.nodes[usize::from(number)];
        named.notes -= notes;
        if named.notes == 0 {
            let node = named.node;
            inner.by_node.remove(&node);
            inner.free.push(number);
        }
    }

    /// The node with a number that a note has.
    pub(super) fn node(&self, number: u16) -> NodeId {
        self.read().nodes[usize::from(number)].node
    }

    /// The number of a node of which there are notes.
    pub(super) fn number_of(&self, node: NodeId) -> Option<u16> {
        self.read().by_node.get(&node).copied()
    }

    /// All nodes of which there are notes.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.read().by_node.keys().copied().collect()
    }

    /// How many notes name each node.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn counts(&self) -> std::collections::BTreeMap<NodeId, u64> {
        let inner = self.read();
        let named = inner.by_node.iter();
        named
            .map(|(&node, &number)| (node, inner.nodes[usize::from(number)].notes))
            .collect()
    }

    /// Each change leaves the tables whole, also where a thread panics behind it.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn a_node_keeps_its_number_while_a_note_names_it() {
        let numbers = NodeNumbers::default();
        let first = numbers.take(node(1)).unwrap();
        assert_eq!(numbers.take(node(1)), Some(first));
        let second = numbers.take(node(2)).unwrap();
        assert_ne!(first, second);
        numbers.give_back(first, 1);
        assert_eq!(
            (numbers.node(first), numbers.number_of(node(1))),
            (node(1), Some(first))
        );
        numbers.give_back(first, 1);
        assert_eq!(numbers.number_of(node(1)), None);
        assert_eq!(
            numbers.take(node(3)),
            Some(first),
            "the number is given out again"
        );
        assert_eq!((numbers.node(first), numbers.node(second)), (node(3), node(2)));
    }

    #[test]
    fn numbers_end_and_come_back() {
        let numbers = NodeNumbers::default();
        for number in 0..NODES_MAX {
            assert_eq!(numbers.take(node(number)), Some(number as u16));
        }
        assert_eq!(numbers.take(node(NODES_MAX)), None);
        assert_eq!(
            numbers.take(node(5)),
            Some(5),
            "one that has a number has it still"
        );
        numbers.give_back(5, 2);
        assert_eq!(numbers.take(node(NODES_MAX)), Some(5));
    }
}
