//! The live screen in a terminal: a question that arrives is seen at once, and one that is no more says so.

use std::time::{Duration, Instant};

use memproto::ErrorCode;
use memproto::control::{ConsentDecision, ConsentRequest, ConsentState, ConsentWait, PeerState};
use memsdk::MemCloud;
use tokio::time::MissedTickBehavior;

use super::WAIT_STEP;
use super::decide;
use super::dialog::{Dialog, Effect};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::Signals;
use crate::keyboard::Keyboard;
use crate::output::printable;
use crate::panel::Panel;

/// How often the times on the screen go on.
const TICK: Duration = Duration::from_secs(1);

/// Asks about each node that waits, and waits for others, until the person ends it.
pub(super) async fn ask_about_all(cloud: &MemCloud, quota: Option<u64>, context: &Context) -> Outcome {
    let mut signals = Signals::watch()?;
    let mut screen = Screen {
        cloud,
        context,
        dialog: Dialog::new(quota),
        panel: Panel::default(),
        told: Instant::now(),
    };
    // Asked before the keyboard is taken: a node that does not answer must not leave a strange terminal behind.
    let first = cloud.wait_consent(ConsentWait::default()).await?;
    let mut known_revision = first.revision;
    let mut keyboard = Keyboard::open()?;
    screen.set(first).await?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wait = wait_for_others(cloud, known_revision);
        tokio::pin!(wait);
        let state = loop {
            tokio::select! {
                state = &mut wait => break state?,
                key = keyboard.next() => match key {
                    Some(key) if screen.press(key).await? => return Ok(()),
                    Some(_) => {}
                    None => return Err(interrupted("the terminal is gone")),
                },
                _ = ticks.tick(), if screen.dialog.current().is_some() => screen.draw(),
                how = signals.next() => return Err(interrupted(how)),
            }
        };
        known_revision = state.revision;
        screen.set(state).await?;
    }
}

/// Waits until others wait than at this revision, however long that takes.
async fn wait_for_others(cloud: &MemCloud, revision: u64) -> Outcome<ConsentState> {
    loop {
        let wait = ConsentWait {
            known_revision: Some(revision),
            timeout_ms: WAIT_STEP.as_millis() as u64,
        };
        let state = cloud.wait_consent(wait).await?;
        if state.revision != revision {
            return Ok(state);
        }
    }
}

fn interrupted(how: &str) -> Failure {
    Failure::Interrupted(format!("{how}: what was not answered stays open"))
}

struct Screen<'a> {
    cloud: &'a MemCloud,
    context: &'a Context,
    dialog: Dialog,
    panel: Panel,
    /// When the node told who waits.
    told: Instant,
}

impl Screen<'_> {
    async fn set(&mut self, state: ConsentState) -> Outcome {
        let effect = self.dialog.set_requests(state.requests);
        self.told = Instant::now();
        if let Effect::Gone(request) = effect {
            let why = why_gone(self.cloud, &request).await;
            self.panel.wipe();
            self.context.output.note(&why);
        }
        self.draw();
        Ok(())
    }

    /// Does what a key means. Returns whether the person is done.
    async fn press(&mut self, key: crate::keyboard::Key) -> Outcome<bool> {
        match self.dialog.press(key) {
            Effect::Draw | Effect::Gone(_) => {}
            Effect::Decide(decision) => self.decide(decision).await?,
            Effect::End => return Ok(true),
            Effect::Interrupt => {
                self.panel.wipe();
                return Err(interrupted("interrupted"));
            }
        }
        self.draw();
        Ok(false)
    }

    async fn decide(&mut self, decision: ConsentDecision) -> Outcome {
        self.panel.wipe();
        match decide(self.cloud, decision, self.context).await {
            // It may have gone while the person thought; that must not keep the others waiting.
            Err(Failure::Api(error)) if error.code == ErrorCode::UnknownPeer => {
                self.context.output.note(&error.message);
            }
            // Otherwise it still waits, and is on the screen again.
            Err(Failure::Api(error)) => {
                self.context.output.note(&error.message);
                return Ok(());
            }
            other => other?,
        }
        self.dialog.answered();
        Ok(())
    }

    fn draw(&mut self) {
        self.panel.draw(&self.dialog.lines(self.told.elapsed()));
    }
}

/// Why a question is no more, as far as the node knows.
async fn why_gone(cloud: &MemCloud, request: &ConsentRequest) -> String {
    let name = printable(&request.name);
    // Where the node does not answer, the next look at the questions says so.
    let peers = cloud.peers().await.unwrap_or_default();
    let peer = peers.into_iter().find(|peer| peer.id == Some(request.id));
    let because = match peer {
        Some(peer) => match (peer.state, peer.last_error) {
            (PeerState::Connected | PeerState::WaitingForTheirConsent, _) => {
                "it was let in from elsewhere".to_owned()
            }
            (PeerState::WaitingForOurConsent, _) => "it asks anew, with another code".to_owned(),
            (_, Some(error)) => error,
            _ => "it went away".to_owned(),
        },
        None => "it went away".to_owned(),
    };
    format!("'{name}' ({}) no longer asks: {because}", request.id.short())
}
