//! One attempt to meet a node at an address, and the race between the addresses of a peer.
//!
//! A peer has several addresses, and some of them lie: they are out of date, belong to a network that this host is not
//! in, or name the wrong interface. None is believed, and none is waited for: they are tried a short step apart (as in
//! RFC 8305, "Happy Eyeballs"), and the first at which the right node proves itself wins. Until then that node has not
//! learned who dials, so that the others can be dropped without a trace.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use memproto::NodeId;
use memproto::error::{ApiError, ErrorCode};
use memproto::peer::HandshakeError;
use tracing::debug;

use super::dialer::{Target, no_address};
use super::handshake::{self, ShakeError, Shaken};
use super::transport::Connection;
use super::{Peers, config};
use crate::interfaces::Interface;
use crate::surroundings::Surroundings;

/// The pause between the beginnings of two attempts of a race, where none failed meanwhile. RFC 8305 (section 8) names
/// 100 ms as the least for a server on the Internet; a node on the LAN has answered by then.
const STEP: Duration = Duration::from_millis(100);

/// A node that proved who it is. It learns who this side is only with the last message of the handshake, which is not
/// sent yet.
pub(super) struct Met {
    pub(super) stream: Connection,
    pub(super) shaken: Shaken,
    pub(super) address: SocketAddr,
}

/// Why an address did not lead to the node that was meant. A later one says more than an earlier one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Obstacle {
    /// The system has no way there.
    NoRoute(String),
    /// Nothing answered in this time.
    NoAnswer(Duration),
    /// The host is there, and nothing listens on the port.
    Refused,
    /// Something took the connection and said nothing in this time.
    Mute(Duration),
    /// What answers does not speak the protocol.
    NoNode(String),
    /// A node that this one refused.
    Unfit(String),
    /// This node itself, or one that has the same identity.
    OwnIdentity,
    /// Another node than was meant.
    Other {
        /// The name it gives itself.
        name: String,
        /// Its id.
        id: NodeId,
    },
    /// A node without a version of the protocol in common.
    Version(String),
}

impl Peers {
    /// Tries the addresses of a target, a short step apart, and returns the first at which it proves itself.
    pub(super) async fn race(&self, target: &Target, offered_bytes: u64) -> Result<Met, ApiError> {
        let candidates = candidates(&target.addresses, &self.interfaces());
        let mut waiting = candidates.into_iter().peekable();
        let mut attempts = FuturesUnordered::new();
        let mut failure: Option<(Obstacle, SocketAddr)> = None;
        loop {
            if let Some(address) = waiting.next() {
                attempts
                    .push(async move { (address, self.attempt(address, target.id, offered_bytes).await) });
            }
            let more = waiting.peek().is_some();
            tokio::select! {
                biased;
                Some((address, met)) = attempts.next(), if !attempts.is_empty() => match met {
                    Ok(met) => return Ok(met),
                    Err(obstacle) => {
                        debug!(target = target.label, %address, ?obstacle, "a peer was not reached at an address");
                        let worse = (obstacle, address);
                        failure = Some(failure.map_or(worse.clone(), |before| before.max(worse)));
                    }
                },
                () = tokio::time::sleep(STEP), if more => {}
                else => break,
            }
        }
        let (obstacle, address) = failure.ok_or_else(|| no_address(&target.label))?;
        Err(obstacle.to_error(&target.label, address, target.id))
    }

    /// Connects to an address and shakes hands with what answers, which must be the expected node.
    pub(super) async fn attempt(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        offered_bytes: u64,
    ) -> Result<Met, Obstacle> {
        let stream = connect(self.surroundings(), address, self.config.connect_timeout).await?;
        let timeout = self.config.handshake_timeout;
        let shake = handshake::initiate(&stream, self.handshake_config(offered_bytes), self.surroundings());
        let shaken = match tokio::time::timeout(timeout, shake).await {
            Ok(shaken) => shaken.map_err(unshaken),
            Err(_) => Err(Obstacle::Mute(timeout)),
        };
        if matches!(shaken, Err(Obstacle::OwnIdentity)) && self.is_of_another_host(address.ip()) {
            self.note_twin(None, vec![address]);
        }
        let shaken = shaken?;
        let peer = &shaken.established.peer;
        if expected.is_some_and(|expected| expected != peer.node_id) {
            return Err(Obstacle::Other {
                name: peer.name.clone(),
                id: peer.node_id,
            });
        }
        Ok(Met {
            stream,
            shaken,
            address,
        })
    }
}

/// The addresses to try, at most [`config::ADDRESSES_MAX`]. A link-local address means nothing without its interface,
/// which others may have named wrongly, or which has got another number since: it is tried on each.
fn candidates(addresses: &[SocketAddr], interfaces: &[Interface]) -> Vec<SocketAddr> {
    let mut candidates = Vec::new();
    let mut on_other_interfaces = Vec::new();
    for &address in addresses {
        match address {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
                let scopes = interfaces
                    .iter()
                    .filter(|interface| interface.left_out.is_none() && !interface.is_loopback())
                    .map(|interface| interface.index);
                for scope in scopes {
                    let scoped = SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into();
                    match scope == v6.scope_id() {
                        true => candidates.push(scoped),
                        false => on_other_interfaces.push(scoped),
                    }
                }
            }
            _ => candidates.push(address),
        }
    }
    candidates.extend(on_other_interfaces);
    candidates.truncate(config::ADDRESSES_MAX);
    candidates
}

