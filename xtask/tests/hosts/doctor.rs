//! What `memcli doctor` says when something is wrong, and that it is right.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memproto::control::{Check, CheckResult, CheckSubject, DoctorReport, PeerState};
use xtask::lab::LabHost;
use xtask::wait;

use crate::scene::{self, PORT, SOON};

/// Exit code of `memcli`: something keeps nodes apart.
const PROBLEM: i32 = 1;

/// How long a check may take that waits for what does not answer.
const PATIENCE: Duration = Duration::from_secs(40);

fn examine(host: &LabHost, target: Option<&str>) -> Result<DoctorReport> {
    let args = ["doctor", "--json"].into_iter().chain(target);
    let finished = host.memcli(args)?;
    let report: DoctorReport = finished.json()?;
    let expected = if report.is_healthy() { 0 } else { PROBLEM };
    ensure!(finished.code() == Some(expected), "{finished}");
    Ok(report)
}

/// The check of this subject that came to this result.
fn find(report: &DoctorReport, subject: CheckSubject, result: CheckResult) -> Result<&Check> {
    report
        .checks
        .iter()
        .find(|check| check.subject == subject && check.result == result)
        .with_context(|| format!("no {subject:?} is {result:?} in {report:#?}"))
}

/// Filters packets on a host itself, as its own firewall does.
fn filter(host: &LabHost, rules: &str) -> Result<()> {
    let script = format!(
        "nft -f - <<'END'\ntable inet filter\ndelete table inet filter\ntable inet filter {{\nchain input {{\n\
         type filter hook input priority 0; policy accept;\n{rules}\n}}\n}}\nEND\n"
    );
    xtask::process::run(host.command("sh").args(["-c", &script]), SOON)?.ok()?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn friends_are_healthy_and_each_trouble_has_its_name() -> Result<()> {
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let without = examine(a, None)?;
    find(&without, CheckSubject::Node, CheckResult::Problem)?;

    let _a = scene::start(a)?;
    let node_b = scene::start(b)?;
    scene::befriend(a, b, "64mb")?;
    for (host, other) in [(a, "b"), (b, "a")] {
        let report = wait::until("a healthy mesh", SOON, || {
            let report = examine(host, None)?;
            let heard = find(&report, CheckSubject::Multicast, CheckResult::Ok).is_ok();
            anyhow::Ok((report.is_healthy() && heard).then_some(report))
        })?;
        let peer = find(&report, CheckSubject::Peer, CheckResult::Ok)?;
        assert_eq!(peer.about.as_deref(), Some(other));
    }
    let shown = a.memcli(["doctor", "b"])?.ok()?.text();
    ensure!(shown.contains("connected at"), "{shown}");

    // An address where nobody listens, a name that nobody has, a host that is not known.
    let refused = examine(a, Some(&b.at(81)))?;
    let check = find(&refused, CheckSubject::Reach, CheckResult::Problem)?;
    ensure!(check.found.contains("refuses"), "{check:?}");
    find(
        &examine(a, Some("nobody"))?,
        CheckSubject::Name,
        CheckResult::Problem,
    )?;
    find(
        &examine(a, Some("no.such.host:80"))?,
        CheckSubject::Name,
        CheckResult::Problem,
    )?;

    // A node of another time.
    let old = c.in_network(|| TcpListener::bind((c.address(), 0)))?;
    let old_at = format!("{}", old.local_addr()?);
    let speaking = std::thread::spawn(move || speak_version_9(&old));
    let version = examine(a, Some(&old_at))?;
    let check = find(&version, CheckSubject::Version, CheckResult::Problem)?;
    ensure!(check.found.contains("versions 9 to 9"), "{check:?}");
    speaking.join().expect("the old node does not panic")?;

    // Who waits, and who was denied.
    let _c = scene::start(c)?;
    let connecting = scene::connect(c, a)?;
    let request = scene::consent_request(a, "c")?;
    let waiting = examine(a, None)?;
    let check = find(&waiting, CheckSubject::Consent, CheckResult::Warning)?;
    ensure!(check.about.as_deref() == Some("c"), "{check:?}");
    find(
        &examine(c, Some("a"))?,
        CheckSubject::Consent,
        CheckResult::Warning,
    )?;
    a.memcli(["consent", "--deny", &request.id.to_string()])?.ok()?;
    ensure!(connecting.wait(SOON)?.code() != Some(0));
    let denied = examine(c, Some("a"))?;
    let check = find(&denied, CheckSubject::Consent, CheckResult::Problem)?;
    ensure!(check.found.contains("said no"), "{check:?}");
    let check = &examine(a, Some("c"))?;
    ensure!(
        find(check, CheckSubject::Consent, CheckResult::Problem)?
            .found
            .contains("you said no")
    );

    // b's node ends: a peer that should be there is looked at without being named.
    node_b.stop(SOON)?.ok()?;
    scene::wait_for_state(a, "b", PeerState::Lost, SOON)?;
    let gone = examine(a, None)?;
    let check = find(&gone, CheckSubject::Reach, CheckResult::Problem)?;
    ensure!(check.about.as_deref() == Some("b"), "{check:?}");
    Ok(())
}

/// Answers one HELLO with one that offers another version, as `docs/protocol/peer.md`, 2.1, has it.
fn speak_version_9(listener: &TcpListener) -> Result<()> {
    const HELLO_LEN: u32 = 72;
    let (mut stream, _) = listener.accept()?;
    let mut hello = [0; 4 + HELLO_LEN as usize];
    stream.read_exact(&mut hello)?;
    let mut answer = HELLO_LEN.to_le_bytes().to_vec();
    answer.extend_from_slice(b"MEMP");
    answer.extend_from_slice(&[9, 0, 9, 0]);
    answer.extend_from_slice(&[7; 64]);
    stream.write_all(&answer)?;
    // Until the other side has read it and closed.
    let _ = stream.read(&mut [0])?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_filter_is_told_from_a_host_that_is_away() -> Result<()> {
    let (lab, mut nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    scene::wait_for_state(a, "b", PeerState::Discovered, SOON)?;

    // b's filter lets nothing in: a gets no answer, and b does not even hear itself.
    filter(b, "tcp dport 8080 drop\nudp dport 5353 drop")?;
    let at_a = examine(a, Some(&b.at(PORT)))?;
    let check = find(&at_a, CheckSubject::Firewall, CheckResult::Problem)?;
    ensure!(check.found.contains("does not answer"), "{check:?}");
    nodes.remove(1).stop(SOON)?.ok()?;
    let node_b = scene::start(b)?;
    let at_b = examine(b, None)?;
    let check = find(&at_b, CheckSubject::Multicast, CheckResult::Problem)?;
    ensure!(check.found.contains("eth0"), "{check:?}");
    let advice = check.advice.as_deref().unwrap_or_default();
    ensure!(advice.contains("5353"), "{check:?}");

    // The way between them loses multicast alone: the peer answers, and is not heard.
    filter(b, "")?;
    lab.lose_multicast()?;
    node_b.stop(SOON)?.ok()?;
    let _b = scene::start(b)?;
    scene::befriend(b, a, "64mb")?;
    let on_the_way = examine(b, None)?;
    let check = find(&on_the_way, CheckSubject::Multicast, CheckResult::Warning)?;
    ensure!(check.found.contains("lost on the way"), "{check:?}");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_copied_home_is_told_to_all_who_can_know() -> Result<()> {
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let _a = scene::start(a)?;
    let _b = scene::start(b)?;
    // b dials: it has a's address, and so has the copy.
    scene::befriend(b, a, "64mb")?;
    let mut copy = c.command("cp");
    copy.arg("-a").args([b.memcloud_dir(), c.memcloud_dir()]);
    xtask::process::run(&mut copy, SOON)?.ok()?;
    let _c = scene::start(c)?;
    for host in [a, b, c] {
        wait::until(
            &format!("the warning at {}", host.name()),
            PATIENCE,
            || -> Result<_> {
                let warnings = host.status()?.warnings;
                Ok(warnings
                    .iter()
                    .any(|text| text.contains("identity"))
                    .then_some(()))
            },
        )?;
        let report = examine(host, None)?;
        let check = find(&report, CheckSubject::Identity, CheckResult::Problem)?;
        let advice = check.advice.as_deref().unwrap_or_default();
        ensure!(advice.contains("identity.key"), "{check:?}");
    }
    // The two that are one are not both connected.
    assert_eq!(a.status()?.peers_connected, 1);
    Ok(())
}
