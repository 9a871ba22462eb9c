//! Keys and lists in, effects and lines out.

use memproto::control::ConsentWarning;

use super::super::show::tests::example;
use super::*;

fn request(n: u8, code: &str) -> ConsentRequest {
    ConsentRequest {
        id: NodeId::from_bytes([n; 16]),
        name: format!("Node{n}"),
        code: code.to_owned(),
        ..example(None)
    }
}

fn asking(requests: Vec<ConsentRequest>, quota: Option<u64>) -> Dialog {
    let mut dialog = Dialog::new(quota);
    assert_eq!(dialog.set_requests(requests), Effect::Draw);
    dialog
}

fn press(dialog: &mut Dialog, keys: &[Key]) -> Effect {
    let mut effect = Effect::Draw;
    for &key in keys {
        assert_eq!(effect, Effect::Draw, "only the last key has an effect");
        effect = dialog.press(key);
    }
    effect
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn decision(n: u8, answer: ConsentAnswer, quota_bytes: Option<u64>) -> Effect {
    decide(NodeId::from_bytes([n; 16]), answer, quota_bytes)
}

fn shown(dialog: &Dialog) -> String {
    let lines = dialog.lines(Duration::ZERO);
    let lines: Vec<&str> = lines.iter().map(Line::text).collect();
    lines.join("\n")
}

#[test]
fn enter_twice_allows_once_with_the_default() {
    let mut dialog = asking(vec![request(1, "1")], None);
    assert_eq!(
        press(&mut dialog, &[Key::Enter, Key::Enter]),
        decision(1, ConsentAnswer::Allow, None)
    );
}

#[test]
fn what_to_grant_is_typed_and_checked() {
    let mut dialog = asking(vec![request(1, "1")], None);
    press(&mut dialog, &[Key::Down, Key::Enter]);
    press(&mut dialog, &typed("lots"));
    assert_eq!(press(&mut dialog, &[Key::Enter]), Effect::Draw);
    assert!(
        shown(&dialog).contains("a size is a number with a unit"),
        "{}",
        shown(&dialog)
    );
    press(&mut dialog, &[Key::Backspace; 4]);
    assert!(
        shown(&dialog).contains("nothing for 1.0 GiB"),
        "{}",
        shown(&dialog)
    );
    press(&mut dialog, &typed("2gb"));
    assert_eq!(
        press(&mut dialog, &[Key::Enter]),
        decision(1, ConsentAnswer::Trust, Some(2 << 30))
    );
    // A key that is held down fills no memory.
    press(&mut dialog, &[Key::Char('9'); 1_000]);
    assert!(shown(&dialog).len() < 1_000);
}

#[test]
fn reading_only_is_a_grant_of_nothing() {
    let mut dialog = asking(vec![request(1, "1")], None);
    assert_eq!(
        press(&mut dialog, &[Key::Enter, Key::Char('0'), Key::Enter]),
        decision(1, ConsentAnswer::Allow, Some(0))
    );
}

#[test]
fn a_quota_on_the_command_line_is_not_asked_for() {
    let mut dialog = asking(vec![request(1, "1")], Some(7));
    assert_eq!(
        press(&mut dialog, &[Key::Enter]),
        decision(1, ConsentAnswer::Allow, Some(7))
    );
    assert_eq!(
        press(&mut dialog, &[Key::Down, Key::Down, Key::Enter]),
        decision(1, ConsentAnswer::Deny, None)
    );
}

#[test]
fn escape_goes_back_from_the_grant_and_puts_off_the_question() {
    let mut dialog = asking(vec![request(1, "1"), request(2, "2")], None);
    press(&mut dialog, &[Key::Enter, Key::Escape]);
    assert!(shown(&dialog).contains("> Allow once"), "{}", shown(&dialog));
    press(&mut dialog, &[Key::Escape]);
    assert_eq!(dialog.current().unwrap().id, NodeId::from_bytes([2; 16]));
    press(&mut dialog, &[Key::Up, Key::Enter]);
    assert_eq!(dialog.current(), None, "answer later is the last choice");
    assert!(
        shown(&dialog).starts_with("2 nodes wait that you answer later"),
        "{}",
        shown(&dialog)
    );
    // One that asks anew is another question.
    dialog.set_requests(vec![request(1, "1"), request(2, "3")]);
    assert_eq!(dialog.current().unwrap().code, "3");
}

#[test]
fn enter_alone_denies_where_something_is_odd() {
    let odd = ConsentRequest {
        warning: Some(ConsentWarning::KnownNameNewKey),
        ..request(1, "1")
    };
    let mut dialog = asking(vec![odd, request(2, "2")], None);
    assert!(shown(&dialog).contains("WARNING: a trusted device has this name"));
    assert_eq!(
        press(&mut dialog, &[Key::Enter]),
        decision(1, ConsentAnswer::Deny, None)
    );
    dialog.answered();
    assert_eq!(
        press(&mut dialog, &[Key::Enter, Key::Enter]),
        decision(2, ConsentAnswer::Allow, None)
    );
}

#[test]
fn a_question_that_is_no_more_takes_half_an_answer_with_it() {
    let mut dialog = asking(vec![request(1, "1"), request(2, "2")], None);
    press(&mut dialog, &[Key::Down, Key::Enter, Key::Char('5')]);
    assert_eq!(
        dialog.set_requests(vec![request(2, "2")]),
        Effect::Gone(Box::new(request(1, "1")))
    );
    // What was typed for the one is no answer to the other.
    assert!(shown(&dialog).contains("> Allow once"), "{}", shown(&dialog));
    assert_eq!(dialog.current().unwrap().id, NodeId::from_bytes([2; 16]));
    assert_eq!(
        dialog.set_requests(Vec::new()),
        Effect::Gone(Box::new(request(2, "2")))
    );
    assert!(shown(&dialog).starts_with("No node waits for an answer"));
}

#[test]
fn a_peer_that_asks_anew_is_no_longer_the_question_on_the_screen() {
    let mut dialog = asking(vec![request(1, "1")], None);
    press(&mut dialog, &[Key::Enter]);
    assert_eq!(
        dialog.set_requests(vec![request(1, "2")]),
        Effect::Gone(Box::new(request(1, "1")))
    );
    assert!(
        shown(&dialog).contains("> Allow once"),
        "the new code was not compared yet"
    );
}

#[test]
fn the_question_on_the_screen_stays_when_others_come_or_go() {
    let mut dialog = asking(vec![request(1, "1")], None);
    press(&mut dialog, &[Key::Down, Key::Enter, Key::Char('5')]);
    for others in [
        vec![request(1, "1"), request(2, "2")],
        vec![request(2, "2"), request(1, "1"), request(3, "3")],
    ] {
        assert_eq!(dialog.set_requests(others), Effect::Draw);
        assert_eq!(dialog.current().unwrap().id, NodeId::from_bytes([1; 16]));
        assert!(shown(&dialog).contains("> 5_"), "{}", shown(&dialog));
    }
    assert!(shown(&dialog).contains("2 more nodes wait behind it."));
}

#[test]
fn nothing_is_answered_by_the_keys_that_end_it() {
    let mut dialog = asking(vec![request(1, "1")], None);
    assert_eq!(dialog.press(Key::Char('q')), Effect::End);
    assert_eq!(dialog.press(Key::Interrupt), Effect::Interrupt);
    press(&mut dialog, &[Key::Enter]);
    assert_eq!(
        dialog.press(Key::Char('q')),
        Effect::Draw,
        "a letter of what is typed"
    );
    assert_eq!(dialog.press(Key::Interrupt), Effect::Interrupt);
    let mut nobody = Dialog::new(None);
    assert_eq!(nobody.press(Key::Enter), Effect::Draw);
    assert_eq!(nobody.press(Key::Escape), Effect::End);
}

#[test]
fn the_screen_fits_80_columns_and_24_lines() {
    let odd = ConsentRequest {
        name: "n".repeat(63),
        address: "[fe80::1ff:fe23:4567:890a%2]:65535".parse().unwrap(),
        warning: Some(ConsentWarning::KnownNameNewKey),
        ..request(1, "1")
    };
    let mut dialog = asking(vec![odd, request(2, "2")], None);
    for keys in [&[][..], &[Key::Up, Key::Enter]] {
        press(&mut dialog, keys);
        let lines = dialog.lines(Duration::ZERO);
        println!("{}\n", shown(&dialog));
        assert!(lines.len() <= 20);
        // The longest name of all loses the word behind it.
        for line in &lines[1..] {
            assert!(line.text().chars().count() < 80, "{}", line.text());
        }
    }
}
