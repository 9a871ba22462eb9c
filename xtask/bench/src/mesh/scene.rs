//! Hosts with nodes on them, and nodes that agreed to each other.

use std::time::Duration;

use anyhow::{Context, Result};
use memproto::control::PeerState;
use xtask::lab::{Lab, LabHost};
use xtask::node::Node;
use xtask::wait;

use super::Setting;
use crate::client::{Client, Protocol};

/// The port of every node.
const PORT: u16 = 8080;

/// What each node gives to the pool: room for a stream. It is a limit; what is not used is not taken.
const MEMORY: &str = "2gb";

/// What each node lets a peer use.
const GRANT: &str = "1gb";

/// How long to wait for what happens within some hundred milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// Hosts, each with a node.
pub(super) struct Scene {
    // Before the hosts: a node ends before the place where it runs.
    _nodes: Vec<Node>,
    pub(super) lab: Lab,
}

impl Scene {
    /// So many hosts whose nodes do not know each other.
    pub(super) fn of_strangers(setting: &Setting, hosts: usize) -> Result<Self> {
        let lab = Lab::create(hosts, &setting.programs)?;
        let nodes = lab
            .hosts()
            .iter()
            .map(|host| {
                // Who finds whom and when is not what is measured here.
                let args = ["--port", &PORT.to_string(), "--memory", MEMORY, "--no-discovery"];
                host.start_node(args)
            })
            .collect::<Result<_>>()?;
        Ok(Self { _nodes: nodes, lab })
    }

    /// Two hosts, named a and b, whose nodes trust each other.
    pub(super) fn of_two_friends(setting: &Setting) -> Result<Self> {
        let scene = Self::of_strangers(setting, 2)?;
        let [a, b] = scene.lab.all();
        befriend(a, b)?;
        Ok(scene)
    }
}

/// Connects one host's node with another's, whose person trusts it for good.
pub(super) fn befriend(one: &LabHost, other: &LabHost) -> Result<()> {
    let connecting = one.memcli_start(["connect", &other.at(PORT)])?;
    let request = wait::until(&format!("{}'s request", one.name()), SOON, || {
        let requests = other.consent_requests();
        requests.map(|requests| requests.into_iter().find(|request| request.name == one.name()))
    })?;
    let id = request.id.to_string();
    other
        .memcli(["consent", "--trust", &id, "--quota", GRANT])?
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
pub(super) fn program(host: &LabHost) -> Result<Client> {
    Client::connect(Protocol::MemCloud, &host.socket())
        .with_context(|| format!("cannot connect to the node of {}", host.name()))
}
