//! What becomes of a link: its place in the table, consent, agreement, and its end. Tells the service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memproto::NodeId;
use memproto::control::TrustedDevice;
use memproto::error::{ApiError, ErrorCode};
use memproto::peer::{Consent, Goodbye, Link, LinkConfig};
use tracing::{info, warn};

use super::driver::{self, Host};
use super::entry::{Ended, Ending, Grant, LinkFacts};
use super::handshake::Shaken;
use super::link::PeerLink;
use super::transport::Connection;
use super::wire::{Wire, now};
use super::{CONSENT_LOOK_EVERY, Peers, State, pairing};
use crate::hex;
use crate::patience::Patience;
use crate::trust::TrustError;

impl Peers {
    /// Makes a link of a finished handshake. `ours` is the consent that a person gave for it; trust is one as well.
    ///
    /// # Errors
    /// Why there is no place for it. The other side was told, or never learned who this side is.
    pub(super) fn adopt(
        self: &Arc<Self>,
        stream: Connection,
        shaken: Shaken,
        address: SocketAddr,
        ours: Option<Grant>,
    ) -> Result<Arc<PeerLink>, Goodbye> {
        let facts = self.facts(&shaken, address);
        let now = now();
        let ours = self.consent_from(ours, facts.id);
        let machine = Link::new(shaken.established, LinkConfig::default(), now);
        let wire = Wire::new(machine, stream, shaken.last_message);
        let link = PeerLink::new(facts.clone(), wire);
        let placed = self.place(&link, ours, now);
        match &placed {
            Ok(Some(ours)) => link.set_consent(self.agreement(facts.id, *ours)),
            Ok(None) => self.log_question(&facts),
            // The last message was not sent: the other side does not know whom it would hear.
            Err(reason) if facts.we_dialled => return Err(*reason),
            Err(reason) => link.close(*reason),
        }
        let host: Arc<dyn Host> = Arc::new(Arc::clone(self));
        self.spawn(driver::drive(
            Arc::clone(&link),
            host,
            self.config.goodbye_timeout,
            Patience::for_link(self.config.look_again, Arc::clone(&self.looking)),
            self.surroundings().clone(),
        ));
        self.touch();
        placed.map(|_| link)
    }

    /// What the other side is told of a consent of this one.
    pub(super) fn agreement(&self, id: NodeId, ours: Grant) -> Consent {
        Consent::Agreed {
            quota_bytes: ours.quota_bytes,
            for_good: ours.keep || self.trust.by_id(id).is_some(),
        }
    }

    fn log_question(&self, facts: &LinkFacts) {
        let LinkFacts {
            id, name, address, ..
        } = facts;
        if self.trust.has_namesake(*id, name) {
            warn!(
                peer = %id, name, %address,
                "a peer waits for consent that has the name of a trusted device, but another key: see `memcli consent`"
            );
        } else {
            info!(peer = %id, name, %address, "a peer waits for consent: see `memcli consent`");
        }
    }

    /// The consent of this side to a peer, now that it is known who is there: what a person just said, and trust.
    fn consent_from(&self, ours: Option<Grant>, id: NodeId) -> Option<Grant> {
        let trusted = self.trust.by_id(id).map(|device| device.quota_bytes);
        match (ours, trusted) {
            (Some(ours), Some(quota_bytes)) if !ours.named => Some(Grant { quota_bytes, ..ours }),
            (None, Some(quota_bytes)) => Some(Grant {
                quota_bytes,
                named: false,
                keep: false,
            }),
            (ours, _) => ours,
        }
    }

    /// The name under which a trusted device was known, where it has another one now.
    fn known_name(&self, facts: &LinkFacts) -> Option<String> {
        let known = self.trust.by_id(facts.id)?.name;
        (known != facts.name).then_some(known)
    }

    fn facts(&self, shaken: &Shaken, address: SocketAddr) -> LinkFacts {
        let established = &shaken.established;
        LinkFacts {
            serial: self.next_serial(),
            id: established.peer.node_id,
            public_key: established.peer.public_key,
            name: established.peer.name.clone(),
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
            incarnation: established.peer.incarnation,
            we_dialled: established.we_dialled,
            code: established.code.clone(),
            offered_quota_bytes: established.peer.offered_quota_bytes,
        }
    }

    /// Gives a link its place, and ends the one that was there. Returns the consent of this side.
    fn place(
        &self,
        link: &Arc<PeerLink>,
        ours: Option<Grant>,
        now: Instant,
    ) -> Result<Option<Grant>, Goodbye> {
        let facts = link.facts();
        let renamed = self.known_name(facts).is_some();
        let (ours, replaced) = {
            let mut state = self.state();
            if state.stopped {
                return Err(Goodbye::Stopping);
            }
            // Whoever replaces a link that waits takes over its question.
            let waits_already = state
                .table
                .get(facts.id)
                .is_some_and(|entry| entry.link.is_some());
            if ours.is_none()
                && !waits_already
                && !self.consent_limits().has_room(&state.table, facts.address)
            {
                return Err(Goodbye::Busy);
            }
            let replaced = state.table.admit(facts.clone(), ours, Arc::clone(link), now)?;
            if let Some(entry) = state.table.get_mut(facts.id) {
                entry.renamed = renamed;
            }
            let State { table, pairing, .. } = &mut *state;
            let slot = table.slot_mut(facts.id, facts.serial);
            if let Some(slot) = slot {
                slot.purpose = pairing::purpose_of(pairing, facts.we_dialled, now);
                (slot.ours, replaced)
            } else {
                (None, replaced)
            }
        };
        if let Some(old) = replaced {
            old.link.close(Goodbye::Replaced);
        }
        Ok(ours)
    }

