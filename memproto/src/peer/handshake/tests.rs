//! Pairs of handshakes, honest and attacked.

mod attacks;

use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::hello::Hello;
use super::*;
use crate::peer::record::{Opener, Sealer};
use crate::peer::transcript::{Role, signed_bytes};

/// A side made from a number. The same number gives the same bytes.
pub(crate) fn config(seed: u8, name: &str) -> HandshakeConfig {
    HandshakeConfig {
        signing_key: SigningKey::from_bytes(&[seed; 32]),
        name: name.to_owned(),
        offered_quota_bytes: u64::from(seed) << 20,
        incarnation: 0x0102_0304_0506_0700 + u64::from(seed),
    }
}

pub(crate) fn random(seed: u8) -> HandshakeRandom {
    HandshakeRandom::new([seed.wrapping_add(100); 32], [seed.wrapping_add(200); 32])
}

fn initiator() -> Handshake {
    Handshake::initiate(config(1, "desk"), random(1)).unwrap()
}

fn responder() -> Handshake {
    Handshake::respond(config(2, "lap top"), random(2)).unwrap()
}

/// Takes framed bytes apart into messages.
fn messages(bytes: Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let (bytes, mut messages) = (bytes.unwrap_or_default(), Vec::new());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (prefix, behind) = rest.split_first_chunk().unwrap();
        let (message, behind) = behind.split_at(check_length(*prefix).unwrap());
        messages.push(message.to_vec());
        rest = behind;
    }
    messages
}

/// The four messages in their order and both results. `change` may replace a message; it gets its number.
struct Run {
    sent: Vec<Vec<u8>>,
    initiator: Result<Established, HandshakeError>,
    responder: Result<Established, HandshakeError>,
}

fn run(initiator: Handshake, responder: Handshake, mut change: impl FnMut(usize, &mut Vec<u8>)) -> Run {
    let (mut sides, mut sent) = ([initiator, responder], Vec::new());
    let mut results = [(); 2].map(|()| Err(HandshakeError::Malformed("the connection closed")));
    let mut from = 0;
    'steps: loop {
        let outgoing = messages(sides[from].poll_transmit());
        if outgoing.is_empty() {
            break;
        }
        let to = 1 - from;
        for mut message in outgoing {
            change(sent.len(), &mut message);
            sent.push(message.clone());
            match sides[to].handle_message(&message) {
                Ok(None) => {}
                Ok(Some(established)) => results[to] = Ok(established),
                Err(error) => {
                    results[to] = Err(error);
                    break 'steps;
                }
            }
        }
        from = to;
    }
    let [initiator, responder] = results;
    Run {
        sent,
        initiator,
        responder,
    }
}

/// Two ends of one honest handshake, the one that dialled first.
pub(crate) fn established_pair() -> (Established, Established) {
    let run = run(initiator(), responder(), |_, _| {});
    (run.initiator.ok().unwrap(), run.responder.ok().unwrap())
}

/// Whether what one side seals opens on the other.
fn keys_fit(send: SessionKeys, receive: SessionKeys) -> bool {
    let (mut sealer, mut opener) = (Sealer::new(send.send, 10), Opener::new(receive.receive, 10));
    let mut out = Vec::new();
    let record = sealer.begin(&mut out);
    out.extend_from_slice(b"hello");
    sealer.finish(record, &mut out).unwrap();
    opener.open(&mut out[4..]).is_ok_and(|text| text == b"hello")
}

