//! A stranger gets nothing: both people agree, or nothing passes.

use anyhow::{Context, Result};
use memproto::control::{PeerState, TrustedDevice};
use xtask::lab::LabHost;

use crate::scene::{self, PORT, REDIALLED, SOON};

/// Exit code of `memcli`: denied, or the other person has not agreed yet.
const DENIED: i32 = 6;
/// Exit code of `memcli`: unreachable, unknown or ambiguous.
const PEER: i32 = 8;

fn trusted(host: &LabHost) -> Result<Vec<String>> {
    let devices: Vec<TrustedDevice> = host.memcli(["trust", "list", "--json"])?.ok()?.json()?;
    Ok(devices.into_iter().map(|device| device.name).collect())
}

#[test]
#[ignore = "several hosts"]
fn nothing_passes_until_both_agreed_and_then_all_does() -> Result<()> {
    let (lab, _nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    a.memcli(["set", "secret", "before"])?.ok()?;
    b.memcli(["set", "theirs", "before"])?.ok()?;

    let connecting = scene::connect(a, b)?;
    let request = scene::consent_request(b, "a")?;
    let waiting = scene::wait_for_state(a, "b", PeerState::WaitingForTheirConsent, SOON)?;
    assert_eq!(
        waiting.code.as_ref(),
        Some(&request.code),
        "the codes on the two screens differ"
    );
    assert_eq!(request.code.len(), 6);
    assert_eq!(
        request.address.ip().to_canonical(),
        std::net::IpAddr::V4(a.address())
    );

    a.memcli(["store", "--peer", "b", "too early"])?
        .fails_with(DENIED)?;
    b.memcli(["store", "--peer", "a", "too early"])?
        .fails_with(DENIED)?;
    b.memcli(["get", "secret"])?.fails_with(4)?;
    a.memcli(["get", "theirs"])?.fails_with(4)?;
    assert_eq!(b.stats()?.peers_used_bytes, 0);

    b.memcli(["consent", "--trust", &request.id.to_string()])?.ok()?;
    connecting.wait(SOON)?.ok()?;
    scene::wait_for_state(b, "a", PeerState::Connected, SOON)?;
    assert_eq!(trusted(a)?, ["b"]);
    assert_eq!(trusted(b)?, ["a"]);
    assert!(b.consent_requests()?.is_empty());
    a.memcli(["store", "--peer", "b", "now"])?.ok()?;
    assert_eq!(b.memcli(["get", "secret"])?.ok()?.text(), "before");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn what_is_allowed_once_must_be_asked_again() -> Result<()> {
    let (lab, mut nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    let connecting = scene::connect(a, b)?;
    let request = scene::consent_request(b, "a")?;
    b.memcli(["consent", "--allow", &request.id.to_string()])?.ok()?;
    connecting.wait(SOON)?.ok()?;
    scene::wait_for_state(b, "a", PeerState::Connected, SOON)?;
    assert!(trusted(b)?.is_empty());

    // a trusts b, so its next process dials b by itself; b's person is asked again.
    nodes.remove(0).stop(SOON)?.ok()?;
    let _a = scene::start(a)?;
    let again = xtask::wait::until("the second request", REDIALLED, || {
        b.consent_requests().map(|requests| requests.into_iter().next())
    })?;
    assert_eq!(again.id, request.id);
    assert_eq!(b.status()?.peers_connected, 0);
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn what_is_allowed_once_must_be_asked_again_after_the_network_was_gone() -> Result<()> {
    let (lab, _nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    let connecting = scene::connect(a, b)?;
    let request = scene::consent_request(b, "a")?;
    b.memcli(["consent", "--allow", &request.id.to_string()])?.ok()?;
    let connected = connecting.wait(SOON)?.ok()?;
    assert!(
        connected.text().contains("allowed this connection once"),
        "{connected}"
    );
    scene::wait_for_state(b, "a", PeerState::Connected, SOON)?;

    // The same process comes back, as a laptop does whose Wi-Fi dropped, and dials by itself, for its person trusts b.
    lab.unplug(a)?;
    scene::wait_for_state(a, "b", PeerState::Lost, SOON)?;
    lab.plug(a)?;
    let again = xtask::wait::until("the second request", REDIALLED, || {
        b.consent_requests().map(|requests| requests.into_iter().next())
    })?;
    assert_eq!(again.id, request.id);
    assert_ne!(again.code, request.code, "it is another handshake");
    assert_eq!(b.status()?.peers_connected, 0);
    a.memcli(["store", "--peer", "b", "too early"])?
        .fails_with(DENIED)?;
    b.memcli(["consent", "--trust", "a"])?.ok()?;
    scene::wait_for_state(a, "b", PeerState::Connected, SOON)?;

    // Trusted for good, it comes back without a question.
    lab.unplug(a)?;
    scene::wait_for_state(a, "b", PeerState::Lost, SOON)?;
    lab.plug(a)?;
    scene::wait_for_state(a, "b", PeerState::Connected, REDIALLED)?;
    assert!(b.consent_requests()?.is_empty());
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn machines_that_were_told_each_others_keys_connect_without_a_question() -> Result<()> {
    let (lab, _nodes) = scene::nodes(3)?;
    for one in lab.hosts() {
        for other in lab.hosts().iter().filter(|other| other.name() != one.name()) {
            let key = other.status()?.public_key;
            one.memcli(["trust", "add", &key, "--name", other.name(), "--quota", "64mb"])?
                .ok()?;
        }
    }
    // mDNS finds them, and trust dials.
    for one in lab.hosts() {
        for other in lab.hosts().iter().filter(|other| other.name() != one.name()) {
            scene::wait_for_state(one, other.name(), PeerState::Connected, REDIALLED)?;
        }
        assert!(one.consent_requests()?.is_empty());
    }
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_node_is_flushed_from_afar_only_by_whom_its_owner_allows() -> Result<()> {
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let _a = scene::start(a)?;
    let _c = scene::start(c)?;
    let port = PORT.to_string();
    let _b = b.start_node(["--port", &port, "--memory", "64mb", "--allow-flush", "a"])?;
    for friend in [a, c] {
        scene::befriend(friend, b, "8mb")?;
    }
    b.memcli(["set", "of-b", "value"])?.ok()?;
    let of_c = scene::stored_id(c, &["store", "--peer", "b", "of c"])?;
    c.memcli(["flush", "--peer", "b", "--yes"])?.fails_with(DENIED)?;
    assert_eq!(c.memcli(["get", "of-b"])?.ok()?.text(), "value");
    a.memcli(["flush", "--peer", "b", "--yes"])?.ok()?;
    for host in [a, b, c] {
        host.memcli(["get", "of-b"])?.fails_with(4)?;
    }
    assert_eq!(c.memcli(["load", &of_c])?.ok()?.text(), "of c");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn who_is_denied_is_told_so_and_gets_nothing() -> Result<()> {
    let (lab, _nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    b.memcli(["set", "theirs", "value"])?.ok()?;
    let connecting = scene::connect(a, b)?;
    let request = scene::consent_request(b, "a")?;
    b.memcli(["consent", "--deny", &request.id.to_string()])?.ok()?;
    connecting.wait(SOON)?.fails_with(DENIED)?;
    scene::wait_for_state(a, "b", PeerState::Denied, SOON)?;
    a.memcli(["store", "--peer", "b", "value"])?.fails_with(DENIED)?;
    a.memcli(["get", "theirs"])?.fails_with(4)?;
    assert!(trusted(a)?.is_empty() && trusted(b)?.is_empty());
    assert_eq!(b.status()?.peers_connected, 0);
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn who_is_trusted_no_longer_loses_the_link_and_must_ask_again() -> Result<()> {
    let (lab, _nodes) = scene::friends(2)?;
    let [a, b] = lab.all();
    let id = scene::stored_id(a, &["store", "--peer", "b", "kept there"])?;
    b.memcli(["trust", "remove", "a", "--free"])?.ok()?;
    assert_eq!(b.status()?.peers_connected, 0);
    assert_eq!(b.stats()?.peers_used_bytes, 0);
    let lost = a.memcli(["load", &id])?;
    assert!(matches!(lost.code(), Some(4 | DENIED | PEER)), "{lost}");
    assert!(trusted(b)?.is_empty());
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn peers_that_are_unknown_ambiguous_or_absent_are_named_as_such() -> Result<()> {
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let _a = scene::start(a)?;
    let twins = [b, c]
        .map(|host| host.start_node(["--name", "twin", "--port", &PORT.to_string(), "--memory", "64mb"]))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;

    a.memcli(["store", "--peer", "nobody", "x"])?.fails_with(PEER)?;
    a.memcli(["peer", "disconnect", "nobody"])?.fails_with(PEER)?;
    a.memcli(["connect", &b.at(1)])?.fails_with(PEER)?;

    xtask::wait::until_true("both twins", SOON, || {
        a.peers()
            .is_ok_and(|peers| peers.iter().filter(|peer| peer.name == "twin").count() == 2)
    })?;
    let ambiguous = a.memcli(["connect", "twin"])?.fails_with(PEER)?;
    for twin in &twins {
        let id = twin.status().node_id.to_string();
        let start = id.get(..4).context("an id has 32 digits")?;
        assert!(
            ambiguous.stderr.contains(start),
            "{id} is not among the matches: {}",
            ambiguous.stderr
        );
    }
    Ok(())
}
