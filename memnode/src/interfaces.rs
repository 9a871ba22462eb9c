//! The network interfaces of this host, and which of them discovery uses.
//!
//! Containers, virtual machines and tunnels bring interfaces of their own, behind which there is no LAN with machines of
//! people: an announcement there finds nobody, and its addresses lead others nowhere. They are left out unless a person
//! names them. This concerns mDNS alone: peers are accepted on every address that the node listens on.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use memproto::pattern::Glob;

/// Names of interfaces that are left out unless a person names them in, as patterns, and why.
const LEFT_OUT: [(LeftOut, &[&str]); 2] = [
    (
        LeftOut::Virtual,
        &[
            "docker*",
            "br-*",
            "veth*",
            "podman*",
            "cni*",
            "flannel*",
            "cali*",
            "cilium*",
            "kube*",
            "lxcbr*",
            "lxdbr*",
            "incusbr*",
            "virbr*",
            "vnet*",
            "vmnet*",
            "vmenet*",
            "vboxnet*",
            "vEthernet*",
        ],
    ),
    (
        LeftOut::Tunnel,
        &[
            "tun*",
            "tap*",
            "wg*",
            "tailscale*",
            "zt*",
            "utun*",
            "ppp*",
            "ipsec*",
            "nordlynx*",
            "proton*",
            "cscotun*",
            "gpd*",
            "sit*",
            "gre*",
            "gif*",
            "stf*",
        ],
    ),
];

/// A network interface with its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// The number that the system gave it; the scope of link-local addresses. 0 where the system gave none.
    pub index: u32,
    /// Its addresses, in ascending order.
    pub subnets: Vec<Subnet>,
    /// Why discovery does not use it, if so.
    pub left_out: Option<LeftOut>,
}

impl Interface {
    /// Whether it leads to this host alone.
    pub fn is_loopback(&self) -> bool {
        self.subnets.iter().all(|subnet| subnet.address.is_loopback())
    }
}

/// An address of an interface, and how much of it is the network's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Subnet {
    /// The address.
    pub address: IpAddr,
    /// How many leading bits are those of the network.
    pub prefix_len: u8,
}

impl Subnet {
    /// Whether an address is in this network.
    pub fn contains(&self, other: IpAddr) -> bool {
        let (ours, theirs, bits) = match (self.address, other.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits().into(), theirs.to_bits().into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        // A shift by all bits is none in Rust; a prefix of 0 bits contains everything.
        let differing: u128 = ours ^ theirs;
        differing
            .checked_shr(bits - u32::from(self.prefix_len).min(bits))
            .unwrap_or(0)
            == 0
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Why discovery does not use an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftOut {
    /// Its link is down.
    Down,
    /// It belongs to containers or virtual machines.
    Virtual,
    /// It is a tunnel, as of a VPN.
    Tunnel,
    /// It leads to one other machine, and the library for mDNS does not speak over such interfaces.
    PointToPoint,
    /// The setting `interfaces` leaves it out.
    Setting,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeftOut::Down => "down",
            LeftOut::Virtual => "for containers or virtual machines",
            LeftOut::Tunnel => "a tunnel",
            LeftOut::PointToPoint => "point-to-point, where mDNS is not spoken",
            LeftOut::Setting => "left out by the setting 'interfaces'",
        })
    }
}

/// Which interfaces a person named in or out. The last rule that matches decides. Where any is named in, the others are out.
#[derive(Clone, Debug, Default)]
pub struct InterfaceRules {
    rules: Arc<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    is_in: bool,
    glob: Glob,
}

impl InterfaceRules {
    /// Reads rules: each a name, or a pattern with `*`, `?` and `[...]`, with `!` in front where it names out.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn new<R: AsRef<str>>(rules: &[R]) -> Result<Self, String> {
        let rules = rules.iter().map(|rule| Rule::new(rule.as_ref()));
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// Why discovery does not use an interface of this name, if so.
    pub fn left_out(&self, name: &str, is_up: bool, is_point_to_point: bool) -> Option<LeftOut> {
        if !is_up {
            return Some(LeftOut::Down);
        }
        match self.rules.iter().rev().find(|rule| rule.glob.matches(name)) {
            Some(rule) if !rule.is_in => return Some(LeftOut::Setting),
            None if self.rules.iter().any(|rule| rule.is_in) => return Some(LeftOut::Setting),
            Some(_) => {}
            None => {
                if let Some(why) = left_out_by_default(name) {
                    return Some(why);
                }
            }
        }
        is_point_to_point.then_some(LeftOut::PointToPoint)
    }
}

impl Rule {
    fn new(text: &str) -> Result<Self, String> {
        let (is_in, pattern) = match text.strip_prefix('!') {
            Some(pattern) => (false, pattern),
            None => (true, text),
        };
        if pattern.is_empty() || pattern.contains(char::is_control) {
            return Err(format!(
                "{text:?} names no interface: write a name such as eth0, a pattern such as 'en*', or '!docker0' to leave one out"
            ));
        }
        let glob = Glob::new(pattern).map_err(|error| error.message)?;
        Ok(Self { is_in, glob })
    }
}

