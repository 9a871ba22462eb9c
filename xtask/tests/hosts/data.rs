//! Keys and blocks over several hosts.

use std::fs::File;

use anyhow::Result;
use xtask::demo::log_lines;
use xtask::process;
use xtask::size::MIB;
use xtask::wait;

use crate::scene::{self, SOON};

/// Exit code of `memcli`: no such key or block.
const NOT_FOUND: i32 = 4;

#[test]
#[ignore = "several hosts"]
fn a_key_set_on_one_host_is_read_overwritten_and_deleted_on_others() -> Result<()> {
    let (lab, _nodes) = scene::friends(3)?;
    let [a, b, c] = lab.all();
    let set = a.memcli(["set", "greeting", "Hello from a"])?.ok()?;
    assert!(set.text().starts_with("Set 'greeting' (Block ID: "), "{set}");
    for host in [a, b, c] {
        assert_eq!(host.memcli(["get", "greeting"])?.ok()?.stdout, b"Hello from a");
    }

    b.memcli(["set", "greeting", "Hello from b"])?.ok()?;
    for host in [a, b, c] {
        assert_eq!(host.memcli(["get", "greeting"])?.ok()?.stdout, b"Hello from b");
        assert_eq!(host.memcli(["keys", "greet*"])?.ok()?.text(), "greeting");
    }

    c.memcli(["del", "greeting"])?.ok()?;
    for host in [a, b, c] {
        host.memcli(["get", "greeting"])?.fails_with(NOT_FOUND)?;
        assert_eq!(host.memcli(["keys"])?.ok()?.text(), "");
    }
    c.memcli(["del", "greeting"])?.fails_with(NOT_FOUND)?;

    a.memcli(["mset", "one", "of a", "two", "of a"])?.ok()?;
    b.memcli(["mset", "two", "of b", "three", "of b"])?.ok()?;
    for host in [a, b, c] {
        let values = host.memcli(["mget", "three", "nowhere", "one", "two"])?;
        let values = values.fails_with(NOT_FOUND)?;
        assert_eq!(values.stdout, b"three\tof b\none\tof a\ntwo\tof b\n");
    }
    c.memcli(["del", "one", "two", "three"])?.ok()?;
    assert_eq!(a.memcli(["keys"])?.ok()?.text(), "");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn keys_of_the_pool_are_listed_with_where_they_lie_and_who_is_missing() -> Result<()> {
    let (lab, mut nodes) = scene::friends(2)?;
    let [a, b] = lab.all();
    a.memcli(["set", "here", "of a"])?.ok()?;
    a.memcli(["set", "there", "of a", "--remote"])?.ok()?;
    b.memcli(["set", "other", "of b"])?.ok()?;
    for host in [a, b] {
        assert_eq!(host.memcli(["keys"])?.ok()?.text(), "here\nother\nthere");
    }
    assert_eq!(a.memcli(["keys", "--local"])?.ok()?.text(), "here\nthere");
    let long = a.memcli(["keys", "-l"])?.ok()?;
    let long = long.text();
    let row = |key: &str| {
        let line = long
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>()
    };
    let (here, there) = (row("here"), row("there"));
    assert_eq!(here[..5], ["here", "4", "B", "pinned", "never"], "{long}");
    assert_eq!(there[..5], ["there", "4", "B", "-", "never"], "{long}");
    assert_eq!(there[5..], row("other")[5..], "both lie on b: {long}");
    assert_ne!(here[5..], there[5..], "{long}");
    nodes.remove(1).kill();
    let told = wait::until("a lists what is left", SOON, || {
        let told = a.memcli(["keys"])?.ok()?;
        anyhow::Ok((told.text() == "here\nthere").then_some(told))
    })?;
    assert!(told.stderr.contains("are not listed"), "{told}");
    let json: serde_json::Value = serde_json::from_str(&a.memcli(["--json", "keys"])?.ok()?.text())?;
    assert_eq!(json["missing"].as_array().map(Vec::len), Some(1), "{json}");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn overwriting_a_key_keeps_one_value() -> Result<()> {
    let (lab, _nodes) = scene::friends(2)?;
    let [a, b] = lab.all();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("value");
    log_lines::write_file(&path, MIB, 1)?;
    let mut used = Vec::new();
    for round in 0..20 {
        let host = if round % 2 == 0 { a } else { b };
        let mut set = host.memcli_command(["set", "key", "-"]);
        process::run(set.stdin(File::open(&path)?), SOON)?.ok()?;
        used.push(a.stats()?.used_bytes + b.stats()?.used_bytes);
    }
    let (first, last) = (used[0], used[used.len() - 1]);
    assert!(last < first + MIB, "20 overwrites of 1 MiB: {used:?}");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_block_stored_on_a_peer_is_loaded_and_freed_from_a_third_host() -> Result<()> {
    let (lab, _nodes) = scene::friends(3)?;
    let [a, b, c] = lab.all();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("block");
    log_lines::write_file(&path, 5 * MIB + 17, 3)?;
    let bytes = std::fs::read(&path)?;

    let mut store = a.memcli_command(["store", "--quiet", "--peer", "b", "-"]);
    let id = process::run(store.stdin(File::open(&path)?), SOON)?.ok()?.text();
    assert!(b.stats()?.peers_used_bytes >= bytes.len() as u64);
    for host in [a, c] {
        let stats = host.stats()?;
        assert!(
            stats.used_bytes < MIB,
            "{} holds {} bytes",
            host.name(),
            stats.used_bytes
        );
    }
    for host in [a, b, c] {
        assert!(
            host.memcli(["load", &id])?.ok()?.stdout == bytes,
            "{} got other bytes",
            host.name()
        );
    }

    c.memcli(["free", &id])?.ok()?;
    wait::until("b's memory", SOON, || {
        b.stats()
            .map(|stats| (stats.peers_used_bytes < MIB).then_some(()))
    })?;
    for host in [a, b, c] {
        host.memcli(["load", &id])?.fails_with(NOT_FOUND)?;
    }
    a.memcli(["free", &id])?.fails_with(NOT_FOUND)?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_value_that_is_set_with_one_node_lies_there_and_remote_lies_elsewhere() -> Result<()> {
    let (lab, _nodes) = scene::friends(2)?;
    let [a, b] = lab.all();
    let id = scene::stored_id(a, &["store", "here"])?;
    assert_eq!(b.stats()?.blocks, 0);
    let remote = scene::stored_id(a, &["store", "--remote", "there"])?;
    assert_eq!(b.stats()?.blocks, 1);
    assert_eq!(b.memcli(["load", &id])?.ok()?.stdout, b"here");
    assert_eq!(a.memcli(["load", &remote])?.ok()?.stdout, b"there");
    Ok(())
}
