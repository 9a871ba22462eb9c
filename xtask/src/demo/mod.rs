//! `cargo xtask demo`: what MemCloud is for, shown on one machine in under a minute.
//!
//! Two real nodes with homes of their own, on the loopback address; real consent, a real file, and every claim checked:
//! the demo fails where something is not as it says. Nothing outlives it, also after Ctrl-C.

pub mod log_lines;
mod show;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memproto::control::PeerState;

use crate::build::{Profile, Programs};
use crate::host::Host;
use crate::interrupt;
use crate::node::Node;
use crate::process::{Finished, Running, show};
use crate::size::{GIB, MIB, human};
use crate::wait;
use show::{Meter, command, headline, say};

/// The demo's promise is a minute; a machine four times as slow still gets an answer, a hanging node does not.
const PART_TIMEOUT: Duration = Duration::from_secs(120);

/// How much the daemon through which a stream flows may grow, whatever the stream's size.
const PASSING_GROWTH_MAX: u64 = 32 * MIB;

/// What the small machine gives: less than the file.
const SMALL_MEMORY: &str = "256mb";

/// The arguments of `cargo xtask demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The size of the file in GiB
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    gib: u64,
    /// Use the quicker build of the tests: the figures mean nothing then
    #[arg(long)]
    debug: bool,
}

/// One of the two machines.
struct Side {
    node: Node,
    host: Host,
}

/// A block on its way through the demo.
struct StreamedFile {
    path: PathBuf,
    size: u64,
    hash: blake3::Hash,
}

/// Builds, then runs the demo.
///
/// # Errors
/// When anything is not as it should be, or the demo is interrupted.
pub fn run(args: &Args) -> Result<()> {
    println!("MemCloud demo: two machines, one pool of RAM. Both are played by this one.");
    headline("Build");
    let programs = Programs::build(if args.debug {
        Profile::Debug
    } else {
        Profile::Release
    })?;

    interrupt::catch()?;
    let start = Instant::now();
    let dir = tempfile::Builder::new().prefix("memcloud-demo-").tempdir()?;
    let file = write_file(dir.path(), args.gib * GIB)?;
    let laptop = start_node("Laptop", dir.path(), SMALL_MEMORY, &programs)?;
    let desktop = start_node(
        "Desktop",
        dir.path(),
        &format!("{}mb", args.gib * 1024 + 512),
        &programs,
    )?;
    headline("Two nodes");
    for side in [&laptop, &desktop] {
        introduce(side);
    }
    connect(&laptop, &desktop, args.gib)?;
    let id = stream(&laptop, &desktop, &file)?;
    who_holds_what(&laptop, &desktop, &file)?;
    read_back(&laptop, &desktop, &file, &id)?;
    share_a_key(&laptop, &desktop)?;
    free(&laptop, &desktop, &id)?;
    stop([laptop, desktop])?;

    drop(dir);
    headline(&format!(
        "All as it should be, in {:.1} s. Nodes, homes and file are gone.",
        start.elapsed().as_secs_f64()
    ));
    say(
        "Two machines of your own: see the quick start in README.md. Several hosts on this one: cargo xtask lab.",
    );
    Ok(())
}

fn write_file(dir: &Path, size: u64) -> Result<StreamedFile> {
    headline("A file");
    let start = Instant::now();
    let path = dir.join("events.log");
    let written = log_lines::write_file(&path, size, 1)?;
    say(&format!(
        "{}: {} in {} log lines, written in {:.1} s",
        path.display(),
        human(size),
        written.lines,
        start.elapsed().as_secs_f64()
    ));
    say(&format!("BLAKE3 {}", written.hash));
    Ok(StreamedFile {
        path,
        size,
        hash: written.hash,
    })
}

/// Nodes of a demo listen on the loopback address and neither announce themselves nor look for others: whatever runs on
/// this network is no part of it.
fn start_node(name: &str, dir: &Path, memory: &str, programs: &Programs) -> Result<Side> {
    let host = Host::create(name, &dir.join(name), None, programs)?;
    let node = host.start_node([
        "--listen",
        "127.0.0.1",
        "--port",
        "0",
        "--memory",
        memory,
        "--no-discovery",
        "--api-port",
        "off",
    ])?;
    Ok(Side { node, host })
}

