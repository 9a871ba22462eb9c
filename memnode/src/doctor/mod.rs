//! Says why two machines do not find or reach each other, and what to do: `memcli doctor`.
//!
//! `host` and `clock` look at this machine, `peer` at one peer or address, [`firewall`] knows the packet filters that people have.
//! The checks look and ask; they change nothing, and a peer that is tried never learns who tried: the handshake is broken
//! off when the peer has proved who it is.

mod clock;
pub mod firewall;
mod host;
mod peer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use memproto::control::{Check, CheckResult, CheckSubject, DoctorReport, PeerInfo, PeerState};

use crate::peer::Peers;

/// How long a node that just started gets to hear its own announcement: three probes of 250 ms come before it (RFC 6762, 8.1).
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);

/// How many peers are tried at most: a person reads the result.
const PEERS_MAX: usize = 16;

/// What the doctor needs of the node.
pub struct Node<'a> {
    /// Its peers.
    pub peers: &'a Arc<Peers>,
    /// Where it accepts peers.
    pub listening: &'a [SocketAddr],
}

/// Looks at this machine, and at one peer or address, or else at all peers that should be connected and are not. Takes as
/// long as a connection and a handshake may take, some seconds.
pub async fn examine(node: &Node<'_>, target: Option<&str>) -> DoctorReport {
    let multicast = node.peers.multicast(ANNOUNCED_WITHIN).await;
    let about_peers = match target {
        Some(target) => peer::of_target(node, target).await,
        None => of_all(node).await,
    };
    let somebody_answers = about_peers.iter().any(|check| {
        check.result == CheckResult::Ok && matches!(check.subject, CheckSubject::Peer | CheckSubject::Reach)
    });
    let interfaces = node.peers.interfaces();
    let firewalls = firewall::active();
    let mut checks = vec![
        host::interfaces(&interfaces),
        host::listening(node.listening),
        host::multicast(&multicast, &interfaces, &firewalls, somebody_answers),
    ];
    checks.extend(host::other_versions(&multicast));
    checks.extend(host::firewall(
        &firewalls,
        node.listening,
        node.peers.was_reached(),
    ));
    checks.extend(host::local_network(&multicast));
    checks.extend(clock::clock(
        node.peers.clock_set(),
        &node.peers.clock_offsets().await,
    ));
    checks.extend(host::identity(node.peers.identity_warnings()));
    checks.extend(host::consent(&node.peers.consent_requests()));
    checks.extend(about_peers);
    DoctorReport { checks }
}

/// All peers that a person would expect to be connected.
async fn of_all(node: &Node<'_>) -> Vec<Check> {
    let wanted = |peer: &PeerInfo| peer.trusted || !matches!(peer.state, PeerState::Discovered);
    let peers = node.peers.list();
    let wanted = peers.iter().filter(|peer| wanted(peer)).take(PEERS_MAX);
    join_all(wanted.map(|info| peer::of_known(node, info)))
        .await
        .concat()
}

fn ok(subject: CheckSubject, found: impl Into<String>) -> Check {
    check(subject, CheckResult::Ok, found.into(), None)
}

fn warning(subject: CheckSubject, found: impl Into<String>, advice: impl Into<String>) -> Check {
    check(subject, CheckResult::Warning, found.into(), Some(advice.into()))
}

fn problem(subject: CheckSubject, found: impl Into<String>, advice: impl Into<String>) -> Check {
    check(subject, CheckResult::Problem, found.into(), Some(advice.into()))
}

fn check(subject: CheckSubject, result: CheckResult, found: String, advice: Option<String>) -> Check {
    Check {
        subject,
        about: None,
        result,
        found,
        advice,
    }
}

fn about(name: &str, check: Check) -> Check {
    Check {
        about: Some(name.to_owned()),
        ..check
    }
}