async fn connect(
    surroundings: &Surroundings,
    address: SocketAddr,
    timeout: Duration,
) -> Result<Connection, Obstacle> {
    let connected = async {
        let stream = surroundings.connect(address).await?;
        stream.set_nodelay()?;
        Ok(stream)
    };
    match tokio::time::timeout(timeout, connected).await {
        Ok(connected) => connected.map_err(|error| unconnected(&error, timeout)),
        Err(_) => Err(Obstacle::NoAnswer(timeout)),
    }
}

fn unconnected(error: &io::Error, timeout: Duration) -> Obstacle {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Obstacle::Refused,
        io::ErrorKind::TimedOut => Obstacle::NoAnswer(timeout),
        _ => Obstacle::NoRoute(error.to_string()),
    }
}

fn unshaken(error: ShakeError) -> Obstacle {
    match error {
        ShakeError::Handshake(HandshakeError::OwnIdentity) => Obstacle::OwnIdentity,
        ShakeError::Handshake(error @ HandshakeError::Version { .. }) => Obstacle::Version(error.to_string()),
        ShakeError::Handshake(HandshakeError::Malformed(detail)) => Obstacle::NoNode(detail.to_string()),
        ShakeError::Handshake(error) => Obstacle::Unfit(error.to_string()),
        error @ (ShakeError::Closed | ShakeError::Io(_)) => Obstacle::NoNode(error.to_string()),
    }
}

impl Obstacle {
    /// The obstacle as an answer to who asked for the peer.
    fn to_error(&self, label: &str, address: SocketAddr, expected: Option<NodeId>) -> ApiError {
        let unreachable = |message| ApiError::new(ErrorCode::PeerUnreachable, message);
        match self {
            Obstacle::NoRoute(detail) => unreachable(format!("{address} cannot be reached: {detail}")),
            Obstacle::NoAnswer(timeout) => ApiError::new(
                ErrorCode::Timeout,
                format!(
                    "{address} did not answer within {} s. Is the host of '{label}' up, and does a firewall let the port \
                     through? `memcli doctor {label}` looks for the reason",
                    timeout.as_secs_f32()
                ),
            ),
            Obstacle::Refused => unreachable(format!(
                "{address} refused the connection: no node listens there. Is memnode running on '{label}', and is the port right?"
            )),
            Obstacle::Mute(timeout) => ApiError::new(
                ErrorCode::Timeout,
                format!(
                    "{address} took the connection but said nothing within {} s: what listens there is not a MemCloud node, or it hangs",
                    timeout.as_secs_f32()
                ),
            ),
            Obstacle::NoNode(detail) => unreachable(format!(
                "what answers at {address} is not a MemCloud node, or a firewall cut it off: {detail}"
            )),
            Obstacle::Unfit(detail) => unreachable(format!("{address}: {detail}")),
            Obstacle::OwnIdentity => ApiError::invalid(format!(
                "{address} is this node itself, or a node with a copy of its identity key"
            )),
            Obstacle::Other { name, id } => unreachable(format!(
                "at {address} another node answers: '{name}' ({}) instead of '{label}'{}",
                id.short(),
                expected
                    .map(|id| format!(" ({})", id.short()))
                    .unwrap_or_default()
            )),
            Obstacle::Version(detail) => {
                ApiError::new(ErrorCode::Unsupported, format!("{address}: {detail}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::Subnet;

    fn interface(name: &str, index: u32, address: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            index,
            subnets: vec![Subnet {
                address: address.parse().unwrap(),
                prefix_len: 64,
            }],
            left_out: None,
        }
    }

    #[test]
    fn a_link_local_address_is_tried_on_each_interface_its_own_first() {
        let interfaces = [
            interface("eth0", 2, "fe80::2"),
            interface("lo", 1, "::1"),
            interface("wlan0", 3, "fe80::3"),
        ];
        let candidates = |addresses: &[&str]| -> Vec<String> {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            super::candidates(&addresses, &interfaces)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            candidates(&["[fe80::9%3]:1", "192.0.2.1:1", "[fe80::8]:1"]),
            [
                "[fe80::9%3]:1",
                "192.0.2.1:1",
                "[fe80::9%2]:1",
                "[fe80::8%2]:1",
                "[fe80::8%3]:1"
            ]
        );
        let many: Vec<String> = (1..=40).map(|i| format!("192.0.2.{i}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(candidates(&many).len(), config::ADDRESSES_MAX);
    }

    #[test]
    fn of_two_obstacles_the_one_that_says_more_is_told() {
        let silence = Obstacle::NoAnswer(Duration::from_secs(3));
        assert!(Obstacle::NoRoute("network is unreachable".to_owned()) < silence);
        assert!(silence < Obstacle::Refused);
        assert!(Obstacle::Refused < Obstacle::Version("speaks 2 to 3".to_owned()));
    }
}
