//! Nodes on one bridge find each other by mDNS.

use anyhow::Result;
use memproto::control::PeerState;

use crate::scene::{self, PORT, SOON};

#[test]
#[ignore = "several hosts"]
fn three_hosts_find_each_other_and_dial_nobody() -> Result<()> {
    let (lab, nodes) = scene::nodes(3)?;
    for (host, node) in lab.hosts().iter().zip(&nodes) {
        for (other, other_node) in lab
            .hosts()
            .iter()
            .zip(&nodes)
            .filter(|(_, other)| other.pid() != node.pid())
        {
            let peer = scene::wait_for_state(host, other.name(), PeerState::Discovered, SOON)?;
            assert_eq!(peer.id, Some(other_node.status().node_id));
        }
        assert_eq!(host.peers()?.len(), 2);
        assert_eq!(host.status()?.peers_connected, 0);
        assert!(host.consent_requests()?.is_empty());
    }
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_discovered_node_is_connected_by_its_name() -> Result<()> {
    let (lab, _nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    scene::wait_for_state(a, "b", PeerState::Discovered, SOON)?;
    let connecting = a.memcli_start(["connect", "b"])?;
    let request = scene::consent_request(b, "a")?;
    b.memcli(["consent", "--trust", &request.id.to_string()])?.ok()?;
    connecting.wait(SOON)?.ok()?;
    scene::wait_for_state(a, "b", PeerState::Connected, SOON)?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_node_without_discovery_is_not_found_but_can_be_dialled() -> Result<()> {
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let _a = scene::start(a)?;
    let _b = b.start_node(["--port", &PORT.to_string(), "--memory", "64mb", "--no-discovery"])?;
    let _c = scene::start(c)?;
    // Once a and c have found each other, b would have been found as well.
    scene::wait_for_state(a, "c", PeerState::Discovered, SOON)?;
    scene::wait_for_state(c, "a", PeerState::Discovered, SOON)?;
    assert!(scene::peer(a, "b")?.is_none());
    assert!(b.peers()?.is_empty());
    scene::befriend(a, b, "64mb")
}