#[test]
fn two_sides_learn_of_each_other_and_share_keys_and_code() {
    let run = run(initiator(), responder(), |_, _| {});
    let lengths: Vec<usize> = run.sent.iter().map(Vec::len).collect();
    assert_eq!(lengths, [72, 72, 224, 224]);
    let (left, right) = (run.initiator.ok().unwrap(), run.responder.ok().unwrap());
    assert_eq!(
        (left.peer.name.as_str(), right.peer.name.as_str()),
        ("lap top", "desk")
    );
    assert_eq!(left.peer.offered_quota_bytes, 2 << 20);
    assert_eq!(right.peer.incarnation, 0x0102_0304_0506_0701);
    assert_eq!(
        right.peer.public_key,
        config(1, "x").signing_key.verifying_key().to_bytes()
    );
    assert_eq!(
        right.peer.node_id,
        NodeId::from_public_key(&right.peer.public_key)
    );
    assert_eq!(
        (left.we_dialled, right.we_dialled, left.version, right.version),
        (true, false, 1, 1)
    );
    assert_eq!(left.code, right.code);
    assert!(left.code.len() == 6 && left.code.bytes().all(|digit| digit.is_ascii_digit()));
    assert!(keys_fit(left.keys, right.keys));
}

#[test]
fn each_direction_and_each_session_has_keys_of_its_own() {
    let (left, right) = established_pair();
    assert!(keys_fit(right.keys, left.keys));
    let (left, _) = established_pair();
    let own = established_pair().0;
    assert!(!keys_fit(left.keys, own.keys));
    let other = Handshake::initiate(config(1, "desk"), random(9)).unwrap();
    let other = run(other, responder(), |_, _| {}).initiator.ok().unwrap();
    assert!(!keys_fit(other.keys, established_pair().1.keys));
}

/// Every byte of every message, every bit pattern of one bit: at least one side refuses, and never both agree.
#[test]
fn a_changed_byte_anywhere_ends_the_handshake() {
    let lengths: Vec<usize> = run(initiator(), responder(), |_, _| {})
        .sent
        .iter()
        .map(Vec::len)
        .collect();
    for (number, len) in lengths.into_iter().enumerate() {
        for at in 0..len {
            let flip = 1 << (at % 8);
            let run = run(initiator(), responder(), |n, message| {
                if n == number {
                    message[at] ^= flip;
                }
            });
            assert!(
                run.responder.is_err(),
                "message {number}, byte {at}: the responder agreed"
            );
            // Only the last message goes out after the initiator is done.
            assert_eq!(run.initiator.is_err(), number < 3, "message {number}, byte {at}");
        }
    }
}

#[test]
fn a_truncated_or_lengthened_message_ends_the_handshake() {
    for number in 0..4 {
        for cut in [0, 1, 3, 71, 72, 100, 223] {
            let run = run(initiator(), responder(), |n, message| {
                if n == number && message.len() > cut {
                    message.truncate(cut);
                }
                if n == number && message.len() <= cut {
                    message.push(0);
                }
            });
            assert!(run.responder.is_err(), "message {number}, {cut}");
        }
    }
}

#[test]
fn messages_out_of_order_are_refused() {
    let sent = run(initiator(), responder(), |_, _| {}).sent;
    for (name, mut side, order) in [
        ("AUTH first", initiator(), &[2][..]),
        ("AUTH first", responder(), &[3]),
        ("HELLO twice", initiator(), &[1, 1]),
        ("HELLO twice", responder(), &[0, 0]),
        ("a message behind the end", initiator(), &[1, 2, 2]),
        ("a message after a failure", initiator(), &[2, 1]),
    ] {
        let results: Vec<bool> = order
            .iter()
            .map(|&n| side.handle_message(&sent[n]).is_ok())
            .collect();
        assert!(!results[results.len() - 1], "{name}");
    }
}

#[test]
fn a_recorded_handshake_cannot_be_replayed_to_either_side() {
    let sent = run(initiator(), responder(), |_, _| {}).sent;
    let mut victim = Handshake::respond(config(2, "lap top"), random(50)).unwrap();
    assert!(victim.handle_message(&sent[0]).is_ok());
    assert!(matches!(
        victim.handle_message(&sent[3]),
        Err(HandshakeError::Unproven(_))
    ));
    let mut victim = Handshake::initiate(config(1, "desk"), random(50)).unwrap();
    assert!(victim.handle_message(&sent[1]).is_ok());
    assert!(matches!(
        victim.handle_message(&sent[2]),
        Err(HandshakeError::Unproven(_))
    ));
}