fn introduce(side: &Side) {
    let status = side.node.status();
    let address = status
        .peer_addresses
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    say(&format!(
        "{:<8} gives {:>9} to the pool, listens on {address}, pid {}, resident {}",
        status.name,
        human(status.budget_bytes),
        status.pid,
        side.node
            .resident_bytes()
            .map_or_else(|_| "unknown".to_owned(), human),
    ));
}

/// One side connects, the other side's person agrees.
fn connect(laptop: &Side, desktop: &Side, gib: u64) -> Result<()> {
    headline("Both people agree");
    let address = format!("127.0.0.1:{}", desktop.node.peer_port()?);
    let mut connecting = laptop.host.memcli_command(["connect", &address]);
    let shown = show(&connecting);
    let connecting = Running::start(&mut connecting)?;
    let request = wait::until("the request for consent", PART_TIMEOUT, || {
        desktop
            .host
            .consent_requests()
            .map(|requests| requests.into_iter().next())
    })?;
    command("laptop", &shown, "waits for the other person");
    let quota = format!("{}mb", gib * 1024 + 256);
    let mut answer =
        desktop
            .host
            .memcli_command(["consent", "--trust", &request.id.to_string(), "--quota", &quota]);
    let shown = show(&answer);
    let answer = Running::start(&mut answer)?.wait(PART_TIMEOUT)?.ok()?;
    say(&format!(
        "Desktop's person sees a request from {} with the code {}, the same on both screens.",
        request.name, request.code
    ));
    command("desktop", &shown, &all_output(&answer));
    let connected = connecting.wait(PART_TIMEOUT)?.ok()?;
    command("laptop", "(the answer to connect)", &all_output(&connected));
    let peers = laptop.host.peers()?;
    ensure!(
        peers
            .iter()
            .any(|peer| peer.name == "Desktop" && peer.state == PeerState::Connected),
        "the nodes are not connected: {peers:?}"
    );
    Ok(())
}

