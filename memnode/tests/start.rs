//! The binary `memnode` from outside: what it says when it cannot start, and how it stops.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A `memnode` in this home that touches nothing else of the host.
fn memnode(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memnode"));
    command.env_clear().args([
        "--port",
        "0",
        "--listen",
        "127.0.0.1",
        "--no-discovery",
        "--memory",
        "64mb",
        "--home",
    ]);
    // Other nodes of this host may have the default port.
    command
        .arg(home)
        .env("MEMCLOUD_API_PORT", "off")
        .stdin(Stdio::null());
    command
}

/// A node that runs, and its log behind the line that says so.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(home: &Path) -> Self {
        let mut child = memnode(home).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        while !log.contains("the node runs") {
            assert_ne!(
                stderr.read_line(&mut log).unwrap(),
                0,
                "memnode did not start: {log}"
            );
        }
        assert!(!log.contains('\x1b'), "colours in a pipe: {log}");
        Self { child, stderr }
    }

    /// Sends a signal, waits for the end and returns the exit code and the rest of the log.
    fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// What a start that fails says, with its exit code.
fn failure(command: &mut Command) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_signal_stops_the_node_and_its_pid_file_goes() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let home = home();
        let node = Running::start(home.path());
        let pid = std::fs::read_to_string(home.path().join("memnode.pid")).unwrap();
        assert_eq!(pid.trim(), node.child.id().to_string());
        let (code, log) = node.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("the node stops"), "{log}");
        assert!(!home.path().join("memnode.pid").exists());
    }
}

#[test]
fn a_second_node_in_the_same_home_names_the_first() {
    let home = home();
    let first = Running::start(home.path());
    let (code, error) = failure(&mut memnode(home.path()));
    assert_eq!(code, Some(1));
    assert!(error.starts_with("memnode: a node already runs in "), "{error}");
    assert!(error.contains(&format!("(PID {})", first.child.id())), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        home.path().join("memnode.pid").exists(),
        "the second one removed the first one's file"
    );
    assert_eq!(first.stop(Signal::TERM).0, Some(0));
}

#[test]
fn a_killed_node_does_not_stand_in_the_way_and_the_identity_stays() {
    let home = home();
    Running::start(home.path()).stop(Signal::KILL);
    let key = std::fs::read(home.path().join("identity.key")).unwrap();
    assert_eq!(Running::start(home.path()).stop(Signal::TERM).0, Some(0));
    assert_eq!(std::fs::read(home.path().join("identity.key")).unwrap(), key);
}

#[test]
fn damaged_files_stop_the_start_with_their_name() {
    for (file, content) in [
        ("identity.key", "garbage"),
        ("trusted_devices.json", "{"),
        ("token", "secret"),
    ] {
        let home = home();
        assert_eq!(Running::start(home.path()).stop(Signal::TERM).0, Some(0));
        let path = home.path().join(file);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (code, error) = failure(memnode(home.path()).args(["--api-port", "0"]));
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&format!("{file} is damaged")), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        assert!(!home.path().join("memnode.pid").exists());
    }
}

#[test]
fn an_api_port_that_was_named_and_is_taken_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = home();
    let (code, error) = failure(memnode(home.path()).args(["--api-port", &port]));
    assert_eq!(code, Some(1));
    assert!(
        error.contains("cannot serve the API on TCP") && error.contains(&port),
        "{error}"
    );
    assert!(!home.path().join("memnode.sock").exists());
}

#[test]
fn wrong_settings_end_with_exit_code_2() {
    let home = home();
    std::fs::write(home.path().join("config.toml"), "memroy = \"1gb\"").unwrap();
    let (code, error) = failure(&mut memnode(home.path()));
    assert_eq!(code, Some(2));
    assert!(
        error.contains("config.toml: unknown key 'memroy', perhaps 'memory' is meant"),
        "{error}"
    );
    std::fs::remove_file(home.path().join("config.toml")).unwrap();
    assert_eq!(failure(memnode(home.path()).arg("--frobnicate")).0, Some(2));
    let (code, error) = failure(memnode(home.path()).env("MEMCLOUD_PEERS_MAX", "many"));
    assert_eq!(code, Some(2));
    assert!(
        error.contains("environment variable MEMCLOUD_PEERS_MAX: 'many' is no whole number"),
        "{error}"
    );
}

#[test]
fn a_home_that_cannot_be_made_is_named() {
    let home = home();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (code, error) = failure(&mut memnode(&file.join("below")));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("file/below"), "{error}");
    let (code, error) = failure(&mut memnode(Path::new("/proc/self/fdinfo")));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("cannot open /proc/"), "{error}");
}

#[test]
fn in_the_background_the_log_is_in_the_home() {
    let home = home();
    Running::start(home.path()).stop(Signal::TERM);
    std::fs::write(home.path().join("identity.key"), "garbage").unwrap();
    let (code, error) = failure(memnode(home.path()).arg("--background"));
    assert_eq!(code, Some(1));
    assert!(error.contains("identity.key is damaged"), "{error}");
    let log = std::fs::read_to_string(home.path().join("memnode.log")).unwrap();
    assert!(log.contains("ERROR") && log.contains("identity.key"), "{log}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = Command::new(env!("CARGO_BIN_EXE_memnode"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success() && help.stderr.is_empty());
    let version = Command::new(env!("CARGO_BIN_EXE_memnode"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("memnode {}\n", env!("CARGO_PKG_VERSION"))
    );
}
