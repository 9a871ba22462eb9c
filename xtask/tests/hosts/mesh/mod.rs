//! Five hosts and what goes wrong between them: each time both sides go on, and when it is over every node reads the same
//! newest value of every key, and nothing that was deleted is back.
//!
//! A scenario is mostly waiting, for a loss to be noticed and for peers to be dialled again, so that several run at once,
//! each in a lab of its own. While something is wrong, `peer_unreachable` and `timeout` are honest answers; any other
//! failure, at any time, ends the scenario.

mod hosts;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use memproto::control::PeerState;
use xtask::lab::Direction;
use xtask::wait;

use self::hosts::{Fault, Mesh};
use crate::scene;

/// How many hosts a mesh has.
const HOSTS: usize = 5;

/// How long to wait for a state: several meshes share the processors of a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each node gives to the pool.
const MEMORY: &str = "64mb";

/// How many keys each host has written before anything goes wrong.
const KEYS_EACH: usize = 4;

/// Something that goes wrong, and how it heals.
type Scenario = fn() -> Result<()>;

/// Runs scenarios at once, and fails with all that went wrong.
fn at_once(scenarios: &[(&str, Scenario)]) -> Result<()> {
    let failures: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = scenarios
            .iter()
            .map(|&(name, scenario)| (name, scope.spawn(scenario)))
            .collect();
        let ended = running.into_iter().map(|(name, scenario)| {
            let result = scenario.join().unwrap_or_else(|_| Err(anyhow!("it panicked")));
            result.err().map(|error| format!("{name}: {error:#}"))
        });
        ended.flatten().collect()
    });
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn what_breaks_the_network_heals() -> Result<()> {
    at_once(&[
        ("partition", a_partition),
        ("loss", packets_lost_one_way),
        ("flapping", a_flapping_link),
        ("address", a_change_of_address),
    ])
}

#[test]
#[ignore = "several hosts"]
fn what_happens_to_nodes_heals() -> Result<()> {
    at_once(&[
        ("hang", a_node_that_hangs_for_half_a_minute),
        ("kill", a_node_that_is_killed_and_starts_again),
        ("join", a_fifth_node_joins_under_load),
        ("consent", every_pair_consents_at_once),
    ])
}

