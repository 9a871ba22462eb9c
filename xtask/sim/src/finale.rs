//! What lies where when all faults are long over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use memproto::{BlockId, NodeId};

use crate::world::World;

/// How many keys are asked for at a time.
const PAGE: u32 = 1_000;

/// What a node has at the end.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NodeAtEnd {
    /// Its machine.
    pub machine: usize,
    /// Its id.
    pub id: Option<NodeId>,
    /// How many processes of it there were before this one.
    pub restarts: u64,
    /// The keys that it lists.
    pub keys: BTreeSet<String>,
    /// What lies here for peers: for whom, which block, and what is charged for it.
    pub lent: Vec<(NodeId, BlockId, u64)>,
    /// What the account of each peer says that it uses here.
    pub accounts: BTreeMap<NodeId, u64>,
    /// What this node knows to lie on peers: on whom, and which block.
    pub placed: Vec<(NodeId, BlockId)>,
}

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Finale {
    /// All nodes; empty where the run did not come so far.
    pub nodes: Vec<NodeAtEnd>,
}

/// Looks all nodes over.
///
/// # Panics
/// Where the parts of a node's store contradict each other.
pub fn look(world: &Arc<World>) -> Finale {
    let nodes = world.processes().into_iter().map(|(machine, process)| {
        let service = &process.service;
        let store = service.audited_store();
        store.audit();
        let mut keys = BTreeSet::new();
        let mut cursor = 0;
        loop {
            let page = service.keys(&["*"], cursor, PAGE).expect("a star is a pattern");
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor == 0 {
                break;
            }
        }
        let peers = world.devices.iter().map(crate::node::Device::id);
        let accounts = peers.map(|peer| (peer, store.grant_use(peer).used_bytes));
        NodeAtEnd {
            machine,
            id: Some(world.devices[machine].id()),
            restarts: process.generation,
            keys,
            lent: store.lent_blocks(),
            accounts: accounts.collect(),
            placed: store.placed_blocks(),
        }
    });
    Finale {
        nodes: nodes.collect(),
    }
}
