//! One figure of each server, over several runs.

use serde::{Serialize, Serializer};

use super::marks::{Judgement, Mark};
use crate::figures::median;
use crate::servers::Kind;

/// A line of the table.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Line {
    what: String,
    /// The figures of all runs, in the order of [`Kind::ALL`]; none where a server was not asked.
    runs: Vec<Vec<f64>>,
    decimals: usize,
    marks: Vec<Mark>,
}

impl Line {
    /// `what` has the unit; `runs` are in the order of [`Kind::ALL`].
    pub(super) fn new(what: impl Into<String>, decimals: usize, runs: Vec<Vec<f64>>) -> Self {
        debug_assert_eq!(runs.len(), Kind::ALL.len());
        Self {
            what: what.into(),
            runs,
            decimals,
            marks: Vec::new(),
        }
    }

    /// The same line of runs that have several figures.
    pub(super) fn of<T>(
        what: impl Into<String>,
        decimals: usize,
        runs: &[Vec<T>],
        figure: impl Fn(&T) -> f64,
    ) -> Self {
        let runs = runs.iter().map(|runs| runs.iter().map(&figure).collect());
        Self::new(what, decimals, runs.collect())
    }

    /// With a mark that MemCloud's figure is to reach.
    pub(super) fn mark(mut self, mark: Mark) -> Self {
        self.marks.push(mark);
        self
    }

    /// What it says, with the unit.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// How many digits of the figures behind the point mean something.
    pub(super) fn decimals(&self) -> usize {
        self.decimals
    }

    /// The median of a server's runs.
    pub(super) fn figure(&self, kind: Kind) -> Option<f64> {
        median(&self.runs[kind as usize])
    }

    /// The marks and whether they are reached.
    pub(super) fn judgements(&self) -> Vec<Judgement> {
        self.marks.iter().map(|mark| mark.judge(self)).collect()
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Figures<'a> {
            server: Kind,
            median: Option<f64>,
            runs: &'a [f64],
        }
        #[derive(Serialize)]
        struct Shown<'a> {
            what: &'a str,
            servers: Vec<Figures<'a>>,
            marks: Vec<Judgement>,
        }
        let servers = Kind::ALL
            .into_iter()
            .zip(&self.runs)
            .filter(|(_, runs)| !runs.is_empty());
        let shown = Shown {
            what: &self.what,
            servers: servers
                .map(|(server, runs)| Figures {
                    server,
                    median: median(runs),
                    runs,
                })
                .collect(),
            marks: self.judgements(),
        };
        shown.serialize(serializer)
    }
}
