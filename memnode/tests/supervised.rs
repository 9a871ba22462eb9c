//! A node that a service manager started, with a socket that stands in for systemd's.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "this is all test code")]

mod support;

use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::NodeProcess;
use tempfile::TempDir;

/// After how long a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What systemd would hear.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Starts a node as the manager would.
    fn start(&self, variables: &[(&str, &Path)]) -> NodeProcess {
        let socket = self.folder.path().join("notify");
        let variables = [variables, &[("NOTIFY_SOCKET", &socket)]].concat();
        NodeProcess::start_with(&self.home(), &["--notify=off", "--memory=64mb"], &variables)
    }

    /// The lines of the next notice.
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Reads notices up to the one with this line, and returns that.
    fn until(&self, line: &str) -> Vec<String> {
        loop {
            let notice = self.next();
            if notice.iter().any(|said| said == line) {
                return notice;
            }
        }
    }
}

fn signal(node: &NodeProcess, signal: Signal) {
    kill_process(Pid::from_child(&node.child), signal).unwrap();
}

#[test]
fn the_manager_hears_when_the_node_serves_how_it_is_and_that_it_stops() {
    let manager = Manager::new();
    let mut node = manager.start(&[]);
    let first = manager.next();
    assert!(first.contains(&"READY=1".to_owned()), "{first:?}");
    assert!(
        first.contains(&"STATUS=0 bytes of 64.0 MiB used, 0 peers connected".to_owned()),
        "{first:?}"
    );
    assert!(
        !first.contains(&"WATCHDOG=1".to_owned()),
        "nobody asked for a watchdog: {first:?}"
    );
    // It serves both kinds of guests by now.
    UnixStream::connect(manager.home().join("memnode.sock")).unwrap();
    let (_, behind) = node.log.rsplit_once("peers=[").unwrap();
    let address = behind.split([',', ']']).next().unwrap();
    TcpStream::connect(address).unwrap();

    signal(&node, Signal::TERM);
    manager.until("STOPPING=1");
    assert!(node.child.wait().unwrap().success());
}

#[test]
fn the_watchdog_is_fed_while_the_node_makes_progress() {
    let manager = Manager::new();
    let node = manager.start(&[("WATCHDOG_USEC", Path::new("100000"))]);
    manager.until("READY=1");
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    drop(node);

    // What is meant for another process is not for this one.
    let manager = Manager::new();
    let _node = manager.start(&[
        ("WATCHDOG_USEC", Path::new("100000")),
        ("WATCHDOG_PID", Path::new("1")),
    ]);
    assert!(!manager.until("READY=1").contains(&"WATCHDOG=1".to_owned()));
}
