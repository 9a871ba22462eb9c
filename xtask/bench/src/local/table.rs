//! The report as Markdown.

use std::fmt::Write as _;

use super::Report;
use crate::table;

/// A sentence on how it was measured, the table, and how many marks are reached.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = format!(
        "Medians of {} alternating runs of {} ms each on {} cores",
        report.runs, report.run_ms, report.cores
    );
    if let Some(cpus) = report.cpus {
        let _ = write!(out, ", kept to the processors {cpus}");
    }
    if let Some(threads) = report.client_threads {
        let _ = write!(out, ", {threads} threads for many clients");
    }
    out.push_str(if report.quick {
        ". A quick run: only to see that all works.\n\n"
    } else {
        ".\n\n"
    });
    table::render("Unix socket", report.lines, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_how_it_was_measured() {
        let report = Report {
            runs: 5,
            run_ms: 500,
            cores: 2,
            cpus: Some("0"),
            client_threads: None,
            quick: false,
            lines: &[],
        };
        let text = render(&report);
        assert!(
            text.starts_with("Medians of 5 alternating runs of 500 ms each"),
            "{text}"
        );
        assert!(text.contains("kept to the processors 0.\n"), "{text}");
    }
}
