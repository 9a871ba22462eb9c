//! Ctrl-C and SIGTERM for chores that have something to clean up.
//!
//! A chore that called [`catch`] is no longer ended by these signals. Everything that waits in this crate asks
//! [`check`], so the chore returns from `main` with an error, and what it holds is dropped.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Signals belong to the whole process, and so does the word that one came.
static CAUGHT: AtomicBool = AtomicBool::new(false);

/// Catches SIGINT, SIGTERM and SIGHUP from now on.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn catch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime for signals")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    // The thread lives as long as the program and owns nothing that needs an end.
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                    }
                    CAUGHT.store(true, Ordering::Release);
                }
            });
        })?;
    Ok(())
}

/// Whether a signal came since [`catch`].
pub fn is_caught() -> bool {
    CAUGHT.load(Ordering::Acquire)
}

/// Passes as long as no signal came.
///
/// # Errors
/// When one came.
pub fn check() -> Result<()> {
    if is_caught() {
        bail!("interrupted");
    }
    Ok(())
}
