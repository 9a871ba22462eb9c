//! `kill -9` of either daemon in the middle of a transfer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use memproto::control::PeerState;
use tempfile::TempDir;
use xtask::demo::log_lines;
use xtask::lab::{Lab, LabHost};
use xtask::node::Node;
use xtask::process::Running;
use xtask::size::MIB;
use xtask::wait;

use crate::scene::{self, REDIALLED, SOON};

/// Exit codes of `memcli`.
const NOT_RUNNING: i32 = 3;
const NOT_FOUND: i32 = 4;
const PEER: i32 = 8;

/// How soon a command must tell that the other end of its transfer is gone.
const TOLD: Duration = Duration::from_secs(15);

/// Two friends and a transfer between them that would take half a minute.
struct Transfer {
    lab: Lab,
    node_a: Node,
    node_b: Node,
    file: PathBuf,
    _dir: TempDir,
}

impl Transfer {
    fn new() -> Result<Self> {
        let lab = scene::hosts(2)?;
        let [a, b] = lab.all();
        let (node_a, node_b) = (
            scene::start_that_gives_up_soon(a)?,
            scene::start_that_gives_up_soon(b)?,
        );
        scene::befriend(a, b, scene::MEMORY)?;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("events.log");
        log_lines::write_file(&file, 256 * MIB, 5)?;
        Ok(Self {
            lab,
            node_a,
            node_b,
            file,
            _dir: dir,
        })
    }

    /// Starts to stream from a to b and returns when a part of it lies on b.
    fn begin(&self) -> Result<Running> {
        let [a, b] = self.lab.all();
        self.lab.limit_rate(b, 100)?;
        let mut command = a.memcli_command(["stream", "--peer", "b", "--compress", "never"]);
        let mut streaming = Running::start(command.arg(&self.file))?;
        wait::until("some of the stream on b", SOON, || -> Result<_> {
            ensure!(streaming.is_running(), "the stream has ended");
            Ok((b.stats()?.peers_used_bytes > 8 * MIB).then_some(()))
        })?;
        Ok(streaming)
    }
}

/// A node without its links still does all that needs none.
fn goes_on_serving(host: &LabHost) -> Result<()> {
    host.memcli(["set", "after the crash", "value"])?.ok()?;
    assert_eq!(host.memcli(["get", "after the crash"])?.ok()?.text(), "value");
    host.memcli(["del", "after the crash"])?.ok()?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn the_receiving_node_is_killed_in_the_middle_of_a_stream() -> Result<()> {
    let transfer = Transfer::new()?;
    let [a, b] = transfer.lab.all();
    let kept = scene::stored_id(a, &["store", "--peer", "b", "lost with b"])?;
    let streaming = transfer.begin()?;
    transfer.node_b.kill();
    let failed = streaming.wait(TOLD)?.fails_with(PEER)?;
    assert_eq!(failed.text(), "", "a stream that failed printed an id");
    assert!(failed.stderr.contains('b'), "{failed}");
    goes_on_serving(a)?;
    scene::wait_for_state(a, "b", PeerState::Lost, SOON)?;
    a.memcli(["load", &kept])?.fails_with(PEER)?;

    // Trusted for good on both sides, the new process is connected without anyone's doing.
    transfer.lab.unlimit_rate(b)?;
    let _b = scene::start(b)?;
    scene::wait_for_state(a, "b", PeerState::Connected, REDIALLED)?;
    // It is another process: what the old one held is gone, and said to be.
    a.memcli(["load", &kept])?.fails_with(NOT_FOUND)?;
    let id = scene::stored_id(a, &["store", "--peer", "b", "new"])?;
    assert_eq!(a.memcli(["load", &id])?.ok()?.text(), "new");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn the_sending_node_is_killed_in_the_middle_of_a_stream() -> Result<()> {
    let transfer = Transfer::new()?;
    let [a, b] = transfer.lab.all();
    let streaming = transfer.begin()?;
    transfer.node_a.kill();
    streaming.wait(TOLD)?.fails_with(NOT_RUNNING)?;
    goes_on_serving(b)?;
    // Nobody goes on with half a stream: its memory goes back after a while.
    wait::until("the memory of the half stream", SOON, || {
        b.stats()
            .map(|stats| (stats.peers_used_bytes < MIB).then_some(()))
    })?;

    transfer.lab.unlimit_rate(b)?;
    // kill -9 left its socket and its pid file: they are no obstacle.
    let _a = scene::start(a)?;
    scene::wait_for_state(b, "a", PeerState::Connected, REDIALLED)?;
    let id = scene::stored_id(a, &["store", "--peer", "b", "new"])?;
    assert_eq!(b.memcli(["load", &id])?.ok()?.text(), "new");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn the_holding_node_is_killed_in_the_middle_of_a_load() -> Result<()> {
    let transfer = Transfer::new()?;
    let [a, b] = transfer.lab.all();
    let mut stream = a.memcli_command(["stream", "--quiet", "--peer", "b", "--compress", "never"]);
    let id = Running::start(stream.arg(&transfer.file))?
        .wait(scene::TRANSFERRED)?
        .ok()?
        .text();

    transfer.lab.limit_rate(b, 100)?;
    let output = transfer.file.with_extension("loaded");
    let mut load = a.memcli_command(["load", &id, "--output"]);
    let mut loading = Running::start(load.arg(&output))?;
    wait::until("some of the stream on its way", SOON, || -> Result<_> {
        ensure!(loading.is_running(), "the load has ended");
        let link = scene::peer(a, "b")?.map_or(0, |peer| peer.received_bytes);
        Ok((link > 8 * MIB).then_some(()))
    })?;
    transfer.node_b.kill();
    loading.wait(TOLD)?.fails_with(PEER)?;
    assert!(!output.exists(), "a file that is not whole was left");
    goes_on_serving(a)
}

#[test]
#[ignore = "several hosts"]
fn a_client_that_is_killed_in_the_middle_of_a_stream_leaves_nothing() -> Result<()> {
    let transfer = Transfer::new()?;
    let [a, b] = transfer.lab.all();
    let mut streaming = transfer.begin()?;
    streaming.kill();
    wait::until("the memory of the half stream", SOON, || {
        b.stats()
            .map(|stats| (stats.peers_used_bytes < MIB).then_some(()))
    })?;
    goes_on_serving(a)?;
    goes_on_serving(b)
}
