//! What keeps one peer away.

use std::net::SocketAddr;

use futures_util::future::join_all;
use memproto::control::{Check, CheckResult, CheckSubject, PeerInfo, PeerState};
use memproto::error::ErrorCode;

use super::{Node, about, ok, problem, warning};
use crate::interfaces::Interface;
use crate::peer::Obstacle;

/// Looks at what a person named: a peer that is known, or `HOST:PORT`.
pub(super) async fn of_target(node: &Node<'_>, target: &str) -> Vec<Check> {
    match node.peers.resolve(target) {
        Ok(id) => match node.peers.list().into_iter().find(|peer| peer.id == Some(id)) {
            Some(peer) => of_known(node, &peer).await,
            None => vec![unknown(target)],
        },
        Err(error) if error.code == ErrorCode::UnknownPeer && target.contains(':') => {
            of_address(node, target).await
        }
        Err(error) if error.code == ErrorCode::UnknownPeer => vec![unknown(target)],
        Err(error) => vec![about(
            target,
            problem(
                CheckSubject::Name,
                error.message,
                "name it by its id, as memcli peer list shows it",
            ),
        )],
    }
}

fn unknown(target: &str) -> Check {
    about(
        target,
        problem(
            CheckSubject::Name,
            "no peer of this name is known: it is not announced on this network, and was never connected",
            format!(
                "name its address: memcli doctor HOST:PORT, with the IP address of '{target}' and its port, 8080 unless changed there"
            ),
        ),
    )
}

/// Looks at a peer that is known.
pub(super) async fn of_known(node: &Node<'_>, peer: &PeerInfo) -> Vec<Check> {
    let name = &peer.name;
    let at = peer
        .address
        .map(|address| format!(" at {address}"))
        .unwrap_or_default();
    let why = peer
        .last_error
        .as_ref()
        .map(|error| format!(": {error}"))
        .unwrap_or_default();
    let check = match peer.state {
        PeerState::Connected => ok(CheckSubject::Peer, format!("connected{at}")),
        // Told with the other questions for this machine's person.
        PeerState::WaitingForOurConsent => return Vec::new(),
        PeerState::WaitingForTheirConsent => warning(
            CheckSubject::Consent,
            format!("the person at '{name}' has not agreed yet"),
            format!("answer there: memcli consent on the machine of '{name}'"),
        ),
        PeerState::Denied => problem(
            CheckSubject::Consent,
            format!("denied{why}"),
            format!("ask again when you both want it: memcli connect {name}"),
        ),
        PeerState::Discovered | PeerState::Connecting | PeerState::Lost => {
            return of_unconnected(node, peer).await;
        }
    };
    vec![about(name, check)]
}

/// Looks at a known peer that has no link.
async fn of_unconnected(node: &Node<'_>, peer: &PeerInfo) -> Vec<Check> {
    let addresses = peer.id.map(|id| node.peers.addresses_of(id)).unwrap_or_default();
    let name = &peer.name;
    if addresses.is_empty() {
        let check = problem(
            CheckSubject::Reach,
            "it is not announced on this network, and no address of it is known",
            format!(
                "start its node; if it runs, memcli doctor there, and memcli connect HOST:PORT here with the address of '{name}'"
            ),
        );
        return vec![about(name, check)];
    }
    let mut checks = of_addresses(node, &addresses, peer).await;
    if checks.iter().any(|check| check.result == CheckResult::Ok) {
        // A trusted peer that answers is dialled by itself, unless a person ended the link.
        let advice = format!("memcli connect {name}");
        let found = match (&peer.last_error, peer.trusted) {
            (Some(error), _) => format!("it answers, but is not connected: {error}"),
            (None, true) => {
                "it answers, but is not connected: a person ended the link, or it is being dialled now"
                    .to_owned()
            }
            (None, false) => "it answers, and was not connected yet".to_owned(),
        };
        checks.push(about(name, warning(CheckSubject::Peer, found, advice)));
    }
    checks
}

/// Looks at an address.
async fn of_address(node: &Node<'_>, target: &str) -> Vec<Check> {
    let addresses = match node.peers.look_up(target).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let check = problem(
                CheckSubject::Name,
                error.message,
                "name the IP address in place of the host's name: its memcli doctor shows it",
            );
            return vec![about(target, check)];
        }
    };
    let subject = PeerInfo::named(target, PeerState::Discovered);
    of_addresses(node, &addresses, &subject).await
}

/// Tries all addresses at once. Where one leads to the peer, those that do not are passed over.
async fn of_addresses(node: &Node<'_>, addresses: &[SocketAddr], peer: &PeerInfo) -> Vec<Check> {
    let tries = addresses
        .iter()
        .map(|&address| async move { (address, node.peers.try_address(address, peer.id).await) });
    let answers = join_all(tries).await;
    if let Some((address, Ok(answer))) = answers.iter().find(|(_, answer)| answer.is_ok()) {
        let found = match peer.id {
            Some(_) => format!("it answers at {address}"),
            None => format!("'{}' ({}) answers there", answer.name, answer.id.short()),
        };
        let mut checks = vec![about(&peer.name, ok(CheckSubject::Reach, found))];
        if peer.id.is_none()
            && let Some(known) = node
                .peers
                .list()
                .into_iter()
                .find(|known| known.id == Some(answer.id))
            && known.state != PeerState::Discovered
        {
            checks.push(about(
                &known.name,
                ok(
                    CheckSubject::Peer,
                    format!("its state here: {}", known.state.as_words()),
                ),
            ));
        }
        return checks;
    }
    let interfaces = node.peers.interfaces();
    let mut checks: Vec<Check> = no_shared_subnet(addresses, &interfaces).into_iter().collect();
    let obstacles = answers
        .into_iter()
        .filter_map(|(address, answer)| Some((address, answer.err()?)));
    checks.extend(obstacles.map(|(address, obstacle)| explain(address, &obstacle)));
    checks.into_iter().map(|check| about(&peer.name, check)).collect()
}

