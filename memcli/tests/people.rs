//! What scripts do about other nodes and their people, with real nodes, and how it ends.

#![allow(clippy::unwrap_used, reason = "this is all test code")]

mod support;

use serde_json::Value;
use support::{Person, end};

/// Exit codes.
const USAGE: i32 = 2;
const DENIED: i32 = 6;
const TIMEOUT: i32 = 7;
const PEER: i32 = 8;

fn pair() -> (Person, Person) {
    (Person::new("Ann"), Person::new("Bob"))
}

#[test]
fn who_asks_is_told_what_came_of_it() {
    let (ann, bob) = pair();
    for (answer, code, said) in [
        ("--deny", DENIED, "the person at 'Bob' said no"),
        (
            "--allow",
            0,
            "it allowed this connection once, and will ask again for the next one",
        ),
        ("--trust", 0, "it trusts this node for good"),
    ] {
        let connecting = ann.begin(&["connect", &bob.address(), "--once"]);
        bob.ok(&["consent", "--wait"]);
        bob.ok(&["consent", answer, "Ann"]);
        let (status, stdout, stderr) = end(connecting);
        assert_eq!(status, Some(code), "{answer}: {stdout}{stderr}");
        assert!(
            format!("{stdout}{stderr}").contains(said),
            "{answer}: {stdout}{stderr}"
        );
        if code == 0 {
            ann.ok(&["peer", "disconnect", "Bob"]);
            bob.wait_for_state(&ann.id(), "discovered");
        }
    }
}

#[test]
fn a_question_that_nobody_answers_ends_with_7_and_one_whose_node_goes_away_with_8() {
    let ann = Person::new("Ann");
    let bob = Person::with("Bob", &["--consent-timeout", "2s"]);
    let said = ann.fails(&["connect", &bob.address()], TIMEOUT);
    assert!(said.contains("nobody at 'Bob' answered"), "{said}");

    let bob = Person::new("Bob");
    let connecting = ann.begin(&["connect", &bob.address()]);
    bob.ok(&["consent", "--wait"]);
    drop(bob);
    let (status, _, stderr) = end(connecting);
    assert_eq!(status, Some(PEER), "{stderr}");
    assert!(stderr.contains("'Bob' was stopped"), "{stderr}");
}

#[test]
fn a_script_waits_for_a_question() {
    let (ann, bob) = pair();
    let said = bob.fails(&["consent", "--wait", "--timeout", "10ms"], TIMEOUT);
    assert!(said.contains("no node asked to connect within 10ms"), "{said}");
    let waiting = bob.begin(&["consent", "--wait", "--json"]);
    ann.ask(&bob);
    let (status, stdout, _) = end(waiting);
    assert_eq!(status, Some(0));
    let requests: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&requests[0]["name"], &requests[0]["warning"]),
        (&"Ann".into(), &Value::Null)
    );
    assert_eq!(requests[0]["code"].as_str().unwrap().len(), 6);
}

