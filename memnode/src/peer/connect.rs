//! A person's `connect`: the consent of this side, and a link where there is none.

use std::sync::Arc;

use memproto::NodeId;
use memproto::control::{ConnectRequest, PeerInfo};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::peer::Consent;

use super::Peers;
use super::dialer::{self, Dialled, Target};
use super::entry::{Entry, Grant};

impl Peers {
    /// Connects to a peer, which is this side's consent, and waits until the other side's program has said whether it
    /// agrees, asks its person, or refuses.
    ///
    /// An address where a node with the name of a trusted device answers, but with another key, is refused unless the
    /// request accepts that: somebody may pretend to be that device. The other side learns nothing of this one then.
    ///
    /// The answer's state is `Connected`, or `WaitingForTheirConsent` with the six-digit code. Unless the consent is for
    /// `once`, the peer is trusted for good as soon as it agreed too.
    ///
    /// # Errors
    /// `PeerUnreachable`, `Timeout` and `Unsupported` with what is wrong at the other end; `Denied` and `Busy` where it
    /// refused at once, or a known name has a new key; `InvalidArgument` for an address that is none, or this node's own; `UnknownPeer`; `AmbiguousPeer`.
    ///
    /// # Cancel safety
    /// Dropping the future ends an attempt that has no link yet. A link that is there stays.
    pub async fn connect(self: &Arc<Self>, request: ConnectRequest) -> ApiResult<PeerInfo> {
        if self.stopping.is_cancelled() {
            return Err(ApiError::new(ErrorCode::ShuttingDown, "this node is stopping"));
        }
        let known = match self.resolve(&request.target) {
            Err(error) if error.code == ErrorCode::UnknownPeer && request.target.contains(':') => None,
            known => Some(known?),
        };
        let id = match known {
            Some(id) => self.connect_known(id, &request).await?,
            None => self.connect_address(&request).await?,
        };
        self.first_answer(id).await
    }

    async fn connect_known(self: &Arc<Self>, id: NodeId, request: &ConnectRequest) -> ApiResult<NodeId> {
        let target = {
            let state = self.state();
            let entry = state
                .table
                .get(id)
                .ok_or_else(|| dialer::no_address(&request.target))?;
            let addresses = entry.addresses();
            entry.link.is_none().then(|| Target {
                label: entry.name.clone(),
                id: Some(id),
                addresses,
                known_names_only: false,
            })
        };
        let grant = self.grant_for(Some(id), request);
        let Some(target) = target else {
            self.consent_to(id, grant)?;
            return Ok(id);
        };
        let _attempt = Attempt::of_peer(self, id);
        let dialled = self.dial_now(&target, grant).await;
        if let Err(error) = &dialled {
            self.note_error(id, error);
        }
        self.dialled(dialled?, grant)
    }

    async fn connect_address(self: &Arc<Self>, request: &ConnectRequest) -> ApiResult<NodeId> {
        let _attempt = Attempt::of_address(self, &request.target);
        let grant = self.grant_for(None, request);
        let addresses = tokio::select! {
            biased;
            addresses = dialer::resolve_host(&request.target) => addresses?,
            () = tokio::time::sleep(self.config.connect_timeout) => return Err(ApiError::new(
                ErrorCode::Timeout,
                format!("the name service did not say within {} s where '{}' is", self.config.connect_timeout.as_secs_f32(), request.target.escape_debug()),
            )),
        };
        let target = Target {
            label: request.target.clone(),
            id: None,
            addresses,
            known_names_only: !request.accept_new_key,
        };
        let dialled = self.dial_now(&target, grant).await?;
        self.dialled(dialled, grant)
    }

    async fn dial_now(self: &Arc<Self>, target: &Target, grant: Grant) -> ApiResult<Dialled> {
        tokio::select! {
            biased;
            dialled = self.dial(target, Some(grant)) => dialled,
            () = self.stopping.cancelled() => Err(ApiError::new(ErrorCode::ShuttingDown, "this node is stopping")),
        }
    }

    fn dialled(&self, dialled: Dialled, grant: Grant) -> ApiResult<NodeId> {
        match dialled {
            Dialled::Link(link) => Ok(link.id()),
            Dialled::Already(id) => {
                self.consent_to(id, grant)?;
                Ok(id)
            }
        }
    }

    /// What a person's `connect` grants, as far as it is known before it is known who is there.
    fn grant_for(&self, id: Option<NodeId>, request: &ConnectRequest) -> Grant {
        let trusted = id.and_then(|id| self.trust.by_id(id));
        let default = trusted.map_or(self.config.default_grant_bytes, |device| device.quota_bytes);
        Grant {
            quota_bytes: request.quota_bytes.unwrap_or(default),
            named: request.quota_bytes.is_some(),
            keep: !request.once,
        }
    }

