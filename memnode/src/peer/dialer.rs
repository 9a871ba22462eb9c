//! Dialling: a person's `connect`, and the peers that this node dials by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memproto::NodeId;
use memproto::error::{ApiError, ErrorCode};
use memproto::peer::{Goodbye, HandshakeError};
use tracing::{debug, warn};

use super::entry::Grant;
use super::handshake::{self, ShakeError, Shaken};
use super::link::PeerLink;
use super::transport::Connection;
use super::{Peers, config};
use crate::surroundings::Surroundings;

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
    /// Dials all addresses of a target at once, and shakes hands with the first that answers. Where that one is not who
    /// was meant, the next one gets its turn.
    pub(super) async fn dial(
        self: &Arc<Self>,
        target: &Target,
        ours: Option<Grant>,
    ) -> Result<Dialled, ApiError> {
        let timeout = self.config.connect_timeout;
        let mut attempts: FuturesUnordered<_> = target
            .addresses
            .iter()
            .take(config::ADDRESSES_MAX)
            .map(|&address| async move { (address, connect(self.surroundings(), address, timeout).await) })
            .collect();
        let mut failure = None;
        while let Some((address, connected)) = attempts.next().await {
            let result = match connected {
                Ok(stream) => self.meet(stream, target, address, ours).await,
                Err(error) => Err(unconnected(&target.label, address, &error, timeout)),
            };
            match result {
                Ok(dialled) => return Ok(dialled),
                Err(error) => {
                    debug!(target = target.label, %address, %error, "a peer was not reached");
                    failure = Some(worse(failure, error));
                }
            }
        }
        Err(failure.unwrap_or_else(|| no_address(&target.label)))
    }

    async fn meet(
        self: &Arc<Self>,
        stream: Connection,
        target: &Target,
        address: SocketAddr,
        ours: Option<Grant>,
    ) -> Result<Dialled, ApiError> {
        let offered = ours.map_or(self.config.default_grant_bytes, |grant| grant.quota_bytes);
        let shake = handshake::initiate(&stream, self.handshake_config(offered), self.surroundings());
        let shaken = match tokio::time::timeout(self.config.handshake_timeout, shake).await {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return Err(unshaken(address, &error)),
            Err(_) => return Err(silent(address, self.config.handshake_timeout)),
        };
        let peer = &shaken.established.peer;
        if let Some(expected) = target.id.filter(|expected| *expected != peer.node_id) {
            return Err(ApiError::new(
                ErrorCode::PeerUnreachable,
                format!(
                    "at {address} another node answers: '{}' ({}) instead of '{}' ({})",
                    peer.name,
                    peer.node_id.short(),
                    target.label,
                    expected.short()
                ),
            ));
        }
        if target.known_names_only && self.trust.has_namesake(peer.node_id, &peer.name) {
            warn!(
                peer = %peer.node_id, name = peer.name, %address,
                "a node with the name of a trusted device, but another key, is not connected to"
            );
            return Err(known_name_new_key(address, &peer.name, peer.node_id));
        }
        self.take_up(stream, shaken, address, ours)
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

    /// Dials an address of the configuration until there is a link.
    pub(super) async fn dial_configured(self: Arc<Self>, address: String) {
        for attempt in 1.. {
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
                    Ok(_) => return,
                    // The person there, or nobody, answered: to ask again and again would be a nuisance.
                    Err(error) if error.code == ErrorCode::Denied => return,
                    Err(error) => debug!(address, %error, "a configured peer was not reached"),
                },
                () = self.stopping.cancelled() => return,
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(self.backoff(attempt)) => {}
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

async fn connect(
    surroundings: &Surroundings,
    address: SocketAddr,
    timeout: Duration,
) -> io::Result<Connection> {
    let stream = tokio::time::timeout(timeout, surroundings.connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay()?;
    Ok(stream)
}

/// Of two failures the one that says more: that somebody else or nobody suitable answered says more than silence.
fn worse(failure: Option<ApiError>, next: ApiError) -> ApiError {
    match failure {
        Some(failure) if failure.code != ErrorCode::Timeout => failure,
        _ => next,
    }
}

fn unconnected(label: &str, address: SocketAddr, error: &io::Error, timeout: Duration) -> ApiError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ApiError::new(
            ErrorCode::PeerUnreachable,
            format!(
                "{address} refused the connection: no node listens there. Is memnode running on '{label}', and is the port right?"
            ),
        ),
        io::ErrorKind::TimedOut => ApiError::new(
            ErrorCode::Timeout,
            format!(
                "{address} did not answer within {} s. Is the host of '{label}' up, and does a firewall let the port through?",
                timeout.as_secs_f32()
            ),
        ),
        _ => ApiError::new(
            ErrorCode::PeerUnreachable,
            format!("{address} cannot be reached: {error}"),
        ),
    }
}

fn unshaken(address: SocketAddr, error: &ShakeError) -> ApiError {
    let not_a_node = |detail: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorCode::PeerUnreachable,
            format!("what answers at {address} is not a MemCloud node, or a firewall cut it off: {detail}"),
        )
    };
    match error {
        ShakeError::Handshake(HandshakeError::OwnIdentity) => ApiError::invalid(format!(
            "{address} is this node itself, or a node with a copy of its identity key"
        )),
        ShakeError::Handshake(error @ HandshakeError::Version { .. }) => {
            ApiError::new(ErrorCode::Unsupported, format!("{address}: {error}"))
        }
        ShakeError::Handshake(HandshakeError::Malformed(detail)) => not_a_node(detail),
        ShakeError::Handshake(error) => {
            ApiError::new(ErrorCode::PeerUnreachable, format!("{address}: {error}"))
        }
        ShakeError::Closed | ShakeError::Io(_) => not_a_node(error),
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

fn silent(address: SocketAddr, timeout: Duration) -> ApiError {
    ApiError::new(
        ErrorCode::Timeout,
        format!(
            "{address} took the connection but said nothing within {} s: what listens there is not a MemCloud node, or it hangs",
            timeout.as_secs_f32()
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
