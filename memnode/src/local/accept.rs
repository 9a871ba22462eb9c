//! Accepting connections of programs, whatever socket they come through.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How long to wait where the system has no file descriptor for another connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How often the log tells that it still has none: whoever opens too many connections does not write the log full.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// Accepts connections and begins their sessions until `stop` is cancelled. Returns the sessions that have not ended.
pub(super) async fn accept_until<C>(
    stop: &CancellationToken,
    poll_accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<C>>,
    begin: impl Fn(C, &mut JoinSet<()>),
) -> JoinSet<()> {
    let mut sessions = JoinSet::new();
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return sessions,
            Some(ended) = sessions.join_next() => {
                if let Err(panic) = ended {
                    error!(%panic, "a session failed");
                }
                continue;
            }
            accepted = poll_fn(&poll_accept) => accepted,
        };
        match accepted {
            Ok(connection) => begin(connection, &mut sessions),
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) {
                    warn!(%error, "cannot accept a connection: those that wait are served when others end");
                    warned = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
