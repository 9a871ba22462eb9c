//! What the rest of the node and its person ask about peers, and the answers that a person gives.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use memproto::NodeId;
use memproto::control::{
    ConsentAnswer, ConsentDecision, ConsentRequest, ConsentWarning, PeerInfo, PeerState, PeerWait,
    TrustedDevice,
};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::{Consent, Goodbye};

use super::config::WAIT_MAX;
use super::entry::{Ended, Entry, Grant};
use super::link::PeerLink;
use super::resolve::{Candidate, resolve};
use super::wire::now;
use super::{Peers, link};
use crate::trust::TrustError;

impl Peers {
    /// The links over which requests may pass.
    pub fn connected(&self) -> Vec<Arc<PeerLink>> {
        self.state()
            .table
            .links()
            .filter(|slot| slot.agreed)
            .map(|slot| Arc::clone(&slot.link))
            .collect()
    }

    /// Whether there is any link over which requests may pass.
    pub fn any_connected(&self) -> bool {
        self.agreed_links.load(Ordering::Acquire) > 0
    }

    /// The link to a peer, where requests may pass over it.
    pub fn link(&self, id: NodeId) -> Option<Arc<PeerLink>> {
        let state = self.state();
        let slot = state.table.get(id)?.link.as_ref().filter(|slot| slot.agreed)?;
        Some(Arc::clone(&slot.link))
    }

    /// The peer that a name, an id or a prefix of an id means.
    ///
    /// # Errors
    /// `UnknownPeer`; `AmbiguousPeer` with the matches.
    pub fn resolve(&self, name: &str) -> ApiResult<NodeId> {
        let state = self.state();
        resolve(name, state.table.iter().map(candidate))
    }

    /// The link to the peer that a name, an id or a prefix of an id means.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); `PeerUnreachable`, `ConsentPending` or `Denied` with what to do next.
    pub fn resolve_link(&self, name: &str) -> ApiResult<Arc<PeerLink>> {
        let id = self.resolve(name)?;
        let state = self.state();
        let entry = state.table.get(id).ok_or_else(|| link::unreachable(name))?;
        match &entry.link {
            Some(slot) if slot.agreed => Ok(Arc::clone(&slot.link)),
            _ => Err(no_link(entry)),
        }
    }

    /// The name of a peer, for messages: the first digits of its id where it is not known.
    pub fn name_of(&self, id: NodeId) -> String {
        self.state()
            .table
            .get(id)
            .map_or_else(|| id.short(), |entry| entry.name.clone())
    }

    /// Peers whose agreed link broke: what only they hold is out of reach, not gone.
    pub fn unreachable(&self) -> Vec<NodeId> {
        self.state().table.unreachable()
    }

    /// All known peers, in the order of their names, and the addresses that are being dialled.
    pub fn list(&self) -> Vec<PeerInfo> {
        let mut peers: Vec<PeerInfo> = {
            let state = self.state();
            let known = state.table.iter().map(|entry| self.render(entry));
            known
                .chain(
                    state
                        .dialling
                        .values()
                        .map(|address| PeerInfo::named(address, PeerState::Connecting)),
                )
                .collect()
        };
        peers = peers.into_iter().map(|info| self.with_lent(info)).collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        peers
    }

