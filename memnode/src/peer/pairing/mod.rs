//! Pairing: a code that one person reads out and another one types makes two nodes trust each other for good.
//!
//! The offering side opens an offer and waits for its outcome; the joining side finds the node whose code it is, and runs the
//! exchange of [`memproto::peer::pairing`] over its link to it. What decides about an offer is in `offers`, without I/O; this
//! file moves messages, and gives the consent of this side once the exchange has proved that the other one knows the code.

mod offers;

use std::sync::Arc;
use std::time::Instant;

use memproto::NodeId;
use memproto::control::{PairCodeShown, PairJoin, PairOffer, PairWait, PeerInfo};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::pairing::{
    Joiner, Offer, PairCode, PairMessage, PairRandom, PairRefusal, PairShare, Parties, Proof,
};
use memproto::peer::{Consent, Goodbye, Link};
use tokio::sync::oneshot;
use tracing::{info, warn};

pub(super) use offers::Pairing;

use super::Peers;
use super::connect::Attempt;
use super::dialer::{self, Dialled, Target};
use super::entry::{Ended, Grant, Purpose};
use super::link::PeerLink;
use super::wire::now;
use offers::{Guest, Outcome, Standing};

/// The machine of the offering side, kept while the proof is awaited.
pub(super) type Machine = Offer;

impl Peers {
    /// Offers a code. Whoever types it at another machine is trusted for good, with the grant that is named here, and
    /// trusts this node. An offer that was open before ends.
    ///
    /// # Errors
    /// `ShuttingDown`.
    pub fn offer_pairing(&self, request: &PairOffer) -> ApiResult<PairCodeShown> {
        if self.stopping.is_cancelled() {
            return Err(stopping());
        }
        let code = Arc::new(PairCode::new(
            self.identity.node_id(),
            self.surroundings().random_bytes(),
        ));
        let shown = PairCodeShown {
            number: self.next_serial(),
            code: code.show(),
            expires_in_secs: self.config.pair_timeout.as_secs(),
        };
        let expires_at = now() + self.config.pair_timeout;
        let grant = self.pairing_grant(request.quota_bytes);
        self.state().pairing.open(shown.number, code, grant, expires_at);
        info!(offer = shown.number, "a pairing code is offered");
        self.touch();
        Ok(shown)
    }

