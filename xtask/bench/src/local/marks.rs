//! What MemCloud's figures are to reach, and whether they do.

use serde::Serialize;

use super::line::Line;
use crate::servers::Kind;

/// What MemCloud's figure is compared with, and how.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Mark {
    /// A cost at most so many times that of this server.
    AtMost(f64, Kind),
    /// A cost at most so many times that of the better store.
    AtMostBest(f64),
    /// A cost at most so many times this figure, which is MemCloud's own under other conditions.
    AtMostOwn(f64, f64, &'static str),
    /// A cost below this figure.
    Below(f64),
    /// A time of which the better store's is at least so many times as long.
    TimesFaster(f64),
    /// A rate at least so many times that of this server.
    AtLeast(f64, Kind),
    /// A rate at least so many times that of the better store.
    AtLeastBest(f64),
}

/// A mark beside what was measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Judgement {
    /// The mark in words.
    pub(super) mark: String,
    /// MemCloud's figure in the terms of the mark: a ratio, or the figure itself.
    pub(super) value: Option<f64>,
    /// What `value` is, such as `of Redis`; empty where it is the figure itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) of: String,
    /// Whether it is reached; `None` where a figure is missing.
    pub(super) reached: Option<bool>,
}

impl Mark {
    /// Compares the medians of a line.
    pub(super) fn judge(self, line: &Line) -> Judgement {
        let ours = line.figure(Kind::MemCloud);
        let stores = || Some((line.figure(Kind::Memcached)?, line.figure(Kind::Redis)?));
        let lower = stores().map(|(memcached, redis)| memcached.min(redis));
        let higher = stores().map(|(memcached, redis)| memcached.max(redis));
        let over = |other: Option<f64>| Some(ours? / other?);
        let better = "of the better store".to_owned();
        let of = |kind: Kind| format!("of {}", kind.name());
        let (mark, value, of, reached): (_, _, _, fn(f64, f64) -> bool) = match self {
            Mark::AtMost(limit, kind) => (
                (format!("at most {limit}"), limit),
                over(line.figure(kind)),
                of(kind),
                at_most,
            ),
            Mark::AtMostBest(limit) => ((format!("at most {limit}"), limit), over(lower), better, at_most),
            Mark::AtMostOwn(limit, own, name) => (
                (format!("at most {limit}"), limit),
                over(Some(own)),
                format!("of {name}"),
                at_most,
            ),
            Mark::Below(limit) => ((format!("below {limit}"), limit), ours, String::new(), below),
            Mark::TimesFaster(limit) => (
                (format!("at least {limit} times as fast"), limit),
                over(lower).map(f64::recip),
                "times as fast as the better store".to_owned(),
                at_least,
            ),
            Mark::AtLeast(limit, kind) => (
                (format!("at least {limit}"), limit),
                over(line.figure(kind)),
                of(kind),
                at_least,
            ),
            Mark::AtLeastBest(limit) => (
                (format!("at least {limit}"), limit),
                over(higher),
                better,
                at_least,
            ),
        };
        let (mark, limit) = mark;
        Judgement {
            mark,
            value,
            of,
            reached: value.map(|value| reached(value, limit)),
        }
    }
}

fn at_most(value: f64, limit: f64) -> bool {
    value <= limit
}

fn below(value: f64, limit: f64) -> bool {
    value < limit
}

fn at_least(value: f64, limit: f64) -> bool {
    value >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line whose medians are these, of echo, tokio, memcached, Redis and MemCloud; 0 is none.
    fn line(figures: [f64; 5]) -> Line {
        let runs = figures.map(|figure| match figure {
            0.0 => vec![],
            figure => vec![figure * 10.0, figure, figure / 10.0],
        });
        Line::new("a row", 1, runs.to_vec())
    }

    #[test]
    fn marks_are_judged_by_medians() {
        let judge = |mark: Mark, figures| {
            let judgement = mark.judge(&line(figures));
            (judgement.value.unwrap(), judgement.reached.unwrap())
        };
        let costs = [10.0, 12.0, 20.0, 40.0, 15.0];
        assert_eq!(judge(Mark::AtMost(1.5, Kind::EchoBlocking), costs), (1.5, true));
        assert_eq!(judge(Mark::AtMost(1.4, Kind::EchoBlocking), costs), (1.5, false));
        assert_eq!(judge(Mark::AtMostBest(1.0), costs), (0.75, true));
        assert_eq!(judge(Mark::AtMostBest(0.5), costs), (0.75, false));
        assert_eq!(judge(Mark::AtMostOwn(3.0, 5.0, "its own"), costs), (3.0, true));
        assert_eq!(judge(Mark::Below(15.0), costs), (15.0, false));
        assert_eq!(judge(Mark::Below(15.1), costs), (15.0, true));
        assert_eq!(
            judge(Mark::TimesFaster(20.0), [0.0, 0.0, 200.0, 300.0, 10.0]),
            (20.0, true)
        );
        let rates = [0.0, 0.0, 100.0, 200.0, 260.0];
        assert_eq!(judge(Mark::AtLeastBest(1.2), rates), (1.3, true));
        assert_eq!(judge(Mark::AtLeastBest(1.4), rates), (1.3, false));
        assert_eq!(judge(Mark::AtLeast(2.7, Kind::Memcached), rates), (2.6, false));
    }

    #[test]
    fn a_mark_without_its_figures_is_not_judged() {
        for mark in [Mark::AtLeastBest(1.0), Mark::AtMost(1.0, Kind::Memcached)] {
            let judgement = mark.judge(&line([0.0, 0.0, 0.0, 1.0, 1.0]));
            assert_eq!((judgement.value, judgement.reached), (None, None));
        }
        assert_eq!(Mark::Below(1.0).judge(&line([1.0; 5])).reached, Some(false));
        assert_eq!(Mark::Below(1.0).judge(&line([0.0; 5])).reached, None);
    }
}
