//! Ctrl-C and SIGTERM, for commands that have something to put in order or to say.
//!
//! Other commands end by the signal itself, as programs do.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Failure, Outcome};

/// Runs a command until it ends or the person at the keyboard ends it; then its future is dropped, which cancels what
/// it asked of the node and removes its temporary file.
pub(crate) async fn unless_interrupted<T>(
    note: &str,
    command: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    let mut signals = Signals::watch()?;
    tokio::select! {
        outcome = command => outcome,
        how = signals.next() => Err(Failure::Interrupted(format!("{how}: {note}"))),
    }
}

/// Runs what goes on until somebody ends it, which is its usual end.
pub(crate) async fn until_interrupted(command: impl Future<Output = Outcome>) -> Outcome {
    let mut signals = Signals::watch()?;
    tokio::select! {
        outcome = command => outcome,
        _ = signals.next() => Ok(()),
    }
}

/// Watches for both.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on neither ends the program by itself.
    pub(crate) fn watch() -> Outcome<Self> {
        let watch =
            |kind| signal(kind).map_err(|error| Failure::Other(format!("cannot watch for signals: {error}")));
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    /// Waits for either, and says which it was.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "ended",
        }
    }
}
