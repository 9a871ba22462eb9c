//! Dialling: a person's `connect`, and the peers that this node dials by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use memproto::NodeId;
use memproto::error::{ApiError, ErrorCode};
use memproto::peer::Goodbye;
use tracing::{debug, warn};

use super::Peers;
use super::entry::{Ended, Grant};
use super::handshake::Shaken;
use super::link::PeerLink;
use super::transport::Connection;

/// What came of dialling.
#[derive(Debug)]
pub(super) enum Dialled {
    /// A new link.
    Link(Arc<PeerLink>),
    /// There is a link to this peer already.
    Already(NodeId),
}

/// Whom to dial.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// For messages: what the person typed, or the peer's name.
    pub(super) label: String,
    /// Who must answer, where that is known.
    pub(super) id: Option<NodeId>,
    /// Where.
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether a node is refused that has the name of a trusted device, but another key.
    pub(super) known_names_only: bool,
}

impl Peers {
    /// Dials the addresses of a target, and makes a link to the first at which it proves itself.
    pub(super) async fn dial(
        self: &Arc<Self>,
        target: &Target,
        ours: Option<Grant>,
    ) -> Result<Dialled, ApiError> {
        let offered = ours.map_or(self.config.default_grant_bytes, |grant| grant.quota_bytes);
        let met = self.race(target, offered).await?;
        let peer = &met.shaken.established.peer;
        if target.known_names_only && self.trust.has_namesake(peer.node_id, &peer.name) {
            warn!(
                peer = %peer.node_id, name = peer.name, address = %met.address,
                "a node with the name of a trusted device, but another key, is not connected to"
            );
            return Err(known_name_new_key(met.address, &peer.name, peer.node_id));
        }
        self.take_up(met.stream, met.shaken, met.address, ours)
    }

    fn take_up(
        self: &Arc<Self>,
        stream: Connection,
        shaken: Shaken,
        address: SocketAddr,
        ours: Option<Grant>,
    ) -> Result<Dialled, ApiError> {
        let (id, name) = (
            shaken.established.peer.node_id,
            shaken.established.peer.name.clone(),
        );
        match self.adopt(stream, shaken, address, ours) {
            Ok(link) => Ok(Dialled::Link(link)),
            Err(Goodbye::Replaced) => Ok(Dialled::Already(id)),
            Err(Goodbye::SharedIdentity) => Err(ApiError::new(
                ErrorCode::PeerUnreachable,
                format!(
                    "two nodes have the identity of '{name}', and another one of them is connected: `memcli doctor` says more"
                ),
            )),
            Err(Goodbye::Stopping) => Err(ApiError::new(ErrorCode::ShuttingDown, "this node is stopping")),
            Err(_) => Err(ApiError::new(
                ErrorCode::Busy,
                format!(
                    "this node has all the links, or questions to its person, that it may have: there is none left for \
                     '{name}'. `memcli peer list` and `memcli consent` show them"
                ),
            )),
        }
    }

    /// Dials a trusted peer until there is a link, or dialling it is no longer wanted. Runs at most once for each peer.
    pub(super) async fn redial(self: Arc<Self>, id: NodeId, wake: Arc<tokio::sync::Notify>) {
        loop {
            let Some((target, attempt)) = self.next_redial(id) else {
                return;
            };
            if attempt > 0 {
                tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => return,
                    () = wake.notified() => {}
                    () = tokio::time::sleep(self.backoff(attempt)) => {}
                }
            }
            let dialled = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                dialled = self.dial(&target, None) => dialled,
            };
            if let Err(error) = dialled {
                self.note_error(id, &error);
            }
        }
    }

    /// Dials an address of the configuration until there is a link, and again when that is lost: its host may have another
    /// address by then. It ends with a no, or with an end that a person wanted.
    pub(super) async fn dial_configured(self: Arc<Self>, address: String) {
        let mut network = self.network_changes.subscribe();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let dialled = async {
                let addresses = resolve_host(&address).await?;
                let target = Target {
                    label: address.clone(),
                    id: None,
                    addresses,
                    // Dialling is no consent: the warning stands beside the question.
                    known_names_only: false,
                };
                let id = match self.dial(&target, None).await? {
                    Dialled::Link(link) => link.id(),
                    Dialled::Already(id) => id,
                };
                self.first_answer(id).await
            };
            tokio::select! {
                dialled = dialled => match dialled {
                    Ok(info) => match info.id {
                        Some(id) if self.is_lost_in_the_end(id).await => attempt = 0,
                        _ => return,
                    },
                    // The person there, or nobody, answered: to ask again and again would be a nuisance.
                    Err(error) if error.code == ErrorCode::Denied => return,
                    Err(error) => debug!(address, %error, "a configured peer was not reached"),
                },
                () = self.stopping.cancelled() => return,
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                _ = network.changed() => attempt = 0,
                () = tokio::time::sleep(self.backoff(attempt)) => {}
            }
        }
    }

    /// Waits for the end of the link to a peer. Returns whether that is one that nobody wanted.
    async fn is_lost_in_the_end(&self, id: NodeId) -> bool {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let state = self.state();
                match state.table.get(id) {
                    Some(entry) if entry.link.is_some() => {}
                    Some(entry) => return entry.ended == Ended::Lost,
                    None => return false,
                }
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return false,
                _ = changed.changed() => {}
            }
        }
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let jitter = self.surroundings().random_fraction();
        backoff(
            attempt,
            self.config.backoff_first,
            self.config.backoff_max,
            jitter,
        )
    }
}

