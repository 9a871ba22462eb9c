//! All that came out of a bench of several hosts, as people and programs read it.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::line::{Column, Line};
use crate::table;

/// See the module's documentation.
#[derive(Debug, Serialize)]
#[serde(bound = "")]
pub(crate) struct Report<'a, K: Column> {
    runs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ms: Option<u64>,
    cores: usize,
    quick: bool,
    lines: &'a [Line<K>],
}

impl<'a, K: Column> Report<'a, K> {
    /// `time` is how long each run asked, where that is the same for all.
    pub(crate) fn new(runs: u32, time: Option<Duration>, quick: bool, lines: &'a [Line<K>]) -> Result<Self> {
        Ok(Self {
            runs,
            run_ms: time.map(|time| time.as_millis() as u64),
            cores: std::thread::available_parallelism()?.get(),
            quick,
            lines,
        })
    }

    /// Prints it: as JSON, or as a table under this head.
    pub(crate) fn print(&self, head: &str, as_json: bool) -> Result<()> {
        if as_json {
            println!("{}", serde_json::to_string_pretty(self)?);
        } else {
            print!("{}", self.render(head));
        }
        Ok(())
    }

    /// A sentence on how it was measured, the table, and how many marks are reached.
    fn render(&self, head: &str) -> String {
        let of = self
            .run_ms
            .map(|ms| format!(" of {ms} ms each"))
            .unwrap_or_default();
        let mut out = format!(
            "Medians of {} alternating runs{of}; all hosts share {} cores.{}\n\n",
            self.runs,
            self.cores,
            if self.quick {
                " A quick run: only to see that all works."
            } else {
                ""
            }
        );
        table::render(head, self.lines, &mut out);
        out
    }
}
