//! What `docs/guides/json.md` shows is run against a real node.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::NodeProcess;

const GUIDE: &str = include_str!("../../docs/guides/json.md");

/// The first block of this language in the guide.
fn block(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let (_, rest) = GUIDE.split_once(&start).unwrap();
    rest.split_once("```").unwrap().0
}

/// A node in the folder `.memcloud` of a home, with the API on a free port.
struct Running {
    _node: NodeProcess,
    port: String,
}

impl Running {
    fn start(home: &Path) -> Self {
        let node = NodeProcess::start(&home.join(".memcloud"), &["--memory=64mb", "--api-port=0"]);
        let (_, rest) = node.log.split_once("address=127.0.0.1:").unwrap();
        let port = rest
            .split(|byte: char| !byte.is_ascii_digit())
            .next()
            .unwrap()
            .to_owned();
        Self { _node: node, port }
    }

    /// Runs an interpreter on a text of the guide, with this node's port in it.
    fn run(&self, home: &Path, interpreter: &str, flag: &str, text: &str) -> Option<Output> {
        assert!(text.contains("7070"));
        let output = Command::new(interpreter)
            .args([flag, &text.replace("7070", &self.port)])
            .env("HOME", home)
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) => Some(output),
            Err(error) => {
                eprintln!("not run: {interpreter}: {error}");
                None
            }
        }
    }
}

#[test]
fn the_python_program_prints_what_the_guide_says() {
    let home = tempfile::tempdir().unwrap();
    let node = Running::start(home.path());
    let Some(output) = node.run(home.path(), "python3", "-c", block("python")) else {
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), block("text"));
}

#[test]
fn the_session_with_nc_goes_as_the_guide_says() {
    let home = tempfile::tempdir().unwrap();
    let node = Running::start(home.path());
    let has_nc = Command::new("sh")
        .args(["-c", "command -v nc"])
        .stdout(Stdio::null())
        .status();
    if !has_nc.unwrap().success() {
        eprintln!("not run: this host has no nc");
        return;
    }
    let output = node.run(home.path(), "sh", "-c", block("sh")).unwrap();
    // What the node chooses is another each time.
    let replies = |text: &str| -> Vec<Value> {
        let parsed = text.lines().map(|line| {
            let mut reply: Value = serde_json::from_str(line).unwrap();
            for chosen in ["block", "node_id", "node_version"] {
                if let Some(value) = reply.pointer_mut(&format!("/result/{chosen}")) {
                    *value = Value::Null;
                }
            }
            reply
        });
        parsed.collect()
    };
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(replies(&printed), replies(block("json")), "{printed}");
}

#[test]
fn curl_is_refused_as_the_guide_says() {
    let home = tempfile::tempdir().unwrap();
    let node = Running::start(home.path());
    let command = block("console").lines().next().unwrap().trim_start_matches("$ ");
    let Some(output) = node.run(home.path(), "sh", "-c", command) else {
        return;
    };
    if output.status.code() == Some(127) {
        eprintln!("not run: this host has no curl");
        return;
    }
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("HTTP/0.9"), "{said}");
}
