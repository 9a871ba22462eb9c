//! Starting, stopping, and what stands in the way of either. One host is enough for most of it.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;

use crate::scene::{self, PORT, SOON};

/// Exit codes of `memcli` and `memnode`.
const FAILED: i32 = 1;
const NOT_RUNNING: i32 = 3;
const NOT_FOUND: i32 = 4;

#[test]
#[ignore = "several hosts"]
fn without_a_node_every_command_says_so_and_how_to_start_it() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    for args in [
        &["node", "status"][..],
        &["node", "stop"],
        &["node", "restart"],
        &["set", "k", "v"],
        &["get", "k"],
        &["del", "k"],
        &["store", "v"],
        &["load", "1"],
        &["free", "1"],
        &["keys"],
        &["stats"],
        &["stream", "/etc/hostname"],
        &["connect", "10.255.255.1:8080"],
        &["peer", "list"],
        &["consent"],
        &["trust", "list"],
    ] {
        let failed = a.memcli(args)?.fails_with(NOT_RUNNING)?;
        assert!(failed.stderr.contains("memcli node start"), "{failed}");
        assert_eq!(failed.text(), "");
    }
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_node_that_is_started_in_the_background_answers_and_stops_cleanly() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    let started = a
        .memcli([
            "node", "start", "--name", "here", "--port", "0", "--memory", "64mb",
        ])?
        .ok()?;
    assert!(
        started.text().contains("Node started successfully (PID: "),
        "{started}"
    );
    let status = a.status()?;
    assert_eq!((status.name.as_str(), status.budget_bytes), ("here", 64 << 20));
    assert!(status.peer_addresses.iter().all(|address| address.port() != 0));
    a.memcli(["node", "stop"])?.ok()?;
    a.memcli(["node", "status"])?.fails_with(NOT_RUNNING)?;
    assert!(!a.socket().exists());
    assert!(!a.memcloud_dir().join("memnode.pid").exists());
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_restarted_node_has_the_options_it_had_and_nothing_else() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    a.memcli([
        "node", "start", "--name", "a name", "--port", "0", "--memory", "64mb",
    ])?
    .ok()?;
    a.memcli(["set", "key", "value"])?.ok()?;
    let before = a.status()?;
    a.memcli(["node", "restart"])?.ok()?;
    let after = a.status()?;
    assert_ne!(after.pid, before.pid);
    assert_eq!((after.name.as_str(), after.budget_bytes), ("a name", 64 << 20));
    assert_eq!(
        (after.node_id, &after.started_with),
        (before.node_id, &before.started_with)
    );
    a.memcli(["get", "key"])?.fails_with(NOT_FOUND)?;
    // It can be restarted again.
    a.memcli(["node", "restart"])?.ok()?;
    a.memcli(["node", "stop"])?.ok()?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_node_that_something_else_looks_after_is_not_restarted() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    let mut node = scene::start(a)?;
    let refused = a.memcli(["node", "restart"])?.fails_with(FAILED)?;
    assert!(
        refused.stderr.contains("was not started by `memcli node start`"),
        "{refused}"
    );
    assert!(node.is_running());
    assert_eq!(a.status()?.pid, node.pid());
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_terminated_node_leaves_no_socket_and_tells_its_peers() -> Result<()> {
    let (lab, mut nodes) = scene::friends(2)?;
    let [a, b] = lab.all();
    nodes.remove(0).stop(SOON)?.ok()?;
    assert!(!a.socket().exists());
    assert!(!a.memcloud_dir().join("memnode.pid").exists());
    // Told, not timed out: the keepalive would need ten seconds.
    xtask::wait::until_true("the goodbye", std::time::Duration::from_secs(5), || {
        b.status().is_ok_and(|status| status.peers_connected == 0)
    })
}

#[test]
#[ignore = "several hosts"]
fn a_second_node_in_the_same_home_is_refused_and_the_first_goes_on() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    let mut first = scene::start(a)?;
    a.memcli(["set", "key", "value"])?.ok()?;
    for socket in [None, Some(a.runtime_dir().join("other.sock"))] {
        let mut args = vec!["--port".to_owned(), "0".to_owned()];
        args.extend(
            socket
                .into_iter()
                .flat_map(|path| ["--socket".to_owned(), path.display().to_string()]),
        );
        let refused = a.memnode(args)?.fails_with(FAILED)?;
        assert!(
            refused.stderr.contains(&first.pid().to_string()),
            "no pid of the first: {refused}"
        );
    }
    assert!(first.is_running());
    assert_eq!(a.memcli(["get", "key"])?.ok()?.text(), "value");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn the_socket_of_a_running_node_is_not_taken_by_another_home() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    let _first = scene::start(a)?;
    let home = a.home_dir().join("other").display().to_string();
    let socket = a.socket().display().to_string();
    a.memnode(["--port", "0", "--home", &home, "--socket", &socket])?
        .fails_with(FAILED)?;
    a.memcli(["set", "key", "value"])?.ok()?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn a_port_in_use_is_named() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    let _taken = a.in_network(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)))?;
    let refused = a.memnode(["--port", &PORT.to_string()])?.fails_with(FAILED)?;
    assert!(refused.stderr.contains(&PORT.to_string()), "{refused}");
    assert!(!a.socket().exists(), "a node that did not start left a socket");
    let started = a
        .memcli(["node", "start", "--port", &PORT.to_string()])?
        .fails_with(FAILED)?;
    assert!(started.stderr.contains(&PORT.to_string()), "{started}");
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn damaged_files_are_named_and_never_overwritten() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    scene::start(a)?.stop(SOON)?.ok()?;
    for name in ["identity.key", "trusted_devices.json", "config.toml"] {
        let path = a.memcloud_dir().join(name);
        let whole = fs::read(&path).ok();
        for damaged in [&b"\x00\xffnot this"[..], b"", b"{\"half\":"] {
            fs::write(&path, damaged)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            let ended = if name == "config.toml" && damaged.is_empty() {
                // An empty configuration is whole: it sets nothing.
                continue;
            } else {
                a.memnode(["--port", "0"])?
            };
            assert!(matches!(ended.code(), Some(1 | 2)), "{ended}");
            assert!(ended.stderr.contains(name), "the file is not named: {ended}");
            assert_eq!(fs::read(&path)?, damaged, "{name} was overwritten");
        }
        match whole {
            Some(bytes) => fs::write(&path, bytes)?,
            None => fs::remove_file(&path)?,
        }
    }
    scene::start(a)?;
    Ok(())
}

#[test]
#[ignore = "several hosts"]
fn an_identity_that_others_can_read_is_refused() -> Result<()> {
    let lab = scene::hosts(1)?;
    let [a] = lab.all();
    let id = {
        let node = scene::start(a)?;
        let id = node.status().node_id;
        node.stop(SOON)?.ok()?;
        id
    };
    let path = a.memcloud_dir().join("identity.key");
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    let refused = a.memnode(["--port", "0"])?.fails_with(FAILED)?;
    assert!(refused.stderr.contains("chmod"), "{refused}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    assert_eq!(
        scene::start(a)?.status().node_id,
        id,
        "the identity is kept from start to start"
    );
    Ok(())
}
