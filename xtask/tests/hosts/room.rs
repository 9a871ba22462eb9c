//! Memory that is short is refused: over the budget, over the grant, and nothing that was acknowledged is lost by it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use xtask::demo::log_lines;
use xtask::lab::LabHost;
use xtask::process::{self, Finished};
use xtask::size::MIB;
use xtask::wait;

use crate::scene::{self, SOON};

/// Exit code of `memcli`: out of memory, or over a quota.
const NO_ROOM: i32 = 5;

fn file(dir: &Path, size: u64) -> Result<PathBuf> {
    let path = dir.join(size.to_string());
    log_lines::write_file(&path, size, size)?;
    Ok(path)
}

fn with_stdin(host: &LabHost, args: &[&str], path: &Path) -> Result<Finished> {
    process::run(
        host.memcli_command(args).stdin(File::open(path)?),
        scene::TRANSFERRED,
    )
}

#[test]
#[ignore = "several hosts"]
fn over_its_budget_a_node_refuses_and_keeps_what_it_has() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    let _a = scene::start_with_memory(a, "32mb")?;
    let dir = tempfile::tempdir()?;
    let (fits, too_much) = (file(dir.path(), 20 * MIB)?, file(dir.path(), 40 * MIB)?);

    with_stdin(a, &["set", "kept", "-"], &fits)?.ok()?;
    let used = a.stats()?.used_bytes;
    for args in [
        &["set", "more", "-"][..],
        &["store", "-"],
        &["stream", "--compress", "never", "-"],
        &["set", "kept", "-"],
    ] {
        let refused = with_stdin(a, args, &too_much)?.fails_with(NO_ROOM)?;
        assert!(!refused.stderr.is_empty());
        wait::until("the memory of the refused value", SOON, || {
            a.stats().map(|stats| (stats.used_bytes == used).then_some(()))
        })?;
    }
    assert_eq!(a.memcli(["keys"])?.ok()?.text(), "kept");
    assert!(a.memcli(["get", "kept"])?.ok()?.stdout == std::fs::read(&fits)?);
    a.memcli(["del", "kept"])?.ok()?;
    with_stdin(a, &["store", "-"], &fits)?.ok()?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn over_its_grant_a_peer_is_refused_and_gets_the_room_back_that_it_frees() -> Result<()> {
    let (lab, _nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    scene::befriend(a, b, "32mb")?;
    let dir = tempfile::tempdir()?;
    let (fits, too_much) = (file(dir.path(), 20 * MIB)?, file(dir.path(), 40 * MIB)?);

    let id = with_stdin(a, &["store", "--quiet", "--peer", "b", "-"], &fits)?
        .ok()?
        .text();
    let lent = b.stats()?.peers_used_bytes;
    assert!(lent >= 20 * MIB);
    for args in [
        &["store", "--peer", "b", "-"][..],
        &["stream", "--peer", "b", "--compress", "never", "-"],
    ] {
        for path in [&fits, &too_much] {
            let refused = with_stdin(a, args, path)?.fails_with(NO_ROOM)?;
            assert_eq!(refused.text(), "", "a refused write printed an id");
            wait::until("the memory of the refused value", SOON, || {
                let now = b.stats()?.peers_used_bytes;
                ensure!(now == lent, "{now} bytes are lent, before it were {lent}");
                Ok::<_, anyhow::Error>(Some(()))
            })?;
        }
    }
    assert!(a.memcli(["load", &id])?.ok()?.stdout == std::fs::read(&fits)?);

    a.memcli(["free", &id])?.ok()?;
    for _ in 0..5 {
        let id = with_stdin(a, &["store", "--quiet", "--peer", "b", "-"], &fits)?
            .ok()?
            .text();
        a.memcli(["free", &id])?.ok()?;
    }
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_grant_of_nothing_reads_but_stores_nothing() -> Result<()> {
    let (lab, _nodes) = scene::nodes(2)?;
    let [a, b] = lab.all();
    scene::befriend(a, b, "0")?;
    b.memcli(["set", "theirs", "to read"])?.ok()?;
    assert_eq!(a.memcli(["get", "theirs"])?.ok()?.text(), "to read");
    a.memcli(["store", "--peer", "b", "x"])?.fails_with(NO_ROOM)?;
    a.memcli(["store", "--remote", "x"])?.fails_with(NO_ROOM)?;
    assert_eq!(b.stats()?.peers_used_bytes, 0);
    Ok(())
}