/// The interfaces of this host that have an address, in the order of their names.
///
/// # Errors
/// Where the system does not tell.
pub fn list(rules: &InterfaceRules) -> std::io::Result<Vec<Interface>> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for found in if_addrs::get_if_addrs()? {
        let (address, prefix_len) = match &found.addr {
            if_addrs::IfAddr::V4(v4) => (v4.ip.into(), v4.prefixlen),
            if_addrs::IfAddr::V6(v6) => (v6.ip.into(), v6.prefixlen),
        };
        let subnet = Subnet { address, prefix_len };
        match interfaces.iter_mut().find(|known| known.name == found.name) {
            Some(known) => known.subnets.push(subnet),
            None => interfaces.push(Interface {
                left_out: rules.left_out(&found.name, found.is_oper_up(), found.is_p2p()),
                index: found.index.unwrap_or(0),
                subnets: vec![subnet],
                name: found.name,
            }),
        }
    }
    for interface in &mut interfaces {
        interface.subnets.sort();
    }
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(interfaces)
}

fn left_out_by_default(name: &str) -> Option<LeftOut> {
    let matches = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *pattern,
    };
    LEFT_OUT
        .iter()
        .find(|(_, patterns)| patterns.iter().any(matches))
        .map(|(why, _)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(rules: &[&str], name: &str) -> Option<LeftOut> {
        InterfaceRules::new(rules).unwrap().left_out(name, true, false)
    }

    #[test]
    fn containers_and_tunnels_are_left_out_unless_named() {
        for name in [
            "lo",
            "eth0",
            "enp3s0",
            "wlan0",
            "en0",
            "br0",
            "bond0",
            "Ethernet 2",
        ] {
            assert_eq!(left_out(&[], name), None, "{name}");
        }
        for name in ["docker0", "br-5f1c9a", "veth12ab", "virbr0", "vEthernet (WSL)"] {
            assert_eq!(left_out(&[], name), Some(LeftOut::Virtual), "{name}");
        }
        for name in ["tun0", "tap1", "wg0", "tailscale0", "zt5u4y6", "utun3"] {
            assert_eq!(left_out(&[], name), Some(LeftOut::Tunnel), "{name}");
        }
        assert_eq!(left_out(&["docker0"], "docker0"), None);
        assert_eq!(left_out(&["docker0"], "eth0"), Some(LeftOut::Setting));
        assert_eq!(left_out(&["!eth1"], "eth0"), None);
        assert_eq!(left_out(&["!eth1"], "eth1"), Some(LeftOut::Setting));
        assert_eq!(left_out(&["!eth1"], "docker0"), Some(LeftOut::Virtual));
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let rules = ["*", "!docker*", "docker7"];
        assert_eq!(left_out(&rules, "tun0"), None);
        assert_eq!(left_out(&rules, "docker0"), Some(LeftOut::Setting));
        assert_eq!(left_out(&rules, "docker7"), None);
    }

    #[test]
    fn what_is_down_or_point_to_point_is_out_whatever_the_rules() {
        let rules = InterfaceRules::new(&["wg0", "eth0"]).unwrap();
        assert_eq!(rules.left_out("eth0", false, false), Some(LeftOut::Down));
        assert_eq!(rules.left_out("wg0", true, true), Some(LeftOut::PointToPoint));
    }

    #[test]
    fn what_names_no_interface_is_told() {
        for wrong in ["", "!", "a\nb"] {
            assert!(InterfaceRules::new(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_subnet_contains_its_addresses() {
        let subnet = |address: &str, prefix_len| Subnet {
            address: address.parse().unwrap(),
            prefix_len,
        };
        let contains = |subnet: Subnet, other: &str| subnet.contains(other.parse().unwrap());
        let home = subnet("192.168.1.7", 24);
        assert!(contains(home, "192.168.1.200") && contains(home, "::ffff:192.168.1.200"));
        assert!(!contains(home, "192.168.2.7") && !contains(home, "fe80::1"));
        assert!(contains(subnet("fe80::1", 64), "fe80::2") && !contains(subnet("fe80::1", 64), "fe81::2"));
        assert!(contains(subnet("10.0.0.1", 0), "1.2.3.4") && contains(subnet("::1", 0), "ff::"));
        assert!(
            contains(subnet("10.0.0.1", 32), "10.0.0.1") && !contains(subnet("10.0.0.1", 32), "10.0.0.2")
        );
    }

    #[test]
    fn this_host_has_its_loopback() {
        let interfaces = list(&InterfaceRules::default()).unwrap();
        assert!(interfaces.iter().any(Interface::is_loopback), "{interfaces:?}");
    }
}
