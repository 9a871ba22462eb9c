//! What the program prints, and where: results to stdout, everything else to stderr, `--json` for programs.
//!
//! Nothing else in this crate writes to stdout, but [`crate::value`], which copies raw bytes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use memproto::BlockId;
use serde::Serialize;

use crate::cli::{ColorWhen, Globals};
use crate::exit::{Failure, Outcome};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default();

/// How this run prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// What the options ask for.
    pub(crate) fn new(globals: &Globals) -> Self {
        Self {
            json: globals.json,
            quiet: globals.quiet,
        }
    }

    /// Whether one JSON value is wanted.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person sits before the screen, so that bars, spinners and questions make sense.
    pub(crate) fn is_interactive(self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Whether there is somebody to ask: a keyboard and a screen.
    pub(crate) fn can_ask(self) -> bool {
        self.is_interactive() && io::stdin().is_terminal()
    }

    /// The answer to a question: JSON, or text for people. Printed with `--quiet` too.
    pub(crate) fn show(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Outcome {
        if self.json {
            write_json(value)
        } else {
            write_text(&text())
        }
    }

    /// The news that something was done: JSON, or a line that `--quiet` leaves out.
    pub(crate) fn confirm(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Outcome {
        if self.quiet && !self.json {
            Ok(())
        } else {
            self.show(value, text)
        }
    }

    /// The news that something with an id was made: JSON, a line, or with `--quiet` the id alone, for scripts.
    pub(crate) fn made(self, value: &impl Serialize, id: BlockId, text: impl FnOnce() -> String) -> Outcome {
        self.show(value, || if self.quiet { id.to_string() } else { text() })
    }

    /// Something worth knowing beside the result, on stderr.
    pub(crate) fn note(self, text: &str) {
        if !self.json && !self.quiet {
            // Where stderr is closed nobody wants the note.
            let _ = writeln!(anstream::stderr(), "{NOTE}note:{NOTE:#} {}", printable(text));
        }
    }

    /// A line on stderr as it is: a summary, a step.
    pub(crate) fn progress_line(self, text: &str) {
        if !self.json && !self.quiet {
            // As in `note`.
            let _ = writeln!(anstream::stderr(), "{}", printable(text));
        }
    }

    /// Why the command failed, on stderr: a line for people or `{"error":{"code","message"}}`.
    pub(crate) fn failure(self, failure: &Failure) {
        // Where stderr is closed the exit code has to do.
        let _ = match failure {
            Failure::OutputClosed => Ok(()),
            _ if self.json => writeln!(
                io::stderr(),
                "{}",
                error_json(failure.code(), &failure.to_string())
            ),
            Failure::Interrupted(text) => writeln!(anstream::stderr(), "{}", printable(text)),
            _ => {
                let text = failure.to_string();
                writeln!(
                    anstream::stderr(),
                    "{ERROR}error:{ERROR:#} {}",
                    printable_lines(&text)
                )
            }
        };
    }
}

/// Chooses colours for the whole process: `--color`, else NO_COLOR and the terminal.
pub(crate) fn set_color(when: ColorWhen) {
    match when {
        ColorWhen::Auto => anstream::ColorChoice::Auto,
        ColorWhen::Always => anstream::ColorChoice::Always,
        ColorWhen::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Whether stderr takes colours, for parts that do not ask [`anstream`].
pub(crate) fn stderr_takes_color() -> bool {
    !matches!(
        anstream::AutoStream::choice(&io::stderr()),
        anstream::ColorChoice::Never
    )
}

/// An error as JSON: `{"error":{"code":"not_found","message":"..."}}`.
pub(crate) fn error_json(code: &str, message: &str) -> String {
    serde_json::json!({ "error": { "code": code, "message": message } }).to_string()
}

/// One JSON value and a newline on stdout.
pub(crate) fn write_json(value: &impl Serialize) -> Outcome {
    let mut text = serde_json::to_vec(value)
        .map_err(|error| Failure::Other(format!("cannot write the answer as JSON: {error}")))?;
    text.push(b'\n');
    write_raw(&text)
}

/// Lines on stdout, with a newline behind the last.
fn write_text(text: &str) -> Outcome {
    let mut stdout = anstream::stdout().lock();
    let newline = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    write!(stdout, "{text}{newline}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::writing("to stdout", &error))
}

/// Bytes on stdout, untouched.
pub(crate) fn write_raw(bytes: &[u8]) -> Outcome {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::writing("to stdout", &error))
}

/// Text from elsewhere (a peer's name, a key, a message) without what could take over a terminal: control characters
/// and those that turn the direction of writing appear as escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// As [`printable`], but line ends stay.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c != '\n' && is_unsafe(c))
}

fn escape(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            write!(escaped, "{}", c.escape_default()).expect("writing to a String cannot fail");
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters, and the marks of Unicode's bidirectional algorithm (UAX 9, table 4).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_move_the_cursor() {
        assert_eq!(printable("NodeB"), "NodeB");
        assert_eq!(printable("grün 机器"), "grün 机器");
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("\u{202e}gnp.exe"), "\\u{202e}gnp.exe");
        assert_eq!(printable_lines("a\nb\u{7}"), "a\nb\\u{7}");
    }

    #[test]
    fn errors_have_one_form_in_json() {
        assert_eq!(
            error_json("not_found", "no key 'a'"),
            r#"{"error":{"code":"not_found","message":"no key 'a'"}}"#
        );
    }
}
