//! A small request beside a bulk transfer on a slow wire.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::demo::log_lines;
use xtask::process::Running;
use xtask::size::MIB;
use xtask::wait;

use crate::scene::{self, SOON};

/// How long a small get may take beside a stream that fills 100 Mbit/s, the start of a debug build of `memcli` included.
/// The wire's own queue is 50 ms; what the two kernels buffer comes on top.
const GET_MAX: Duration = Duration::from_secs(1);

#[test]
#[ignore = "several hosts"]
fn a_small_get_is_not_stuck_behind_a_stream() -> Result<()> {
    const SIZE: u64 = 96 * MIB;
    let (lab, _nodes) = scene::friends(2)?;
    let [a, b] = lab.all();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.log");
    log_lines::write_file(&path, SIZE, 2)?;
    b.memcli(["set", "small", "value"])?.ok()?;
    lab.limit_rate(b, 100)?;

    let start = Instant::now();
    let mut command = a.memcli_command(["stream", "--peer", "b", "--compress", "never"]);
    let mut streaming = Running::start(command.arg(&path))?;
    wait::until("the stream to flow", SOON, || {
        b.stats()
            .map(|stats| (stats.peers_used_bytes > 4 * MIB).then_some(()))
    })?;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let got = a.memcli(["get", "small"])?.ok()?;
        assert_eq!(got.text(), "value");
        slowest = slowest.max(got.took);
    }
    ensure!(
        streaming.is_running(),
        "the stream ended before the gets: they show nothing"
    );
    assert!(slowest < GET_MAX, "a small get took {slowest:?}");

    streaming.wait(scene::TRANSFERRED)?.ok()?;
    let megabits = SIZE as f64 * 8.0 / 1e6 / start.elapsed().as_secs_f64();
    assert!(megabits > 70.0, "the stream had only {megabits:.0} of 94 Mbit/s");
    Ok(())
}
