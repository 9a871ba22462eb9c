//! The body of the fuzz target of pairing. See [`crate::fuzzing`].

use super::{
    Joiner, Offer, PAIR_MESSAGE_MAX, PairCode, PairError, PairMessage, PairRandom, Parties, SHARE_LEN,
};
use crate::id::NodeId;

const PARTIES: Parties = Parties {
    joining: [1; 32],
    offering: [2; 32],
    transcript: [3; 32],
};

/// The first byte of the input chooses what the rest is: a message, what a person typed, what somebody without the code sends
/// to either side, or a change to a message of an honest exchange.
pub fn peer_pairing(data: &[u8]) {
    let Some((&way, rest)) = data.split_first() else {
        return;
    };
    match way % 4 {
        0 => message(rest),
        1 => typed(rest),
        2 => stranger(rest),
        _ => in_between(rest),
    }
}

fn code() -> PairCode {
    PairCode::new(NodeId::from_bytes([2; 16]), [7; 8])
}

fn joiner() -> (Joiner, PairMessage) {
    Joiner::begin(&code(), &PARTIES, &PairRandom::new([8; 32]))
}

fn offer(share: &[u8; SHARE_LEN]) -> Result<(Offer, PairMessage), PairError> {
    Offer::answer(&code(), &PARTIES, &PairRandom::new([9; 32]), share)
}

fn message(bytes: &[u8]) {
    if let Ok(message) = PairMessage::decode(bytes) {
        let mut again = Vec::new();
        message.encode(&mut again);
        assert!(again.len() <= PAIR_MESSAGE_MAX);
        // Reasons that this version does not know become one.
        assert!(again == bytes || bytes[0] == 4);
    }
}

fn typed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(code) = text.parse::<PairCode>() {
        let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_digit).collect() };
        assert_eq!(digits(&code.show()), digits(text));
        let again: PairCode = code.show().parse().expect("what is shown can be typed");
        assert_eq!(again.show(), code.show());
    }
}

/// A share and a proof, for whichever side.
fn stranger(bytes: &[u8]) {
    let mut answer = vec![2];
    answer.extend_from_slice(bytes);
    answer.resize(PAIR_MESSAGE_MAX, 0);
    let Ok(PairMessage::Answer(share, proof)) = PairMessage::decode(&answer) else {
        panic!("any 64 bytes are a share and a proof");
    };
    assert!(
        joiner().0.finish(&share, &proof).is_err(),
        "a stranger was let in"
    );
    if let Ok((offer, _)) = offer(&share) {
        assert!(offer.finish(&proof).is_err(), "a stranger was let in");
    }
}

/// Which message (1 byte), at which byte of it (1 byte), and what is combined with what stands there.
fn in_between(bytes: &[u8]) {
    let [which, at, change @ ..] = bytes else { return };
    let which = which % 3;
    let change = |number: u8, message: PairMessage| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        if number == which {
            // The first byte says what it is, and is not for the machines.
            let there = bytes[1..].iter_mut().skip(usize::from(*at));
            there.zip(change).for_each(|(byte, with)| *byte ^= with);
        }
        PairMessage::decode(&bytes).expect("its length and kind are as they were")
    };
    let is_same = |before: PairMessage, after: PairMessage| before == after;
    let (joiner, join) = joiner();
    let joined = change(0, join);
    let mut honest = is_same(join, joined);
    let PairMessage::Join(share) = joined else { return };
    let Ok((offer, answer)) = offer(&share) else {
        return assert!(!honest);
    };
    let answered = change(1, answer);
    honest &= is_same(answer, answered);
    let PairMessage::Answer(share, proof) = answered else {
        return;
    };
    let Ok(last) = joiner.finish(&share, &proof) else {
        return assert!(!honest, "an honest exchange failed");
    };
    assert!(honest, "message {which} was changed at {at}");
    let proven = change(2, last);
    honest &= is_same(last, proven);
    let PairMessage::Proof(proof) = proven else { return };
    assert_eq!(offer.finish(&proof).is_ok(), honest);
}
