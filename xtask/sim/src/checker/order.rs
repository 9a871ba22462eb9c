//! What came before what on one key, and whether versions say the same.

use memproto::Version;

use super::{Rule, Violation};
use crate::history::{Action, At, History, Operation};

/// The operations on one key.
pub(super) struct Key<'a> {
    pub(super) history: &'a History,
    /// Their numbers, in the order in which they began.
    pub(super) operations: Vec<usize>,
}

impl<'a> Key<'a> {
    pub(super) fn new(history: &'a History, operations: Vec<usize>) -> Self {
        Self { history, operations }
    }

    pub(super) fn get(&self, number: usize) -> &'a Operation {
        &self.history.operations[number]
    }

    /// All operations with their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &'a Operation)> {
        self.operations.iter().map(|&number| (number, self.get(number)))
    }

    /// The writes among them.
    pub(super) fn writes(&self) -> impl Iterator<Item = (usize, &'a Operation)> {
        self.all().filter(|(_, operation)| operation.is_write())
    }

    /// Whether the writer of `w` must have known of `x`.
    pub(super) fn is_known_to(&self, x: &Operation, w: &Operation) -> bool {
        let Some(ended) = x.ended.filter(|_| x.is_acknowledged()) else {
            return false;
        };
        if x.at == w.at && ended < w.began {
            return true;
        }
        self.is_calm_at(w.began)
            && ended.ms + self.history.known_after_ms <= w.began.ms
            && !self.may_be_lost(x, w.began)
    }

    /// Whether what a write wrote may have gone with a process by then.
    pub(super) fn may_be_lost(&self, write: &Operation, by: At) -> bool {
        let mut ended = self
            .history
            .ends
            .iter()
            .filter(|(_, at)| write.began <= *at && *at <= by);
        ended.any(|(process, _)| {
            process.machine == write.at.machine || write.placed_on == Some(process.machine)
        })
    }

    /// Whether a write that is not older than this version, or of unknown version, may be lost by then.
    pub(super) fn newer_may_be_lost(&self, version: Version, by: At) -> bool {
        self.writes().any(|(_, write)| {
            write.began <= by
                && write.version.is_none_or(|other| other >= version)
                && self.may_be_lost(write, by)
        })
    }

    pub(super) fn is_calm_at(&self, at: At) -> bool {
        self.history
            .calms
            .iter()
            .any(|calm| calm.from <= at && at <= calm.to)
    }
}

/// Whether a write was beaten at once by a concurrent one that is newer than `than`. Then it got no version of its own behind `than`, and
/// it is as if it had come just before the one that won.
fn lost_to_another(key: &Key<'_>, number: usize, than: Version) -> bool {
    let write = key.get(number);
    key.writes().any(|(other, winner)| {
        other != number
            && winner.version.is_some_and(|version| version > than)
            && write.ended.is_none_or(|ended| winner.began <= ended)
            && !key.is_known_to(winner, write)
    })
}

/// A short name for messages.
pub(super) fn told(number: usize, operation: &Operation) -> String {
    let what = match &operation.action {
        Action::Set { key, .. } => format!("set {key}"),
        Action::Del { key } => format!("del {key}"),
        Action::Get { key } => format!("get {key}"),
        Action::Store => "store".to_owned(),
        Action::Load { stored_by } => format!("load #{stored_by}"),
        Action::Free { stored_by } => format!("free #{stored_by}"),
    };
    let ended = operation
        .ended
        .map_or_else(|| "?".to_owned(), |at| at.ms.to_string());
    format!(
        "#{number} (n{} {what}, {} to {ended} ms, {:?})",
        operation.at.machine, operation.began.ms, operation.outcome
    )
}

/// [`Rule::Order`].
pub(super) fn check(key: &Key<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let writes: Vec<(usize, &Operation)> = key.writes().collect();
    for &(later, w) in &writes {
        let Some(version) = w.version else { continue };
        for &(earlier, x) in writes.iter().filter(|(number, _)| *number < later) {
            if x.version
                .is_some_and(|known| known > version && !lost_to_another(key, later, known))
                && key.is_known_to(x, w)
            {
                violations.push(Violation::new(
                    Rule::Order,
                    format!(
                        "{} has a lower version than {}, of which its node knew",
                        told(later, w),
                        told(earlier, x)
                    ),
                ));
            }
        }
    }
    violations
}