/// The pause before an attempt: `first`, doubled with each attempt up to `max`, and then somewhere in its upper half, where
/// `jitter`, from 0 to below 1, says: two nodes that lost each other do not keep dialling at the same moment.
fn backoff(attempt: u32, first: Duration, max: Duration, jitter: f64) -> Duration {
    let doubled = first
        .saturating_mul(1 << attempt.saturating_sub(1).min(16))
        .min(max);
    doubled.mul_f64(0.5 + jitter / 2.0)
}

/// The addresses of `HOST:PORT`.
///
/// # Errors
/// `InvalidArgument` where it is not of this form, `PeerUnreachable` where the host is not known.
pub(super) async fn resolve_host(text: &str) -> Result<Vec<SocketAddr>, ApiError> {
    let is_address = text.rsplit_once(':').is_some_and(|(host, port)| {
        let in_brackets = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (in_brackets || !host.contains(':')) && port.parse::<u16>().is_ok()
    });
    if !is_address {
        return Err(ApiError::invalid(format!(
            "'{}' is no address: write HOST:PORT, and an IPv6 address in brackets",
            text.escape_debug()
        )));
    }
    let unknown_host = |detail: String| {
        ApiError::new(
            ErrorCode::PeerUnreachable,
            format!(
                "the host of '{}' is not known: {detail}. Is the name right?",
                text.escape_debug()
            ),
        )
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(text)
        .await
        .map_err(|error| unknown_host(error.to_string()))?
        .collect();
    if addresses.is_empty() {
        Err(unknown_host("it has no address".to_owned()))
    } else {
        Ok(addresses)
    }
}

/// As SSH does: whoever has the name of a device that is trusted, but not its key, is not talked to by mistake.
fn known_name_new_key(address: SocketAddr, name: &str, id: NodeId) -> ApiError {
    ApiError::new(
        ErrorCode::Denied,
        format!(
            "the node at {address} calls itself '{name}', as a trusted device does, but its key is another one ({}). Either that \
             machine was set up anew, or somebody pretends to be it: ask its owner for the id that `memcli node status` shows \
             there. If it is the same machine, remove the old key with `memcli trust remove {name}` and connect again; if there \
             are two machines of this name, connect with --accept-new-key",
            id.fingerprint()
        ),
    )
}

pub(super) fn no_address(name: &str) -> ApiError {
    ApiError::new(
        ErrorCode::PeerUnreachable,
        format!("no address of '{name}' is known: name it as HOST:PORT"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter() {
        let (first, max) = (Duration::from_millis(250), Duration::from_secs(30));
        for (attempt, longest) in [
            (1, 0.25),
            (2, 0.5),
            (3, 1.0),
            (7, 16.0),
            (8, 30.0),
            (9, 30.0),
            (u32::MAX, 30.0),
        ] {
            for jitter in [0.0, 0.25, 0.999] {
                let pause = backoff(attempt, first, max, jitter).as_secs_f64();
                let expected = longest * (0.5 + jitter / 2.0);
                assert!(
                    (pause - expected).abs() < 1e-6,
                    "attempt {attempt}: {pause} instead of {expected}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_told() {
        for text in ["", "host", "host:", ":1", "host:99999", "::1", "\u{1b}"] {
            let error = resolve_host(text).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{text:?}: {error}");
        }
        assert_eq!(
            resolve_host("127.0.0.1:1").await.unwrap(),
            ["127.0.0.1:1".parse().unwrap()]
        );
        assert_eq!(
            resolve_host("[::1]:1").await.unwrap(),
            ["[::1]:1".parse().unwrap()]
        );
    }
}
