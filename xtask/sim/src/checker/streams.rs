//! Streams: their bytes, whether they are there, and what is said where they are not.

use memproto::error::ErrorCode;

use super::{Rule, Violation};
use crate::history::{At, History};
use crate::streams::record::{Stream, StreamAction, StreamOperation, StreamOutcome};

/// How long an operation takes at most, in virtual milliseconds, beside the pauses of its node: an append waits 10 s for peers that it needs, for each chunk,
/// and links are slow. Those who follow a stream have a bound of their own.
const STREAM_OPERATION_MS_MAX: u64 = 90_000;

/// [`Rule::Bytes`], [`Rule::Whole`], [`Rule::Honest`], and what [`Rule::Refused`] and [`Rule::Unended`] say of streams.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, operation) in history.stream_operations.iter().enumerate() {
        let look = Look {
            history,
            operation,
            stream: &history.streams[operation.stream],
        };
        let broken = [
            look.bytes(),
            look.reading(),
            look.failure(),
            look.sums(),
            look.time(),
        ];
        violations.extend(broken.into_iter().flatten().map(|(rule, what)| {
            let what = format!(
                "s{number} {:?} of stream {} at n{}.{}, from {} to {:?} ms, {:?}: {what}",
                operation.action,
                operation.stream,
                operation.at.machine,
                operation.at.generation,
                operation.began.ms,
                operation.ended.map(|ended| ended.ms),
                operation.outcome
            );
            Violation::new(rule, what)
        }));
    }
    violations
}

/// What was broken, and how.
type Broken = Option<(Rule, String)>;

struct Look<'a> {
    history: &'a History,
    operation: &'a StreamOperation,
    stream: &'a Stream,
}

