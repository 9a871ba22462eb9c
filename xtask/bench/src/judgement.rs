//! A mark beside what was measured.

use serde::Serialize;

/// Whether a mark is reached.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Judgement {
    /// The mark in words.
    pub(crate) mark: String,
    /// The figure in the terms of the mark: a ratio, or the figure itself.
    pub(crate) value: Option<f64>,
    /// What `value` is, such as `of Redis`; empty where it is the figure itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) of: String,
    /// Whether it is reached; `None` where a figure is missing.
    pub(crate) reached: Option<bool>,
}

impl Judgement {
    /// A cost at most so many times another one.
    pub(crate) fn at_most(limit: f64, value: Option<f64>, of: impl Into<String>) -> Self {
        let reached = value.map(|value| value <= limit);
        Self::new(format!("at most {limit}"), value, of, reached)
    }

    /// A rate at least so many times another one.
    pub(crate) fn at_least(limit: f64, value: Option<f64>, of: impl Into<String>) -> Self {
        let reached = value.map(|value| value >= limit);
        Self::new(format!("at least {limit}"), value, of, reached)
    }

    /// A figure below this one.
    pub(crate) fn below(limit: f64, value: Option<f64>) -> Self {
        let reached = value.map(|value| value < limit);
        Self::new(format!("below {limit}"), value, "", reached)
    }

    fn new(mark: String, value: Option<f64>, of: impl Into<String>, reached: Option<bool>) -> Self {
        Self {
            mark,
            value,
            of: of.into(),
            reached,
        }
    }

    /// The same mark in other words.
    pub(crate) fn worded(mut self, mark: impl Into<String>) -> Self {
        self.mark = mark.into();
        self
    }

    /// `0.82 of memcached`; none where the figure itself is judged, which stands in the table anyway.
    pub(crate) fn ratio(&self) -> Option<String> {
        let value = self.value.filter(|_| !self.of.is_empty())?;
        Some(format!("{value:.2} {}", self.of))
    }

    /// `at least 1.1: missed`.
    pub(crate) fn verdict(&self) -> String {
        let verdict = match self.reached {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "not measured",
        };
        format!("{}: {verdict}", self.mark)
    }
}
