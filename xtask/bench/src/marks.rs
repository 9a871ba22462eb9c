//! What MemCloud's figures are to reach, in tables that have a column for it.

use crate::judgement::Judgement;
use crate::line::{Column, Line};

/// The columns of a table of which one is MemCloud's.
pub(crate) trait BesideOthers: Column {
    /// MemCloud's column.
    const OURS: Self;
}

/// What MemCloud's figure is compared with, and how.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Mark<K> {
    /// A cost at most so many times that of this column.
    AtMost(f64, K),
    /// A rate at least so many times that of this column.
    AtLeast(f64, K),
    /// A figure below this one.
    Below(f64),
    /// A figure at most so much above that of this column.
    Above(f64, K),
    /// A cost at most so many times this figure, which is MemCloud's own of something else.
    AtMostOwn(f64, Option<f64>, &'static str),
    /// A rate at least so many times this figure, likewise.
    AtLeastOwn(f64, Option<f64>, &'static str),
}

impl<K: BesideOthers> Line<K> {
    /// A line that MemCloud alone has.
    pub(crate) fn own(what: impl Into<String>, decimals: usize, runs: Vec<f64>) -> Self {
        let mut runs = Some(runs);
        let columns = K::ALL.iter().map(|&kind| {
            let runs = (kind == K::OURS).then(|| runs.take());
            runs.flatten().unwrap_or_default()
        });
        Self::new(what, decimals, columns.collect())
    }

    /// With a mark that MemCloud's figure is to reach.
    pub(crate) fn mark(self, mark: Mark<K>) -> Self {
        let judgement = mark.judge(&self);
        self.judged(judgement)
    }
}

impl<K: BesideOthers> Mark<K> {
    /// Compares the medians of a line.
    fn judge(self, line: &Line<K>) -> Judgement {
        let ours = line.figure(K::OURS);
        let over = |other: Option<f64>| Some(ours? / other?);
        match self {
            Mark::AtMost(limit, kind) => {
                Judgement::at_most(limit, over(line.figure(kind)), format!("of {}", kind.name()))
            }
            Mark::AtLeast(limit, kind) => {
                Judgement::at_least(limit, over(line.figure(kind)), format!("of {}", kind.name()))
            }
            Mark::Below(limit) => Judgement::below(limit, ours),
            Mark::Above(limit, kind) => {
                let above = ours.zip(line.figure(kind)).map(|(ours, other)| ours - other);
                Judgement::at_most(limit, above, format!("above {}", kind.name()))
                    .worded(format!("at most {limit} above"))
            }
            Mark::AtMostOwn(limit, own, name) => Judgement::at_most(limit, over(own), format!("of {name}")),
            Mark::AtLeastOwn(limit, own, name) => Judgement::at_least(limit, over(own), format!("of {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Clone, Copy, PartialEq, Serialize)]
    enum Kind {
        Other,
        Ours,
    }

    impl Column for Kind {
        const ALL: &'static [Kind] = &[Kind::Other, Kind::Ours];

        fn name(self) -> &'static str {
            "a column"
        }
    }

    impl BesideOthers for Kind {
        const OURS: Kind = Kind::Ours;
    }

    #[test]
    fn marks_are_judged_by_medians() {
        let runs = [10.0, 25.0].map(|figure| vec![figure * 9.0, figure, figure / 9.0]);
        let judge = |mark: Mark<Kind>| {
            let line = Line::new("a row", 1, runs.to_vec()).mark(mark);
            let judgement = line.judgements()[0].clone();
            (judgement.value.unwrap(), judgement.reached.unwrap())
        };
        assert_eq!(judge(Mark::AtMost(2.5, Kind::Other)), (2.5, true));
        assert_eq!(judge(Mark::AtMost(2.4, Kind::Other)), (2.5, false));
        assert_eq!(judge(Mark::AtLeast(2.5, Kind::Other)), (2.5, true));
        assert_eq!(judge(Mark::AtLeast(2.6, Kind::Other)), (2.5, false));
        assert_eq!(judge(Mark::Below(25.0)), (25.0, false));
        assert_eq!(judge(Mark::Above(15.0, Kind::Other)), (15.0, true));
        assert_eq!(judge(Mark::AtMostOwn(1.2, Some(20.0), "its own")), (1.25, false));
        assert_eq!(judge(Mark::AtLeastOwn(1.2, Some(20.0), "its own")), (1.25, true));
    }

    #[test]
    fn a_mark_without_its_figures_is_not_judged() {
        for mark in [
            Mark::AtMost(1.0, Kind::Other),
            Mark::AtLeastOwn(1.0, None, "nothing"),
        ] {
            let line = Line::own("a row", 1, vec![1.0]).mark(mark);
            assert_eq!(line.judgements()[0].reached, None);
        }
    }
}