#[test]
fn own_messages_that_come_back_are_refused() {
    let mut side = initiator();
    let own = messages(side.poll_transmit()).remove(0);
    assert!(matches!(
        side.handle_message(&own),
        Err(HandshakeError::Tampered(_))
    ));
    // Reflecting only the ephemeral key, or only the nonce, is seen as well.
    for (from, to) in [(8, 40), (40, 72)] {
        let run = run(initiator(), responder(), |n, message| {
            if n == 1 {
                message[from..to].copy_from_slice(&own[from..to]);
            }
        });
        assert!(matches!(run.initiator, Err(HandshakeError::Tampered(_))));
    }
}

#[test]
fn a_responder_cannot_be_made_to_talk_to_its_own_auth() {
    let mut side = responder();
    let hello = messages(initiator().poll_transmit()).remove(0);
    side.handle_message(&hello).unwrap();
    let own = messages(side.poll_transmit());
    assert!(matches!(
        side.handle_message(&own[1]),
        Err(HandshakeError::Unproven(_))
    ));
}

#[test]
fn a_node_does_not_link_to_itself() {
    let run = run(
        initiator(),
        Handshake::respond(config(1, "desk"), random(2)).unwrap(),
        |_, _| {},
    );
    assert_eq!(run.initiator.err(), Some(HandshakeError::OwnIdentity));
}

#[test]
fn ephemeral_keys_of_small_order_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    // RFC 7748 and Bernstein's list: 0, 1, and a point of order 8.
    let order_8: [u8; 32] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    for point in [[0; 32], one, order_8] {
        for number in [0, 1] {
            let run = run(initiator(), responder(), |n, message| {
                if n == number {
                    message[40..72].copy_from_slice(&point);
                }
            });
            let error = if number == 0 {
                run.responder.err()
            } else {
                run.initiator.err()
            };
            assert!(matches!(error, Some(HandshakeError::Tampered(_))), "{error:?}");
        }
    }
}

#[test]
fn versions_are_negotiated_inside_the_transcript() {
    let speak = |min: u16, max: u16| {
        let mut hello = Hello::new([7; 32], [9; 32]);
        (hello.version_min, hello.version_max) = (min, max);
        hello.common_version()
    };
    assert_eq!(speak(1, 1), Ok(1));
    assert_eq!(speak(1, 9), Ok(1));
    assert_eq!(speak(2, 9), Err(HandshakeError::Version { min: 2, max: 9 }));
    // A changed range is a changed transcript, even where it leads to the same version.
    let run = run(initiator(), responder(), |n, message| {
        if n == 0 {
            message[6] = 2;
        }
    });
    assert!(run.responder.is_err());
}

#[test]
fn an_older_responder_tells_its_versions_before_it_gives_up() {
    let mut side = responder();
    let mut hello = messages(initiator().poll_transmit()).remove(0);
    (hello[4], hello[6]) = (5, 6);
    assert_eq!(
        side.handle_message(&hello).err(),
        Some(HandshakeError::Version { min: 5, max: 6 })
    );
    assert_eq!(
        messages(side.poll_transmit())
            .iter()
            .map(Vec::len)
            .collect::<Vec<_>>(),
        [72]
    );
}

#[test]
fn a_hello_of_a_later_version_may_be_longer() {
    let mut longer = messages(initiator().poll_transmit()).remove(0);
    longer.resize(HANDSHAKE_MESSAGE_MAX, 7);
    assert!(responder().handle_message(&longer).is_ok());
    longer.push(7);
    assert!(responder().handle_message(&longer).is_err());
}

#[test]
fn a_signature_of_the_other_role_does_not_fit() {
    let transcript = [5; 32];
    assert_ne!(
        signed_bytes(Role::Initiator, &transcript),
        signed_bytes(Role::Responder, &transcript)
    );
    let key = SigningKey::from_bytes(&[1; 32]);
    let signature = key.sign(&signed_bytes(Role::Initiator, &transcript));
    assert!(
        key.verify(&signed_bytes(Role::Responder, &transcript), &signature)
            .is_err()
    );
}

