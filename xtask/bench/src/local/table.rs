//! The lines as a table in Markdown, as it stands in `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::Report;
use super::line::Line;
use super::marks::Judgement;
use crate::servers::Kind;

/// The report as Markdown: a sentence on how it was measured, the table, and how many marks are reached.
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
    out.push_str("| Unix socket |");
    for kind in Kind::ALL {
        let _ = write!(out, " {} |", kind.name());
    }
    out.push_str(" MemCloud to the others | mark |\n|---|");
    out.push_str(&"---:|".repeat(Kind::ALL.len()));
    out.push_str("---|---|\n");
    for line in report.lines {
        render_line(line, &mut out);
    }
    let judged: Vec<_> = report
        .lines
        .iter()
        .flat_map(Line::judgements)
        .filter_map(|judgement| judgement.reached)
        .collect();
    let reached = judged.iter().filter(|&&reached| reached).count();
    let _ = writeln!(out, "\n{reached} of {} marks reached.", judged.len());
    out
}

fn render_line(line: &Line, out: &mut String) {
    let _ = write!(out, "| {} |", line.what());
    for kind in Kind::ALL {
        let _ = match line.figure(kind) {
            Some(figure) => write!(out, " {figure:.*} |", line.decimals()),
            None => write!(out, " |"),
        };
    }
    let judgements = line.judgements();
    let ratios = judgements.iter().filter_map(ratio).collect::<Vec<_>>();
    let marks = judgements.iter().map(verdict).collect::<Vec<_>>();
    for cell in [ratios.join(", "), marks.join("; ")] {
        let _ = match cell.as_str() {
            "" => write!(out, " |"),
            cell => write!(out, " {cell} |"),
        };
    }
    out.push('\n');
}

/// `0.82 of memcached`.
fn ratio(judgement: &Judgement) -> Option<String> {
    let value = judgement.value.filter(|_| !judgement.of.is_empty())?;
    Some(format!("{value:.2} {}", judgement.of))
}

/// `at least 1.1: missed`.
fn verdict(judgement: &Judgement) -> String {
    let verdict = match judgement.reached {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "not measured",
    };
    format!("{}: {verdict}", judgement.mark)
}

#[cfg(test)]
mod tests {
    use super::super::marks::Mark;
    use super::*;

    #[test]
    fn a_line_has_its_figures_ratios_and_marks() {
        let figures = [10.04, 11.0, 15.0, 20.0, 16.0].map(|figure| vec![figure]);
        let line = Line::new("SET 1 KiB, p50 us", 1, figures.to_vec())
            .mark(Mark::AtMost(1.15, Kind::EchoBlocking))
            .mark(Mark::Below(60.0));
        let mut out = String::new();
        render_line(&line, &mut out);
        assert_eq!(
            out,
            "| SET 1 KiB, p50 us | 10.0 | 11.0 | 15.0 | 20.0 | 16.0 | 1.59 of echo, blocking | at most 1.15: missed; below 60: reached |\n"
        );

        out.clear();
        let figures = [vec![], vec![], vec![7.0], vec![], vec![]];
        render_line(&Line::new("plain", 0, figures.to_vec()), &mut out);
        assert_eq!(out, "| plain | | | 7 | | | | |\n");
    }

    #[test]
    fn the_report_counts_the_marks_that_were_judged() {
        let one = |figure: f64| Line::new("a", 0, vec![vec![figure]; 5]).mark(Mark::Below(2.0));
        let missing = Line::new("a", 0, vec![vec![]; 5]).mark(Mark::Below(2.0));
        let report = Report {
            runs: 5,
            run_ms: 500,
            cores: 2,
            cpus: Some("0"),
            client_threads: None,
            quick: false,
            lines: &[one(1.0), one(2.0), missing],
        };
        let text = render(&report);
        assert!(text.ends_with("\n1 of 2 marks reached.\n"), "{text}");
        assert!(text.contains("kept to the processors 0.\n"), "{text}");
    }
}
