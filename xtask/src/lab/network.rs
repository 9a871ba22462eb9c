//! The network of a lab: namespaces, a bridge, addresses, packet filter and rates, by `ip`, `nft` and `tc`.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Direction;
use super::reaper::NAMESPACE_PREFIX;

/// The chain in which packets are lost. Rules name ports of the bridge, so a host's own packet filter stays its own.
const FILTER: &str = "\
table bridge lab
delete table bridge lab
table bridge lab {
    chain forward {
        type filter hook forward priority 0; policy accept;
    }
}
";

/// What a bucket of `tc tbf` may send at once, and how long packets may queue: enough for the full rate with the
/// kernel's timer, measured up to 1 Gbit/s.
const BURST: &str = "128kb";
const QUEUE_LATENCY: &str = "50ms";

/// The network of one lab.
#[derive(Debug)]
pub(super) struct Network {
    id: String,
    /// The first three bytes of the hosts' addresses.
    subnet: [u8; 3],
}

impl Network {
    /// Makes the namespace of the bridge, and the bridge.
    pub(super) fn create(id: &str) -> Result<Self> {
        let network = Self {
            id: id.to_owned(),
            subnet: [10, rand::random_range(64..192), rand::random_range(1..255)],
        };
        let switch = network.switch();
        tool("ip", &["netns", "add", &switch], "")?;
        // Without a querier on it, a snooping bridge may keep multicast from ports: this one floods.
        ip_batch(
            &switch,
            "link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set br0 up\n",
        )?;
        network.drop_nothing()?;
        Ok(network)
    }

    /// Adds a host's namespace and cable, and gives it an address.
    pub(super) fn add_host(&self, name: &str, index: usize) -> Result<Ipv4Addr> {
        let last = u8::try_from(index + 1).context("a lab has fewer hosts than a byte has values")?;
        let [a, b, c] = self.subnet;
        let address = Ipv4Addr::new(a, b, c, last);
        let namespace = self.namespace(name);
        let port = port(name);
        tool("ip", &["netns", "add", &namespace], "")?;
        ip_batch(
            &self.switch(),
            &format!(
                "link add {port} type veth peer name eth0 netns {namespace}\n\
                 link set {port} master br0\n\
                 link set {port} up\n"
            ),
        )?;
        // Duplicate addresses cannot be; without the test for them, IPv6 serves at once.
        tool(
            "ip",
            &["netns", "exec", &namespace, "sh"],
            "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad\n",
        )?;
        ip_batch(
            &namespace,
            &format!("link set lo up\naddr add {address}/24 brd + dev eth0\nlink set eth0 up\n"),
        )?;
        Ok(address)
    }

    pub(super) fn namespace(&self, host: &str) -> String {
        format!("{NAMESPACE_PREFIX}{}-{host}", self.id)
    }

    fn switch(&self) -> String {
        self.namespace("sw")
    }

    pub(super) fn set_port(&self, host: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        tool(
            "ip",
            &["-n", &self.switch(), "link", "set", &port(host), state],
            "",
        )
    }

    pub(super) fn drop_one_way(&self, host: &str, direction: Direction) -> Result<()> {
        self.drop_where(host, direction, "")
    }

    pub(super) fn drop_some(&self, host: &str, direction: Direction, percent: u8) -> Result<()> {
        self.drop_where(host, direction, &format!("numgen random mod 100 < {percent}"))
    }

    fn drop_where(&self, host: &str, direction: Direction, condition: &str) -> Result<()> {
        let side = match direction {
            Direction::FromHost => "iifname",
            Direction::ToHost => "oifname",
        };
        self.nft(&format!(
            "add rule bridge lab forward {side} \"{}\" {condition} drop\n",
            port(host)
        ))
    }

    pub(super) fn drop_multicast(&self) -> Result<()> {
        self.nft(
            "add rule bridge lab forward ether type ip ip daddr 224.0.0.0/4 drop\n\
             add rule bridge lab forward ether type ip6 ip6 daddr ff02::fb drop\n",
        )
    }

    pub(super) fn drop_between(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (port(one), port(other));
        self.nft(&format!(
            "add rule bridge lab forward iifname \"{one}\" oifname \"{other}\" drop\n\
             add rule bridge lab forward iifname \"{other}\" oifname \"{one}\" drop\n"
        ))
    }

    pub(super) fn drop_nothing(&self) -> Result<()> {
        self.nft(FILTER)
    }

    pub(super) fn limit_rate(&self, host: &str, megabits: u32) -> Result<()> {
        let rate = format!("{megabits}mbit");
        // Each end of the cable limits what it sends.
        for (namespace, interface) in self.cable_ends(host) {
            let shape = [
                "root",
                "tbf",
                "rate",
                &rate,
                "burst",
                BURST,
                "latency",
                QUEUE_LATENCY,
            ];
            let qdisc = ["-n", &namespace, "qdisc", "replace", "dev", &interface];
            tool("tc", &[&qdisc[..], &shape[..]].concat(), "")?;
        }
        Ok(())
    }

    pub(super) fn unlimit_rate(&self, host: &str) -> Result<()> {
        for (namespace, interface) in self.cable_ends(host) {
            tool(
                "tc",
                &["-n", &namespace, "qdisc", "del", "dev", &interface, "root"],
                "",
            )?;
        }
        Ok(())
    }

    /// The two interfaces of a host's cable, each with its namespace.
    fn cable_ends(&self, host: &str) -> [(String, String); 2] {
        [
            (self.namespace(host), "eth0".to_owned()),
            (self.switch(), port(host)),
        ]
    }

    fn nft(&self, rules: &str) -> Result<()> {
        tool("ip", &["netns", "exec", &self.switch(), "nft", "-f", "-"], rules)
    }
}

/// The bridge's port of a host. A bare "a" would be a word of `ip`.
fn port(host: &str) -> String {
    format!("port-{host}")
}

/// Runs lines of `ip` in a namespace.
fn ip_batch(namespace: &str, lines: &str) -> Result<()> {
    tool("ip", &["-n", namespace, "-batch", "-"], lines)
}

/// Runs a tool that changes the network, with this on its stdin.
fn tool(program: &str, args: &[&str], stdin: &str) -> Result<()> {
    let shown = || format!("{program} {}", args.join(" "));
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", shown()))?;
    let mut pipe = child.stdin.take().expect("stdin is piped");
    // A tool that does not read its stdin may have closed it: then its exit code tells.
    let _ = pipe.write_all(stdin.as_bytes());
    drop(pipe);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{} failed: {}\n{stdin}",
        shown(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
