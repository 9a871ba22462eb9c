//! What this machine is like: its network, its packet filter, its identity, and who waits at it.

use std::net::{IpAddr, SocketAddr};

use memproto::control::{Check, CheckSubject, ConsentRequest};

use super::firewall::{Firewall, Traffic};
use super::{about, ok, problem, warning};
use crate::interfaces::{Interface, LeftOut};
use crate::peer::Multicast;

/// Which interfaces discovery uses.
pub(super) fn interfaces(interfaces: &[Interface]) -> Check {
    const SUBJECT: CheckSubject = CheckSubject::Interfaces;
    let far = || interfaces.iter().filter(|interface| !interface.is_loopback());
    let used: Vec<&Interface> = far().filter(|interface| interface.left_out.is_none()).collect();
    let left_out: Vec<String> = far()
        .filter_map(|interface| Some(format!("{} ({})", interface.name, interface.left_out?)))
        .collect();
    let left_out_text = match left_out.is_empty() {
        true => String::new(),
        false => format!("; left out: {}", left_out.join(", ")),
    };
    if used.is_empty() {
        let can_be_named = far().find(|interface| {
            matches!(
                interface.left_out,
                Some(LeftOut::Virtual | LeftOut::Tunnel | LeftOut::Setting)
            )
        });
        return match can_be_named {
            Some(interface) => problem(
                SUBJECT,
                format!("discovery uses no network interface{left_out_text}"),
                format!(
                    "name the one that leads to the other machines: --interface {name}, or interfaces = [\"{name}\"] in config.toml, \
                     and start the node again",
                    name = interface.name
                ),
            ),
            None => problem(
                SUBJECT,
                format!("this machine is in no network{left_out_text}"),
                "connect it to the network of the other machines: the node notices",
            ),
        };
    }
    let shown: Vec<String> = used.iter().map(|interface| show(interface)).collect();
    let found = format!("discovery uses {}{left_out_text}", shown.join(", "));
    let has_an_assigned_address = used
        .iter()
        .flat_map(|interface| &interface.subnets)
        .any(|subnet| !is_link_local(subnet.address));
    match has_an_assigned_address {
        true => ok(SUBJECT, found),
        false => warning(
            SUBJECT,
            format!("{found}; no router gave this machine an address"),
            "look whether the cable or the Wi-Fi is the right one; only machines on the same cable or Wi-Fi are reached now",
        ),
    }
}

fn show(interface: &Interface) -> String {
    let addresses: Vec<String> = interface.subnets.iter().map(ToString::to_string).collect();
    format!("{} ({})", interface.name, addresses.join(", "))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether other machines can get at the port.
pub(super) fn listening(addresses: &[SocketAddr]) -> Check {
    const SUBJECT: CheckSubject = CheckSubject::Listening;
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    match addresses.iter().all(|address| address.ip().is_loopback()) {
        true => problem(
            SUBJECT,
            format!("peers are accepted on {shown} alone, which no other machine reaches"),
            "start the node without --listen, or with the address of an interface",
        ),
        false => ok(SUBJECT, format!("peers are accepted on {shown}")),
    }
}

/// Whether mDNS is heard.
pub(super) fn multicast(
    multicast: &Multicast,
    interfaces: &[Interface],
    firewalls: &[Firewall],
    somebody_answers: bool,
) -> Check {
    const SUBJECT: CheckSubject = CheckSubject::Multicast;
    const BY_ADDRESS: &str =
        "connect by address: memcli connect HOST:PORT, or peers = [\"HOST:PORT\"] in config.toml";
    let heard = match multicast {
        Multicast::Off => {
            return warning(
                SUBJECT,
                "mDNS is switched off by the setting 'discovery'",
                BY_ADDRESS,
            );
        }
        Multicast::Failed(error) => {
            return problem(SUBJECT, format!("mDNS does not work here: {error}"), BY_ADDRESS);
        }
        Multicast::Heard(heard) => heard,
    };
    let used = interfaces
        .iter()
        .filter(|interface| interface.left_out.is_none() && !interface.is_loopback());
    let (heard_on, deaf): (Vec<_>, Vec<_>) = used
        .map(|interface| interface.name.as_str())
        .partition(|name| heard.own_on.contains(*name));
    if !deaf.is_empty() {
        let allow = firewalls.first().map(|firewall| firewall.allow(Traffic::Mdns));
        return problem(
            SUBJECT,
            format!(
                "the node's own announcement does not come back on {}: something on this machine keeps multicast away \
                 (UDP port 5353 to 224.0.0.251 and ff02::fb)",
                deaf.join(", ")
            ),
            allow.unwrap_or_else(|| "let UDP port 5353 through the packet filter of this machine".to_owned()),
        );
    }
    match (heard.others, somebody_answers) {
        (0, true) => warning(
            SUBJECT,
            "peers answer, but none is heard: multicast is lost on the way, as by a Wi-Fi that keeps its clients apart, or by a \
             switch",
            BY_ADDRESS,
        ),
        (0, false) => warning(
            SUBJECT,
            format!("no other node is announced{}", on(&heard_on)),
            "start a node on another machine of this network; if one runs there, run memcli doctor there, and memcli doctor HOST:PORT \
             with its address here",
        ),
        (1, _) => ok(SUBJECT, format!("one other node is announced{}", on(&heard_on))),
        (others, _) => ok(
            SUBJECT,
            format!("{others} other nodes are announced{}", on(&heard_on)),
        ),
    }
}

fn on(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        names => format!(" on {}", names.join(", ")),
    }
}

