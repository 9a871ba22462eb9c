//! Lines as a table in Markdown, as it stands in `docs/benchmarks.md`.

use std::fmt::Write as _;

use crate::judgement::Judgement;
use crate::line::{Column, Line};

/// The table of these lines under this head, and how many of their marks are reached.
pub(crate) fn render<K: Column>(head: &str, lines: &[Line<K>], out: &mut String) {
    let _ = write!(out, "| {head} |");
    for column in K::ALL {
        let _ = write!(out, " {} |", column.name());
    }
    out.push_str(" MemCloud to the others | mark |\n|---|");
    out.push_str(&"---:|".repeat(K::ALL.len()));
    out.push_str("---|---|\n");
    for line in lines {
        render_line(line, out);
    }
    let judged: Vec<_> = lines
        .iter()
        .flat_map(Line::judgements)
        .filter_map(|judgement| judgement.reached)
        .collect();
    let reached = judged.iter().filter(|&&reached| reached).count();
    let _ = writeln!(out, "\n{reached} of {} marks reached.", judged.len());
}

fn render_line<K: Column>(line: &Line<K>, out: &mut String) {
    let _ = write!(out, "| {} |", line.what());
    for &column in K::ALL {
        let _ = match line.figure(column) {
            Some(figure) => write!(out, " {figure:.*} |", line.decimals()),
            None => write!(out, " |"),
        };
    }
    let judgements = line.judgements();
    let ratios = judgements.iter().filter_map(Judgement::ratio).collect::<Vec<_>>();
    let marks = judgements.iter().map(Judgement::verdict).collect::<Vec<_>>();
    for cell in [ratios.join(", "), marks.join("; ")] {
        let _ = match cell.as_str() {
            "" => write!(out, " |"),
            cell => write!(out, " {cell} |"),
        };
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Kind;

    #[test]
    fn a_line_has_its_figures_ratios_and_marks() {
        let figures = [10.04, 11.0, 15.0, 20.0, 16.0].map(|figure| vec![figure]);
        let line = Line::<Kind>::new("SET 1 KiB, p50 us", 1, figures.to_vec())
            .judged(Judgement::at_most(1.15, Some(1.594), "of echo, blocking"))
            .judged(Judgement::below(60.0, Some(16.0)));
        let mut out = String::new();
        render_line(&line, &mut out);
        assert_eq!(
            out,
            "| SET 1 KiB, p50 us | 10.0 | 11.0 | 15.0 | 20.0 | 16.0 | 1.59 of echo, blocking | at most 1.15: missed; below 60: reached |\n"
        );

        out.clear();
        let figures = [vec![], vec![], vec![7.0], vec![], vec![]];
        render_line(&Line::<Kind>::new("plain", 0, figures.to_vec()), &mut out);
        assert_eq!(out, "| plain | | | 7 | | | | |\n");
    }

    #[test]
    fn the_marks_that_were_judged_are_counted() {
        let line = |figure: Option<f64>| {
            Line::<Kind>::new("a", 0, vec![vec![]; 5]).judged(Judgement::below(2.0, figure))
        };
        let mut text = String::new();
        render("head", &[line(Some(1.0)), line(Some(2.0)), line(None)], &mut text);
        assert!(text.starts_with("| head | echo, blocking |"), "{text}");
        assert!(text.ends_with("\n1 of 2 marks reached.\n"), "{text}");
    }
}