/// Somebody in the middle who shakes hands with both sides shows them different codes.
#[test]
fn somebody_in_the_middle_is_seen_in_the_code() {
    let middle = |seed| config(seed, "lap top");
    let left = run(
        initiator(),
        Handshake::respond(middle(66), random(66)).unwrap(),
        |_, _| {},
    );
    let right = run(
        Handshake::initiate(middle(67), random(67)).unwrap(),
        responder(),
        |_, _| {},
    );
    assert_ne!(
        left.initiator.ok().unwrap().code,
        right.responder.ok().unwrap().code
    );
}

/// The code is fixed by the two HELLO: no later choice of the initiator moves it, and it cannot open its commitment
/// in two ways.
#[test]
fn an_initiator_cannot_search_for_a_code() {
    let code_with = |seed: u8, name: &str| {
        let mut side = config(seed, name);
        side.incarnation = u64::from(seed);
        let run = run(
            Handshake::initiate(side, random(1)).unwrap(),
            responder(),
            |_, _| {},
        );
        run.responder.ok().unwrap().code
    };
    assert_eq!(code_with(1, "desk"), code_with(3, "other"));
    let mut cheat = initiator();
    let mut victim = responder();
    victim
        .handle_message(&messages(cheat.poll_transmit())[0])
        .unwrap();
    cheat.random.nonce[0] ^= 1;
    for message in messages(victim.poll_transmit()) {
        cheat.handle_message(&message).unwrap();
    }
    let error = victim.handle_message(&messages(cheat.poll_transmit())[0]).err();
    assert_eq!(
        error,
        Some(HandshakeError::Unproven(
            "its nonce is not the one it had committed itself to"
        ))
    );
}

#[test]
fn names_that_deceive_the_eye_are_refused() {
    for name in [
        "",
        &"x".repeat(64),
        "a\nb",
        "a\u{1b}[2J",
        "abc\u{202e}cba",
        "a\u{200b}",
        "a\u{61c}b",
        "a\u{ad}b",
        "\u{3164}",
        "a\u{e0041}",
    ] {
        assert!(check_node_name(name).is_err(), "{name:?}");
        assert!(
            Handshake::respond(config(1, name), random(1)).is_err(),
            "{name:?}"
        );
    }
    for name in ["a", &"x".repeat(63), "Jürgens Büro", "机器"] {
        assert!(check_node_name(name).is_ok(), "{name:?}");
    }
}

#[test]
fn lengths_are_checked_before_anything_is_allocated() {
    for (length, valid) in [
        (0, false),
        (1, true),
        (1024, true),
        (1025, false),
        (u32::MAX, false),
    ] {
        assert_eq!(check_length(length.to_le_bytes()).is_ok(), valid, "{length}");
    }
}

proptest! {
    #[test]
    fn random_bytes_are_refused_without_panic(
        first in proptest::collection::vec(any::<u8>(), 0..1_100),
        second in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let hello = run(initiator(), responder(), |_, _| {}).sent;
        prop_assert!(responder().handle_message(&first).is_err());
        prop_assert!(initiator().handle_message(&first).is_err());
        let mut side = responder();
        side.handle_message(&hello[0]).unwrap();
        prop_assert!(side.handle_message(&second).is_err());
    }

    #[test]
    fn every_name_and_number_arrives(name in "[a-zA-Z0-9 äß]{1,20}", quota in any::<u64>(), incarnation in any::<u64>()) {
        let mut side = config(1, &name);
        (side.offered_quota_bytes, side.incarnation) = (quota, incarnation);
        let run = run(Handshake::initiate(side, random(1)).unwrap(), responder(), |_, _| {});
        let peer = run.responder.ok().unwrap().peer;
        prop_assert_eq!((peer.name, peer.offered_quota_bytes, peer.incarnation), (name, quota, incarnation));
    }
}
