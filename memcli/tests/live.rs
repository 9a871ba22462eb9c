//! `memcli consent` and other questions in a terminal, with real nodes.

#![allow(clippy::unwrap_used, reason = "this is all test code")]

mod support;

use support::terminal::{CTRL_C, DOWN, Terminal};
use support::{Person, end};

/// Two people, and the screen of the second one's `memcli consent`, on which nobody asks yet.
fn watching() -> (Person, Person, Terminal) {
    let (ann, bob) = (Person::new("Ann"), Person::new("Bob"));
    let mut screen = Terminal::start(&mut bob.command(&["consent"]));
    screen.expect("No node waits for an answer");
    (ann, bob, screen)
}

#[test]
fn a_question_that_arrives_is_seen_at_once_and_answered_with_keys() {
    let (ann, bob, mut screen) = watching();
    let connecting = ann.begin(&["connect", &bob.address(), "--quota", "3mb"]);
    screen.expect("'Ann' asks to connect");
    screen.expect("lends you    3.0 MiB");
    screen.expect("> Allow once");
    let request = bob.json(&["consent"])[0].clone();
    screen.press(DOWN);
    screen.expect("> Trust always");
    screen.press("\r");
    screen.expect("How much of this machine's memory may it use, for good?");
    screen.press("lots\r");
    screen.expect("a size is a number with a unit");
    screen.press("\x7f\x7f\x7f\x7f5mb\r");
    screen.expect("Trusted 'Ann'");
    screen.expect("it may use up to 5.0 MiB here");
    screen.expect("No node waits for an answer");
    screen.press("q");
    assert_eq!(screen.end().0, Some(0));

    let (code, told, progress) = end(connecting);
    assert_eq!(code, Some(0), "{progress}");
    let code = request["code"].as_str().unwrap();
    let waiting = format!("waiting for Bob to agree, code {} {}", &code[..3], &code[3..]);
    assert!(progress.contains(&waiting), "{progress}");
    assert!(told.contains("it lends 5.0 MiB to this node"), "{told}");
    assert!(told.ends_with("it trusts this node for good\n"), "{told}");
    assert_eq!(bob.json(&["trust", "list"])[0]["quota_bytes"], 5 << 20);
}

#[test]
fn whoever_goes_away_while_the_question_is_on_the_screen_is_told_of() {
    let (ann, bob, mut screen) = watching();
    ann.ask(&bob);
    screen.expect("> Allow once");
    screen.press("\r7");
    screen.expect("> 7_");
    ann.ok(&["peer", "disconnect", "Bob"]);
    screen.expect("no longer asks: the person at 'Ann' ended the connection");
    screen.expect("No node waits for an answer");
    // What was typed is no answer to whoever asks next.
    ann.ask(&bob);
    screen.expect("> Allow once");
    let request = bob.json(&["consent"])[0].clone();
    bob.ok(&["consent", "--deny", "Ann"]);
    screen.expect("no longer asks: you said no to it");
    assert_eq!(request["name"], "Ann");
    screen.press(CTRL_C);
    assert_eq!(screen.end().0, Some(130));
}

#[test]
fn ctrl_c_answers_nothing() {
    let (ann, bob, mut screen) = watching();
    ann.ask(&bob);
    screen.expect("> Allow once");
    screen.press(CTRL_C);
    let (code, shown) = screen.end();
    assert_eq!(code, Some(130));
    assert!(
        shown.contains("interrupted: what was not answered stays open"),
        "{shown}"
    );
    assert_eq!(bob.json(&["consent"])[0]["name"], "Ann");
    // In the middle of the amount as well.
    let mut screen = Terminal::start(&mut bob.command(&["consent"]));
    screen.expect("> Allow once");
    screen.press("\r");
    screen.expect("How much");
    screen.press(CTRL_C);
    assert_eq!(screen.end().0, Some(130));
    assert_eq!(bob.json(&["peer", "list"])[0]["state"], "waiting_for_our_consent");
}

#[test]
fn a_node_that_ends_ends_the_screen() {
    let (_ann, bob, screen) = watching();
    drop(bob);
    let (code, shown) = screen.end();
    assert_eq!(code, Some(3), "{shown}");
}

#[test]
fn what_a_device_stored_is_asked_about_in_a_terminal() {
    let (ann, bob) = (Person::new("Ann"), Person::new("Bob"));
    ann.befriend(&bob);
    ann.ok(&["store", "--peer", "Bob", "12345"]);
    let mut screen = Terminal::start(&mut bob.command(&["trust", "remove", "Ann"]));
    screen.expect("'Ann' has stored ");
    screen.expect("Keep it");
    screen.press(CTRL_C);
    assert_eq!(screen.end().0, Some(130));
    assert_eq!(bob.json(&["trust", "list"])[0]["name"], "Ann");

    let mut screen = Terminal::start(&mut bob.command(&["trust", "remove", "Ann"]));
    screen.expect("Keep it");
    screen.press(DOWN);
    screen.press("\r");
    screen.expect("'Ann' is no longer trusted; freed 5 B in one block");
    assert_eq!(screen.end().0, Some(0));
    assert_eq!(bob.json(&["stats"])["peers_used_bytes"], 0);
    ann.wait_for_state(&bob.id(), "denied");
}

#[test]
fn a_flush_is_asked_about_in_a_terminal() {
    let ann = Person::new("Ann");
    ann.ok(&["set", "k", "v"]);
    let mut screen = Terminal::start(&mut ann.command(&["flush"]));
    screen.expect("This frees all keys, blocks and streams");
    screen.expect("> No, keep it");
    screen.press("\r");
    let (code, shown) = screen.end();
    assert_eq!(code, Some(130), "{shown}");
    assert_eq!(ann.ok(&["get", "k"]), "v");
    let mut screen = Terminal::start(&mut ann.command(&["flush"]));
    screen.expect("> No, keep it");
    screen.press(DOWN);
    screen.expect("> Yes, free all of it");
    screen.press("\r");
    screen.expect("Freed 1 B in one value");
    assert_eq!(screen.end().0, Some(0));
    ann.fails(&["get", "k"], 4);
}