    /// Waits until a peer's state is another one than the caller knows, or the time is over. At most [`WAIT_MAX`].
    ///
    /// # Errors
    /// `UnknownPeer`, also where the peer is forgotten meanwhile; `AmbiguousPeer`.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait(&self, request: PeerWait) -> ApiResult<PeerInfo> {
        let id = self.resolve(&request.peer)?;
        let mut changed = self.changed.subscribe();
        let timeout = tokio::time::sleep(Duration::from_millis(request.timeout_ms).min(WAIT_MAX));
        tokio::pin!(timeout);
        loop {
            let Some(info) = self.info(id) else {
                return Err(self.forgotten(&request.peer));
            };
            if info.state != request.known_state || timeout.is_elapsed() || self.stopping.is_cancelled() {
                return Ok(info);
            }
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = &mut timeout => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    /// Ends the link to a peer, and the attempts to get one, until somebody connects again.
    ///
    /// # Errors
    /// `UnknownPeer`; `AmbiguousPeer`.
    pub fn disconnect(&self, name: &str) -> ApiResult<PeerInfo> {
        let id = self.resolve(name)?;
        match self.any_link(id) {
            Some(link) => self.end_link(&link, Ended::Released, Goodbye::Disconnected, None),
            None => self.state().table.release(id),
        }
        self.touch();
        self.info(id).ok_or_else(|| self.forgotten(name))
    }

    /// Peers that wait for the answer of the person at this machine, the oldest first.
    pub fn consent_requests(&self) -> Vec<ConsentRequest> {
        let trusted = self.trust.list();
        let default = self.config.default_grant_bytes;
        self.consent_limits()
            .requests(&self.state().table, &trusted, default, now())
    }

    /// Carries out the answer of the person at this machine. Returns the question that it answers.
    ///
    /// # Errors
    /// `UnknownPeer` where nobody of this name waits; `AmbiguousPeer`; `Internal` where the trust could not be kept, in which
    /// case the peer still waits.
    pub fn decide(&self, decision: ConsentDecision) -> ApiResult<ConsentRequest> {
        let ConsentDecision {
            peer,
            answer,
            quota_bytes,
        } = decision;
        let waiting = self.consent_requests();
        let state = PeerState::WaitingForOurConsent;
        let candidates = waiting.iter().map(|request| Candidate {
            id: request.id,
            name: &request.name,
            state,
        });
        let id = resolve(&peer, candidates).map_err(|error| match error.code {
            ErrorCode::UnknownPeer => nobody_waits(&peer),
            _ => error,
        })?;
        let request = waiting.into_iter().find(|request| request.id == id);
        let (Some(request), Some(link)) = (request, self.any_link(id)) else {
            return Err(nobody_waits(&peer));
        };
        let quota_bytes = quota_bytes.unwrap_or(self.config.default_grant_bytes);
        match answer {
            ConsentAnswer::Allow => self.allow(
                &link,
                Grant {
                    quota_bytes,
                    named: true,
                    keep: false,
                },
            ),
            ConsentAnswer::Trust => {
                self.trust_peer(link.facts(), quota_bytes)
                    .map_err(|error| not_kept(&error))?;
                self.allow(
                    &link,
                    Grant {
                        quota_bytes,
                        named: true,
                        keep: false,
                    },
                );
            }
            ConsentAnswer::Deny => {
                link.set_consent(Consent::Denied);
                let error = "you said no to it".to_owned();
                self.end_link(&link, Ended::Denied, Goodbye::Denied, Some(error));
            }
        }
        Ok(request)
    }

    /// The devices that are trusted for good.
    pub fn trusted(&self) -> Vec<TrustedDevice> {
        self.trust.list()
    }

    /// Whether any device is trusted for good.
    pub fn trusts_any(&self) -> bool {
        self.trust.trusts_any()
    }

    /// Trusts a device no longer, and ends a link to it at once. What it stored here is the service's business.
    ///
    /// # Errors
    /// `UnknownPeer` where no trusted device is meant; `AmbiguousPeer`; `Internal` where the file was not written.
    pub fn distrust(&self, name: &str) -> ApiResult<TrustedDevice> {
        let id = self.resolve_trusted(name)?;
        let removed = self.trust.remove(id).map_err(|error| not_kept(&error))?;
        if let Some(link) = self.any_link(id) {
            let error = "you trust it no longer".to_owned();
            self.end_link(&link, Ended::Released, Goodbye::Denied, Some(error));
        }
        self.state().table.distrust(id);
        self.touch();
        removed.ok_or_else(|| self.forgotten(name))
    }

    pub(super) fn allow(&self, link: &Arc<PeerLink>, grant: Grant) {
        let facts = link.facts();
        if let Some(slot) = self.state().table.slot_mut(facts.id, facts.serial) {
            slot.ours = Some(grant);
        }
        link.set_consent(self.agreement(facts.id, grant));
        self.touch();
    }

    /// The link of a peer, agreed or not.
    pub(super) fn any_link(&self, id: NodeId) -> Option<Arc<PeerLink>> {
        self.state()
            .table
            .get(id)?
            .link
            .as_ref()
            .map(|slot| Arc::clone(&slot.link))
    }

    pub(super) fn state_of(&self, id: NodeId) -> PeerState {
        self.state()
            .table
            .get(id)
            .map_or(PeerState::Discovered, Entry::state)
    }

    pub(super) fn info(&self, id: NodeId) -> Option<PeerInfo> {
        let info = {
            let state = self.state();
            self.render(state.table.get(id)?)
        };
        Some(self.with_lent(info))
    }

    /// All of a peer's line but what the service knows.
    pub(super) fn render(&self, entry: &Entry<Arc<PeerLink>>) -> PeerInfo {
        let slot = entry.link.as_ref();
        let agreed = slot.filter(|slot| slot.agreed);
        let (sent_bytes, received_bytes) = slot.map_or((0, 0), |slot| slot.link.traffic());
        let round_trip = agreed
            .map(|slot| slot.link.round_trip())
            .filter(|time| !time.is_zero());
        PeerInfo {
            id: Some(entry.id),
            name: entry.name.clone(),
            address: entry.address(),
            state: entry.state(),
            round_trip_us: round_trip.map(|time| time.as_micros().try_into().unwrap_or(u64::MAX)),
            borrowed: agreed.map(|slot| slot.link.borrowed()),
            lent: None,
            sent_bytes,
            received_bytes,
            trusted: entry.trusted,
            trusts_us: agreed.map(|slot| matches!(slot.theirs, Some(Consent::Agreed { for_good: true, .. }))),
            code: slot.map(|slot| slot.facts.code.clone()),
            last_error: entry.last_error.clone(),
            last_error_code: entry.last_error.as_ref().map(|_| entry.last_code),
            warning: self.warning(entry),
        }
    }

    /// What is odd about a peer: whoever has a trusted device's name, connected or only seen, and a trusted one with a new name.
    fn warning(&self, entry: &Entry<Arc<PeerLink>>) -> Option<ConsentWarning> {
        if self.trust.has_namesake(entry.id, &entry.name) {
            return Some(ConsentWarning::KnownNameNewKey);
        }
        (entry.trusted && entry.renamed && entry.link.is_some()).then_some(ConsentWarning::KnownKeyNewName)
    }

    /// Adds what the service knows. Not under the lock of the table: the service may ask about peers.
    pub(super) fn with_lent(&self, mut info: PeerInfo) -> PeerInfo {
        if let (Some(id), Some(events)) = (info.id, self.events.get()) {
            let lent = events.lent(id);
            // What a peer stored stays while it is away, and is asked about when trust is withdrawn.
            let counts = info.state == PeerState::Connected || lent.used_bytes > 0;
            info.lent = counts.then_some(lent);
        }
        info
    }

    fn forgotten(&self, name: &str) -> ApiError {
        ApiError::new(
            ErrorCode::UnknownPeer,
            format!(
                "'{}' is not known any more: `memcli peer list` shows who is",
                name.escape_debug()
            ),
        )
    }
}

fn candidate(entry: &Entry<Arc<PeerLink>>) -> Candidate<'_> {
    Candidate {
        id: entry.id,
        name: &entry.name,
        state: entry.state(),
    }
}

