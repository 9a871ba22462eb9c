//! The network of the lab itself: what the other tests take for granted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::lab::{Direction, LabHost};
use xtask::wait;

use crate::scene::{self, SOON};

/// How long a packet may take before it counts as lost.
const LOST: Duration = Duration::from_millis(300);

fn listen(host: &LabHost) -> Result<(TcpListener, SocketAddr)> {
    let address = (host.address(), 0);
    let listener = host.in_network(|| TcpListener::bind(address))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn connects(from: &LabHost, to: SocketAddr) -> bool {
    from.in_network(|| TcpStream::connect_timeout(&to, LOST)).is_ok()
}

/// Whether a byte that `from` sends arrives at `to`.
fn passes(from: &mut TcpStream, to: &mut TcpStream) -> Result<bool> {
    to.set_read_timeout(Some(LOST))?;
    from.write_all(b"x")?;
    Ok(to.read_exact(&mut [0]).is_ok())
}

#[test]
#[ignore = "several hosts"]
fn hosts_reach_each_other_and_nothing_else() -> Result<()> {
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let (_listener, address) = listen(c)?;
    assert!(connects(a, address) && connects(b, address));

    let outside = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    assert!(!connects(a, outside), "a host sees this machine's loopback");
    assert!(
        TcpStream::connect_timeout(&address, LOST).is_err(),
        "this machine sees a host"
    );

    for host in lab.hosts() {
        let addresses = xtask::process::run(
            host.command("ip").args(["-br", "addr", "show", "dev", "eth0"]),
            SOON,
        )?;
        let text = addresses.ok()?.text();
        assert!(text.contains(&host.address().to_string()), "{text}");
        assert!(text.contains("fe80::"), "no IPv6 link-local address: {text}");
    }
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn an_unplugged_host_is_alone_until_plugged_in() -> Result<()> {
    let lab = scene::hosts(2)?;
    let [a, b] = lab.all();
    let (_listener, address) = listen(b)?;
    lab.unplug(b)?;
    assert!(!connects(a, address));
    lab.plug(b)?;
    wait::until_true("the link", SOON, || connects(a, address))
}

#[test]
#[ignore = "several hosts"]
fn packets_are_lost_in_the_direction_that_was_asked_for() -> Result<()> {
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let (listener, address) = listen(b)?;

    for (direction, from_a, from_b) in [
        (Direction::FromHost, false, true),
        (Direction::ToHost, true, false),
    ] {
        let mut at_a = a.in_network(|| TcpStream::connect(address))?;
        let (mut at_b, _) = listener.accept()?;
        lab.lose(a, direction)?;
        // The direction that passes is tried first: bytes that wait for their acknowledgement would arrive late.
        if from_a {
            assert!(passes(&mut at_a, &mut at_b)?);
            assert!(!passes(&mut at_b, &mut at_a)?);
        } else {
            assert!(from_b && passes(&mut at_b, &mut at_a)?);
            assert!(!passes(&mut at_a, &mut at_b)?);
        }
        lab.heal()?;
    }

    lab.part(a, b)?;
    assert!(!connects(a, address));
    assert!(connects(c, address));
    lab.heal()?;
    wait::until_true("the healed link", SOON, || connects(a, address))
}

#[test]
#[ignore = "several hosts"]
fn a_limited_rate_holds_in_both_directions() -> Result<()> {
    const MEGABITS: u32 = 100;
    const BYTES: usize = 4 * 1024 * 1024;
    let lab = scene::hosts(2)?;
    let [a, b] = lab.all();
    lab.limit_rate(a, MEGABITS)?;
    let (listener, address) = listen(b)?;
    let at_a = a.in_network(|| TcpStream::connect(address))?;
    let (at_b, _) = listener.accept()?;

    for (from, to) in [(&at_a, &at_b), (&at_b, &at_a)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        let start = Instant::now();
        let sender = std::thread::spawn(move || from.write_all(&vec![7; BYTES]));
        to.read_exact(&mut vec![0; BYTES])?;
        sender.join().expect("the sender does not panic")?;
        let megabits = BYTES as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64();
        assert!((60.0..120.0).contains(&megabits), "{megabits:.0} Mbit/s");
    }
    lab.unlimit_rate(a)
}

#[test]
#[ignore = "several hosts"]
fn a_dropped_lab_leaves_nothing_behind() -> Result<()> {
    let lab = scene::hosts(2)?;
    let [a, _] = lab.all();
    let namespace = a.namespace().expect("a host of a lab has a namespace").to_owned();
    let home = a.home_dir();
    let mut left = a.command("sleep").arg("1000").stdout(Stdio::null()).spawn()?;
    drop(lab);

    assert!(!home.exists());
    assert!(!namespaces()?.contains(&namespace));
    // Were it alive, this would wait for a thousand seconds.
    assert!(!left.wait()?.success());
    Ok(())
}

/// What [`hold_a_lab`] is told by: it does nothing unless another test starts it.
const HOLD: &str = "MEMCLOUD_TEST_HOLDS_A_LAB";

#[test]
#[ignore = "several hosts"]
fn a_killed_labs_hosts_are_removed() -> Result<()> {
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "network::hold_a_lab", "--nocapture"])
        .env(HOLD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(holder.stdout.take().expect("stdout is piped")).lines();
    let namespace = lines.find_map(|line| line.ok()?.split_once("holding ").map(|(_, name)| name.to_owned()));
    let namespace = namespace.context("the other process holds no lab")?;
    assert!(namespaces()?.contains(&namespace));
    holder.kill()?;
    holder.wait()?;
    wait::until("the killed lab to go", SOON, || {
        namespaces().map(|names| (!names.contains(&namespace)).then_some(()))
    })
}

#[test]
#[ignore = "several hosts"]
fn hold_a_lab() -> Result<()> {
    if std::env::var_os(HOLD).is_some() {
        let lab = scene::hosts(1)?;
        println!(
            "holding {}",
            lab.all::<1>()[0]
                .namespace()
                .expect("a host of a lab has a namespace")
        );
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

fn namespaces() -> Result<String> {
    let list = Command::new("ip").args(["netns", "list"]).output()?;
    Ok(String::from_utf8_lossy(&list.stdout).into_owned())
}
