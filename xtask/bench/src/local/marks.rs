//! What MemCloud's figures are to reach, and whether they do.

use crate::judgement::Judgement;
use crate::line::{self, Column as _};
use crate::servers::Kind;

/// A line of the table of `bench local`.
pub(super) type Line = line::Line<Kind>;

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

impl Line {
    /// With a mark that MemCloud's figure is to reach.
    pub(super) fn mark(self, mark: Mark) -> Self {
        let judgement = mark.judge(&self);
        self.judged(judgement)
    }
}

impl Mark {
    /// Compares the medians of a line.
    fn judge(self, line: &Line) -> Judgement {
        let ours = line.figure(Kind::MemCloud);
        let stores = || Some((line.figure(Kind::Memcached)?, line.figure(Kind::Redis)?));
        let lower = stores().map(|(memcached, redis)| memcached.min(redis));
        let higher = stores().map(|(memcached, redis)| memcached.max(redis));
        let over = |other: Option<f64>| Some(ours? / other?);
        let better = "of the better store";
        let of = |kind: Kind| format!("of {}", kind.name());
        match self {
            Mark::AtMost(limit, kind) => Judgement::at_most(limit, over(line.figure(kind)), of(kind)),
            Mark::AtMostBest(limit) => Judgement::at_most(limit, over(lower), better),
            Mark::AtMostOwn(limit, own, name) => {
                Judgement::at_most(limit, over(Some(own)), format!("of {name}"))
            }
            Mark::Below(limit) => Judgement::below(limit, ours),
            Mark::TimesFaster(limit) => Judgement::at_least(
                limit,
                over(lower).map(f64::recip),
                "times as fast as the better store",
            )
            .worded(format!("at least {limit} times as fast")),
            Mark::AtLeast(limit, kind) => Judgement::at_least(limit, over(line.figure(kind)), of(kind)),
            Mark::AtLeastBest(limit) => Judgement::at_least(limit, over(higher), better),
        }
    }
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