/// Why no request may pass to a known peer, and what to do about it.
fn no_link(entry: &Entry<Arc<PeerLink>>) -> ApiError {
    let name = &entry.name;
    let because = entry
        .last_error
        .as_ref()
        .map(|error| format!(" ({error})"))
        .unwrap_or_default();
    let (code, message) = match entry.state() {
        PeerState::WaitingForTheirConsent => (
            ErrorCode::ConsentPending,
            format!("the person at '{name}' has not agreed yet: `memcli consent` there shows the question"),
        ),
        PeerState::WaitingForOurConsent => (
            ErrorCode::ConsentPending,
            format!("'{name}' waits for your consent: answer with `memcli consent`"),
        ),
        PeerState::Denied => (
            ErrorCode::Denied,
            format!(
                "there is no link to '{name}': one of you said no{because}. `memcli connect {name}` asks again"
            ),
        ),
        PeerState::Lost => (
            ErrorCode::PeerUnreachable,
            format!("'{name}' is out of reach and is dialled again and again{because}"),
        ),
        PeerState::Connecting => (
            ErrorCode::PeerUnreachable,
            format!("'{name}' is being dialled: try again in a moment"),
        ),
        PeerState::Discovered | PeerState::Connected => (
            ErrorCode::PeerUnreachable,
            format!("'{name}' is known but not connected{because}: `memcli connect {name}`"),
        ),
    };
    ApiError::new(code, message)
}

fn nobody_waits(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::UnknownPeer,
        format!(
            "nobody called '{}' waits for an answer: `memcli consent` lists who does",
            name.escape_debug()
        ),
    )
}

pub(super) fn not_kept(error: &TrustError) -> ApiError {
    ApiError::new(ErrorCode::Internal, error.to_string())
}
