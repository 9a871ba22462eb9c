//! What single reads may see.

use super::order::{Key, told};
use super::{Rule, Violation};
use crate::history::{Action, Operation, Outcome};

/// [`Rule::Stale`], [`Rule::Missing`], [`Rule::Backwards`], [`Rule::Unwritten`] and [`Rule::Expired`].
pub(super) fn check(key: &Key<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, read) in key.all() {
        match read.outcome {
            Outcome::Found(writer) if matches!(read.action, Action::Get { .. }) => {
                let Some(seen) = written_by(key, number, writer) else {
                    violations.push(Violation::new(
                        Rule::Unwritten,
                        format!("{} sees what nobody had written", told(number, read)),
                    ));
                    continue;
                };
                violations.extend(expired(key, number, writer, seen));
                violations.extend(stale(key, number, writer, seen));
                violations.extend(backwards(key, number, writer, seen));
            }
            Outcome::Nothing => violations.extend(missing(key, number)),
            _ => {}
        }
    }
    violations
}

/// The write that a read saw, where it began before the read ended.
fn written_by<'a>(key: &Key<'a>, read: usize, writer: usize) -> Option<&'a Operation> {
    let ended = key.get(read).ended?;
    key.writes()
        .find(|(number, write)| {
            *number == writer && matches!(write.action, Action::Set { .. }) && write.began < ended
        })
        .map(|(_, write)| write)
}

/// Whether a read has to see a write, or something newer: on the same process, or in a calm time.
fn has_to_see(key: &Key<'_>, read: &Operation, write: &Operation) -> bool {
    let is_before = write.is_acknowledged() && write.ended.is_some_and(|ended| ended < read.began);
    is_before && (read.at == write.at || key.history.calm_of(read).is_some())
}

fn stale(key: &Key<'_>, number: usize, writer: usize, seen: &Operation) -> Option<Violation> {
    let read = key.get(number);
    let (ended, version) = (read.ended?, seen.version?);
    let (newer, _) = key.writes().find(|(newer, write)| {
        let Some(newer_version) = write.version.filter(|newer_version| *newer_version > version) else {
            return false;
        };
        *newer != writer
            && has_to_see(key, read, write)
            && !key.newer_may_be_lost(newer_version, ended)
            // See `Rule::Order` for one that is older by its version alone.
            && !key.is_known_to(write, seen)
            && (read.at == write.at || !is_settling(key, read, write, seen))
    })?;
    Some(Violation::new(
        Rule::Stale,
        format!(
            "{} sees #{writer}, though {} is newer and was acknowledged before",
            told(number, read),
            told(newer, key.get(newer))
        ),
    ))
}

/// Whether the nodes may still be finding out which of two writes won: the writer of the newer one did not know of the other.
fn is_settling(key: &Key<'_>, read: &Operation, newer: &Operation, older: &Operation) -> bool {
    let acknowledged_ms = [newer.ended, older.ended]
        .into_iter()
        .flatten()
        .map(|at| at.ms)
        .max();
    let is_soon = acknowledged_ms
        .is_none_or(|acknowledged_ms| read.began.ms <= acknowledged_ms + key.history.known_after_ms);
    !key.is_known_to(older, newer) && is_soon
}

fn missing(key: &Key<'_>, number: usize) -> Option<Violation> {
    let read = key.get(number);
    let ended = read.ended?;
    let (set, _) = key.writes().find(|(set, write)| {
        let is_set = matches!(write.action, Action::Set { .. }) && write.outcome == Outcome::Done;
        is_set
            && *set != number
            && has_to_see(key, read, write)
            && !key
                .writes()
                .any(|(other, ending)| other != number && may_end(key, write, ending, ended.ms, ended))
            && write
                .version
                .is_none_or(|version| !key.newer_may_be_lost(version, ended))
            && !key.may_be_lost(write, ended)
    })?;
    Some(Violation::new(
        Rule::Missing,
        format!(
            "{} finds nothing, though {} was acknowledged before",
            told(number, read),
            told(set, key.get(set))
        ),
    ))
}

/// Whether `ending` may have ended what `write` wrote by then: a deletion, or a value whose life is over, that is not older.
fn may_end(key: &Key<'_>, write: &Operation, ending: &Operation, by_ms: u64, by: crate::history::At) -> bool {
    if ending.began > by {
        return false;
    }
    let is_older = match (ending.version, write.version) {
        (Some(ending), Some(written)) => ending < written,
        _ => key.is_known_to(ending, write),
    };
    let ends = match &ending.action {
        Action::Del { .. } => true,
        Action::Set {
            ttl_ms: Some(ttl), ..
        } => ending.began.ms + ttl <= by_ms,
        _ => false,
    };
    ends && !is_older
}

fn backwards(key: &Key<'_>, number: usize, writer: usize, seen: &Operation) -> Option<Violation> {
    let read = key.get(number);
    let (ended, version) = (read.ended?, seen.version?);
    let (earlier, _) = key.all().find(|(_, other)| {
        let Outcome::Found(other_writer) = other.outcome else {
            return false;
        };
        let Some(other_version) = key.history.operations.get(other_writer).and_then(|w| w.version) else {
            return false;
        };
        other.at == read.at
            && other.ended.is_some_and(|ended| ended < read.began)
            && other_version > version
            && !key.is_known_to(key.get(other_writer), seen)
            // While two concurrent writes find out which of them wins, the one that was seen first may.
            && !is_settling(key, read, key.get(other_writer), seen)
            && !key.newer_may_be_lost(other_version, ended)
    })?;
    Some(Violation::new(
        Rule::Backwards,
        format!(
            "{} sees #{writer}, which is older than what {} saw there",
            told(number, read),
            told(earlier, key.get(earlier))
        ),
    ))
}

fn expired(key: &Key<'_>, number: usize, writer: usize, seen: &Operation) -> Option<Violation> {
    let read = key.get(number);
    let (ttl_ms, written) = (seen.ttl_ms()?, seen.ended?);
    let over_ms = written.ms + ttl_ms + key.history.known_after_ms;
    (read.began.ms > over_ms).then(|| {
        Violation::new(
            Rule::Expired,
            format!(
                "{} sees #{writer}, whose life was over at {over_ms} ms",
                told(number, read)
            ),
        )
    })
}