    /// Consents to the link that is there. Where this side consented before, a person may still make the consent last,
    /// but not change the grant in passing: that may cost the peer data, see [`set_grant`](Self::set_grant).
    fn consent_to(&self, id: NodeId, grant: Grant) -> ApiResult<()> {
        let (link, keep_now) = {
            let mut state = self.state();
            let Some(slot) = state.table.get_mut(id).and_then(|entry| entry.link.as_mut()) else {
                return Ok(());
            };
            match &mut slot.ours {
                None => {
                    slot.ours = Some(grant);
                    (Arc::clone(&slot.link), None)
                }
                Some(ours) if grant.named && ours.quota_bytes != grant.quota_bytes => {
                    return Err(ApiError::invalid(format!(
                        "'{name}' is connected with a grant of {} bytes: to change it, `memcli peer update {name} --quota SIZE`",
                        ours.quota_bytes,
                        name = slot.facts.name,
                    )));
                }
                Some(ours) => {
                    ours.keep |= grant.keep;
                    let quota_bytes = ours.quota_bytes;
                    (
                        Arc::clone(&slot.link),
                        (slot.agreed && grant.keep).then_some(quota_bytes),
                    )
                }
            }
        };
        match keep_now {
            Some(quota_bytes) if self.trust.by_id(id).is_none() => {
                self.trust_peer(link.facts(), quota_bytes)
                    .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
                link.set_consent(self.agreement(id, Grant { quota_bytes, ..grant }));
            }
            Some(_) => {}
            None => link.set_consent(self.agreement(id, grant)),
        }
        self.touch();
        Ok(())
    }

    /// Waits until the other side's program has said anything, which takes a round trip.
    pub(super) async fn first_answer(&self, id: NodeId) -> ApiResult<PeerInfo> {
        let mut changed = self.changed.subscribe();
        let deadline = tokio::time::sleep(self.config.first_answer_timeout);
        tokio::pin!(deadline);
        loop {
            match self.answer_of(id) {
                Answer::Given(info) => return Ok(*info),
                Answer::Refused(error) => return Err(error),
                Answer::Awaited => {}
            }
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = &mut deadline => return self.unanswered(id),
            }
        }
    }

    /// What is there when the other side's program did not say anything in time.
    fn unanswered(&self, id: NodeId) -> ApiResult<PeerInfo> {
        let has_link = self
            .state()
            .table
            .get(id)
            .is_some_and(|entry| entry.link.is_some());
        match self.info(id).filter(|_| has_link) {
            Some(info) => Ok(info),
            None => Err(super::link::unreachable(&self.name_of(id))),
        }
    }

    fn answer_of(&self, id: NodeId) -> Answer {
        let state = self.state();
        let Some(entry) = state.table.get(id) else {
            return Answer::Awaited;
        };
        match &entry.link {
            Some(slot) if slot.agreed || matches!(slot.theirs, Some(Consent::Waiting)) => {
                let info = self.render(entry);
                drop(state);
                Answer::Given(Box::new(self.with_lent(info)))
            }
            Some(_) => Answer::Awaited,
            None => refusal(entry).map_or(Answer::Awaited, Answer::Refused),
        }
    }
}

enum Answer {
    Given(Box<PeerInfo>),
    Refused(ApiError),
    Awaited,
}

/// Why a peer has no link any more. `None` where another link may be about to come.
fn refusal<L>(entry: &Entry<L>) -> Option<ApiError> {
    let reason = entry.last_error.clone()?;
    Some(ApiError::new(entry.last_code, reason))
}

/// Shows an attempt in the list of peers for as long as it lasts.
pub(super) struct Attempt<'a> {
    peers: &'a Arc<Peers>,
    what: What,
}

enum What {
    Peer(NodeId),
    Address(u64),
}

impl<'a> Attempt<'a> {
    pub(super) fn of_peer(peers: &'a Arc<Peers>, id: NodeId) -> Self {
        peers.state().table.connecting_begins(id);
        peers.touch();
        Self {
            peers,
            what: What::Peer(id),
        }
    }

    pub(super) fn of_address(peers: &'a Arc<Peers>, address: &str) -> Self {
        let number = peers.next_serial();
        peers.state().dialling.insert(number, address.to_owned());
        peers.touch();
        Self {
            peers,
            what: What::Address(number),
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        match self.what {
            What::Peer(id) => {
                self.peers.state().table.connecting_ends(id);
                self.peers.ensure_redial(id);
            }
            What::Address(number) => drop(self.peers.state().dialling.remove(&number)),
        }
        self.peers.touch();
    }
}