    /// Waits for the outcome of an offer, which lasts only as long as somebody waits for it.
    ///
    /// # Errors
    /// `Denied` where somebody tried another code or broke off: the code is used up. `Timeout` where it expired, `Busy` where
    /// another one took its place, `PeerUnreachable` where the link ended before both sides had agreed, `ShuttingDown`.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the offer.
    pub async fn wait_pairing(&self, wait: PairWait) -> ApiResult<PeerInfo> {
        let _withdrawal = Withdrawal {
            peers: self,
            number: wait.number,
        };
        let mut changed = self.changed.subscribe();
        let outcome = loop {
            let due = match self.state().pairing.look(wait.number, now()) {
                Standing::Ended(outcome) => break outcome,
                Standing::Until(due) => due,
            };
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(due.into()) => {}
                () = self.stopping.cancelled() => return Err(stopping()),
            }
        };
        match outcome {
            Outcome::Paired(guest) => self.both_trust(guest.id, &guest.name).await,
            outcome => Err(self.failed(&outcome)),
        }
    }

    /// Tries a code that was typed here, at the node that offers it. Then both sides trust each other for good.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no code, or this node's own; `UnknownPeer` where no node is known that may have made it,
    /// `AmbiguousPeer` where several are; `Denied` where the code is another one, or is offered no more; `Busy`; and all
    /// that dialling can end with.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up: the code is used where the exchange had begun.
    pub async fn join_pairing(self: &Arc<Self>, request: PairJoin) -> ApiResult<PeerInfo> {
        let code: PairCode = request
            .code
            .parse()
            .map_err(|error| ApiError::invalid(format!("{error}")))?;
        if self.stopping.is_cancelled() {
            return Err(stopping());
        }
        let link = self.link_for_pairing(&code, request.at.as_deref()).await?;
        let mut unpaired = Unpaired {
            peers: self,
            link: &link,
            is_paired: false,
        };
        if !code.is_of(link.id()) {
            return Err(ApiError::invalid(format!(
                "the code was not made by '{}', so it was not tried there: check its first three digits, or name another machine with --at",
                link.name()
            )));
        }
        self.exchange(&link, &code).await?;
        let grant = self.pairing_grant(request.quota_bytes);
        self.agree_for_good(&link, grant)?;
        unpaired.is_paired = true;
        info!(peer = %link.id(), name = link.name(), "paired with a node whose code was typed here");
        self.both_trust(link.id(), link.name()).await
    }

    /// A message of pairing came over a link.
    pub(super) fn pair(&self, link: &Arc<PeerLink>, message: PairMessage) {
        let serial = link.facts().serial;
        match message {
            PairMessage::Join(share) => self.offer_is_tried(link, &share),
            PairMessage::Proof(proof) => self.offer_is_proven(link, &proof),
            PairMessage::Answer(..) | PairMessage::Refuse(_) => {
                let waiter = self.state().pairing.waiter(serial);
                match waiter {
                    // Whoever gave up waiting has no use for it.
                    Some(waiter) => drop(waiter.send(message)),
                    None if matches!(message, PairMessage::Refuse(_)) => {
                        let was_tried = self.state().pairing.refused(serial);
                        if was_tried {
                            self.turn_away(link);
                        }
                    }
                    None => {}
                }
            }
        }
        self.touch();
    }

    fn offer_is_tried(&self, link: &Arc<PeerLink>, share: &PairShare) {
        let guest = Guest::from(link.facts());
        let serial = guest.serial;
        let code = {
            let mut state = self.state();
            let tried = state
                .pairing
                .try_code(guest, now(), self.config.pair_step_timeout);
            if let Some(slot) = state.table.slot_mut(link.id(), serial) {
                slot.purpose = Purpose::Pairing;
            }
            tried
        };
        // A peer may ask as often as it likes where no code is offered; that is not worth a line.
        if code.is_ok() {
            info!(peer = %link.id(), name = link.name(), address = %link.address(), "a pairing code is tried");
        }
        let parties = self.parties(link, false);
        let answered = code.and_then(|code| {
            let random = PairRandom::new(self.surroundings().random_bytes());
            Offer::answer(&code, &parties, &random, share).map_err(|_| {
                self.state().pairing.refused(serial);
                PairRefusal::WrongCode
            })
        });
        match answered {
            Ok((machine, answer)) => {
                self.state().pairing.answered(serial, machine);
                link.pair(answer);
            }
            Err(refusal) => {
                link.pair(PairMessage::Refuse(refusal));
                if refusal == PairRefusal::WrongCode {
                    self.turn_away(link);
                }
            }
        }
    }

    fn offer_is_proven(&self, link: &Arc<PeerLink>, proof: &Proof) {
        let guest = Guest::from(link.facts());
        let check = |machine: Offer| machine.finish(proof).is_ok();
        let proven = self.state().pairing.prove(guest, now(), check);
        match proven {
            Ok(grant) => {
                info!(peer = %link.id(), name = link.name(), "paired with a node that knew the code");
                if let Err(error) = self.agree_for_good(link, grant) {
                    warn!(peer = %link.id(), %error, "the trust could not be kept");
                }
            }
            Err(refusal) => {
                link.pair(PairMessage::Refuse(refusal));
                if refusal == PairRefusal::WrongCode {
                    self.turn_away(link);
                }
            }
        }
    }

    /// Ends the link of whoever did not know the code, unless both sides had agreed to it before. Otherwise its question would
    /// come up right when the person expects the one that they are pairing with.
    fn turn_away(&self, link: &Arc<PeerLink>) {
        warn!(peer = %link.id(), name = link.name(), address = %link.address(), "a wrong pairing code was tried");
        if !self.is_agreed_or_consented(link) {
            let error = "it did not know the pairing code".to_owned();
            self.end_link(link, Ended::Denied, Goodbye::Denied, Some(error));
        }
    }

    /// The link to the node whose code was typed.
    async fn link_for_pairing(
        self: &Arc<Self>,
        code: &PairCode,
        at: Option<&str>,
    ) -> ApiResult<Arc<PeerLink>> {
        let target = match at {
            Some(at) => match self.resolve(at) {
                Err(error) if error.code == ErrorCode::UnknownPeer && at.contains(':') => Target {
                    label: at.to_owned(),
                    id: None,
                    addresses: dialer::resolve_host(at).await?,
                    // The code proves more than a name.
                    known_names_only: false,
                },
                known => self.pairing_target(known?)?,
            },
            None => self.pairing_target(self.maker_of(code).await?)?,
        };
        if let Some(link) = target.id.and_then(|id| self.any_link(id)) {
            return Ok(link);
        }
        let _attempt = match target.id {
            Some(id) => Attempt::of_peer(self, id),
            None => Attempt::of_address(self, &target.label),
        };
        let _dialling = Dialling::begin(self);
        let dialled = tokio::select! {
            biased;
            dialled = self.dial(&target, None) => dialled?,
            () = self.stopping.cancelled() => return Err(stopping()),
        };
        match dialled {
            Dialled::Link(link) => Ok(link),
            Dialled::Already(id) => self
                .any_link(id)
                .ok_or_else(|| super::link::unreachable(&self.name_of(id))),
        }
    }

    fn pairing_target(&self, id: NodeId) -> ApiResult<Target> {
        let state = self.state();
        let entry = state
            .table
            .get(id)
            .ok_or_else(|| dialer::no_address(&id.short()))?;
        Ok(Target {
            label: entry.name.clone(),
            id: Some(id),
            addresses: entry.addresses(),
            known_names_only: false,
        })
    }

    /// The one known node that may have made a code. A node that was started a moment ago is waited for.
    async fn maker_of(&self, code: &PairCode) -> ApiResult<NodeId> {
        let mut changed = self.changed.subscribe();
        let deadline = tokio::time::sleep(self.config.pair_search_timeout);
        tokio::pin!(deadline);
        loop {
            let makers: Vec<(NodeId, String)> = {
                let state = self.state();
                let known = state.table.iter().filter(|entry| code.is_of(entry.id));
                known
                    .filter(|entry| entry.link.is_some() || !entry.addresses().is_empty())
                    .map(|entry| (entry.id, entry.name.clone()))
                    .collect()
            };
            match &makers[..] {
                [(id, _)] => return Ok(*id),
                [] if code.is_of(self.identity.node_id()) => {
                    return Err(ApiError::invalid(
                        "this machine made the code itself: type it at the other one",
                    ));
                }
                [] => {}
                several => return Err(several_makers(several)),
            }
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = &mut deadline => return Err(ApiError::new(
                    ErrorCode::UnknownPeer,
                    "no node is in sight that may have made this code. Check its first three digits; where the other machine is not \
                     found by itself, name it: memcli pair CODE --at HOST:PORT",
                )),
            }
        }
    }

    /// Runs the exchange as the joining side. When it returns, the node at the other end knows the code.
    async fn exchange(&self, link: &Arc<PeerLink>, code: &PairCode) -> ApiResult<()> {
        let serial = link.facts().serial;
        let answer = self.state().pairing.expect(serial);
        let Some(answer) = answer else {
            return Err(ApiError::new(
                ErrorCode::Busy,
                format!("a code is being tried at '{}' at this moment", link.name()),
            ));
        };
        let _expecting = Expecting { peers: self, serial };
        let random = PairRandom::new(self.surroundings().random_bytes());
        let (joiner, join) = Joiner::begin(code, &self.parties(link, true), &random);
        link.pair(join);
        let (share, proof) = self.answer_of_offer(link, answer).await?;
        match joiner.finish(&share, &proof) {
            Ok(proof) => {
                link.pair(proof);
                Ok(())
            }
            Err(error) => {
                warn!(peer = %link.id(), name = link.name(), %error, "pairing failed");
                link.pair(PairMessage::Refuse(PairRefusal::WrongCode));
                Err(wrong_code(link))
            }
        }
    }

    async fn answer_of_offer(
        &self,
        link: &PeerLink,
        answer: oneshot::Receiver<PairMessage>,
    ) -> ApiResult<(PairShare, Proof)> {
        let name = link.name();
        let answer = tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| super::link::unreachable(name))?,
            () = tokio::time::sleep(self.config.pair_step_timeout) => return Err(ApiError::new(
                ErrorCode::Timeout,
                format!("'{name}' did not answer within {} s", self.config.pair_step_timeout.as_secs_f32()),
            )),
            () = self.stopping.cancelled() => return Err(stopping()),
        };
        match answer {
            PairMessage::Answer(share, proof) => Ok((share, proof)),
            PairMessage::Refuse(PairRefusal::NoOffer) => Err(ApiError::new(
                ErrorCode::Denied,
                format!(
                    "'{name}' offers no code now: it was used, expired, or its command was ended. Run `memcli pair` there again"
                ),
            )),
            PairMessage::Refuse(PairRefusal::Busy) => Err(ApiError::new(
                ErrorCode::Busy,
                format!("somebody else is trying the code at '{name}' at this moment"),
            )),
            _ => Err(wrong_code(link)),
        }
    }

    /// The consent of this side, for good. A link to which both sides agreed before goes on, with the grant that was named, or else the one that
    /// it has.
    fn agree_for_good(&self, link: &Arc<PeerLink>, grant: Grant) -> ApiResult<()> {
        let facts = link.facts();
        let (quota_bytes, agreed_before) = {
            let mut state = self.state();
            let Some(slot) = state.table.slot_mut(facts.id, facts.serial) else {
                return Err(super::link::unreachable(link.name()));
            };
            slot.purpose = Purpose::Consent;
            let quota_bytes = match slot.ours {
                Some(ours) if !grant.named => ours.quota_bytes,
                _ => grant.quota_bytes,
            };
            if !slot.agreed {
                slot.ours = Some(Grant { quota_bytes, ..grant });
            }
            (quota_bytes, slot.agreed)
        };
        if agreed_before {
            self.trust_peer(facts, quota_bytes)
                .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
            if grant.named {
                self.set_grant(&facts.id.to_string(), quota_bytes)?;
            }
            // The peer learns that this is for good now, and how much it is.
            self.tell_grant(facts.id);
        } else {
            link.set_consent(Consent::Agreed {
                quota_bytes,
                for_good: true,
            });
        }
        self.touch();
        Ok(())
    }

    /// Waits until both sides have agreed and this one has kept its trust.
    async fn both_trust(&self, id: NodeId, name: &str) -> ApiResult<PeerInfo> {
        let mut changed = self.changed.subscribe();
        let deadline = tokio::time::sleep(self.config.pair_step_timeout);
        tokio::pin!(deadline);
        loop {
            let (is_there, is_done) = {
                let state = self.state();
                let entry = state.table.get(id);
                let slot = entry.and_then(|entry| entry.link.as_ref());
                let trusted = entry.is_some_and(|entry| entry.trusted);
                (slot.is_some(), trusted && slot.is_some_and(|slot| slot.agreed))
            };
            if let Some(info) = self.info(id).filter(|_| is_done) {
                return Ok(info);
            }
            if !is_there {
                return Err(half_way(name));
            }
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = &mut deadline => return Err(half_way(name)),
                () = self.stopping.cancelled() => return Err(stopping()),
            }
        }
    }

    fn parties(&self, link: &PeerLink, we_join: bool) -> Parties {
        let ours = self.identity.signing_key().verifying_key().to_bytes();
        let theirs = link.facts().public_key;
        let (joining, offering) = if we_join { (ours, theirs) } else { (theirs, ours) };
        Parties {
            joining,
            offering,
            transcript: link.wire().peek(Link::transcript),
        }
    }

    fn pairing_grant(&self, quota_bytes: Option<u64>) -> Grant {
        Grant {
            quota_bytes: quota_bytes.unwrap_or(self.config.default_grant_bytes),
            named: quota_bytes.is_some(),
            keep: true,
        }
    }

    /// Whether this side has consented to a link, by trust or by a person.
    fn is_agreed_or_consented(&self, link: &PeerLink) -> bool {
        let mut state = self.state();
        let slot = state.table.slot_mut(link.id(), link.facts().serial);
        slot.is_some_and(|slot| slot.ours.is_some())
    }

    fn failed(&self, outcome: &Outcome) -> ApiError {
        match outcome {
            Outcome::WrongCode(guest) => ApiError::new(
                ErrorCode::Denied,
                format!(
                    "'{}' ({}) at {} tried another code. This one is used up: run `memcli pair` again, and type with care. If nobody of \
                     yours did it, somebody is guessing",
                    guest.name,
                    guest.id.short(),
                    guest.address
                ),
            ),
            Outcome::BrokenOff(guest) => ApiError::new(
                ErrorCode::Denied,
                format!(
                    "'{}' ({}) at {} began to try the code and broke off. It is used up: run `memcli pair` again. If nobody of yours \
                     did it, somebody is guessing",
                    guest.name,
                    guest.id.short(),
                    guest.address
                ),
            ),
            Outcome::Expired => ApiError::new(
                ErrorCode::Timeout,
                format!(
                    "nobody typed the code within {}: run `memcli pair` again when somebody is at the other machine",
                    humantime::format_duration(self.config.pair_timeout)
                ),
            ),
            Outcome::Paired(_) | Outcome::Replaced | Outcome::Withdrawn => ApiError::new(
                ErrorCode::Busy,
                "another pairing code took the place of this one, or it was taken back",
            ),
        }
    }
}

