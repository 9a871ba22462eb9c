//! Bars and spinners on a terminal's stderr; nothing where stderr is no terminal, or with `--json` and `--quiet`.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::output::Output;
use crate::size::{show_rate, show_size};
use crate::value::Source;

const TICK: Duration = Duration::from_millis(100);

/// How often it is looked how far a transfer is that somebody else makes.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// The transfer of a value to the node: how far it is and how fast.
#[derive(Debug)]
pub(crate) struct Transfer {
    bar: ProgressBar,
    started: Instant,
}

impl Transfer {
    /// A transfer of this many bytes, where it is known.
    pub(crate) fn new(output: Output, size: Option<u64>) -> Self {
        let target = if output.is_interactive() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(size, target).with_style(transfer_style(size.is_some()));
        bar.enable_steady_tick(TICK);
        Self {
            bar,
            started: Instant::now(),
        }
    }

    /// The source as a reader that moves the bar. Of a file it yields as much as the file had when it was opened, so
    /// that one that grows meanwhile has a beginning and an end.
    pub(crate) fn reader(&self, source: Source) -> impl AsyncRead + Send + Unpin + use<> {
        let file = tokio::fs::File::from_std(source.file);
        self.bar
            .wrap_async_read(file.take(source.size.unwrap_or(u64::MAX)))
    }

    /// Moves the bar, and says beside it where the bytes go.
    pub(crate) fn set(&self, bytes: u64, where_to: &str) {
        self.bar.set_position(bytes);
        self.bar.set_message(where_to.to_owned());
    }

    /// Moves the bar by so many bytes.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Takes the bar off the screen and returns how much went in which time: `2.0 GiB in 3.1 s (660.6 MiB/s)`.
    pub(crate) fn finish(&self) -> String {
        self.bar.finish_and_clear();
        summary(self.bar.position(), self.started.elapsed())
    }
}

impl Drop for Transfer {
    /// Where the transfer failed, the error must not stand behind half a bar.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A spinner with a text, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// Shows the text: with a spinner on a terminal, as a line elsewhere.
    pub(crate) fn new(output: Output, text: &str) -> Self {
        if !output.is_interactive() {
            output.progress_line(text);
            return Self(ProgressBar::hidden());
        }
        let text = crate::output::printable(text).into_owned();
        let bar = ProgressBar::new_spinner().with_message(text);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn summary(bytes: u64, elapsed: Duration) -> String {
    format!(
        "{} in {:.1} s ({})",
        show_size(bytes),
        elapsed.as_secs_f64(),
        show_rate(bytes, elapsed)
    )
}

fn transfer_style(size_is_known: bool) -> ProgressStyle {
    let template = if size_is_known {
        "[{wide_bar:.}] {percent:>3} %  {at}/{of}  {rate}  {eta} left  {msg}"
    } else {
        "{spinner} {at}  {rate}  {elapsed}  {msg}"
    };
    ProgressStyle::with_template(template)
        .expect("the template is one of two constants, both tested")
        .progress_chars("=> ")
        .with_key("at", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // Writing to the bar's own String cannot fail.
            let _ = text.write_str(&show_size(state.pos()));
        })
        .with_key("of", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // As above.
            let _ = text.write_str(&show_size(state.len().unwrap_or(0)));
        })
        .with_key("rate", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // As above. The rate of the last seconds, not of the whole transfer: it shows a stall.
            let _ = write!(text, "{}/s", show_size(state.per_sec() as u64));
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_templates_are_valid() {
        transfer_style(true);
        transfer_style(false);
    }

    #[test]
    fn a_summary_says_how_much_how_long_how_fast() {
        assert_eq!(
            summary(2 << 30, Duration::from_secs(4)),
            "2.0 GiB in 4.0 s (512.0 MiB/s)"
        );
    }
}
