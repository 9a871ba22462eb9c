//! What lies where at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Violation};
use crate::finale::{Finale, NodeAtEnd};
use crate::history::{Action, History, Outcome};

/// [`Rule::Listing`] and [`Rule::Accounts`].
pub(super) fn check(history: &History, finale: &Finale) -> Vec<Violation> {
    let mut violations = Vec::new();
    for node in &finale.nodes {
        violations.extend(listing(history, node));
        violations.extend(accounts(node));
    }
    for owner in &finale.nodes {
        for holder in &finale.nodes {
            violations.extend(between(owner, holder));
        }
    }
    violations
}

/// The last answer about each key at a node.
fn readable(history: &History, machine: usize) -> BTreeMap<&str, bool> {
    let Some(last_calm) = history.calms.last() else {
        return BTreeMap::new();
    };
    let reads = history.operations.iter().filter_map(|read| {
        let is_last = read.at.machine == machine && read.began >= last_calm.from;
        let found = match read.outcome {
            Outcome::Found(_) => true,
            Outcome::Nothing => false,
            _ => return None,
        };
        match &read.action {
            Action::Get { key } if is_last => Some((key.as_str(), found)),
            _ => None,
        }
    });
    reads.collect()
}

fn listing(history: &History, node: &NodeAtEnd) -> Option<Violation> {
    let readable = readable(history, node.machine);
    let expected: BTreeSet<&str> = readable
        .iter()
        .filter(|(_, found)| **found)
        .map(|(key, _)| *key)
        .collect();
    let listed: BTreeSet<&str> = node.keys.iter().map(String::as_str).collect();
    (expected != listed).then(|| {
        Violation::new(
            Rule::Listing,
            format!(
                "n{} lists {listed:?}, and {expected:?} can be read there",
                node.machine
            ),
        )
    })
}

fn accounts(node: &NodeAtEnd) -> Vec<Violation> {
    let mut sums = BTreeMap::new();
    for (peer, _, charge) in &node.lent {
        *sums.entry(*peer).or_insert(0) += charge;
    }
    let differ = node
        .accounts
        .iter()
        .filter(|(peer, used)| sums.get(peer).copied().unwrap_or(0) != **used);
    differ
        .map(|(peer, used)| {
            let sum = sums.get(peer).copied().unwrap_or(0);
            Violation::new(
                Rule::Accounts,
                format!(
                    "n{} charges {} with {used} bytes, and its blocks there come to {sum}",
                    node.machine,
                    peer.short()
                ),
            )
        })
        .collect()
}

fn between(owner: &NodeAtEnd, holder: &NodeAtEnd) -> Option<Violation> {
    let (owner_id, holder_id) = (owner.id?, holder.id?);
    let known: BTreeSet<_> = owner
        .placed
        .iter()
        .filter(|(at, _)| *at == holder_id)
        .map(|(_, id)| *id)
        .collect();
    let there: BTreeSet<_> = holder
        .lent
        .iter()
        .filter(|(of, ..)| *of == owner_id)
        .map(|(_, id, _)| *id)
        .collect();
    let lost: Vec<_> = known.difference(&there).collect();
    // A process that ended left its blocks behind, and nobody knows of them.
    let leaked: Vec<_> = there.difference(&known).filter(|_| owner.restarts == 0).collect();
    (!lost.is_empty() || !leaked.is_empty()).then(|| {
        Violation::new(
            Rule::Accounts,
            format!(
                "of n{}'s blocks on n{} it knows {lost:?}, which are not there, and not {leaked:?}, which are",
                owner.machine, holder.machine
            ),
        )
    })
}