/// Withdraws an offer for which nobody waits any more.
struct Withdrawal<'a> {
    peers: &'a Peers,
    number: u64,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        self.peers.state().pairing.withdraw(self.number);
        self.peers.touch();
    }
}

/// A join that is dialling.
struct Dialling<'a>(&'a Peers);

impl<'a> Dialling<'a> {
    fn begin(peers: &'a Peers) -> Self {
        peers.state().pairing.dialling += 1;
        Self(peers)
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.state().pairing.dialling -= 1;
    }
}

/// A join that waits for an answer.
struct Expecting<'a> {
    peers: &'a Peers,
    serial: u64,
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        drop(self.peers.state().pairing.waiter(self.serial));
    }
}

/// A join that has not succeeded: its link ends with it, unless this side had consented to that before.
struct Unpaired<'a> {
    peers: &'a Peers,
    link: &'a Arc<PeerLink>,
    is_paired: bool,
}

impl Drop for Unpaired<'_> {
    fn drop(&mut self) {
        if self.is_paired || self.peers.is_agreed_or_consented(self.link) {
            return;
        }
        let error = "pairing with it failed".to_owned();
        self.peers
            .end_link(self.link, Ended::Released, Goodbye::Disconnected, Some(error));
    }
}

/// What a link is for that just got its place: those that a join dialled are about pairing, and those that come while a code is
/// offered may be.
pub(super) fn purpose_of(pairing: &mut Pairing<Machine>, we_dialled: bool, now: Instant) -> Purpose {
    if we_dialled && pairing.dialling > 0 {
        Purpose::Pairing
    } else if !we_dialled && pairing.is_open(now) {
        Purpose::Unknown
    } else {
        Purpose::Consent
    }
}

fn several_makers(makers: &[(NodeId, String)]) -> ApiError {
    let names: Vec<String> = makers
        .iter()
        .map(|(id, name)| format!("'{name}' ({})", id.short()))
        .collect();
    ApiError::new(
        ErrorCode::AmbiguousPeer,
        format!(
            "{} may have made this code, and it can be tried only once: name the right one with --at",
            names.join(" and ")
        ),
    )
}

fn wrong_code(link: &PeerLink) -> ApiError {
    ApiError::new(
        ErrorCode::Denied,
        format!(
            "this is not the code that '{}' shows, or somebody sits between the two machines. The code is used up: run `memcli pair` \
             there again and type the new one",
            link.name()
        ),
    )
}

fn half_way(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::PeerUnreachable,
        format!(
            "the code was right, but the connection to '{name}' ended before both machines had agreed. `memcli trust list` shows which \
             of the two trusts the other; run `memcli pair` again"
        ),
    )
}

fn stopping() -> ApiError {
    ApiError::new(ErrorCode::ShuttingDown, "this node is stopping")
}
