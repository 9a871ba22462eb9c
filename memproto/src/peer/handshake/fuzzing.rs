//! The body of the fuzz target of the handshake. See [`crate::fuzzing`].

use ed25519_dalek::SigningKey;

use super::auth::{IDENTITY_LEN, decode_identity};
use super::hello::Hello;
use super::{Handshake, HandshakeConfig, HandshakeRandom, check_length, check_node_name};
use crate::limits::NODE_NAME_LEN_MAX;

/// Number of messages of a handshake: HELLO and AUTH, both ways.
const MESSAGES: usize = 4;

/// Tries the handshake in the way that the first byte of the input chooses: the bytes of a HELLO, the bytes of an identity, a
/// stranger who sends what they like, or somebody in between who changes one message of two honest nodes.
pub fn peer_handshake(data: &[u8]) {
    let Some((&way, rest)) = data.split_first() else {
        return;
    };
    match way % 4 {
        0 => hello(rest),
        1 => identity(rest),
        2 => stranger(rest),
        _ => in_between(rest),
    }
}

/// A side made from a number.
fn side(seed: u8) -> (HandshakeConfig, HandshakeRandom) {
    let config = HandshakeConfig {
        signing_key: SigningKey::from_bytes(&[seed; 32]),
        name: "node".to_owned(),
        offered_quota_bytes: 1 << 30,
        incarnation: u64::from(seed),
    };
    (config, HandshakeRandom::new([seed + 100; 32], [seed + 200; 32]))
}

fn initiator() -> Handshake {
    let (config, random) = side(1);
    Handshake::initiate(config, random).expect("the name is valid")
}

fn responder() -> Handshake {
    let (config, random) = side(2);
    Handshake::respond(config, random).expect("the name is valid")
}

fn hello(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        // What stands behind it is for later versions.
        assert!(bytes.starts_with(&hello.encode()));
    }
}

fn identity(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<IDENTITY_LEN>() else {
        return;
    };
    if let Ok((peer, _)) = decode_identity(bytes) {
        assert!((1..=NODE_NAME_LEN_MAX).contains(&peer.name.len()));
        assert_eq!(check_node_name(&peer.name), Ok(()));
        assert_eq!(peer.public_key, bytes[..32]);
    }
}

/// Messages with a length of 2 bytes each. None of them can come from somebody who has an identity.
fn stranger(bytes: &[u8]) {
    for mut side in [initiator(), responder()] {
        let mut rest = bytes;
        while let Some((len, behind)) = rest.split_first_chunk() {
            let (message, behind) = behind.split_at(usize::from(u16::from_le_bytes(*len)).min(behind.len()));
            rest = behind;
            let result = side.handle_message(message);
            let _ = side.poll_transmit();
            assert!(!matches!(result, Ok(Some(_))), "a stranger was let in");
        }
    }
}

/// Which message is changed (1 byte), at which of its bytes (1 byte), and with what it is combined there. Whoever gets a
/// changed message refuses it, or what follows it.
fn in_between(bytes: &[u8]) {
    let [which, at, change @ ..] = bytes else { return };
    let (which, at) = (usize::from(*which) % MESSAGES, usize::from(*at));
    let (mut sides, mut established) = ([initiator(), responder()], [false, false]);
    let (mut from, mut number, mut is_changed) = (0, 0, false);
    while let Some(sent) = sides[from].poll_transmit() {
        let mut rest = &sent[..];
        while let Some((prefix, behind)) = rest.split_first_chunk() {
            let (message, behind) =
                behind.split_at(check_length(*prefix).expect("a node keeps to the limits"));
            rest = behind;
            let mut message = message.to_vec();
            if number == which {
                is_changed = apply(change, at, &mut message);
            }
            number += 1;
            match sides[1 - from].handle_message(&message) {
                Ok(result) => established[1 - from] |= result.is_some(),
                Err(error) => {
                    assert!(is_changed, "an honest handshake failed: {error}");
                    assert!(established != [true, true]);
                    return;
                }
            }
        }
        from = 1 - from;
    }
    assert_eq!(
        established, [!is_changed; 2],
        "message {which} was changed at {at}"
    );
}

/// Combines a message with a change from this byte on; what passes its end is appended. Returns whether it is another one now.
fn apply(change: &[u8], at: usize, message: &mut Vec<u8>) -> bool {
    let before = message.clone();
    for (offset, byte) in change.iter().enumerate() {
        match message.get_mut(at + offset) {
            Some(there) => *there ^= byte,
            None => message.push(*byte),
        }
    }
    *message != before
}