    /// Ends a link here and now, and tells the service.
    pub(super) fn end_link(&self, link: &PeerLink, ended: Ended, reason: Goodbye, error: Option<String>) {
        let ending = Ending {
            ended,
            data_is_gone: false,
            replaced: false,
            code: match reason {
                Goodbye::ConsentExpired => ErrorCode::Timeout,
                Goodbye::Denied => ErrorCode::Denied,
                _ => ErrorCode::PeerUnreachable,
            },
            error,
        };
        self.remove(link, ending);
        link.close(reason);
    }

    /// Takes a link out of the table, and tells the service where it knew of it.
    pub(super) fn remove(&self, link: &PeerLink, ending: Ending) {
        let (id, serial) = (link.id(), link.facts().serial);
        {
            let mut told = self.told();
            let mut state = self.state();
            state.table.ended(id, serial, ending, now());
            state.pairing.link_ended(serial);
            drop(state);
            if told.get(&id) == Some(&serial) {
                told.remove(&id);
                self.events().peer_disconnected(id);
            }
        }
        self.touch();
    }

    pub(super) fn events(&self) -> &dyn super::PeerEvents {
        self.events
            .get()
            .expect("links come up only after start() has set who is told")
            .as_ref()
    }

    /// Remembers why a peer was not reached.
    pub(super) fn note_error(&self, id: NodeId, error: &ApiError) {
        if let Some(entry) = self.state().table.get_mut(id) {
            entry.last_error = Some(error.message.clone());
            entry.last_code = error.code;
        }
        self.touch();
    }

    /// Sees to it that a trusted peer without a link is dialled, and at once where it was pausing.
    pub(super) fn ensure_redial(self: &Arc<Self>, id: NodeId) {
        let wake = {
            let mut state = self.state();
            if !state.table.get(id).is_some_and(super::entry::Entry::wants_dial) {
                return;
            }
            if let Some(wake) = state.redials.get(&id) {
                wake.notify_one();
                return;
            }
            let wake = Arc::new(tokio::sync::Notify::new());
            state.redials.insert(id, Arc::clone(&wake));
            wake
        };
        self.spawn(Arc::clone(self).redial(id, wake));
    }

    /// Whom to dial next for this peer, and how many attempts there were; `None` where the dialling is over.
    pub(super) fn next_redial(&self, id: NodeId) -> Option<(super::dialer::Target, u32)> {
        let mut state = self.state();
        let State { table, redials, .. } = &mut *state;
        match table.get_mut(id).filter(|entry| entry.wants_dial()) {
            Some(entry) => {
                let attempt = entry.attempts;
                entry.attempts = attempt.saturating_add(1);
                let (label, addresses) = (entry.name.clone(), entry.addresses());
                Some((
                    super::dialer::Target {
                        label,
                        id: Some(id),
                        addresses,
                        known_names_only: false,
                    },
                    attempt,
                ))
            }
            None => {
                redials.remove(&id);
                None
            }
        }
    }

    /// Ends the links whose question nobody answered.
    pub(super) async fn watch_consents(self: Arc<Self>) {
        let mut changed = self.changed.subscribe();
        loop {
            let limits = self.consent_limits();
            let (expired, next) = {
                let state = self.state();
                (
                    limits.expired(&state.table, now()),
                    limits.next_expiry(&state.table),
                )
            };
            for link in &expired {
                let error = format!(
                    "nobody here answered within {}",
                    humantime::format_duration(limits.timeout)
                );
                self.end_link(link, Ended::Released, Goodbye::ConsentExpired, Some(error));
            }
            if !expired.is_empty() {
                continue;
            }
            let next = next.unwrap_or_else(|| now() + CONSENT_LOOK_EVERY);
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Trusts the peer of a link for good.
    pub(super) fn trust_peer(&self, facts: &LinkFacts, quota_bytes: u64) -> Result<(), TrustError> {
        let known = self.trust.by_id(facts.id);
        let mut addresses = known
            .as_ref()
            .map(|device| device.addresses.clone())
            .unwrap_or_default();
        if facts.we_dialled {
            addresses.retain(|address| *address != facts.address);
            addresses.insert(0, facts.address);
        }
        let since_1970 = Duration::from_millis(self.surroundings().unix_ms());
        self.trust.upsert(TrustedDevice {
            id: facts.id,
            public_key: hex::encode(&facts.public_key),
            name: facts.name.clone(),
            quota_bytes,
            trusted_at_unix_secs: known.map_or(since_1970.as_secs(), |device| device.trusted_at_unix_secs),
            addresses,
        })?;
        self.state().table.trust(facts.id, &facts.name, &[]);
        Ok(())
    }

    /// Keeps what was learned of a peer in the file of trusted devices, where it is to be kept.
    pub(super) fn remember(&self, facts: &LinkFacts, ours: Grant) {
        let known = self.trust.by_id(facts.id);
        if let Some(known_as) = self.known_name(facts) {
            warn!(peer = %facts.id, name = facts.name, known_as, "a trusted device has another name than before");
        }
        let kept = match known {
            _ if ours.keep => self.trust_peer(facts, ours.quota_bytes),
            Some(_) if facts.we_dialled => self.trust.note_seen(facts.id, &facts.name, facts.address),
            Some(device) if device.name != facts.name => self.trust.upsert(TrustedDevice {
                name: facts.name.clone(),
                ..device
            }),
            _ => Ok(()),
        };
        if let Err(error) = kept {
            warn!(peer = %facts.id, %error, "what was learned of a trusted peer could not be kept");
            self.note_error(
                facts.id,
                &ApiError::new(
                    ErrorCode::Internal,
                    format!("the trust could not be kept: {error}"),
                ),
            );
        }
    }
}
