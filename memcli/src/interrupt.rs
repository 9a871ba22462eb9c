//! Ctrl-C and SIGTERM, for commands that have something to put in order or to say.
//!
//! Other commands end by the signal itself, as programs do.

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Failure, Outcome};

/// Runs a command until it ends or the person at the keyboard ends it; then its future is dropped, which cancels what
/// it asked of the node and removes its temporary file.
pub(crate) async fn unless_interrupted<T>(
    note: &str,
    command: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    let watch =
        |kind| signal(kind).map_err(|error| Failure::Other(format!("cannot watch for signals: {error}")));
    let (mut interrupt, mut terminate) = (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
    tokio::select! {
        outcome = command => outcome,
        _ = interrupt.recv() => Err(Failure::Interrupted(format!("interrupted: {note}"))),
        _ = terminate.recv() => Err(Failure::Interrupted(format!("ended: {note}"))),
    }
}
