//! Whether all nodes say the same of a key that nobody is writing.

use std::collections::BTreeMap;

use super::order::{Key, told};
use super::{Rule, Violation};
use crate::history::{Action, Outcome};

/// [`Rule::Disagreement`].
pub(super) fn check(key: &Key<'_>) -> Vec<Violation> {
    // Reads between the same two writes, in the same calm time.
    let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (number, read) in key.all() {
        let (Action::Get { .. }, Some(ended), Some(calm)) =
            (&read.action, read.ended, key.history.calm_of(read))
        else {
            continue;
        };
        let begun: Vec<_> = key.writes().filter(|(_, write)| write.began < ended).collect();
        let are_over = begun.iter().all(|(_, write)| match write.ended {
            Some(at) => at < read.began && at.ms + key.history.known_after_ms < read.began.ms,
            // Cut, it is over with its process, and the calm time began later.
            None => write.outcome == Outcome::Cut,
        });
        let may_end_now = begun.iter().any(|(_, write)| {
            write.ttl_ms().is_some_and(|ttl_ms| {
                let ends_ms = write.began.ms + ttl_ms;
                let calm = key.history.calms[calm];
                let last_ms = write
                    .ended
                    .map_or(u64::MAX, |at| at.ms + ttl_ms + key.history.known_after_ms);
                // Somewhere in the calm time it goes: then nothing is said about this key in it.
                ends_ms <= calm.to.ms && last_ms >= calm.from.ms
            })
        });
        if are_over && !may_end_now {
            groups.entry((calm, begun.len())).or_default().push(number);
        }
    }
    groups
        .into_values()
        .filter_map(|reads| differing(key, &reads))
        .collect()
}

fn differing(key: &Key<'_>, reads: &[usize]) -> Option<Violation> {
    let answers = |outcome: Outcome| matches!(outcome, Outcome::Found(_) | Outcome::Nothing);
    let mut reads = reads.iter().filter(|&&read| answers(key.get(read).outcome));
    let first = *reads.next()?;
    let other = *reads.find(|&&read| key.get(read).outcome != key.get(first).outcome)?;
    Some(Violation::new(
        Rule::Disagreement,
        format!(
            "{} and {} differ, though nobody wrote",
            told(first, key.get(first)),
            told(other, key.get(other))
        ),
    ))
}