impl Look<'_> {
    fn bytes(&self) -> Broken {
        let at = self.operation.wrong_at?;
        Some((Rule::Bytes, format!("byte {at} is wrong")))
    }

    /// A read of a stream that was finished before: it has all bytes, or fails for a reason.
    fn reading(&self) -> Broken {
        let operation = self.operation;
        let (from, length) = match operation.action {
            StreamAction::Read { from, length } => (from, length),
            StreamAction::ReadKey => (0, u64::MAX),
            StreamAction::Follow { from } => (from, u64::MAX),
            _ => return None,
        };
        let finished = self.finished_before(operation.began);
        match operation.outcome {
            StreamOutcome::Read { size } => {
                if let Some(finished) = finished {
                    let expected = length.min(finished.saturating_sub(from));
                    let is_whole = operation.bytes == expected && size.is_none_or(|size| size == finished);
                    return (!is_whole).then(|| {
                        let got = operation.bytes;
                        (
                            Rule::Whole,
                            format!("{got} of {expected} bytes of the {finished} that it has"),
                        )
                    });
                }
                let is_follower = matches!(operation.action, StreamAction::Follow { .. });
                let ended = operation.ended?;
                (is_follower && size.is_none() && !self.ends_at(from + operation.bytes, ended)).then(|| {
                    let got = operation.bytes;
                    (
                        Rule::Whole,
                        format!("ends after {got} bytes, where the stream does not end"),
                    )
                })
            }
            StreamOutcome::Failed(code) => {
                finished.filter(|&finished| from <= finished)?;
                if self.may_be_gone(operation.ended?) {
                    return None;
                }
                self.is_calm().then(|| {
                    (
                        Rule::Whole,
                        format!("fails with {code:?} though nothing happened to it"),
                    )
                })
            }
            _ => None,
        }
    }

    fn failure(&self) -> Broken {
        let StreamOutcome::Failed(code) = self.operation.outcome else {
            return None;
        };
        let is_reading = matches!(
            self.operation.action,
            StreamAction::Read { .. } | StreamAction::ReadKey | StreamAction::Follow { .. }
        );
        let is_possible = match code {
            ErrorCode::PeerUnreachable | ErrorCode::Timeout | ErrorCode::ShuttingDown => true,
            ErrorCode::NotFound => true,
            // An append was broken off, of which a reader had seen more than was placed.
            ErrorCode::Cancelled => is_reading && self.was_broken_off(),
            // A range that begins behind the end.
            ErrorCode::InvalidArgument => {
                is_reading && !matches!(self.operation.action, StreamAction::ReadKey)
            }
            ErrorCode::OutOfMemory | ErrorCode::QuotaExceeded => {
                !is_reading && (!self.history.has_room || !self.stream.is_pinned || self.was_lowered())
            }
            _ => false,
        };
        if !is_possible {
            return Some((Rule::Honest, "that cannot be why".to_owned()));
        }
        // A calm time in which nothing has happened to it since it was opened.
        let is_writing = matches!(
            self.operation.action,
            StreamAction::Write | StreamAction::Finish | StreamAction::Status | StreamAction::Known
        );
        let is_refused = is_writing
            && self.is_calm()
            && self.history.has_room
            && !self.was_lowered()
            && !self.may_be_gone(self.operation.ended?)
            && !self.was_finished_or_failed()
            && !self.was_in_trouble();
        is_refused.then(|| (Rule::Refused, "though nothing was wrong".to_owned()))
    }

    /// What a writer is told of its stream.
    fn sums(&self) -> Broken {
        let StreamOutcome::Done {
            size,
            known_bytes,
            stored_bytes,
            is_out_of_reach,
        } = self.operation.outcome
        else {
            return None;
        };
        let honest = |what: String| Some((Rule::Honest, what));
        if is_out_of_reach {
            return honest("a chunk lies where it may not".to_owned());
        }
        if size > self.stream.content.len() {
            return honest(format!("{} bytes were handed over", self.stream.content.len()));
        }
        if self.operation.action != StreamAction::Finish || self.was_broken_off() {
            return None;
        }
        let placed = self.placed_before()?;
        if size != placed {
            return honest(format!("{placed} bytes were placed"));
        }
        let sum = known_bytes + stored_bytes;
        let is_right = match self.stream.is_plain {
            true => sum == size,
            false => sum <= size,
        };
        (!is_right).then(|| {
            (
                Rule::Honest,
                "known and stored chunks are not the stream".to_owned(),
            )
        })
    }

    fn time(&self) -> Broken {
        if matches!(self.operation.action, StreamAction::Follow { .. }) {
            return None;
        }
        let late = || Some((Rule::Unended, "takes too long".to_owned()));
        let Some(ended) = self.operation.ended else {
            return late();
        };
        let paused_ms: u64 = self.history.pauses.iter().map(|pause| pause.length_ms).sum();
        let took_ms = ended.ms - self.operation.began.ms;
        if took_ms > STREAM_OPERATION_MS_MAX + paused_ms {
            return late();
        }
        None
    }

    fn is_calm(&self) -> bool {
        let Some(ended) = self.operation.ended else {
            return false;
        };
        let began = self.operation.began;
        self.history
            .calms
            .iter()
            .any(|calm| calm.from <= began && ended <= calm.to)
    }

    fn of_stream(&self) -> impl Iterator<Item = &StreamOperation> {
        let operations = self.history.stream_operations.iter();
        operations.filter(|operation| operation.stream == self.operation.stream)
    }

    /// The size with which a finished stream was acknowledged before a moment.
    fn finished_before(&self, moment: At) -> Option<u64> {
        self.of_stream().find_map(|finish| match finish.outcome {
            StreamOutcome::Done { size, .. }
                if finish.action == StreamAction::Finish
                    && finish.ended.is_some_and(|ended| ended < moment) =>
            {
                Some(size)
            }
            _ => None,
        })
    }

    /// Whether a stream that ends with this many bytes may have been finished by then.
    fn ends_at(&self, size: u64, moment: At) -> bool {
        self.of_stream().any(|finish| {
            finish.action == StreamAction::Finish
                && finish.began < moment
                && match finish.outcome {
                    StreamOutcome::Done { size: finished, .. } => size == finished,
                    _ => true,
                }
        })
    }

    /// Whether there is a reason why a stream, or a part of it, is no more at a moment.
    fn may_be_gone(&self, moment: At) -> bool {
        let is_freed = self
            .of_stream()
            .any(|free| free.action == StreamAction::Free && free.began < moment);
        // Which peers had its chunks is not in the history.
        let has_ended = self
            .history
            .ends
            .iter()
            .any(|(_, at)| self.stream.opened <= *at && *at <= moment);
        is_freed || has_ended || !self.stream.is_pinned || self.stream.ttl_ms.is_some()
    }

    fn was_broken_off(&self) -> bool {
        self.of_stream().any(|append| {
            append.action == StreamAction::Write
                && append.began < self.operation.ended.unwrap_or(append.began)
                && !matches!(append.outcome, StreamOutcome::Done { .. })
        })
    }

    fn was_finished_or_failed(&self) -> bool {
        self.of_stream().any(|other| {
            other.began < self.operation.began
                && match other.outcome {
                    StreamOutcome::Done { .. } => other.action == StreamAction::Finish,
                    StreamOutcome::Failed(_) => other.action != StreamAction::Free,
                    _ => false,
                }
        })
    }

    /// Whether it was open outside of calm times: holders may have given its chunks up, and it may have been left alone for too long.
    fn was_in_trouble(&self) -> bool {
        let began = self.stream.opened;
        let calms = &self.history.calms;
        !calms
            .iter()
            .any(|calm| calm.from <= began && self.operation.ended.is_some_and(|ended| ended <= calm.to))
    }

    fn was_lowered(&self) -> bool {
        self.history.has_lowered_grants
    }

    /// The bytes that the last append before this operation left.
    fn placed_before(&self) -> Option<u64> {
        let before = self
            .of_stream()
            .filter(|other| other.ended.is_some_and(|ended| ended < self.operation.began));
        let last = before
            .filter_map(|other| match (other.action, other.outcome) {
                (
                    StreamAction::Write | StreamAction::Known | StreamAction::Status,
                    StreamOutcome::Done { size, .. },
                ) => Some(size),
                _ => None,
            })
            .last();
        Some(last.unwrap_or(0))
    }
}
