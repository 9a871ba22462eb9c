//! What the links of this node ask of it: the service answers requests, the table takes note of consent and of ends.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use memproto::control::GrantUse;
use memproto::error::ErrorCode;
use memproto::peer::pairing::PairMessage;
use memproto::peer::{Consent, Goodbye, LinkError, PeerReply, PeerRequest};
use tracing::info;

use super::Peers;
use super::driver::{Host, LinkEnd};
use super::entry::{Ended, Ending, Grant, Purpose};
use super::link::PeerLink;
use crate::body::Body;

impl Host for Arc<Peers> {
    fn handle(
        &self,
        link: &Arc<PeerLink>,
        request: PeerRequest,
        body: Body,
    ) -> BoxFuture<'static, (PeerReply, Body)> {
        self.events()
            .handle_peer_request(link.id(), link.incarnation(), request, body)
    }

    fn answered(&self, link: &Arc<PeerLink>) {
        if let Some(slot) = self.state().table.slot_mut(link.id(), link.facts().serial) {
            slot.theirs.get_or_insert(Consent::Waiting);
            // Whoever tries a code does so at once.
            if slot.purpose == Purpose::Unknown {
                slot.purpose = Purpose::Consent;
            }
        }
        self.touch();
    }

    fn pair(&self, link: &Arc<PeerLink>, message: PairMessage) {
        Peers::pair(self, link, message);
    }

    fn their_consent(&self, link: &Arc<PeerLink>, consent: Consent) {
        let was_agreed = {
            let mut state = self.state();
            let slot = state.table.slot_mut(link.id(), link.facts().serial);
            slot.is_some_and(|slot| {
                slot.theirs = Some(consent);
                slot.agreed
            })
        };
        if let Consent::Agreed { quota_bytes, .. } = consent {
            link.note_borrowed(GrantUse {
                quota_bytes,
                ..link.borrowed()
            });
            if was_agreed {
                info!(peer = %link.id(), name = link.name(), quota_bytes, "a peer changed its grant");
                self.events().borrowing_changed(link.id());
            }
        }
        self.touch();
    }

    fn agreed(&self, link: &Arc<PeerLink>, quota_bytes: u64) {
        let facts = link.facts();
        link.note_borrowed(GrantUse {
            quota_bytes,
            used_bytes: 0,
        });
        let ours = {
            let mut told = self.told();
            let ours = {
                let mut state = self.state();
                let ours = state
                    .table
                    .slot_mut(facts.id, facts.serial)
                    .and_then(|slot| slot.ours);
                state.table.agreed(facts.id, facts.serial);
                ours
            };
            let Some(ours) = ours else { return };
            if told.insert(facts.id, facts.serial).is_some() {
                self.events().peer_disconnected(facts.id);
            }
            let lent = link.lent_quota_bytes();
            self.events().peer_connected(facts.id, facts.incarnation, lent);
            ours
        };
        info!(peer = %facts.id, name = facts.name, address = %facts.address, quota_bytes, "connected to a peer");
        self.touch();
        // The grant may have changed since.
        let quota_bytes = link.lent_quota_bytes();
        self.remember(facts, Grant { quota_bytes, ..ours });
        self.touch();
    }

    fn ended(&self, link: &Arc<PeerLink>, end: &LinkEnd) {
        let theirs = {
            let mut state = self.state();
            state
                .table
                .slot_mut(link.id(), link.facts().serial)
                .and_then(|slot| slot.theirs)
        };
        info!(peer = %link.id(), name = link.name(), reason = %end, "the link to a peer ended");
        if matches!(
            end,
            LinkEnd::Link(LinkError::ClosedByPeer(Goodbye::SharedIdentity))
        ) {
            self.note_twin(None, Vec::new());
        }
        self.remove(link, ending(link.name(), end, theirs));
        self.ensure_redial(link.id());
    }
}

/// What the end of a link means for the peer.
fn ending(name: &str, end: &LinkEnd, theirs: Option<Consent>) -> Ending {
    let by_peer = match end {
        LinkEnd::Link(LinkError::ClosedByPeer(goodbye)) => Some(*goodbye),
        _ => None,
    };
    let denied = theirs == Some(Consent::Denied) || by_peer == Some(Goodbye::Denied);
    let (ended, error) = match by_peer {
        _ if denied => (
            Ended::Denied,
            Some(format!(
                "the person at '{name}' said no, or trusts this node no longer"
            )),
        ),
        Some(Goodbye::Stopping) => (Ended::Lost, Some(format!("'{name}' was stopped"))),
        Some(Goodbye::Disconnected) => (
            Ended::Released,
            Some(format!("the person at '{name}' ended the connection")),
        ),
        Some(Goodbye::ConsentExpired) => (
            Ended::Released,
            Some(format!(
                "nobody at '{name}' answered: run `memcli connect` again when somebody is there"
            )),
        ),
        Some(Goodbye::Busy) => (
            Ended::Lost,
            Some(format!(
                "'{name}' has too many links, or too many questions for its person: try later"
            )),
        ),
        Some(Goodbye::Replaced) => (Ended::Lost, None),
        Some(Goodbye::SharedIdentity) => (
            Ended::Lost,
            Some(format!(
                "'{name}' is connected to another node that has the identity of this one"
            )),
        ),
        _ => (Ended::Lost, Some(end.to_string())),
    };
    Ending {
        ended,
        data_is_gone: by_peer == Some(Goodbye::Stopping),
        replaced: by_peer == Some(Goodbye::Replaced),
        code: match by_peer {
            _ if denied => ErrorCode::Denied,
            Some(Goodbye::ConsentExpired) => ErrorCode::Timeout,
            Some(Goodbye::Busy) => ErrorCode::Busy,
            _ => ErrorCode::PeerUnreachable,
        },
        error,
    }
}