#[test]
fn a_fleet_is_prepared_by_keys() {
    let (ann, bob) = pair();
    let said = ann.ok(&["trust", "add", &bob.key(), "--name", "desk", "--quota", "7mb"]);
    assert_eq!(
        said,
        format!(
            "{} is trusted for good as 'desk'; it may use up to 7.0 MiB here\n",
            &bob.id()[..8]
        )
    );
    let added = bob.json(&["trust", "add", &ann.key(), "--name", "laptop"]);
    assert_eq!(
        (&added["was_trusted"], &added["device"]["id"]),
        (&false.into(), &ann.id().into())
    );
    ann.ok(&["connect", &bob.address()]);
    let peer = bob.wait_for_state(&ann.id(), "connected");
    assert_eq!(peer["borrowed"]["quota_bytes"], 7 << 20);

    let again = ann.ok(&["trust", "add", &bob.key(), "--name", "desk"]);
    assert!(again.contains("was trusted already"), "{again}");
    for (key, name, said) in [
        ("12", "x", "64 hexadecimal digits"),
        (&*ann.key(), "x", "this node itself"),
        (&*bob.key(), "a\tb", "invisible"),
    ] {
        let error = ann.fails(&["trust", "add", key, "--name", name], USAGE);
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(ann.json(&["trust", "list"]).as_array().unwrap().len(), 1);
    let key = ann.json(&["trust", "key"]);
    assert_eq!((&key["name"], &key["node_id"]), (&"Ann".into(), &ann.id().into()));
}

#[test]
fn trust_is_withdrawn_with_or_without_what_was_stored() {
    let (ann, bob) = pair();
    ann.befriend(&bob);
    // Nothing is stored, so there is nothing to say about it.
    bob.ok(&["trust", "remove", "Ann"]);
    ann.wait_for_state(&bob.id(), "denied");
    ann.befriend(&bob);
    ann.ok(&["store", "--peer", "Bob", "12345"]);
    let said = bob.fails(&["trust", "remove", "Ann"], USAGE);
    assert!(said.contains("--keep or --free"), "{said}");
    bob.wait_for_state(&ann.id(), "connected");
    bob.ok(&["trust", "remove", "Ann", "--keep"]);
    ann.wait_for_state(&bob.id(), "denied");
    assert_eq!(bob.json(&["stats"])["blocks"], 1);
    let said = bob.fails(&["trust", "remove", "Ann"], PEER);
    assert!(said.contains("no trusted device is called 'Ann'"), "{said}");
}

#[test]
fn a_known_name_with_another_key_is_refused_by_who_dials() {
    let (ann, bob) = pair();
    ann.befriend(&bob);
    let impostor = Person::new("Bob");
    let said = ann.fails(&["connect", &impostor.address()], DENIED);
    assert!(said.contains("somebody pretends to be it"), "{said}");
    assert_eq!(impostor.json(&["peer", "list"]), Value::Array(Vec::new()));
    let asked = ann.run(&["connect", &impostor.address(), "--accept-new-key", "--no-wait"]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(
        said.contains("a trusted device has this name, but another key"),
        "{said}"
    );
    let said = ann.fails(&["peer", "disconnect", "Bob"], PEER);
    for one in [&bob, &impostor] {
        assert!(said.contains(&one.id()), "{said}");
    }
    // The side that is asked is warned as well.
    impostor.ok(&["consent", "--allow", "Ann"]);
    let imitator = Person::new("Bob");
    imitator.ask(&ann);
    let request = &ann.json(&["consent"])[0];
    assert_eq!(request["warning"], "known_name_new_key");
    assert!(
        ann.ok(&["consent"])
            .contains("WARNING: a trusted device has this name")
    );
}

#[test]
fn all_that_programs_stored_is_freed_and_what_others_stored_stays() {
    let ann = Person::new("Ann");
    let bob = Person::with("Bob", &["--allow-flush", "Ann"]);
    ann.befriend(&bob);
    ann.ok(&["set", "mine", "12345"]);
    ann.ok(&["store", "--peer", "Bob", "1234567"]);
    bob.ok(&["set", "theirs", "123"]);
    let of_bob = bob.ok(&["store", "--peer", "Ann", "stays", "--quiet"]);

    let said = ann.fails(&["flush"], USAGE);
    assert!(said.contains("Add --yes"), "{said}");
    assert_eq!(ann.ok(&["flush", "--yes"]), "Freed 12 B in 2 values\n");
    ann.fails(&["get", "mine"], 4);
    assert_eq!(bob.json(&["stats"])["peers_used_bytes"], 0);
    assert_eq!(bob.ok(&["load", of_bob.trim_end()]), "stays");

    // Bob lets Ann flush his node, Ann lets nobody.
    let said = bob.fails(&["flush", "--peer", "Ann", "--yes"], DENIED);
    assert!(said.contains("allow_flush"), "{said}");
    let freed = ann.json(&["flush", "--peer", "Bob", "--yes"]);
    assert_eq!((&freed["blocks"], &freed["bytes"]), (&2.into(), &8.into()));
    bob.fails(&["get", "theirs"], 4);
    ann.fails(&["flush", "--peer", "nobody", "--yes"], PEER);
}

#[test]
fn peers_are_followed_as_one_line_of_json_each_time() {
    use std::io::{BufRead, BufReader};
    let (ann, bob) = pair();
    ann.befriend(&bob);
    let mut following = ann.begin(&["peer", "list", "--follow", "--interval", "100ms", "--json"]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let peers: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(peers[0]["name"], "Bob");
        assert!(peers[0]["sent_bytes"].as_u64().unwrap() > 0);
        assert_eq!(peers[0]["trusts_us"], true);
    }
    following.kill().unwrap();
    following.wait().unwrap();
}
