//! Two people with a node each, whose names they know, and what they type.

#![allow(dead_code, reason = "not every test needs all of it")]

#[path = "../../../memsdk/tests/support/node.rs"]
mod node;
pub(crate) mod terminal;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use node::{RunningNode, new_home};
use serde_json::Value;

/// After how long a wait has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A person with a running node.
pub(crate) struct Person {
    node: RunningNode,
}

impl Person {
    /// A person whose node has this name, and 64 MiB.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, &[])
    }

    /// The same, with more options of `memnode`.
    pub(crate) fn with(name: &str, options: &[&str]) -> Self {
        let all = [&["--name", name, "--memory", "64mb"], options].concat();
        Self {
            node: RunningNode::start_with(new_home(), &all),
        }
    }

    /// The socket of the node.
    pub(crate) fn socket(&self) -> PathBuf {
        self.node.socket()
    }

    /// A command of `memcli` with nothing on stdin.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memcli"));
        command
            .env_clear()
            .arg("--socket")
            .arg(self.node.socket())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it; it succeeds.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it with `--json`; it succeeds.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Runs it; it fails with this exit code. Returns what it said.
    pub(crate) fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts it, and leaves it running.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Where the node accepts peers.
    pub(crate) fn address(&self) -> String {
        let status = self.json(&["node", "status"]);
        status["peer_addresses"][0].as_str().unwrap().to_owned()
    }

    /// The node's id.
    pub(crate) fn id(&self) -> String {
        self.json(&["node", "status"])["node_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The node's key.
    pub(crate) fn key(&self) -> String {
        self.ok(&["trust", "key"]).trim_end().to_owned()
    }

    /// Asks another person's node for a link, and does not wait for the answer.
    pub(crate) fn ask(&self, other: &Person) {
        self.ok(&["connect", &other.address(), "--no-wait"]);
    }

    /// Connects with another person, who trusts this one.
    pub(crate) fn befriend(&self, other: &Person) {
        self.ask(other);
        other.ok(&["consent", "--trust", &self.id()]);
        for (one, peer) in [(self, other), (other, self)] {
            one.wait_for_state(&peer.id(), "connected");
        }
    }

    /// Waits until a peer has this state here.
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) -> Value {
        self.wait_for(id, |peer| peer["state"] == state)
    }

    /// Waits until this holds for what is listed of a peer.
    pub(crate) fn wait_for(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let peers = self.json(&["peer", "list"]);
            let peer = peers.as_array().unwrap().iter().find(|peer| peer["id"] == id);
            match peer {
                Some(peer) if holds(peer) => return peer.clone(),
                _ => assert!(Instant::now() < deadline, "{id} is never so: {peers}"),
            }
        }
    }
}

/// What a command that was begun printed, and its exit code.
pub(crate) fn end(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