/// Nodes that are announced and speak another version.
pub(super) fn other_versions(multicast: &Multicast) -> Vec<Check> {
    let Multicast::Heard(heard) = multicast else {
        return Vec::new();
    };
    let check = |(service, version): (&String, &u16)| {
        let name = service.split("._memcloud.").next().unwrap_or(service);
        about(
            name,
            problem(
                CheckSubject::Version,
                format!(
                    "it speaks version {version} of the peer protocol, this node {}",
                    memproto::peer::VERSION_MAX
                ),
                "install the same release of MemCloud on both machines",
            ),
        )
    };
    heard.other_versions.iter().map(check).collect()
}

/// Whether a packet filter may keep peers away.
pub(super) fn firewall(firewalls: &[Firewall], listening: &[SocketAddr], was_reached: bool) -> Option<Check> {
    const SUBJECT: CheckSubject = CheckSubject::Firewall;
    if was_reached {
        return Some(ok(SUBJECT, "peers have connected to this node's port"));
    }
    let port = listening.first()?.port();
    match firewalls.iter().find(|firewall| firewall.is_on()) {
        Some(firewall) => Some(warning(
            SUBJECT,
            format!(
                "{} is on, and no peer has connected to this node's port since it started",
                firewall.name()
            ),
            firewall.allow(Traffic::Tcp(port)),
        )),
        None => match firewalls.first() {
            Some(firewall) => Some(ok(
                SUBJECT,
                format!(
                    "no peer has connected to this node's port since it started; if peers get no answer, and {} filters here: {}",
                    firewall.name(),
                    firewall.allow(Traffic::Tcp(port))
                ),
            )),
            None => Some(ok(SUBJECT, "no packet filter is known here")),
        },
    }
}

/// What macOS asks its person. Whether it was allowed cannot be asked for.
pub(super) fn local_network(multicast: &Multicast) -> Option<Check> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let hears_others = matches!(multicast, Multicast::Heard(heard) if heard.others > 0);
    Some(match hears_others {
        true => ok(
            CheckSubject::LocalNetwork,
            "macOS lets the node into the local network",
        ),
        false => warning(
            CheckSubject::LocalNetwork,
            "macOS may keep the node out of the local network",
            "in System Settings, Privacy & Security, Local Network: switch memnode on, and the program that you start it from",
        ),
    })
}

/// Whether an identity is there twice.
pub(super) fn identity(warnings: Vec<String>) -> Vec<Check> {
    if warnings.is_empty() {
        return vec![ok(
            CheckSubject::Identity,
            "no other node shows the identity of this one or of a peer",
        )];
    }
    let check = |warning: String| {
        // The sentence about what to do is the last one.
        let (found, advice) = warning.rsplit_once(". ").unwrap_or((&warning, ""));
        problem(CheckSubject::Identity, found, advice)
    };
    warnings.into_iter().map(check).collect()
}

