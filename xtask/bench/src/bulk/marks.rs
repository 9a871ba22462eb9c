//! The columns of the table, and what MemCloud's figures are to reach.

use serde::Serialize;

use crate::judgement::Judgement;
use crate::line::{self, Column};

/// The columns of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Tcp,
    OpenSsl,
    Scp,
    Rsync,
    #[serde(rename = "memcloud")]
    MemCloud,
}

impl Column for Kind {
    const ALL: &'static [Kind] = &[Kind::Tcp, Kind::OpenSsl, Kind::Scp, Kind::Rsync, Kind::MemCloud];

    fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "bare TCP",
            Kind::OpenSsl => "OpenSSL pipe",
            Kind::Scp => "scp",
            Kind::Rsync => "rsync over ssh",
            Kind::MemCloud => "MemCloud",
        }
    }
}

/// A line of the table.
pub(super) type Line = line::Line<Kind>;

/// What MemCloud's figure is compared with, and how.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Mark {
    /// A cost at most so many times that of this column.
    AtMost(f64, Kind),
    /// A rate at least so many times that of this column.
    AtLeast(f64, Kind),
    /// A figure below this one.
    Below(f64),
    /// A cost at most so many times this figure, which is MemCloud's own of something else.
    AtMostOwn(f64, Option<f64>, &'static str),
    /// A rate at least so many times this figure, likewise.
    AtLeastOwn(f64, Option<f64>, &'static str),
}

impl Line {
    /// A line that MemCloud alone has.
    pub(super) fn own(what: impl Into<String>, decimals: usize, runs: Vec<f64>) -> Self {
        let mut all: Vec<_> = Kind::ALL.iter().map(|_| Vec::new()).collect();
        all[Kind::MemCloud as usize] = runs;
        Self::new(what, decimals, all)
    }

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
        let over = |other: Option<f64>| Some(ours? / other?);
        match self {
            Mark::AtMost(limit, kind) => {
                Judgement::at_most(limit, over(line.figure(kind)), format!("of {}", kind.name()))
            }
            Mark::AtLeast(limit, kind) => {
                Judgement::at_least(limit, over(line.figure(kind)), format!("of {}", kind.name()))
            }
            Mark::Below(limit) => Judgement::below(limit, ours),
            Mark::AtMostOwn(limit, own, name) => Judgement::at_most(limit, over(own), format!("of {name}")),
            Mark::AtLeastOwn(limit, own, name) => Judgement::at_least(limit, over(own), format!("of {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_judged_by_medians() {
        let runs = [10.0, 20.0, 30.0, 50.0, 25.0].map(|figure| vec![figure * 9.0, figure, figure / 9.0]);
        let judge = |mark: Mark| {
            let line = Line::new("a row", 1, runs.to_vec()).mark(mark);
            let judgement = line.judgements()[0].clone();
            (judgement.value.unwrap(), judgement.reached.unwrap())
        };
        assert_eq!(judge(Mark::AtMost(2.5, Kind::Tcp)), (2.5, true));
        assert_eq!(judge(Mark::AtMost(0.4, Kind::Rsync)), (0.5, false));
        assert_eq!(judge(Mark::AtLeast(1.3, Kind::OpenSsl)), (1.25, false));
        assert_eq!(judge(Mark::Below(25.0)), (25.0, false));
        assert_eq!(judge(Mark::AtMostOwn(1.2, Some(20.0), "its own")), (1.25, false));
        assert_eq!(judge(Mark::AtLeastOwn(1.2, Some(20.0), "its own")), (1.25, true));
    }

    #[test]
    fn a_mark_without_its_figures_is_not_judged() {
        let line = Line::own("a row", 1, vec![1.0]).mark(Mark::AtMost(1.0, Kind::Scp));
        assert_eq!(line.judgements()[0].reached, None);
        let line = Line::own("a row", 1, vec![1.0]).mark(Mark::AtLeastOwn(1.0, None, "nothing"));
        assert_eq!(line.judgements()[0].reached, None);
    }
}
