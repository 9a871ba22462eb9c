//! Pairs of exchanges, honest and attacked.

use proptest::prelude::*;

use super::*;
use crate::id::NodeId;

const PARTIES: Parties = Parties {
    joining: [1; 32],
    offering: [2; 32],
    transcript: [3; 32],
};

fn code(text: &str) -> PairCode {
    text.parse().unwrap()
}

fn random(seed: u8) -> PairRandom {
    PairRandom::new([seed; 32])
}

fn share(message: PairMessage) -> PairShare {
    match message {
        PairMessage::Join(share) | PairMessage::Answer(share, _) => share,
        other => panic!("{other:?} has no share"),
    }
}

/// What became of an exchange at the joining and at the offering side. The latter is only reached where the former agreed.
type Ends = (Result<(), PairError>, Option<Result<(), PairError>>);

/// An exchange in which each side has its own idea of the code and of who is there.
fn exchange(typed: &str, joining: &Parties, shown: &str, offering: &Parties) -> Ends {
    let (joiner, join) = Joiner::begin(&code(typed), joining, &random(1));
    let (offer, answer) = Offer::answer(&code(shown), offering, &random(2), &share(join)).unwrap();
    let PairMessage::Answer(their_share, proof) = answer else {
        panic!("{answer:?} is no answer");
    };
    match joiner.finish(&their_share, &proof) {
        Ok(PairMessage::Proof(proof)) => (Ok(()), Some(offer.finish(&proof))),
        Ok(other) => panic!("{other:?} is no proof"),
        Err(error) => (Err(error), None),
    }
}

#[test]
fn the_same_code_on_the_same_link_proves_itself_to_both() {
    let ends = exchange("417-582-9310", &PARTIES, "4175829310", &PARTIES);
    assert_eq!(ends, (Ok(()), Some(Ok(()))));
}

#[test]
fn another_code_is_seen_by_the_joining_side_before_it_says_more() {
    for typed in ["417-582-9311", "418-582-9310", "000-000-0000"] {
        let ends = exchange(typed, &PARTIES, "417-582-9310", &PARTIES);
        assert_eq!(ends, (Err(PairError::WrongCode), None), "{typed}");
    }
}

/// Somebody in the middle has two links, so two transcripts and an identity of their own on each: whatever differs, the
/// right code does not help.
#[test]
fn an_exchange_that_is_carried_to_another_link_fails() {
    let Parties {
        joining,
        offering,
        transcript,
    } = PARTIES;
    for other in [
        Parties {
            transcript: [4; 32],
            ..PARTIES
        },
        Parties {
            joining: [9; 32],
            ..PARTIES
        },
        Parties {
            offering: [9; 32],
            ..PARTIES
        },
        // The same two in the other roles.
        Parties {
            joining: offering,
            offering: joining,
            transcript,
        },
    ] {
        let ends = exchange("417-582-9310", &PARTIES, "417-582-9310", &other);
        assert_eq!(ends, (Err(PairError::WrongCode), None), "{other:?}");
    }
}

#[test]
fn a_wrong_or_repeated_proof_is_refused_by_the_offering_side() {
    let begin = |seed| {
        let (joiner, join) = Joiner::begin(&code("4175829310"), &PARTIES, &random(seed));
        let (offer, answer) =
            Offer::answer(&code("4175829310"), &PARTIES, &random(seed + 1), &share(join)).unwrap();
        (joiner, offer, answer)
    };
    let (joiner, offer, answer) = begin(1);
    let PairMessage::Answer(their_share, theirs) = answer else {
        panic!("{answer:?} is no answer");
    };
    // Its own proof that comes back.
    assert_eq!(offer.finish(&theirs), Err(PairError::WrongCode));
    let Ok(PairMessage::Proof(proof)) = joiner.finish(&their_share, &theirs) else {
        panic!("the codes were the same");
    };
    // The proof of an exchange before, with the same code on the same link.
    let (_, offer, _) = begin(3);
    assert_eq!(offer.finish(&proof), Err(PairError::WrongCode));
    let (_, offer, _) = begin(1);
    assert_eq!(offer.finish(&proof), Ok(()));
}

/// A joining side whose own share comes back as the answer, by somebody who knows no code.
#[test]
fn a_share_that_is_reflected_proves_nothing() {
    let (joiner, join) = Joiner::begin(&code("4175829310"), &PARTIES, &random(1));
    let own = share(join);
    for guess in [[0; 32], own] {
        let (joiner, _) = Joiner::begin(&code("4175829310"), &PARTIES, &random(1));
        let proof = Proof(blake3::Hash::from_bytes(guess));
        assert!(joiner.finish(&own, &proof).is_err());
    }
    drop(joiner);
}

