//! One figure of each thing that is measured, over several runs, beside its marks.

use serde::{Serialize, Serializer};

use crate::figures::median;
use crate::judgement::Judgement;

/// What is measured side by side: the columns of a table.
pub(crate) trait Column: Copy + PartialEq + Serialize + 'static {
    /// All, in the order of the columns.
    const ALL: &'static [Self];

    /// The head of the column.
    fn name(self) -> &'static str;
}

/// A line of a table.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Line<K> {
    what: String,
    /// The figures of all runs, in the order of [`Column::ALL`]; none where something was not measured.
    runs: Vec<(K, Vec<f64>)>,
    decimals: usize,
    judgements: Vec<Judgement>,
}

impl<K: Column> Line<K> {
    /// `what` has the unit; `runs` are in the order of [`Column::ALL`].
    pub(crate) fn new(what: impl Into<String>, decimals: usize, runs: Vec<Vec<f64>>) -> Self {
        debug_assert_eq!(runs.len(), K::ALL.len());
        Self {
            what: what.into(),
            runs: K::ALL.iter().copied().zip(runs).collect(),
            decimals,
            judgements: Vec::new(),
        }
    }

    /// The same line of runs that have several figures.
    pub(crate) fn of<T>(
        what: impl Into<String>,
        decimals: usize,
        runs: &[Vec<T>],
        figure: impl Fn(&T) -> f64,
    ) -> Self {
        let runs = runs.iter().map(|runs| runs.iter().map(&figure).collect());
        Self::new(what, decimals, runs.collect())
    }

    /// With a mark that was looked at.
    pub(crate) fn judged(mut self, judgement: Judgement) -> Self {
        self.judgements.push(judgement);
        self
    }

    /// What it says, with the unit.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// How many digits of the figures behind the point mean something.
    pub(crate) fn decimals(&self) -> usize {
        self.decimals
    }

    /// The median of the runs of a column.
    pub(crate) fn figure(&self, column: K) -> Option<f64> {
        let (_, runs) = self.runs.iter().find(|(of, _)| *of == column)?;
        median(runs)
    }

    /// The marks and whether they are reached.
    pub(crate) fn judgements(&self) -> &[Judgement] {
        &self.judgements
    }
}

impl<K: Column> Serialize for Line<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Figures<'a, K> {
            server: K,
            median: Option<f64>,
            runs: &'a [f64],
        }
        #[derive(Serialize)]
        struct Shown<'a, K> {
            what: &'a str,
            servers: Vec<Figures<'a, K>>,
            marks: &'a [Judgement],
        }
        let servers = self.runs.iter().filter(|(_, runs)| !runs.is_empty());
        let shown = Shown {
            what: &self.what,
            servers: servers
                .map(|(server, runs)| Figures {
                    server: *server,
                    median: median(runs),
                    runs,
                })
                .collect(),
            marks: &self.judgements,
        };
        shown.serialize(serializer)
    }
}
