//! A stream larger than the machine that sends it: it passes through that machine's node without being held.

use anyhow::Result;
use xtask::demo::log_lines;
use xtask::process;
use xtask::size::{MIB, human};
use xtask::wait;

use crate::scene::{self, SOON};

/// How much a node may grow while a stream of any size passes through it.
const GROWTH_MAX: u64 = 32 * MIB;

#[test]
#[ignore = "several hosts"]
fn a_stream_passes_through_its_node_and_comes_back_whole_on_any_host() -> Result<()> {
    const SIZE: u64 = 256 * MIB;
    let lab = scene::hosts(3)?;
    let [a, b, c] = lab.all();
    let node_a = scene::start_with_memory(a, "64mb")?;
    let _b = scene::start(b)?;
    let node_c = scene::start_with_memory(c, "64mb")?;
    scene::befriend(a, b, "400mb")?;
    scene::befriend(c, b, "400mb")?;
    scene::befriend(c, a, "0")?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.log");
    let written = log_lines::write_file(&path, SIZE, 9)?;

    let before = node_a.resident_bytes()?;
    node_a.reset_resident_peak()?;
    let mut stream = a.memcli_command(["stream", "--quiet", "--peer", "b", "--compress", "never"]);
    let id = process::run(stream.arg(&path), scene::TRANSFERRED)?.ok()?.text();
    let growth = node_a.resident_peak_bytes()?.saturating_sub(before);
    assert!(
        growth < GROWTH_MAX,
        "a's node grew by {} while it sent",
        human(growth)
    );
    assert!(b.stats()?.peers_used_bytes >= SIZE);

    for (host, node) in [(a, &node_a), (c, &node_c)] {
        let before = node.resident_bytes()?;
        node.reset_resident_peak()?;
        let output = dir.path().join(host.name());
        let mut load = host.memcli_command(["load", &id, "--output"]);
        process::run(load.arg(&output), scene::TRANSFERRED)?.ok()?;
        let growth = node.resident_peak_bytes()?.saturating_sub(before);
        assert!(
            growth < GROWTH_MAX,
            "{}'s node grew by {} while it received",
            host.name(),
            human(growth)
        );
        let hash = scene::hash_file(&output)?;
        assert_eq!(hash, written.hash, "{} got other bytes", host.name());
        std::fs::remove_file(&output)?;
    }

    a.memcli(["free", &id])?.ok()?;
    wait::until("b's memory", SOON, || {
        b.stats()
            .map(|stats| (stats.peers_used_bytes < MIB).then_some(()))
    })
}
