//! Waiting for other questions than those that somebody knows of: behind a live screen, and behind notifications.

use std::time::Duration;

use memproto::control::{ConsentState, ConsentWait};

use super::Peers;
use super::config::WAIT_MAX;
use super::consent::ConsentLimits;
use super::wire::now;

impl Peers {
    /// Who waits for the answer of the person at this machine, with the number that changes with them.
    pub fn consent_state(&self) -> ConsentState {
        let trusted = self.trust.list();
        let default = self.config.default_grant_bytes;
        // Both under one lock, so that the number is that of the list.
        let state = self.state();
        ConsentState {
            revision: ConsentLimits::revision(&state.table, self.config.incarnation),
            requests: self
                .consent_limits()
                .requests(&state.table, &trusted, default, now()),
        }
    }

    /// Waits until others wait than at the revision that the caller knows, or the time is over. At most [`WAIT_MAX`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn consent_wait(&self, wait: ConsentWait) -> ConsentState {
        let mut changed = self.changed.subscribe();
        let timeout = tokio::time::sleep(Duration::from_millis(wait.timeout_ms).min(WAIT_MAX));
        tokio::pin!(timeout);
        while Some(self.consent_revision()) == wait.known_revision
            && !timeout.is_elapsed()
            && !self.stopping.is_cancelled()
        {
            tokio::select! {
                _ = changed.changed() => {}
                () = &mut timeout => {}
                () = self.stopping.cancelled() => {}
            }
        }
        self.consent_state()
    }

    fn consent_revision(&self) -> u64 {
        ConsentLimits::revision(&self.state().table, self.config.incarnation)
    }
}
