//! Whether the strict operations on a key look as if there were one copy of it, on which they were carried out one after the other.
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the states that were met remembered (Lowe, "Testing for
//! linearizability", 2017): take any operation that no other one had to precede, carry it out, go on; go back where an answer does not
//! fit.

use std::collections::BTreeSet;

use super::order::{Key, told};
use super::{Rule, Violation};
use crate::history::{Action, Operation, Outcome};

/// How many steps are searched on one key in one calm time. Histories of a run need a few for each operation; one that needs more is not judged.
const STEPS_MAX: usize = 200_000;

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Held {
    /// Nothing is known: the calm time has just begun.
    Unknown,
    Nothing,
    /// What an operation wrote.
    Value(usize),
}

/// [`Rule::Nonlinear`].
pub(super) fn check(key: &Key<'_>) -> Vec<Violation> {
    // Where others than strict operations write, nothing is promised.
    if key.all().any(|(_, operation)| !operation.strict) {
        return Vec::new();
    }
    (0..key.history.calms.len())
        .filter_map(|calm| in_calm(key, calm))
        .collect()
}

fn in_calm(key: &Key<'_>, calm: usize) -> Option<Violation> {
    let span = key.history.calms[calm];
    let within: Vec<(usize, &Operation)> = key
        .all()
        .filter(|(_, operation)| key.history.calm_of(operation) == Some(calm))
        .collect();
    // One that reaches over the edge of the calm time may have happened in it or not.
    let crossing = key.all().any(|(_, operation)| {
        operation.is_write()
            && operation.began <= span.to
            && operation.ended.is_none_or(|ended| ended >= span.from)
            && operation.outcome != Outcome::Cut
            && key.history.calm_of(operation) != Some(calm)
    });
    if crossing || within.iter().any(|(_, operation)| !operation.is_acknowledged()) {
        return None;
    }
    let mut search = Search {
        operations: &within,
        met: BTreeSet::new(),
        steps: 0,
        furthest: 0,
    };
    let mut taken = vec![0_u64; within.len().div_ceil(64)];
    if search.explains(&mut taken, 0, Held::Unknown) || search.steps >= STEPS_MAX {
        return None;
    }
    let at = search.furthest.min(within.len() - 1);
    Some(Violation::new(
        Rule::Nonlinear,
        format!(
            "no order explains the {} strict operations from {} to {} ms; the first {} have one, and then comes {}",
            within.len(),
            span.from.ms,
            span.to.ms,
            search.furthest,
            told(within[at].0, within[at].1)
        ),
    ))
}

struct Search<'a> {
    operations: &'a [(usize, &'a Operation)],
    /// Which sets of operations were carried out to which value, in vain.
    met: BTreeSet<(Vec<u64>, Held)>,
    steps: usize,
    /// How many were carried out at most.
    furthest: usize,
}

impl Search<'_> {
    fn explains(&mut self, taken: &mut Vec<u64>, count: usize, held: Held) -> bool {
        self.furthest = self.furthest.max(count);
        if count == self.operations.len() {
            return true;
        }
        self.steps += 1;
        if self.steps >= STEPS_MAX || !self.met.insert((taken.clone(), held)) {
            return false;
        }
        let is_taken = |taken: &[u64], at: usize| taken[at / 64] >> (at % 64) & 1 == 1;
        // What began after this end had to come later.
        let ends = self
            .operations
            .iter()
            .enumerate()
            .filter(|(at, _)| !is_taken(taken, *at));
        let first_end = ends.filter_map(|(_, (_, operation))| operation.ended).min();
        for at in 0..self.operations.len() {
            let (number, operation) = self.operations[at];
            if is_taken(taken, at) || first_end.is_some_and(|end| operation.began > end) {
                continue;
            }
            if let Some(next) = carry_out(number, operation, held) {
                taken[at / 64] |= 1 << (at % 64);
                if self.explains(taken, count + 1, next) {
                    return true;
                }
                taken[at / 64] &= !(1 << (at % 64));
            }
        }
        false
    }
}

/// What a key holds after an operation; `None` where its answer does not fit what it held before.
fn carry_out(number: usize, operation: &Operation, held: Held) -> Option<Held> {
    match (&operation.action, operation.outcome) {
        (Action::Set { .. }, _) => Some(Held::Value(number)),
        // A deletion tells whether there was something as far as its node knows.
        (Action::Del { .. }, _) => Some(Held::Nothing),
        (_, Outcome::Found(writer)) => {
            matches!(held, Held::Unknown | Held::Value(_)).then_some(())?;
            (held == Held::Unknown || held == Held::Value(writer)).then_some(Held::Value(writer))
        }
        (_, Outcome::Nothing) => matches!(held, Held::Unknown | Held::Nothing).then_some(Held::Nothing),
        _ => Some(held),
    }
}
