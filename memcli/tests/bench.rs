//! `memcli bench` against a real node.

#![allow(clippy::unwrap_used, reason = "this is all test code")]

#[path = "../../memsdk/tests/support/node.rs"]
mod node;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use node::RunningNode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn command(node: &RunningNode, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memcli"));
    command
        .env_clear()
        .arg("--socket")
        .arg(node.socket())
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(node: &RunningNode, arguments: &[&str]) -> Output {
    command(node, arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What lies in the node: blocks and keys.
fn contents(node: &RunningNode) -> (u64, u64) {
    let stats = json(&run(node, &["stats", "--json"]));
    (stats["blocks"].as_u64().unwrap(), stats["keys"].as_u64().unwrap())
}

#[test]
fn every_operation_is_measured_and_nothing_is_left() {
    let node = RunningNode::start("256mb");
    assert!(run(&node, &["set", "mine", "value"]).status.success());
    let report = json(&run(
        &node,
        &[
            "bench",
            "--json",
            "-n",
            "500",
            "-c",
            "5",
            "-P",
            "4",
            "-r",
            "100",
            "-d",
            "1kb,10",
            "--threads",
            "2",
        ],
    ));
    let results = report["results"].as_array().unwrap();
    let names: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result["operation"].as_str().unwrap(),
                result["size_bytes"].as_u64().unwrap(),
            )
        })
        .collect();
    let operations = ["set", "get", "mset", "mget", "del", "store", "load"];
    let expected: Vec<_> = [1024, 10]
        .iter()
        .flat_map(|&size| operations.map(|operation| (operation, size)))
        .collect();
    assert_eq!(names, expected);
    for result in results {
        assert_eq!(result["requests"], 500, "{result}");
        assert!(result["requests_per_second"].as_f64().unwrap() > 0.0);
        let times = ["p50_ns", "p99_ns", "p99_9_ns", "max_ns"].map(|time| result[time].as_u64().unwrap());
        assert!(times[0] > 0 && times.is_sorted(), "{result}");
    }
    assert_eq!(
        contents(&node),
        (1, 1),
        "what was there before is all that is there"
    );
}

#[test]
fn values_in_pieces_go_both_ways() {
    let node = RunningNode::start("256mb");
    for clients in ["1", "3"] {
        let report = json(&run(
            &node,
            &[
                "bench", "set", "get", "store", "load", "--json", "-n", "8", "-c", clients, "-P", "2", "-r",
                "4", "-d", "3mb",
            ],
        ));
        for result in report["results"].as_array().unwrap() {
            assert_eq!(result["requests"], 8, "{result}");
        }
        assert_eq!(contents(&node), (0, 0));
    }
}

#[test]
fn the_table_fits_a_terminal() {
    let node = RunningNode::start("64mb");
    let output = run(
        &node,
        &["bench", "get", "del", "--duration", "50ms", "-c", "2", "-r", "10"],
    );
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("2 connections on "), "{text}");
    assert!(lines[1].starts_with("OPERATION  SIZE"), "{text}");
    assert!(lines[2].starts_with("get        1.0 KiB"), "{text}");
    assert!(lines[3].starts_with("del        1.0 KiB"), "{text}");
    assert!(lines[3].ends_with("-"), "{text}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn what_the_budget_does_not_hold_is_refused_with_what_would_fit() {
    let node = RunningNode::start("64mb");
    for (arguments, code, said) in [
        (&["bench", "set", "-d", "1mb", "-r", "100"][..], 5, "--keyspace"),
        (&["bench", "set", "-d", "1gb"], 5, "take a smaller --size"),
        (&["bench", "mget", "-d", "100kb", "--batch", "10"], 2, "--batch"),
        (&["bench", "get", "-P", "5000", "-c", "1"], 1, "--pipeline 1024"),
        (&["bench", "jump"], 2, "possible values"),
        (
            &["bench", "-n", "10", "--duration", "1s"],
            2,
            "cannot be used with",
        ),
        (&["bench", "--duration", "0s"], 2, "shortest"),
        (&["bench", "-c", "0"], 2, "0"),
    ] {
        let output = run(&node, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
        assert_eq!(contents(&node), (0, 0));
    }
}

/// Starts a run that would take longer than any test, and waits until it has stored something.
fn start(node: &RunningNode, operation: &str) -> Child {
    let child = command(
        node,
        &["bench", operation, "--duration", "60s", "-c", "2", "-r", "1000"],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    while contents(node).0 < 100 {
        std::thread::yield_now();
    }
    child
}

#[test]
fn after_an_interruption_nothing_is_left() {
    let node = RunningNode::start("64mb");
    for (operation, signal) in [
        ("set", Signal::INT),
        ("store", Signal::TERM),
        ("load", Signal::INT),
    ] {
        let child = start(&node, operation);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{operation}: {said}");
        assert!(said.contains("deleted"), "{operation}: {said}");
        assert_eq!(output.stdout, b"");
        assert_eq!(contents(&node), (0, 0), "{operation}");
    }
}

#[test]
fn two_runs_at_the_same_time_do_not_meet() {
    let node = RunningNode::start("64mb");
    let first = start(&node, "set");
    let second = json(&run(
        &node,
        &["bench", "--json", "-n", "200", "-c", "2", "-r", "50"],
    ));
    assert_eq!(second["results"].as_array().unwrap().len(), 7);
    kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    let mut first = first;
    let stderr = first.stderr.take().unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(130));
    let said = BufReader::new(stderr).lines().next().unwrap().unwrap();
    assert!(said.starts_with("ended: "), "{said}");
    assert_eq!(contents(&node), (0, 0));
}

#[test]
fn a_node_that_goes_away_is_told() {
    let node = RunningNode::start("64mb");
    let child = start(&node, "get");
    drop(node);
    let output = child.wait_with_output().unwrap();
    assert!([Some(1), Some(3)].contains(&output.status.code()), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).starts_with("error: "),
        "{output:?}"
    );
}
