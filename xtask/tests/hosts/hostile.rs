//! What a stranger may send to any socket: the node refuses it, keeps little for it, and goes on serving others.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xtask::demo::log_lines::LogLines;
use xtask::lab::LabHost;
use xtask::size::{MIB, human};
use xtask::wait;

use crate::scene::{self, PORT, SOON};

/// How soon a connection that does not complete its handshake must be closed: the handshake's own limit is 5 s.
const CLOSED: Duration = Duration::from_secs(10);

/// How much a node may grow by what strangers send, buffers of its allocator and of its runtime included.
const GROWTH_MAX: u64 = 16 * MIB;

/// Bytes without structure, the same for a seed: the hash of the seed, drawn out.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Sends all that the node takes. That it closes in the middle is its right.
fn offer(mut stream: impl Write, bytes: &[u8]) -> Result<()> {
    match stream.write_all(bytes) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

/// Reads until the node closes the connection.
fn wait_for_close(stream: &mut TcpStream, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("the connection is still open after {} s", within.as_secs());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(()),
        }
    }
}

fn serves(host: &LabHost) -> Result<()> {
    host.memcli(["set", "key", "value"])?.ok()?;
    assert_eq!(host.memcli(["get", "key"])?.ok()?.text(), "value");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn random_bytes_to_the_peer_port() -> Result<()> {
    let (lab, nodes) = scene::friends(2)?;
    let [a, b] = lab.all();
    let before = nodes[0].resident_bytes()?;
    for seed in 0..200 {
        // Short and long, with a plausible length in front and without.
        let mut bytes = noise(seed, 1 << (seed % 18));
        if seed % 2 == 0 {
            bytes.splice(..0, 100_u32.to_le_bytes());
        }
        let stream = b.dial(a, PORT)?;
        offer(&stream, &bytes)?;
        drop(stream);
    }
    let mut log = Vec::new();
    let mut lines = LogLines::new(1);
    while log.len() < 100_000 {
        lines.push_line(&mut log);
    }
    let mut stream = b.dial(a, PORT)?;
    offer(&stream, &log)?;
    wait_for_close(&mut stream, CLOSED)?;

    let growth = nodes[0].resident_bytes()?.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the node grew by {}", human(growth));
    serves(a)?;
    // The friends' own link did not suffer.
    assert_eq!(b.memcli(["get", "key"])?.ok()?.text(), "value");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn random_bytes_to_the_local_socket() -> Result<()> {
    let (lab, nodes) = scene::nodes(1)?;
    let [a] = lab.all();
    let before = nodes[0].resident_bytes()?;
    for seed in 0..200 {
        let mut bytes = noise(seed, 1 << (seed % 18));
        match seed % 3 {
            0 => {}
            // The greeting of a real client, then nonsense.
            1 => drop(bytes.splice(..0, *b"MEMC")),
            // And a length that only a fool would reserve.
            _ => drop(bytes.splice(..0, *b"MEMC\xff\xff\xff\xff")),
        }
        let stream = a.dial_local()?;
        offer(&stream, &bytes)?;
    }
    let growth = nodes[0].resident_bytes()?.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the node grew by {}", human(growth));
    serves(a)?;
    wait::until("the connections to end", SOON, || {
        a.stats()
            .map(|stats| (stats.local_connections <= 1).then_some(()))
    })
}

#[test]
#[ignore = "several hosts"]
fn a_length_beyond_reason_closes_the_connection() -> Result<()> {
    let (lab, nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    let before = nodes[0].resident_bytes()?;
    for length in [u32::MAX, 0x7fff_ffff, 64 * 1024] {
        let mut stream = b.dial(a, PORT)?;
        offer(&stream, &length.to_le_bytes())?;
        // Sooner than the limit of the handshake: the length alone is enough.
        wait_for_close(&mut stream, Duration::from_secs(3))?;
    }
    let growth = nodes[0].resident_bytes()?.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the node grew by {}", human(growth));
    serves(a)
}

#[test]
#[ignore = "several hosts"]
fn half_a_handshake_is_closed_in_bounded_time() -> Result<()> {
    let (lab, _nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    // A frame that promises more than comes, and one byte of a length.
    for bytes in [&[100, 0, 0, 0, 1, 2, 3][..], &[100]] {
        let mut stream = b.dial(a, PORT)?;
        offer(&stream, bytes)?;
        wait_for_close(&mut stream, CLOSED)?;
    }
    // A byte now and then does not buy more time.
    let mut stream = b.dial(a, PORT)?;
    offer(&stream, &100_u32.to_le_bytes())?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let start = Instant::now();
    loop {
        assert!(
            start.elapsed() < CLOSED,
            "a slow handshake goes on after {:?}",
            start.elapsed()
        );
        offer(&stream, &[0])?;
        match stream.read(&mut [0; 64]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    serves(a)
}

#[test]
#[ignore = "several hosts"]
fn a_thousand_silent_connections_keep_nobody_out_for_long() -> Result<()> {
    const CONNECTIONS: usize = 1000;
    allow_open_files(CONNECTIONS as u64 + 200)?;
    let (lab, nodes) = scene::nodes(3)?;
    let [a, b, c] = lab.all();
    let before = nodes[0].resident_bytes()?;
    // The kernel accepts for a node that does not: each of them succeeds or is refused at once.
    let mut silent: Vec<_> = (0..CONNECTIONS).filter_map(|_| b.dial(a, PORT).ok()).collect();
    assert!(silent.len() > CONNECTIONS / 2, "only {} connected", silent.len());

    let growth = nodes[0].resident_bytes()?.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the node grew by {}", human(growth));
    serves(a)?;
    // Another host gets through meanwhile.
    scene::befriend(c, a, "64mb")?;

    let deadline = Instant::now() + Duration::from_secs(30);
    for stream in &mut silent {
        wait_for_close(
            stream,
            deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1)),
        )?;
    }
    scene::befriend(b, a, "64mb")
}

/// Each connection is a file of this process.
fn allow_open_files(count: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(count),
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(())
}