/// The file goes through Laptop's node, which has no room for it, into Desktop's.
fn stream(laptop: &Side, desktop: &Side, file: &StreamedFile) -> Result<String> {
    headline("The file goes into the other machine's RAM");
    let before = laptop.node.resident_bytes()?;
    laptop.node.reset_resident_peak()?;
    // Compressed, as it would be where the way is slower than that, the log would take a third, and the figures beside it would not add up.
    let mut streaming = laptop
        .host
        .memcli_command(["stream", "--quiet", "--compress", "never"]);
    streaming.arg(&file.path);
    command("laptop", "memcli stream events.log --compress never", "");
    let mut meter = Meter::start("in Desktop's RAM", file.size, [laptop, desktop]);
    let mut streaming = Running::start(&mut streaming)?;
    let deadline = Instant::now() + PART_TIMEOUT;
    while streaming.is_running() && Instant::now() < deadline {
        interrupt::check()?;
        meter.update(|| Ok(desktop.host.stats()?.peers_used_bytes.min(file.size)))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = streaming.wait(Duration::ZERO)?.ok()?.text();
    let rate = meter.finish()?;
    let growth = laptop.node.resident_peak_bytes()?.saturating_sub(before);
    say(&format!(
        "id {id}, {rate:.0} MiB/s. Laptop's node grew by {} at most while it all passed through.",
        human(growth)
    ));
    ensure!(
        growth < PASSING_GROWTH_MAX,
        "Laptop's node grew by {}: it should only pass a stream on",
        human(growth)
    );
    Ok(id)
}

fn who_holds_what(laptop: &Side, desktop: &Side, file: &StreamedFile) -> Result<()> {
    headline("Who holds what");
    for side in [laptop, desktop] {
        let stats = side.host.stats()?;
        say(&format!(
            "{:<8} holds {:>9} in {} blocks ({} of it lent to peers), has {} on peers, resident {}",
            side.host.name(),
            human(stats.used_bytes),
            stats.blocks,
            human(stats.peers_used_bytes),
            human(stats.remote_bytes),
            human(side.node.resident_bytes()?),
        ));
    }
    let lent = desktop.host.stats()?.peers_used_bytes;
    ensure!(lent >= file.size, "Desktop holds only {} for Laptop", human(lent));
    Ok(())
}

/// Reads the file back and compares every byte by its hash.
fn read_back(laptop: &Side, desktop: &Side, file: &StreamedFile, id: &str) -> Result<()> {
    headline("And back");
    let mut loading = laptop.host.memcli_command(["load", id]);
    command("laptop", &show(&loading), "");
    let mut meter = Meter::start("read", file.size, [laptop, desktop]);
    let mut loading = loading
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run memcli")?;
    let stdout = loading.stdout.take().expect("stdout is piped");
    let hashed = hash_all(stdout, &mut meter);
    if hashed.is_err() {
        // It may wait for a reader that has given up; a failure to kill one that ended changes nothing.
        let _ = loading.kill();
    }
    let ended = loading.wait_with_output()?;
    let hash = hashed?;
    ensure!(
        ended.status.success(),
        "memcli load: {}",
        String::from_utf8_lossy(&ended.stderr).trim()
    );
    let rate = meter.finish()?;
    say(&format!("BLAKE3 {hash}, {rate:.0} MiB/s"));
    ensure!(hash == file.hash, "this is not the file that was stored");
    say("The same as that of the file: every byte came back.");
    Ok(())
}

fn hash_all(mut from: ChildStdout, meter: &mut Meter<'_>) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; 1024 * 1024];
    loop {
        interrupt::check()?;
        let read = from.read(&mut piece)?;
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&piece[..read]);
        meter.update(|| Ok(hasher.count()))?;
    }
}

fn share_a_key(laptop: &Side, desktop: &Side) -> Result<()> {
    const VALUE: &str = "Hello from MemCloud!";
    headline("A key set on one machine, read on the other");
    say_and_run(laptop, &["set", "greeting", VALUE])?;
    let got = say_and_run(desktop, &["get", "greeting"])?;
    ensure!(got.text() == VALUE, "expected {VALUE:?}, got {:?}", got.text());
    Ok(())
}

fn free(laptop: &Side, desktop: &Side, id: &str) -> Result<()> {
    headline("And the RAM goes back");
    say_and_run(laptop, &["free", id])?;
    let used = wait::until("the freed memory", PART_TIMEOUT, || {
        desktop
            .host
            .stats()
            .map(|stats| (stats.peers_used_bytes < MIB).then_some(stats.used_bytes))
    })?;
    say(&format!(
        "Desktop holds {} now, resident {}",
        human(used),
        human(desktop.node.resident_bytes()?)
    ));
    Ok(())
}

fn stop(sides: [Side; 2]) -> Result<()> {
    for side in sides {
        let socket = side.host.socket();
        let ended = side.node.stop(PART_TIMEOUT)?;
        ensure!(
            ended.status.success(),
            "{} did not stop cleanly: {ended}",
            side.host.name()
        );
        ensure!(!socket.exists(), "{} left its socket behind", side.host.name());
    }
    Ok(())
}

/// Runs a command of `memcli` and shows it with its answer.
fn say_and_run(side: &Side, args: &[&str]) -> Result<Finished> {
    let mut cli = side.host.memcli_command(args);
    let shown = show(&cli);
    let finished = Running::start(&mut cli)?.wait(PART_TIMEOUT)?.ok()?;
    command(&side.host.name().to_lowercase(), &shown, &all_output(&finished));
    Ok(finished)
}

/// Both outputs, as a terminal shows them.
fn all_output(finished: &Finished) -> String {
    let mut text = finished.text();
    if !text.is_empty() && !finished.stderr.is_empty() {
        text.push('\n');
    }
    text.push_str(finished.stderr.trim_end());
    text
}
