//! A few lines at the end of the terminal's text that are drawn anew in place, on stderr. What stands above stays.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::builder::styling::{AnsiColor, Style};
use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthChar;

use crate::output::stderr_takes_color;

/// The size where the terminal does not tell it.
const SIZE_DEFAULT: (u16, u16) = (80, 24);

const CHOSEN: Style = AnsiColor::Cyan.on_default().bold();
const WARNING: Style = AnsiColor::Red.on_default().bold();

/// A line of a panel, without control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// As it is.
    Plain(String),
    /// Where the person stands in a list.
    Chosen(String),
    /// To be noticed.
    Warning(String),
}

impl Line {
    /// The text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Line::Plain(text) | Line::Chosen(text) | Line::Warning(text) => text,
        }
    }

    fn style(&self) -> Style {
        match self {
            Line::Plain(_) => Style::new(),
            Line::Chosen(_) => CHOSEN,
            Line::Warning(_) => WARNING,
        }
    }
}

/// What is drawn in place. It is wiped away when dropped.
#[derive(Debug, Default)]
pub(crate) struct Panel {
    drawn: usize,
}

impl Panel {
    /// Draws the lines where the last ones stood.
    pub(crate) fn draw(&mut self, lines: &[Line]) {
        let (width, height) = size();
        let mut text = self.wiping();
        // What scrolled out of sight could not be drawn over: the last lines, with the question itself, are shown.
        let shown = &lines[lines.len().saturating_sub(height.saturating_sub(1).into())..];
        let takes_color = stderr_takes_color();
        for line in shown {
            let style = if takes_color { line.style() } else { Style::new() };
            let cut = cut(line.text(), width.saturating_sub(1).into());
            writeln!(text, "{style}{cut}{style:#}").expect("writing to a String cannot fail");
        }
        self.drawn = shown.len();
        show(&text);
    }

    /// Takes it off the screen, so that what is printed next stands in its place.
    pub(crate) fn wipe(&mut self) {
        show(&self.wiping());
        self.drawn = 0;
    }

    /// The sequences that go back to the first line and clear what stands from there on (ECMA-48, 8.3.35 and 8.3.39).
    fn wiping(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}F\x1b[J"),
        }
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        self.wipe();
    }
}

fn show(text: &str) {
    // Past anstream, which without colours would drop the moves of the cursor, too. Where stderr is gone, nobody sees a panel.
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

fn size() -> (u16, u16) {
    let told = tcgetwinsize(io::stderr()).map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let or = |told: u16, default| if told == 0 { default } else { told };
    (or(told.0, SIZE_DEFAULT.0), or(told.1, SIZE_DEFAULT.1))
}

/// A text of at most so many columns; an ellipsis stands for what was cut off.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let width = |c: char| c.width().unwrap_or(0);
    if text.chars().map(width).sum::<usize>() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let mut kept: String = text
        .chars()
        .take_while(|&c| {
            let fits = width(c) <= left;
            left = left.saturating_sub(width(c));
            fits
        })
        .collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_the_columns_that_it_takes() {
        assert_eq!(cut("workshop", 8), "workshop");
        assert_eq!(cut("workshop", 7), "worksh…");
        assert_eq!(cut("机器机器", 8), "机器机器");
        assert_eq!(cut("机器机器", 7), "机器机…");
        assert_eq!(cut("机器机器", 6), "机器…", "half a character is none");
        assert_eq!(
            cut("e\u{301}e\u{301}e", 2),
            "e\u{301}…",
            "a mark stays with its letter"
        );
        assert_eq!(cut("x", 0), "…");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn a_panel_that_was_not_drawn_wipes_nothing() {
        assert_eq!(Panel { drawn: 0 }.wiping(), "");
        assert_eq!(Panel { drawn: 3 }.wiping(), "\x1b[3F\x1b[J");
    }
}