fn no_shared_subnet(addresses: &[SocketAddr], interfaces: &[Interface]) -> Option<Check> {
    let is_shared = |address: &SocketAddr| {
        interfaces
            .iter()
            .flat_map(|interface| &interface.subnets)
            .any(|subnet| subnet.contains(address.ip()))
    };
    if addresses.iter().any(is_shared) {
        return None;
    }
    Some(warning(
        CheckSubject::Subnet,
        "this machine is in no network of its addresses: it is behind a router, or its addresses are old",
        "bring both machines into one network, such as the same Wi-Fi; behind a router name the address: memcli connect HOST:PORT",
    ))
}

fn explain(address: SocketAddr, obstacle: &Obstacle) -> Check {
    let port = address.port();
    match obstacle {
        Obstacle::NoRoute(detail) => problem(
            CheckSubject::Reach,
            format!("{address} cannot be reached: {detail}"),
            "look whether both machines are in the same network",
        ),
        Obstacle::NoAnswer(timeout) => problem(
            CheckSubject::Firewall,
            format!(
                "{address} does not answer within {}: that machine is off or asleep, or a packet filter on it drops what comes to port {port}",
                humantime::format_duration(*timeout)
            ),
            format!(
                "wake it; if it is awake, memcli doctor there names the command that lets TCP port {port} through"
            ),
        ),
        Obstacle::Refused => problem(
            CheckSubject::Reach,
            format!("{address} refuses: that machine is there, and no node listens on port {port}"),
            "start the node there: memcli node start; its memcli node status shows the port",
        ),
        Obstacle::Mute(timeout) => problem(
            CheckSubject::Reach,
            format!(
                "what listens at {address} says nothing within {}: another program, or a node that hangs",
                humantime::format_duration(*timeout)
            ),
            "look there with memcli node status; another port is chosen with --port",
        ),
        Obstacle::NoNode(detail) => problem(
            CheckSubject::Reach,
            format!(
                "what answers at {address} is no MemCloud node, or something cut the connection: {detail}"
            ),
            "look there with memcli node status on which port the node is",
        ),
        Obstacle::Unfit(detail) => problem(
            CheckSubject::Reach,
            format!("{address}: {detail}"),
            "look into both logs: memcli logs",
        ),
        Obstacle::OwnIdentity => problem(
            CheckSubject::Identity,
            format!("{address} is this node itself, or one with a copy of its folder"),
            "if it is another machine, stop the node there, delete identity.key in its folder, and start it again",
        ),
        Obstacle::Other { name, id } => problem(
            CheckSubject::Reach,
            format!("at {address} another node answers: '{name}' ({})", id.short()),
            "its address has changed: connect to the new one with memcli connect HOST:PORT",
        ),
        Obstacle::Version(detail) => problem(
            CheckSubject::Version,
            format!("{address}: {detail}"),
            "install the same release of MemCloud on both machines",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::interfaces::Subnet;

    #[test]
    fn each_obstacle_has_its_own_words_and_advice() {
        let address = "192.0.2.7:8080".parse().unwrap();
        for (obstacle, subject, found) in [
            (
                Obstacle::NoAnswer(Duration::from_secs(3)),
                CheckSubject::Firewall,
                "does not answer within 3s",
            ),
            (
                Obstacle::Refused,
                CheckSubject::Reach,
                "no node listens on port 8080",
            ),
            (
                Obstacle::Version("speaks 2 to 3".to_owned()),
                CheckSubject::Version,
                "speaks 2 to 3",
            ),
            (Obstacle::OwnIdentity, CheckSubject::Identity, "this node itself"),
            (
                Obstacle::NoRoute("network is unreachable".to_owned()),
                CheckSubject::Reach,
                "unreachable",
            ),
        ] {
            let check = explain(address, &obstacle);
            assert_eq!((check.subject, check.result), (subject, CheckResult::Problem));
            assert!(check.found.contains(found), "{}", check.found);
            assert!(check.found.contains("192.0.2.7:8080") && check.advice.is_some());
        }
    }

    #[test]
    fn addresses_of_other_networks_are_noticed() {
        let interfaces = [Interface {
            name: "eth0".to_owned(),
            index: 2,
            subnets: vec![Subnet {
                address: "192.168.1.7".parse().unwrap(),
                prefix_len: 24,
            }],
            left_out: None,
        }];
        let check = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            no_shared_subnet(&addresses, &interfaces)
        };
        assert_eq!(check(&["10.0.0.1:1", "192.168.1.9:1"]), None);
        assert_eq!(check(&["10.0.0.1:1"]).unwrap().result, CheckResult::Warning);
    }
}
