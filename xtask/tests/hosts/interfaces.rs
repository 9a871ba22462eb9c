//! Networks that come later, and interfaces that lead to nobody.

use anyhow::{Context, Result, ensure};
use memproto::control::{CheckResult, CheckSubject, DoctorReport, PeerState};
use xtask::lab::LabHost;
use xtask::wait;

use crate::scene::{self, PORT, REDIALLED, SOON};

fn ip(host: &LabHost, line: &str) -> Result<()> {
    xtask::process::run(host.command("ip").args(line.split(' ')), SOON)?.ok()?;
    Ok(())
}

/// What the doctor says of the interfaces.
fn interfaces(host: &LabHost) -> Result<(CheckResult, String)> {
    let report: DoctorReport = host.memcli(["doctor", "--json"])?.json()?;
    let check = report
        .checks
        .into_iter()
        .find(|check| check.subject == CheckSubject::Interfaces);
    let check = check.context("the doctor did not look at the interfaces")?;
    Ok((check.result, check.found))
}

#[test]
#[ignore = "several hosts"]
fn a_network_that_comes_later_is_found_and_one_that_goes_is_left() -> Result<()> {
    let lab = scene::hosts(2)?;
    let [a, b] = lab.all();
    ip(b, "link set eth0 down")?;
    let _a = scene::start(a)?;
    let _b = scene::start(b)?;
    let (result, found) = interfaces(b)?;
    ensure!(result == CheckResult::Problem, "{found}");

    ip(b, "link set eth0 up")?;
    scene::wait_for_state(a, "b", PeerState::Discovered, SOON)?;
    scene::wait_for_state(b, "a", PeerState::Discovered, SOON)?;
    ensure!(interfaces(b)?.0 == CheckResult::Ok);
    scene::befriend(a, b, "64mb")?;

    // The link is dead, and b knows why at once; when the network is back, so is the link.
    ip(b, "link set eth0 down")?;
    scene::wait_for_state(b, "a", PeerState::Lost, SOON)?;
    ip(b, "link set eth0 up")?;
    scene::wait_for_state(b, "a", PeerState::Connected, REDIALLED)?;
    scene::wait_for_state(a, "b", PeerState::Connected, REDIALLED)?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn interfaces_are_left_out_and_named_in() -> Result<()> {
    let lab = scene::hosts(2)?;
    let [a, b] = lab.all();
    let _a = scene::start(a)?;
    // On the same cable, but by its name a tunnel.
    ip(b, "link set eth0 down")?;
    ip(b, "link set eth0 name tap7")?;
    ip(b, "link set tap7 up")?;
    let node = scene::start(b)?;
    let (result, found) = interfaces(b)?;
    ensure!(
        result == CheckResult::Problem && found.contains("tap7 (a tunnel)"),
        "{found}"
    );
    // It is not found, but left-out interfaces carry links: they are dialled, not searched.
    scene::befriend(b, a, "64mb")?;
    ensure!(scene::peer(b, "a")?.is_some_and(|peer| peer.state == PeerState::Connected));
    node.stop(SOON)?.ok()?;

    let port = PORT.to_string();
    let named_in = ["--port", &port, "--memory", "64mb", "--interface", "tap*"];
    let node = b.start_node(named_in)?;
    let heard_on = wait::until("b's own announcement on tap7", SOON, || -> Result<_> {
        let (result, found) = interfaces(b)?;
        Ok((result == CheckResult::Ok).then_some(found))
    })?;
    ensure!(heard_on.contains("discovery uses tap7"), "{heard_on}");
    node.stop(SOON)?.ok()?;

    let named_out = [
        "--port",
        &port,
        "--memory",
        "64mb",
        "--interface",
        "*",
        "--interface",
        "!tap7",
    ];
    let _node = b.start_node(named_out)?;
    let (result, found) = interfaces(b)?;
    ensure!(
        result == CheckResult::Problem && found.contains("by the setting"),
        "{found}"
    );
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_configured_peer_is_found_without_multicast_wherever_its_name_leads() -> Result<()> {
    let lab = scene::hosts(2)?;
    let [a, b] = lab.all();
    let port = PORT.to_string();
    let b_at = b.at(PORT);
    let quiet = ["--port", &port, "--memory", "64mb", "--no-discovery"];
    let node = b.start_node(quiet)?;
    let _a = a.start_node([&quiet[..], &["--peers", &b_at]].concat())?;
    // To dial is no consent: both persons are asked.
    for (host, other) in [(a, "b"), (b, "a")] {
        let request = scene::consent_request(host, other)?;
        host.memcli(["consent", "--trust", &request.id.to_string()])?
            .ok()?;
    }
    scene::wait_for_state(a, "b", PeerState::Connected, SOON)?;
    // It comes back without anyone's doing, from the list and from what is known of trusted devices.
    node.stop(SOON)?.ok()?;
    scene::wait_for_state(a, "b", PeerState::Lost, SOON)?;
    let _b = b.start_node(quiet)?;
    scene::wait_for_state(a, "b", PeerState::Connected, REDIALLED)?;
    Ok(())
}
