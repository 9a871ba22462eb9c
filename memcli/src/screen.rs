//! A screen of its own that is drawn again and again in place, and leaves the terminal as it was.
//!
//! The sequences are those of ECMA-48 and of xterm's private modes, which every terminal of today understands.

use std::io::{self, IsTerminal};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::exit::Outcome;
use crate::interrupt::until_interrupted;
use crate::output::{Output, write_raw};

/// The alternate screen, without cursor, and lines cut at the right border instead of broken.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";

/// Takes [`OPEN`] back.
const CLOSE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Where the terminal does not tell its height.
const ROWS_DEFAULT: u16 = 24;

/// An open screen; closed when dropped.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Opens a screen where stdout is a terminal that can do it.
    pub(crate) fn open() -> Outcome<Option<Self>> {
        if is_dumb() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        write_raw(OPEN.as_bytes())?;
        Ok(Some(Self(())))
    }

    /// Shows a text instead of what was there; what has no room below is left out.
    pub(crate) fn draw(&self, text: &str) -> Outcome {
        let rows = tcgetwinsize(io::stdout()).map_or(ROWS_DEFAULT, |size| size.ws_row);
        let rows = if rows == 0 { ROWS_DEFAULT } else { rows };
        write_raw(frame(text, rows.into()).as_bytes())
    }
}

/// Asks again and again and shows the answers until somebody ends it: in place on a terminal, as `brief` writes them, else one below the
/// other, as `full` does. What a screen showed last stays behind when it is closed.
pub(crate) async fn follow<T: Serialize>(
    output: Output,
    interval: Duration,
    ask: impl AsyncFn() -> memsdk::Result<T>,
    brief: impl Fn(&T) -> String,
    full: impl Fn(&T) -> String,
) -> Outcome {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    // The screen is opened when signals are watched, and closed with this future.
    let ended = until_interrupted(async {
        let screen = if output.is_json() { None } else { Screen::open()? };
        loop {
            ticks.tick().await;
            let answer = ask().await?;
            match &screen {
                Some(screen) => {
                    screen.draw(&brief(&answer))?;
                    last = Some(answer);
                }
                None => output.show(&answer, || full(&answer) + "\n\n")?,
            }
        }
    })
    .await;
    if let Some(answer) = last {
        output.show(&answer, || brief(&answer))?;
    }
    ended
}

/// Whether the terminal does not say that it understands sequences.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        let _ = write_raw(CLOSE.as_bytes());
    }
}

/// The text from the upper left corner on. Each line clears what stood behind it, so that nothing flickers.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().take(rows).collect();
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fills_the_screen_and_scrolls_nothing() {
        assert_eq!(frame("a\nb\n", 24), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(frame("a\nb\nc", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(frame("", 24), "\x1b[H\x1b[K\x1b[J");
    }

    #[test]
    fn closing_takes_back_all_that_opening_did() {
        for mode in ["?1049", "?25", "?7"] {
            let set = |text: &str| {
                (
                    text.contains(&format!("\x1b[{mode}h")),
                    text.contains(&format!("\x1b[{mode}l")),
                )
            };
            let ((on, off), back) = (set(OPEN), set(CLOSE));
            assert!(on != off && back == (off, on), "{mode}");
        }
    }
}
