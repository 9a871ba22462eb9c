//! Blocks without a key.

use super::order::told;
use super::{Rule, Violation};
use crate::history::{Action, At, History, Operation, Outcome};

/// [`Rule::Block`].
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, load) in history.operations.iter().enumerate() {
        let Action::Load { stored_by } = load.action else {
            continue;
        };
        let problem = match load.outcome {
            Outcome::Found(writer) if writer != stored_by => Some("has other bytes"),
            Outcome::Found(_) if was_freed(history, stored_by, load) => Some("finds what was freed before"),
            Outcome::Nothing if has_to_be_there(history, stored_by, load) => Some("does not find it"),
            _ => None,
        };
        violations.extend(
            problem.map(|problem| Violation::new(Rule::Block, format!("{} {problem}", told(number, load)))),
        );
    }
    violations
}

fn frees(history: &History, stored_by: usize) -> impl Iterator<Item = &Operation> {
    history
        .operations
        .iter()
        .filter(move |operation| operation.action == Action::Free { stored_by })
}

/// Whether a free was acknowledged before the load began, with nothing wrong in either.
fn was_freed(history: &History, stored_by: usize, load: &Operation) -> bool {
    history.calm_of(load).is_some()
        && frees(history, stored_by).any(|free| {
            free.outcome == Outcome::Done
                && free.ended.is_some_and(|ended| ended < load.began)
                && history.calm_of(free).is_some()
        })
}

fn has_to_be_there(history: &History, stored_by: usize, load: &Operation) -> bool {
    let store = &history.operations[stored_by];
    let (Some(stored), Some(loaded)) = (store.ended, load.ended) else {
        return false;
    };
    let any_ended = |from: At, to: At| history.ends.iter().any(|(_, at)| from <= *at && *at <= to);
    history.calm_of(load).is_some()
        && stored < load.began
        // Which peer took it is not in the history.
        && !any_ended(store.began, loaded)
        && !frees(history, stored_by).any(|free| free.began < loaded)
}
