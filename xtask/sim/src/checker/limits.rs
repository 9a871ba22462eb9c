//! How long operations may take, and when they may fail.

use super::order::told;
use super::{Rule, Violation};
use crate::history::{History, Operation, Outcome};

/// How long an operation takes at most, in virtual milliseconds: a peer that is silent is given up after 10 s, all that are asked at once after 2 s, and
/// a read that meets both may then have to ask a second time.
pub const OPERATION_MS_MAX: u64 = 25_000;

/// [`Rule::Refused`] and [`Rule::Unended`].
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, operation) in history.operations.iter().enumerate() {
        if let Outcome::Failed(_) = operation.outcome
            && history.calm_of(operation).is_some()
        {
            violations.push(Violation::new(
                Rule::Refused,
                format!("{} though nothing was wrong", told(number, operation)),
            ));
        }
        if !ends_in_time(history, operation) {
            violations.push(Violation::new(
                Rule::Unended,
                format!("{} takes too long", told(number, operation)),
            ));
        }
    }
    violations
}

fn ends_in_time(history: &History, operation: &Operation) -> bool {
    let Some(ended) = operation.ended else {
        return operation.outcome == Outcome::Cut;
    };
    let pauses = history.pauses.iter().filter(|pause| {
        pause.machine == operation.at.machine
            && pause.from <= ended
            && pause.from.ms + pause.length_ms >= operation.began.ms
    });
    let paused_ms: u64 = pauses.map(|pause| pause.length_ms).sum();
    ended.ms - operation.began.ms <= OPERATION_MS_MAX + paused_ms
}
