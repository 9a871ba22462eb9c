//! Several hosts on this machine: network namespaces on a bridge, each with its own address, home and runtime folder,
//! and real programs in them. Linux, root, `ip`, `tc` and `nft` are needed.
//!
//! ```text
//!   namespace mclab-ID-sw            namespace mclab-ID-a
//!  +----------------------+         +-------------------------+
//!  | bridge br0           |   veth  | eth0  10.x.y.1/24       |
//!  |   port "a" ----------+---------+       fe80::.../64      |
//!  |   port "b" ------- . |         | HOME, XDG_RUNTIME_DIR   |
//!  +----------------------+         +-------------------------+
//! ```
//!
//! The bridge has a namespace of its own, so nothing of a lab is visible in this machine's network: no address can
//! collide with a real one, and this machine's packet filter does not see the bridged packets (it would with
//! `bridge-nf-call-iptables`, which is on by default). The hosts reach each other and nothing else.
//!
//! A lab leaves nothing behind, however its process ends: see [`reaper`].

mod network;
pub mod open;
pub mod reaper;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::Programs;
use crate::host::Host;
use crate::tools::{self, Tool};
use network::Network;
use reaper::{Reaper, RunDir};

/// The most hosts that a lab may have: their addresses fit the last byte.
pub const HOSTS_MAX: usize = 200;

/// Programs without which there is no lab, and the Debian packages that hold them.
pub const TOOLS: [Tool; 3] = [("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables")];

/// Hosts and the network between them. Dropping it ends all processes in them and removes everything.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<LabHost>,
    network: Network,
    // Last: fields are dropped in this order, and the reaper ends what the others left.
    _reaper: Reaper,
}

/// A host of a lab.
#[derive(Debug)]
pub struct LabHost {
    host: Host,
    address: Ipv4Addr,
}

/// Which packets of a host are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Those that the host sends.
    FromHost,
    /// Those that are sent to the host.
    ToHost,
}

impl Lab {
    /// Makes this many hosts, named a, b, c and so on, without nodes, after removing what dead labs left.
    ///
    /// # Errors
    /// When this process is not root, a tool is missing, or the kernel refuses.
    pub fn create(hosts: usize, programs: &Programs) -> Result<Self> {
        ensure!(
            (1..=HOSTS_MAX).contains(&hosts),
            "a lab has 1 to {HOSTS_MAX} hosts"
        );
        if let Some(why) = missing() {
            anyhow::bail!(why);
        }
        let run = RunDir::create()?;
        let (id, dir) = (run.id().to_owned(), run.path().to_owned());
        let reaper = Reaper::start(run)?;
        let network = Network::create(&id)?;
        let hosts = (0..hosts)
            .map(|index| {
                let name = host_name(index);
                let address = network.add_host(&name, index)?;
                let namespace = Some(network.namespace(&name));
                let host = Host::create(&name, &dir.join(&name), namespace, programs)?;
                Ok(LabHost { host, address })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            hosts,
            network,
            _reaper: reaper,
        })
    }

    /// All hosts.
    pub fn hosts(&self) -> &[LabHost] {
        &self.hosts
    }

    /// All hosts, as an array to take apart.
    ///
    /// # Panics
    /// When the lab was made with another number of them.
    pub fn all<const N: usize>(&self) -> [&LabHost; N] {
        let hosts: Vec<_> = self.hosts.iter().collect();
        hosts.try_into().expect("the lab was made with this many hosts")
    }

    /// Pulls the host's cable: its interface loses the carrier.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn unplug(&self, host: &LabHost) -> Result<()> {
        self.network.set_port(host.name(), false)
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug(&self, host: &LabHost) -> Result<()> {
        self.network.set_port(host.name(), true)
    }

    /// Loses all packets of one direction in silence, until [`Lab::heal`].
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn lose(&self, host: &LabHost, direction: Direction) -> Result<()> {
        self.network.drop_one_way(host.name(), direction)
    }

    /// Loses this share of the packets of one direction in silence, until [`Lab::heal`].
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn lose_some(&self, host: &LabHost, direction: Direction, percent: u8) -> Result<()> {
        self.network.drop_some(host.name(), direction, percent)
    }

    /// Loses what is sent to many at once (IPv4 and IPv6 multicast), until [`Lab::heal`], as some Wi-Fi does. Neighbour
    /// discovery of IPv6 still passes.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn lose_multicast(&self) -> Result<()> {
        self.network.drop_multicast()
    }

    /// Loses all packets between two hosts in silence, until [`Lab::heal`]; others still reach both.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn part(&self, one: &LabHost, other: &LabHost) -> Result<()> {
        self.network.drop_between(one.name(), other.name())
    }

    /// Undoes every [`Lab::lose`], [`Lab::lose_some`] and [`Lab::part`].
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn heal(&self) -> Result<()> {
        self.network.drop_nothing()
    }

    /// Limits what the host sends and what it receives to this many megabits (10^6 bits) per second each.
    ///
    /// # Errors
    /// When `tc` fails.
    pub fn limit_rate(&self, host: &LabHost, megabits: u32) -> Result<()> {
        self.network.limit_rate(host.name(), megabits)
    }

    /// Undoes [`Lab::limit_rate`].
    ///
    /// # Errors
    /// When `tc` fails.
    pub fn unlimit_rate(&self, host: &LabHost) -> Result<()> {
        self.network.unlimit_rate(host.name())
    }
}

impl Deref for LabHost {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl LabHost {
    /// The IPv4 address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A port of this host as others dial it.
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", self.address)
    }

    /// Opens a TCP connection from this host.
    ///
    /// # Errors
    /// When nothing answers within some seconds.
    pub fn dial(&self, to: &LabHost, port: u16) -> Result<TcpStream> {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let address = SocketAddr::new(IpAddr::V4(to.address), port);
        self.in_network(|| TcpStream::connect_timeout(&address, TIMEOUT))
            .with_context(|| format!("cannot connect to {address}"))
    }

    /// Opens a connection to the local API of this host's node.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn dial_local(&self) -> Result<UnixStream> {
        let socket = self.socket();
        UnixStream::connect(&socket).with_context(|| format!("cannot connect to {}", socket.display()))
    }
}

/// Why there can be no lab on this machine, if so.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    tools::missing(&TOOLS)
}

/// Programs that some tests need beside [`TOOLS`], and the Debian packages that hold them.
pub const TEST_TOOLS: [Tool; 4] = [
    ("avahi-daemon", "avahi-daemon"),
    ("avahi-browse", "avahi-utils"),
    ("avahi-publish", "avahi-utils"),
    ("dbus-daemon", "dbus"),
];

/// a to z, then h26 and so on.
fn host_name(index: usize) -> String {
    match u8::try_from(index) {
        Ok(small @ 0..=25) => char::from(b'a' + small).to_string(),
        _ => format!("h{index}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hosts_have_short_distinct_names() {
        let names: std::collections::BTreeSet<_> = (0..super::HOSTS_MAX).map(super::host_name).collect();
        assert_eq!(names.len(), super::HOSTS_MAX);
        assert!(names.contains("a") && names.contains("z") && names.contains("h26"));
    }
}
