//! Budget, use and resident memory after each phase, beside the bounds, and what notes take.

use std::fmt::Write as _;

use serde::Serialize;
use xtask::size::MIB;

use super::notes::{self, Noted};

/// By how much of the budget, and by how much more, resident memory may be above what it stands for.
const SLACK_PART: f64 = 0.1;
const SLACK_BYTES: u64 = 64 * MIB;

/// What a phase leaves behind, and so what its resident memory is measured by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// The node is full: the budget and the slack.
    Full,
    /// Some was freed: no bound, for what is freed at random leaves gaps in every page.
    Between,
    /// All was freed: what the node still uses and the slack.
    Free,
}

/// What was seen after a phase.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Seen {
    what: String,
    phase: Phase,
    keys: u64,
    used_bytes: u64,
    resident_bytes: u64,
    /// The most resident bytes that are within the bound; none where there is no bound.
    bound_bytes: Option<u64>,
    within: Option<bool>,
}

/// All phases.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Report {
    budget_bytes: u64,
    phases: Vec<Seen>,
    notes: Vec<Noted>,
}

impl Report {
    pub(super) fn new(budget_bytes: u64, notes: Vec<Noted>) -> Self {
        Self {
            budget_bytes,
            phases: Vec::new(),
            notes,
        }
    }

    /// Adds a phase.
    pub(super) fn add(&mut self, what: &str, phase: Phase, keys: u64, used: u64, resident: u64) {
        let slack = (self.budget_bytes as f64 * SLACK_PART) as u64 + SLACK_BYTES;
        let bound = match phase {
            Phase::Full => Some(self.budget_bytes + slack),
            Phase::Between => None,
            Phase::Free => Some(used + slack),
        };
        self.phases.push(Seen {
            what: what.to_owned(),
            phase,
            keys,
            used_bytes: used,
            resident_bytes: resident,
            bound_bytes: bound,
            within: bound.map(|bound| resident <= bound),
        });
    }

    /// The table in Markdown, in MiB.
    pub(super) fn render(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        let mut out = format!("A budget of {:.0} MiB.\n\n", mib(self.budget_bytes));
        out.push_str(
            "| phase | keys | used, MiB | resident, MiB | resident to budget | resident to used | bound, MiB | |\n|---|",
        );
        out.push_str(&"---:|".repeat(6));
        out.push_str("---|\n");
        for seen in &self.phases {
            let resident = seen.resident_bytes as f64;
            let _ = write!(
                out,
                "| {} | {} | {:.0} | {:.0} | {:.2} |",
                seen.what,
                seen.keys,
                mib(seen.used_bytes),
                mib(seen.resident_bytes),
                resident / self.budget_bytes as f64,
            );
            let _ = match seen.used_bytes {
                0 => write!(out, " |"),
                used => write!(out, " {:.2} |", resident / used as f64),
            };
            let _ = match seen.bound_bytes.zip(seen.within) {
                None => writeln!(out, " | |"),
                Some((bound, within)) => {
                    let verdict = if within { "within" } else { "above" };
                    writeln!(out, " {:.0} | {verdict} |", mib(bound))
                }
            };
        }
        let judged = self.phases.iter().filter_map(|seen| seen.within);
        let within = judged.clone().filter(|&within| within).count();
        let _ = writeln!(out, "\n{within} of {} bounds kept.\n", judged.count());
        out.push_str(&notes::render(&self.notes));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_a_tenth_of_the_budget_and_64_mib() {
        let mut report = Report::new(1000 * MIB, Vec::new());
        report.add("full", Phase::Full, 10, 999 * MIB, 1164 * MIB);
        report.add("half freed", Phase::Between, 5, 500 * MIB, 1164 * MIB);
        report.add("full again", Phase::Full, 10, 999 * MIB, 1165 * MIB);
        report.add("all freed", Phase::Free, 0, 0, 164 * MIB);
        report.add("all freed again", Phase::Free, 0, 2 * MIB, 167 * MIB);
        let within: Vec<_> = report.phases.iter().map(|seen| seen.within).collect();
        assert_eq!(within, [Some(true), None, Some(false), Some(true), Some(false)]);
        let text = report.render();
        assert!(
            text.contains("| full again | 10 | 999 | 1165 | 1.17 | 1.17 | 1164 | above |\n"),
            "{text}"
        );
        assert!(
            text.contains("| half freed | 5 | 500 | 1164 | 1.16 | 2.33 | | |\n"),
            "{text}"
        );
        assert!(
            text.contains("| all freed | 0 | 0 | 164 | 0.16 | | 164 | within |\n"),
            "{text}"
        );
        assert!(text.contains("\n2 of 4 bounds kept.\n"), "{text}");
    }
}
