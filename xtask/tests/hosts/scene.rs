//! What most tests begin with: hosts, nodes, and nodes that agreed.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use memproto::control::{ConsentRequest, PeerInfo, PeerState};
use xtask::build::Programs;
use xtask::lab::{Lab, LabHost};
use xtask::node::Node;
use xtask::process::Running;
use xtask::wait;

/// How long to wait for what happens within a second or two on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// How long to wait for a link that is dialled again: the longest pause between two attempts is 30 s.
pub(crate) const REDIALLED: Duration = Duration::from_secs(60);

/// How long a debug build may take for some hundred MiB on two busy cores.
pub(crate) const TRANSFERRED: Duration = Duration::from_secs(120);

/// The port of every node that these tests start, unless a test says otherwise.
pub(crate) const PORT: u16 = 8080;

/// What a node gives to the pool unless a test says otherwise.
pub(crate) const MEMORY: &str = "512mb";

/// Hosts without nodes.
pub(crate) fn hosts(count: usize) -> Result<Lab> {
    Lab::create(count, &Programs::beside_this_one()?)
}

/// Hosts with a node on each.
pub(crate) fn nodes(count: usize) -> Result<(Lab, Vec<Node>)> {
    let lab = hosts(count)?;
    let nodes = lab.hosts().iter().map(start).collect::<Result<_>>()?;
    Ok((lab, nodes))
}

/// Hosts with nodes, each connected with each and trusted for good.
pub(crate) fn friends(count: usize) -> Result<(Lab, Vec<Node>)> {
    let (lab, nodes) = nodes(count)?;
    for (index, one) in lab.hosts().iter().enumerate() {
        for other in &lab.hosts()[index + 1..] {
            befriend(one, other, MEMORY)?;
        }
    }
    Ok((lab, nodes))
}

/// A node with this test's usual settings.
pub(crate) fn start(host: &LabHost) -> Result<Node> {
    start_with_memory(host, MEMORY)
}

/// A node that gives another amount.
pub(crate) fn start_with_memory(host: &LabHost, memory: &str) -> Result<Node> {
    host.start_node(["--port", &PORT.to_string(), "--memory", memory])
}

/// A node that frees a stream a second after nobody goes on writing it.
pub(crate) fn start_that_gives_up_soon(host: &LabHost) -> Result<Node> {
    let port = PORT.to_string();
    host.start_node([
        "--port",
        &port,
        "--memory",
        MEMORY,
        "--unfinished-streams-kept",
        "1s",
    ])
}

/// Connects one host's node with another's, whose person trusts it for good and grants it `quota`.
pub(crate) fn befriend(one: &LabHost, other: &LabHost, quota: &str) -> Result<()> {
    let connecting = connect(one, other)?;
    let request = consent_request(other, one.name())?;
    other
        .memcli(["consent", "--trust", &request.id.to_string(), "--quota", quota])?
        .ok()?;
    connecting.wait(SOON)?.ok()?;
    for (here, there) in [(one, other), (other, one)] {
        wait_for_state(here, there.name(), PeerState::Connected, SOON)?;
    }
    Ok(())
}

/// Starts `memcli connect` to a host's address; it ends when the other person has answered.
pub(crate) fn connect(from: &LabHost, to: &LabHost) -> Result<Running> {
    from.memcli_start(["connect", &to.at(PORT)])
}

/// Waits until a node of this name asks for the consent of this host's person.
pub(crate) fn consent_request(host: &LabHost, name: &str) -> Result<ConsentRequest> {
    wait::until(&format!("{name}'s request at {}", host.name()), SOON, || {
        host.consent_requests()
            .map(|requests| requests.into_iter().find(|request| request.name == name))
    })
}

/// What a host's node says of a peer, if it knows it.
pub(crate) fn peer(host: &LabHost, name: &str) -> Result<Option<PeerInfo>> {
    Ok(host.peers()?.into_iter().find(|peer| peer.name == name))
}

/// Waits until a peer has this state at a host.
pub(crate) fn wait_for_state(
    host: &LabHost,
    name: &str,
    state: PeerState,
    within: Duration,
) -> Result<PeerInfo> {
    let what = format!("{name} to be {} at {}", state.as_words(), host.name());
    wait::until(&what, within, || -> Result<_> {
        let found = peer(host, name)?.with_context(|| format!("{name} is not known"))?;
        if found.state == state {
            return Ok(Some(found));
        }
        Err(anyhow::anyhow!("it is {found:?}"))
    })
}

/// The id that a quiet command printed.
pub(crate) fn stored_id(host: &LabHost, args: &[&str]) -> Result<String> {
    let mut command = vec!["--quiet"];
    command.extend(args);
    Ok(host.memcli(command)?.ok()?.text())
}

/// BLAKE3 of a file.
pub(crate) fn hash_file(path: &Path) -> Result<blake3::Hash> {
    Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize())
}