#[test]
fn shares_that_are_no_point_or_of_small_order_open_nothing() {
    // y = 2 is on no point of the curve; 0 and 1 are points of small order, the identity among them.
    let point = |y: u8| {
        let mut bytes = [0; 32];
        bytes[0] = y;
        bytes
    };
    let answer = |share| Offer::answer(&code("4175829310"), &PARTIES, &random(2), &share);
    assert_eq!(answer(point(2)).err(), Some(PairError::Malformed));
    for small in [point(0), point(1)] {
        let (_, join) = Joiner::begin(&code("0000000000"), &PARTIES, &random(1));
        assert_ne!(share(join), small);
        let (offer, answer) = answer(small).unwrap();
        let PairMessage::Answer(_, proof) = answer else {
            panic!("{answer:?} is no answer");
        };
        // What an attacker can compute of a key that depends on the code alone is the code's own business: no constant.
        let (again, _) = Offer::answer(&code("4175829311"), &PARTIES, &random(2), &small).unwrap();
        assert_eq!(again.finish(&proof), Err(PairError::WrongCode));
        assert_eq!(offer.finish(&proof), Err(PairError::WrongCode));
    }
}

#[test]
fn codes_are_read_as_people_type_them() {
    for text in [
        "417-582-9310",
        "4175829310",
        " 417 582 9310 ",
        "417-5829310",
        "41-75-82-93-10",
    ] {
        assert_eq!(code(text).show(), "417-582-9310", "{text}");
    }
    for text in [
        "",
        "-",
        "417-582-931",
        "417-582-93100",
        "417-582-931x",
        "417.582.9310",
        "４17-582-9310",
    ] {
        assert_eq!(text.parse::<PairCode>().err(), Some(CodeError), "{text:?}");
    }
    let long = "1".repeat(1_000_000);
    assert!(long.parse::<PairCode>().is_err());
}

#[test]
fn a_code_names_the_node_that_made_it_and_shows_nothing_else_by_accident() {
    let node = NodeId::from_bytes([7; 16]);
    let others = (0..=255).map(|n| NodeId::from_bytes([n; 16]));
    for random in [0, 1, u64::MAX, 9_999_999, 10_000_000] {
        let made = PairCode::new(node, random.to_le_bytes());
        let shown = made.show();
        assert!(code(&shown).is_of(node), "{shown}");
        assert_eq!(shown[..3], format!("{:03}", label_of(node)));
        assert_eq!(format!("{made:?}"), "PairCode");
    }
    let namesakes = others.filter(|&other| label_of(other) == label_of(node)).count();
    assert!(namesakes < 5, "{namesakes} of 256 share a label of 1,000");
}

#[test]
fn messages_come_back_and_nothing_else_is_taken() {
    let proof = Proof(blake3::Hash::from_bytes([8; 32]));
    for message in [
        PairMessage::Join([7; 32]),
        PairMessage::Answer([7; 32], proof),
        PairMessage::Proof(proof),
        PairMessage::Refuse(PairRefusal::NoOffer),
        PairMessage::Refuse(PairRefusal::Busy),
        PairMessage::Refuse(PairRefusal::WrongCode),
        PairMessage::Refuse(PairRefusal::Other),
    ] {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert!(bytes.len() <= PAIR_MESSAGE_MAX);
        assert_eq!(PairMessage::decode(&bytes), Ok(message));
        for cut in 0..bytes.len() {
            assert!(
                PairMessage::decode(&bytes[..cut]).is_err(),
                "{message:?} cut to {cut}"
            );
        }
        bytes.push(0);
        assert!(PairMessage::decode(&bytes).is_err(), "{message:?} lengthened");
    }
    for what in [0, 5, 255] {
        assert!(PairMessage::decode(&[what, 1]).is_err());
    }
}

proptest! {
    #[test]
    fn every_code_comes_back_and_no_text_panics(bytes in any::<[u8; 8]>(), id in any::<[u8; 16]>(), text in ".{0,30}") {
        let made = PairCode::new(NodeId::from_bytes(id), bytes);
        prop_assert_eq!(code(&made.show()).show(), made.show());
        let _ = text.parse::<PairCode>();
    }

    #[test]
    fn no_share_and_no_proof_of_a_stranger_is_taken(share in any::<[u8; 32]>(), proof in any::<[u8; 32]>()) {
        let proof = Proof(blake3::Hash::from_bytes(proof));
        if let Ok((offer, _)) = Offer::answer(&code("4175829310"), &PARTIES, &random(2), &share) {
            prop_assert!(offer.finish(&proof).is_err());
        }
        let (joiner, _) = Joiner::begin(&code("4175829310"), &PARTIES, &random(1));
        prop_assert!(joiner.finish(&share, &proof).is_err());
    }
}