/// Who waits for the person at this machine.
pub(super) fn consent(requests: &[ConsentRequest]) -> Vec<Check> {
    let check = |request: &ConsentRequest| {
        about(
            &request.name,
            warning(
                CheckSubject::Consent,
                format!("it waits for your answer, at {}", request.address),
                "answer it: memcli consent",
            ),
        )
    };
    requests.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use memproto::control::CheckResult;

    use super::*;
    use crate::discovery::Heard;
    use crate::interfaces::Subnet;

    fn interface(name: &str, address: &str, left_out: Option<LeftOut>) -> Interface {
        Interface {
            name: name.to_owned(),
            index: 1,
            subnets: vec![Subnet {
                address: address.parse().unwrap(),
                prefix_len: 24,
            }],
            left_out,
        }
    }

    fn heard(own_on: &[&str], others: usize) -> Multicast {
        Multicast::Heard(Heard {
            own_on: own_on.iter().map(|name| (*name).to_owned()).collect(),
            others,
            ..Heard::default()
        })
    }

    #[test]
    fn a_machine_without_a_usable_interface_is_told_which_to_name() {
        let lo = interface("lo", "127.0.0.1", None);
        let docker = interface("docker0", "172.17.0.1", Some(LeftOut::Virtual));
        let check = interfaces(&[docker.clone(), lo.clone()]);
        assert_eq!(check.result, CheckResult::Problem);
        assert!(check.advice.unwrap().contains("--interface docker0"));

        let check = interfaces(std::slice::from_ref(&lo));
        assert_eq!(check.result, CheckResult::Problem);
        assert!(check.found.contains("in no network"));

        let eth = interface("eth0", "192.168.1.7", None);
        let check = interfaces(&[docker, eth, lo.clone()]);
        assert_eq!(check.result, CheckResult::Ok);
        assert_eq!(
            check.found,
            "discovery uses eth0 (192.168.1.7/24); left out: docker0 (for containers or virtual machines)"
        );
        let check = interfaces(&[interface("eth0", "169.254.3.4", None), lo]);
        assert_eq!(check.result, CheckResult::Warning);
    }

    #[test]
    fn a_port_on_loopback_reaches_nobody() {
        let listening = |address: &str| listening(&[address.parse().unwrap()]).result;
        assert_eq!(listening("127.0.0.1:8080"), CheckResult::Problem);
        assert_eq!(listening("[::]:8080"), CheckResult::Ok);
    }

    #[test]
    fn multicast_that_is_filtered_here_is_told_from_that_on_the_way() {
        let interfaces = [
            interface("eth0", "192.168.1.7", None),
            interface("lo", "127.0.0.1", None),
        ];
        let check = |heard: &Multicast, answers| multicast(heard, &interfaces, &[Firewall::Ufw], answers);
        let here = check(&heard(&["lo"], 0), false);
        assert_eq!(here.result, CheckResult::Problem);
        assert_eq!(here.advice.unwrap(), "sudo ufw allow 5353/udp");
        let on_the_way = check(&heard(&["eth0", "lo"], 0), true);
        assert_eq!(on_the_way.result, CheckResult::Warning);
        assert!(on_the_way.found.contains("lost on the way"));
        let alone = check(&heard(&["eth0"], 0), false);
        assert!(alone.found.contains("no other node"));
        assert_eq!(check(&heard(&["eth0"], 3), false).result, CheckResult::Ok);
        assert_eq!(check(&Multicast::Off, false).result, CheckResult::Warning);
        assert_eq!(
            check(&Multicast::Failed("no socket".to_owned()), false).result,
            CheckResult::Problem
        );
    }

    #[test]
    fn a_filter_that_is_on_is_named_until_a_peer_came_through() {
        let listening = ["[::]:9000".parse().unwrap()];
        let on = firewall(&[Firewall::Firewalld], &listening, false).unwrap();
        assert_eq!(on.result, CheckResult::Warning);
        assert!(on.advice.unwrap().contains("--add-port=9000/tcp"));
        assert_eq!(
            firewall(&[Firewall::Firewalld], &listening, true).unwrap().result,
            CheckResult::Ok
        );
        let perhaps = firewall(&[Firewall::Nftables], &listening, false).unwrap();
        assert_eq!(perhaps.result, CheckResult::Ok);
        assert!(perhaps.found.contains("tcp dport 9000 accept"));
    }

    #[test]
    fn an_identity_that_is_there_twice_is_a_problem_with_its_advice() {
        assert_eq!(identity(Vec::new())[0].result, CheckResult::Ok);
        let check = &identity(vec!["another node has it. Delete the key".to_owned()])[0];
        assert_eq!(check.result, CheckResult::Problem);
        assert_eq!(
            (check.found.as_str(), check.advice.as_deref()),
            ("another node has it", Some("Delete the key"))
        );
    }
}
