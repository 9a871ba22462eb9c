//! What lies where when all faults are long over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use memproto::local::keys::{KeysOptions, KeysRequest};
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

/// The keys that each machine's node lists, of the whole pool.
pub async fn list(world: &Arc<World>) -> BTreeMap<usize, BTreeSet<String>> {
    let mut lists = BTreeMap::new();
    for (machine, process) in world.processes() {
        let mut keys = BTreeSet::new();
        let mut cursor = 0;
        loop {
            let request = KeysRequest {
                patterns: vec!["*".to_owned()],
                cursor,
                limit: PAGE,
                options: KeysOptions::default(),
            };
            let page = process.service.keys(&request).await;
            let page = page.expect("a star is a pattern");
            keys.extend(page.keys.into_iter().map(String::from));
            cursor = page.cursor;
            if cursor == 0 {
                break;
            }
        }
        lists.insert(machine, keys);
    }
    lists
}

/// Looks all nodes over, which list these keys.
///
/// # Panics
/// Where the parts of a node's store contradict each other.
pub fn look(world: &Arc<World>, mut lists: BTreeMap<usize, BTreeSet<String>>) -> Finale {
    let nodes = world.processes().into_iter().map(|(machine, process)| {
        let service = &process.service;
        let store = service.audited_store();
        store.audit();
        let peers = world.devices.iter().map(crate::node::Device::id);
        let accounts = peers.map(|peer| (peer, store.grant_use(peer).used_bytes));
        NodeAtEnd {
            machine,
            id: Some(world.devices[machine].id()),
            restarts: process.generation,
            keys: lists.remove(&machine).unwrap_or_default(),
            lent: store.lent_blocks(),
            accounts: accounts.collect(),
            placed: store.placed_blocks(),
        }
    });
    Finale {
        nodes: nodes.collect(),
    }
}