fn keys(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn a_partition() -> Result<()> {
    let mesh = Mesh::new()?;
    let (left, right) = ([0, 1], [2, 3, 4]);
    for one in left {
        for other in right {
            mesh.lab.part(mesh.host(one), mesh.host(other))?;
        }
    }
    for one in left {
        for other in right {
            mesh.wait_until_lost(one, other)?;
            mesh.wait_until_lost(other, one)?;
        }
    }
    // Each half overwrites and deletes what lies in the other one, and both write the same keys.
    mesh.write(0, &keys(&["2-0", "0-0", "new left"]), "left", Fault::Unreachable)?;
    mesh.write(
        3,
        &keys(&["1-0", "4-0", "new right"]),
        "right",
        Fault::Unreachable,
    )?;
    mesh.delete(1, "3-1")?;
    mesh.delete(4, "0-1")?;
    let both = keys(&["0-2", "2-2", "new"]);
    mesh.write(1, &both, "left", Fault::Unreachable)?;
    mesh.write(2, &both, "right", Fault::OnBothSides)?;
    for index in 0..HOSTS {
        mesh.read(index, Fault::Unreachable)?;
    }
    mesh.lab.heal()?;
    mesh.heals()
}

fn packets_lost_one_way() -> Result<()> {
    const LOST_PERCENT: u8 = 30;
    let mesh = Mesh::new()?;
    mesh.lab
        .lose_some(mesh.host(4), Direction::ToHost, LOST_PERCENT)?;
    for round in 0..3 {
        mesh.write(
            4,
            &keys(&["0-0", "4-0"]),
            &format!("round {round}"),
            Fault::Unreachable,
        )?;
        mesh.write(
            1,
            &keys(&["4-1", "1-1"]),
            &format!("round {round}"),
            Fault::Unreachable,
        )?;
        mesh.read(4, Fault::Unreachable)?;
    }
    mesh.lab.heal()?;
    mesh.heals()?;
    // All of one direction: each side has to notice by what it does not hear.
    mesh.lab.lose(mesh.host(4), Direction::FromHost)?;
    for index in 0..4 {
        mesh.wait_until_lost(index, 4)?;
        mesh.wait_until_lost(4, index)?;
    }
    mesh.write(0, &keys(&["4-2", "0-2"]), "alone", Fault::Unreachable)?;
    mesh.write(4, &keys(&["0-3", "4-3"]), "alone", Fault::Unreachable)?;
    mesh.lab.heal()?;
    mesh.heals()
}

fn a_flapping_link() -> Result<()> {
    let mesh = Mesh::new()?;
    for round in 0..6 {
        mesh.lab.unplug(mesh.host(2))?;
        mesh.write(
            0,
            &keys(&["0-0", "2-0"]),
            &format!("down {round}"),
            Fault::Unreachable,
        )?;
        mesh.lab.plug(mesh.host(2))?;
        mesh.write(
            2,
            &keys(&["2-1", "0-1"]),
            &format!("up {round}"),
            Fault::Unreachable,
        )?;
    }
    mesh.heals()
}

fn a_change_of_address() -> Result<()> {
    let mesh = Mesh::new()?;
    let host = mesh.host(4);
    let old = host.address();
    let [a, b, c, d] = old.octets();
    let new = std::net::Ipv4Addr::new(a, b, c, d + 100);
    for change in [
        ["addr", "add", &format!("{new}/24"), "brd", "+", "dev", "eth0"].as_slice(),
        &["addr", "del", &format!("{old}/24"), "dev", "eth0"],
    ] {
        xtask::process::run(host.command("ip").args(change), PATIENCE)?.ok()?;
    }
    // Nobody was told: the node notices, announces itself anew, and the links move.
    wait::until("links to the new address", PATIENCE, || -> Result<_> {
        for index in 0..4 {
            let peer = scene::peer(mesh.host(index), host.name())?.context("it is forgotten")?;
            let ip = peer.address.map(|address| address.ip());
            ensure!(
                peer.state == PeerState::Connected && ip != Some(old.into()),
                "at {}: {peer:?}",
                mesh.host(index).name()
            );
        }
        Ok(Some(()))
    })?;
    mesh.write(4, &keys(&["4-0", "0-0"]), "moved", Fault::None)?;
    mesh.delete(4, "1-1")?;
    mesh.heals()
}

fn a_node_that_hangs_for_half_a_minute() -> Result<()> {
    const HANGS_FOR: Duration = Duration::from_secs(30);
    let mesh = Mesh::new()?;
    let node = mesh.nodes[4].as_ref().expect("it was started");
    node.pause()?;
    let begin = Instant::now();
    for index in 0..4 {
        mesh.wait_until_lost(index, 4)?;
    }
    mesh.write(1, &keys(&["4-0", "1-0"]), "meanwhile", Fault::Unreachable)?;
    mesh.delete(2, "4-1")?;
    for index in 0..4 {
        mesh.read(index, Fault::Unreachable)?;
    }
    thread::sleep(HANGS_FOR.saturating_sub(begin.elapsed()));
    node.resume()?;
    mesh.heals()
}

fn a_node_that_is_killed_and_starts_again() -> Result<()> {
    let mut mesh = Mesh::new()?;
    mesh.delete(4, "0-1")?;
    mesh.write(4, &keys(&["0-0"]), "moved to e", Fault::None)?;
    mesh.nodes[4].take().expect("it was started").kill();
    for index in 0..4 {
        mesh.wait_until_lost(index, 4)?;
    }
    mesh.write(0, &keys(&["4-0", "1-0"]), "meanwhile", Fault::Unreachable)?;
    mesh.delete(1, "4-1")?;
    // What only it held is out of reach, not gone, for nobody knows yet whether the process is.
    let at_a = mesh.read(0, Fault::Unreachable)?;
    ensure!(!at_a.contains_key("4-2"), "it should be out of reach: {at_a:?}");

    // Under the same identity and with nothing in RAM: what it held is forgotten, and nothing else.
    mesh.nodes[4] = Some(scene::start_with_memory(mesh.host(4), MEMORY)?);
    mesh.forget(&keys(&["4-2", "4-3", "0-0"]));
    mesh.heals()
}

fn a_fifth_node_joins_under_load() -> Result<()> {
    let mesh = Mesh::unconnected()?;
    mesh.agree(4)?;
    mesh.fill(4)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|at| {
                let (mesh, done) = (&mesh, &done);
                scope.spawn(move || -> Result<()> {
                    let own: Vec<String> = (0..KEYS_EACH).map(|key| format!("{at}-{key}")).collect();
                    let mut round = 0;
                    // Once more behind the join, so that there is something to be told of.
                    loop {
                        let was_done = done.load(Ordering::Acquire);
                        mesh.write(at, &own, &format!("round {round}"), Fault::None)?;
                        mesh.read(at, Fault::None)?;
                        round += 1;
                        if was_done {
                            return Ok(());
                        }
                    }
                })
            })
            .collect();
        let joined = mesh.agree(HOSTS);
        done.store(true, Ordering::Release);
        for load in load {
            load.join().map_err(|_| anyhow!("the load panicked"))??;
        }
        joined
    })?;
    mesh.write(4, &keys(&["0-0", "4-0"]), "joined", Fault::None)?;
    mesh.heals()
}

fn every_pair_consents_at_once() -> Result<()> {
    let mesh = Mesh::unconnected()?;
    // One side of each pair asks, and all persons answer whatever comes, at once.
    let mut connecting = Vec::new();
    for from in 0..HOSTS {
        for to in from + 1..HOSTS {
            connecting.push(scene::connect(mesh.host(from), mesh.host(to))?);
        }
    }
    thread::scope(|scope| {
        let persons: Vec<_> = (0..HOSTS)
            .map(|index| {
                let host = mesh.host(index);
                scope.spawn(move || {
                    wait::until(
                        &format!("all peers at {}", host.name()),
                        PATIENCE,
                        || -> Result<_> {
                            for request in host.consent_requests()? {
                                let id = request.id.to_string();
                                // A link that was replaced meanwhile takes its question along: it comes again.
                                let _ = host.memcli(["consent", "--trust", &id, "--quota", MEMORY])?;
                            }
                            Ok((host.status()?.peers_connected == HOSTS - 1).then_some(()))
                        },
                    )
                })
            })
            .collect();
        for person in persons {
            person.join().map_err(|_| anyhow!("a person panicked"))??;
        }
        anyhow::Ok(())
    })?;
    for command in connecting {
        command.wait(PATIENCE)?.ok()?;
    }
    mesh.fill(HOSTS)?;
    mesh.heals()
}
