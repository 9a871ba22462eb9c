//! Which blocks of a shard each peer has, the oldest first: so that the data of one peer is found without a look at that of others.
//!
//! The blocks of a peer form two lists, one for each class, through [`Outside::Block`] itself: [`Links`] take 16 bytes there, which are part
//! of what each block pays for its place outside. A peer that has any block costs about 50 bytes more in each shard that has one.

use std::collections::HashMap;

use memproto::{BlockClass, BlockId, NodeId};
use slab::Slab;

use super::outside::Outside;

/// The neighbours of a block in the list of its owner: numbers of what lies outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    /// The id of the block, by which its entry is found.
    pub(super) id: BlockId,
    newer: u32,
    older: u32,
}

/// No neighbour.
const NONE: u32 = u32::MAX;

impl Links {
    /// Those of a block that is in no list.
    pub(super) fn new(id: BlockId) -> Self {
        Self {
            id,
            newer: NONE,
            older: NONE,
        }
    }
}

/// The ends of a list.
#[derive(Clone, Copy)]
struct Ends {
    newest: u32,
    oldest: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            newest: NONE,
            oldest: NONE,
        }
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Lent {
    of: HashMap<NodeId, [Ends; 2]>,
}

impl Lent {
    /// Adds a block that is in no list, as the newest of its owner. Others than those of peers are passed over.
    pub(super) fn enter(&mut self, outside: &mut Slab<Outside>, number: usize, class: BlockClass) {
        let Some((owner, _)) = outside.get(number).and_then(Outside::lent) else {
            return;
        };
        let ends = &mut self.of.entry(owner).or_default()[place(class)];
        let before = std::mem::replace(&mut ends.newest, number as u32);
        match links_mut(outside, before) {
            Some(before) => before.newer = number as u32,
            None => ends.oldest = number as u32,
        }
        if let Some(links) = links_mut(outside, number as u32) {
            (links.newer, links.older) = (NONE, before);
        }
    }

    /// Takes a block out of its list. Others than those of peers are in none.
    pub(super) fn leave(&mut self, outside: &mut Slab<Outside>, number: usize, class: BlockClass) {
        let Some((owner, Links { newer, older, .. })) = outside.get(number).and_then(Outside::lent) else {
            return;
        };
        let Some(lists) = self.of.get_mut(&owner) else {
            return;
        };
        let ends = &mut lists[place(class)];
        match links_mut(outside, newer) {
            Some(newer) => newer.older = older,
            None => ends.newest = older,
        }
        match links_mut(outside, older) {
            Some(older) => older.newer = newer,
            None => ends.oldest = newer,
        }
        if lists.iter().all(|ends| ends.oldest == NONE) {
            self.of.remove(&owner);
            // A peer comes and goes, but a thousand that came once are no reason to keep room for a thousand.
            if self.of.is_empty() {
                self.of = HashMap::new();
            }
        }
    }

    /// The number of the oldest block of a peer in a class.
    pub(super) fn oldest(&self, owner: NodeId, class: BlockClass) -> Option<usize> {
        let oldest = self.of.get(&owner)?[place(class)].oldest;
        (oldest != NONE).then_some(oldest as usize)
    }

    /// The blocks of a peer in a class, the oldest first.
    pub(super) fn ids<'a>(
        &self,
        outside: &'a Slab<Outside>,
        owner: NodeId,
        class: BlockClass,
    ) -> impl Iterator<Item = BlockId> + 'a {
        let mut next = self.oldest(owner, class);
        std::iter::from_fn(move || {
            let (_, links) = outside.get(next?)?.lent()?;
            next = (links.newer != NONE).then_some(links.newer as usize);
            Some(links.id)
        })
    }

    /// The peers that have any block here.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn owners(&self) -> impl Iterator<Item = NodeId> {
        self.of.keys().copied()
    }
}

fn place(class: BlockClass) -> usize {
    usize::from(class == BlockClass::Cache)
}

fn links_mut(outside: &mut Slab<Outside>, number: u32) -> Option<&mut Links> {
    match outside.get_mut(number as usize)? {
        Outside::Block { links, .. } => Some(links),
        Outside::At { .. } | Outside::Stream { .. } => None,
    }
}
