//! Hosts with nodes on them, and nodes that agreed to each other.

use std::time::Duration;

use anyhow::{Context, Result};
use memproto::control::PeerState;
use xtask::build::Programs;
use xtask::lab::{Lab, LabHost};
use xtask::node::Node;
use xtask::size::MIB;
use xtask::wait;

use crate::client::{Client, Protocol};

/// The port of every node.
const PORT: u16 = 8080;

/// What each node gives to the pool unless the measurement says otherwise: room for a stream, and as much beside it. It is a limit; what is
/// not used is not taken.
const MEMORY_BYTES: u64 = 2 << 30;

/// How long to wait for what happens within some hundred milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// Hosts, each with a node.
pub(crate) struct Scene {
    // Before the hosts: a node ends before the place where it runs.
    nodes: Vec<Node>,
    pub(crate) lab: Lab,
    memory_bytes: u64,
}

impl Scene {
    /// So many hosts whose nodes do not know each other.
    pub(crate) fn of_strangers(programs: &Programs, hosts: usize) -> Result<Self> {
        Self::with_memory(programs, hosts, MEMORY_BYTES)
    }

    /// Two hosts, named a and b, whose nodes trust each other.
    pub(crate) fn of_two_friends(programs: &Programs) -> Result<Self> {
        let scene = Self::of_strangers(programs, 2)?;
        let [a, b] = scene.lab.all();
        scene.befriend(a, b)?;
        Ok(scene)
    }

    /// So many hosts, named a, b and so on, each of whose nodes has so much memory for the pool; the first one's trusts those of all others.
    pub(crate) fn of_friends(programs: &Programs, hosts: usize, memory_bytes: u64) -> Result<Self> {
        let scene = Self::with_memory(programs, hosts, memory_bytes)?;
        let (first, others) = scene.lab.hosts().split_first().context("a lab has a host")?;
        for other in others {
            scene.befriend(first, other)?;
        }
        Ok(scene)
    }

    fn with_memory(programs: &Programs, hosts: usize, memory_bytes: u64) -> Result<Self> {
        let lab = Lab::create(hosts, programs)?;
        let (port, memory) = (PORT.to_string(), memory_bytes.to_string());
        let nodes = lab
            .hosts()
            .iter()
            .map(|host| {
                // Who finds whom and when is not what is measured here.
                let args = ["--port", &port, "--memory", &memory, "--no-discovery"];
                host.start_node(args)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            nodes,
            lab,
            memory_bytes,
        })
    }

    /// The nodes, in the order of the hosts.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Connects one host's node with another's, whose person trusts it for good and lets it use half of that one's memory.
    pub(crate) fn befriend(&self, one: &LabHost, other: &LabHost) -> Result<()> {
        befriend(one, other, self.memory_bytes / 2)
    }
}

/// What a node needs for a stream of this size: its grant is half of that, and the stream with all that belongs to it takes less than a sixteenth
/// more.
pub(crate) fn node_memory(size: u64) -> u64 {
    2 * (size + size / 16 + 64 * MIB)
}

fn befriend(one: &LabHost, other: &LabHost, grant_bytes: u64) -> Result<()> {
    let connecting = one.memcli_start(["connect", &other.at(PORT)])?;
    let request = wait::until(&format!("{}'s request", one.name()), SOON, || {
        let requests = other.consent_requests();
        requests.map(|requests| requests.into_iter().find(|request| request.name == one.name()))
    })?;
    let id = request.id.to_string();
    other
        .memcli(["consent", "--trust", &id, "--quota", &grant_bytes.to_string()])?
        .ok()?;
    connecting.wait(SOON)?.ok()?;
    wait::until(
        &format!("{} to be connected", one.name()),
        SOON,
        || -> Result<_> {
            let peers = one.peers()?;
            let peer = peers.iter().find(|peer| peer.name == other.name());
            let peer = peer.context("it is not listed")?;
            // It knows its grant a round trip later than that it is connected.
            let has_room = peer.borrowed.is_some_and(|grant| grant.free_bytes() > 0);
            Ok((peer.state == PeerState::Connected && has_room).then_some(()))
        },
    )
}

/// A connection of a program of this host to its node.
pub(crate) fn program(host: &LabHost) -> Result<Client> {
    Client::connect(Protocol::MemCloud, &host.socket())
        .with_context(|| format!("cannot connect to the node of {}", host.name()))
}
