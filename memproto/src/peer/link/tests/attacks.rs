//! A peer that does not keep to the protocol, and somebody on the wire.

use proptest::prelude::*;

use super::*;
use crate::flow::DATA_COST_MIN;
use crate::peer::codec::{self, MESSAGE_MAX};
use crate::peer::frame::{self, FLAG_END, FLAG_MORE, Kind};
use crate::peer::pairing::{PairMessage, PairRefusal};
use crate::peer::record::{RECORD_PLAINTEXT_MAX, RecordError, Sealer};

/// A link and a peer that has the keys but writes its own frames.
struct Forger {
    link: Link,
    sealer: Sealer,
    now: Instant,
}

impl Forger {
    fn new() -> Self {
        let (left, right) = established_pair();
        let now = Instant::now();
        let sealer = Sealer::new(right.keys.send, CONFIG.rekey_records);
        Self {
            link: Link::new(left, CONFIG, now),
            sealer,
            now,
        }
    }

    fn agreed() -> Self {
        let mut forger = Self::new();
        forger.link.set_consent(Consent::Agreed {
            quota_bytes: 1,
            for_good: false,
        });
        forger
            .send(|out| {
                consent(
                    out,
                    Consent::Agreed {
                        quota_bytes: 1,
                        for_good: false,
                    },
                );
            })
            .unwrap();
        forger
    }

    /// Sends one record with what `fill` writes.
    fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), LinkError> {
        let mut out = Vec::new();
        let record = self.sealer.begin(&mut out);
        fill(&mut out);
        self.sealer.finish(record, &mut out).unwrap();
        self.link.handle_record(&mut out[4..], self.now)
    }

    fn refused(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> String {
        match self.send(fill) {
            Err(LinkError::Protocol(why)) => why,
            other => panic!("the link was to be closed: {other:?}"),
        }
    }

    /// Lets the link send what it has, to nobody.
    fn drain(&mut self) {
        let mut out = Vec::new();
        while self.link.poll_transmit(self.now, &mut out) {
            out.clear();
        }
    }
}

fn consent(out: &mut Vec<u8>, consent: Consent) {
    frame::put(out, Kind::Consent, 0, 0, &frame::encode_consent(consent));
}

fn request(out: &mut Vec<u8>, id: u64, body: BodySpec) {
    frame::put(
        out,
        Kind::Request,
        0,
        id,
        &codec::encode_request(&store(), body).unwrap(),
    );
}

#[test]
fn frames_of_requests_before_consent_close_the_link() {
    for ours in [
        Consent::Waiting,
        Consent::Agreed {
            quota_bytes: 1,
            for_good: false,
        },
    ] {
        for kind in [
            Kind::Request,
            Kind::Reply,
            Kind::Data,
            Kind::Fail,
            Kind::Credit,
            Kind::Cancel,
        ] {
            let mut forger = Forger::new();
            forger.link.set_consent(ours);
            let why = forger.refused(|out| frame::put(out, kind, 0, 2, &[0; 8]));
            assert!(why.contains("agreed"), "{kind:?}: {why}");
        }
    }
    let mut forger = Forger::new();
    forger
        .send(|out| {
            consent(
                out,
                Consent::Agreed {
                    quota_bytes: 1,
                    for_good: false,
                },
            );
        })
        .unwrap();
    assert!(
        forger
            .refused(|out| request(out, 2, BodySpec::NONE))
            .contains("agreed")
    );
}

#[test]
fn ids_that_are_not_the_peers_own_or_not_new_close_the_link() {
    type Fill = fn(&mut Vec<u8>);
    let cases: [(&str, Fill); 13] = [
        ("our own id", |out| request(out, 1, BodySpec::NONE)),
        ("an id twice", |out| {
            [2, 2].into_iter().for_each(|id| request(out, id, BodySpec::NONE));
        }),
        ("an id that goes back", |out| {
            [6, 4].into_iter().for_each(|id| request(out, id, BodySpec::NONE));
        }),
        ("a reply to nothing", |out| {
            frame::put(out, Kind::Reply, 0, 1, &[0; 9]);
        }),
        ("a reply to its own request", |out| {
            request(out, 2, BodySpec::NONE);
            frame::put(out, Kind::Reply, 0, 2, &[0; 9]);
        }),
        ("data of nothing", |out| frame::put(out, Kind::Data, 0, 2, b"x")),
        ("data of our unknown request", |out| {
            frame::put(out, Kind::Data, 0, 1, b"x");
        }),
        ("data without a body", |out| {
            request(out, 2, BodySpec::NONE);
            frame::put(out, Kind::Data, 0, 2, b"x");
        }),
        ("an empty piece", |out| {
            request(out, 2, BodySpec::UNKNOWN);
            frame::put(out, Kind::Data, 0, 2, b"");
        }),
        ("data behind the end", |out| {
            request(out, 2, BodySpec::UNKNOWN);
            frame::put(out, Kind::Data, FLAG_END, 2, b"x");
            frame::put(out, Kind::Data, 0, 2, b"x");
        }),
        ("credit for nothing", |out| {
            frame::put(out, Kind::Credit, 0, 2, &[1; 8]);
        }),
        ("failure of nothing", |out| {
            frame::put(out, Kind::Fail, 0, 2, &[0, 0]);
        }),
        ("a cancellation of nothing", |out| {
            frame::put(out, Kind::Cancel, 0, 2, &[]);
        }),
    ];
    for (name, fill) in cases {
        let mut forger = Forger::agreed();
        forger.refused(fill);
        assert!(forger.link.is_closed(), "{name}");
        let mut out = Vec::new();
        assert!(
            forger.link.poll_transmit(forger.now, &mut out),
            "{name}: no goodbye"
        );
        let again = forger.send(|out| frame::put(out, Kind::Ping, 0, 0, &[0; 8]));
        assert!(again.is_err(), "{name}");
    }
}

#[test]
fn malformed_frames_and_messages_close_the_link() {
    let body = |size: u64| [&size.to_le_bytes()[..], &[0xff, 0xff, 1, 2]].concat();
    let cases: Vec<(Kind, u8, u64, Vec<u8>)> = vec![
        (Kind::Request, 0, 2, vec![]),
        (Kind::Request, 0, 2, vec![0; 7]),
        (Kind::Request, 0, 2, body(0)),
        (
            Kind::Request,
            0,
            2,
            [codec::encode_request(&store(), BodySpec::NONE).unwrap(), vec![0]].concat(),
        ),
        (Kind::Ping, 0, 0, vec![0; 7]),
        (Kind::Pong, 0, 0, vec![9; 8]),
        (Kind::Consent, 0, 0, vec![4; 9]),
        (Kind::Consent, 0, 0, vec![0; 9]),
        (Kind::Goodbye, 0, 0, vec![]),
        (Kind::Goodbye, 1, 0, vec![1]),
    ];
    for (kind, flags, id, payload) in cases {
        let mut forger = Forger::agreed();
        forger.refused(|out| frame::put(out, kind, flags, id, &payload));
    }
    let mut forger = Forger::agreed();
    forger.refused(|out| out.extend_from_slice(b"cut"));
}

#[test]
fn a_body_beyond_its_window_or_size_closes_the_link() {
    let mut forger = Forger::agreed();
    forger.send(|out| request(out, 2, BodySpec::UNKNOWN)).unwrap();
    let piece = vec![1; RECORD_PLAINTEXT_MAX - frame::HEADER_LEN];
    let mut sent = 0;
    while sent + piece.len() as u64 <= BODY_WINDOW {
        forger
            .send(|out| frame::put(out, Kind::Data, 0, 2, &piece))
            .unwrap();
        sent += piece.len() as u64;
    }
    assert!(
        forger
            .refused(|out| frame::put(out, Kind::Data, 0, 2, &piece))
            .contains("granted")
    );

    let mut forger = Forger::agreed();
    forger.send(|out| request(out, 2, BodySpec::exact(4))).unwrap();
    assert!(
        forger
            .refused(|out| frame::put(out, Kind::Data, 0, 2, &[0; 5]))
            .contains("goes on")
    );
    let mut forger = Forger::agreed();
    forger.send(|out| request(out, 2, BodySpec::exact(4))).unwrap();
    assert!(
        forger
            .refused(|out| frame::put(out, Kind::Data, FLAG_END, 2, &[0; 3]))
            .contains("ends after 3")
    );
}

#[test]
fn tiny_pieces_use_up_the_credit_of_a_body() {
    let mut forger = Forger::agreed();
    forger.send(|out| request(out, 2, BodySpec::UNKNOWN)).unwrap();
    for _ in 0..BODY_WINDOW / DATA_COST_MIN {
        forger
            .send(|out| frame::put(out, Kind::Data, 0, 2, b"x"))
            .unwrap();
    }
    assert!(
        forger
            .refused(|out| frame::put(out, Kind::Data, 0, 2, b"x"))
            .contains("granted")
    );
}

#[test]
fn credit_that_overflows_closes_the_link() {
    let mut forger = Forger::agreed();
    let id = forger
        .link
        .open_request(&store(), BodySpec::UNKNOWN, None)
        .unwrap()
        .as_u64();
    forger.drain();
    forger.refused(|out| frame::put(out, Kind::Credit, 0, id, &u64::MAX.to_le_bytes()));
}

#[test]
fn messages_that_never_end_or_interleave_close_the_link() {
    let mut forger = Forger::agreed();
    let part = vec![0; 60_000];
    for _ in 0..MESSAGE_MAX / part.len() {
        forger
            .send(|out| frame::put(out, Kind::Request, FLAG_MORE, 2, &part))
            .unwrap();
    }
    let why = forger.refused(|out| frame::put(out, Kind::Request, FLAG_MORE, 2, &part));
    assert!(why.contains("too long"), "{why}");

    let mut forger = Forger::agreed();
    forger
        .send(|out| frame::put(out, Kind::Request, FLAG_MORE, 2, &part))
        .unwrap();
    assert!(
        forger
            .refused(|out| request(out, 4, BodySpec::NONE))
            .contains("before the one before")
    );
}

#[test]
fn too_many_requests_at_once_close_the_link() {
    let mut forger = Forger::agreed();
    for n in 1..=REQUESTS_MAX as u64 {
        forger.send(|out| request(out, 2 * n, BodySpec::NONE)).unwrap();
    }
    let next = 2 * (REQUESTS_MAX as u64 + 1);
    assert!(
        forger
            .refused(|out| request(out, next, BodySpec::NONE))
            .contains("too many")
    );
}

/// A peer that is refused and does not read its refusals cannot make them pile up.
#[test]
fn refusals_count_until_they_are_sent() {
    let mut forger = Forger::agreed();
    let bad = PeerRequest::Read {
        key: String::new(),
        offset: 0,
        length: 1,
    };
    let bytes = codec::encode_request(&bad, BodySpec::NONE).unwrap();
    for n in 1..=REQUESTS_MAX as u64 {
        forger
            .send(|out| frame::put(out, Kind::Request, 0, 2 * n, &bytes))
            .unwrap();
    }
    let next = 2 * (REQUESTS_MAX as u64 + 1);
    forger.drain();
    forger
        .send(|out| frame::put(out, Kind::Request, 0, next, &bytes))
        .unwrap();
    assert_eq!(forger.link.requests_in_flight(), 1);
}

#[test]
fn a_flood_of_pings_closes_the_link() {
    let mut forger = Forger::agreed();
    let why = forger.refused(|out| {
        for n in 0..10_u64 {
            frame::put(out, Kind::Ping, 0, 0, &n.to_le_bytes());
        }
    });
    assert!(why.contains("pings"), "{why}");
}

#[test]
fn a_stranger_has_few_messages_of_pairing_and_none_is_consent() {
    let pair = |out: &mut Vec<u8>| frame::put(out, Kind::Pair, 0, 0, &[4, 1]);
    let mut forger = Forger::new();
    for _ in 0..PAIRS_BEFORE_CONSENT_MAX {
        forger.send(pair).unwrap();
        assert_eq!(
            forger.link.poll_event(),
            Some(Event::Pair(PairMessage::Refuse(PairRefusal::NoOffer)))
        );
    }
    assert_eq!(forger.link.our_consent(), Consent::Waiting);
    assert_eq!(forger.link.their_consent(), Consent::Waiting);
    let why = forger.refused(pair);
    assert!(why.contains("too many messages of pairing"), "{why}");

    let mut forger = Forger::new();
    let why = forger.refused(|out| frame::put(out, Kind::Pair, 0, 0, &[1; 32]));
    assert!(why.contains("wrong length"), "{why}");
}

/// A peer that asks and does not read holds a few answers, not more.
#[test]
fn answers_of_pairing_do_not_pile_up() {
    let mut forger = Forger::agreed();
    for _ in 0..10 * PAIRS_MAX {
        forger.link.pair(PairMessage::Refuse(PairRefusal::NoOffer));
    }
    let mut out = Vec::new();
    assert!(forger.link.poll_transmit(forger.now, &mut out));
    let each = frame::HEADER_LEN + 2;
    assert!(out.len() < (PAIRS_MAX + 1) * each + 100, "{} bytes", out.len());
}

#[test]
fn data_for_a_cancelled_request_is_dropped_up_to_one_window() {
    let mut forger = Forger::agreed();
    let id = forger.link.open_request(&store(), BodySpec::NONE, None).unwrap();
    forger.drain();
    forger.link.cancel(id);
    let reply = codec::encode_reply(&gone(), BodySpec::UNKNOWN).unwrap();
    forger
        .send(|out| frame::put(out, Kind::Reply, 0, id.as_u64(), &reply))
        .unwrap();
    let piece = vec![1; 65_000];
    for _ in 0..BODY_WINDOW / piece.len() as u64 {
        forger
            .send(|out| frame::put(out, Kind::Data, 0, id.as_u64(), &piece))
            .unwrap();
    }
    forger.refused(|out| frame::put(out, Kind::Data, 0, id.as_u64(), &piece));

    let mut forger = Forger::agreed();
    let id = forger.link.open_request(&store(), BodySpec::NONE, None).unwrap();
    forger.drain();
    forger.link.cancel(id);
    forger
        .send(|out| frame::put(out, Kind::Reply, 0, id.as_u64(), &reply))
        .unwrap();
    forger.refused(|out| frame::put(out, Kind::Reply, 0, id.as_u64(), &reply));
}

#[test]
fn a_second_reply_closes_the_link() {
    let mut forger = Forger::agreed();
    let id = forger
        .link
        .open_request(&store(), BodySpec::NONE, None)
        .unwrap()
        .as_u64();
    forger.drain();
    let reply = codec::encode_reply(&gone(), BodySpec::NONE).unwrap();
    forger
        .send(|out| frame::put(out, Kind::Reply, 0, id, &reply))
        .unwrap();
    forger.refused(|out| frame::put(out, Kind::Reply, 0, id, &reply));
}

#[test]
fn changed_lost_repeated_and_reordered_records_end_the_link() {
    let records = |pair: &mut Pair| {
        let mut records = Vec::new();
        for _ in 0..3 {
            pair.links[0]
                .open_request(&store(), BodySpec::NONE, None)
                .unwrap();
            records.extend(pair.records(0));
        }
        records
    };
    for order in [&[1][..], &[0, 0], &[0, 2], &[2, 1]] {
        let mut pair = Pair::agreed();
        let records = records(&mut pair);
        let results: Vec<_> = order
            .iter()
            .map(|&n| pair.deliver(1, records[n].clone()))
            .collect();
        assert_eq!(
            results.last(),
            Some(&Err(LinkError::Record(RecordError::NotAuthentic))),
            "{order:?}"
        );
        let reason = LinkError::Record(RecordError::NotAuthentic);
        assert_eq!(pair.take_events(1).last(), Some(&Event::Closed { reason }));
        assert!(
            pair.records(1).is_empty(),
            "nothing is said to whoever sits on the wire"
        );
    }
    let mut own = Pair::agreed();
    let sent = records(&mut own).remove(0);
    assert!(own.deliver(0, sent).is_err(), "a record that is reflected");
}

proptest! {
    /// Whatever a peer with the keys writes, the link neither panics nor holds more than it may.
    #[test]
    fn random_frames_never_break_more_than_the_link(
        frames in proptest::collection::vec(
            (1_u8..=11, 0_u8..2, 0_u64..8, proptest::collection::vec(any::<u8>(), 0..40)), 1..60),
        asks in 0_usize..4,
    ) {
        let mut forger = Forger::agreed();
        for _ in 0..asks {
            forger.link.open_request(&store(), BodySpec::UNKNOWN, None).unwrap();
        }
        for (kind, flags, id, payload) in frames {
            forger.drain();
            let result = forger.send(|out| {
                out.extend_from_slice(&[kind, flags, 0, 0]);
                out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
                out.extend_from_slice(&id.to_le_bytes());
                out.extend_from_slice(&payload);
            });
            while forger.link.poll_event().is_some() {}
            prop_assert_eq!(result.is_err(), forger.link.is_closed());
            if result.is_err() {
                break;
            }
        }
    }

    #[test]
    fn random_bytes_are_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec::decode_request(&bytes);
        let _ = codec::decode_reply(&bytes);
        let _ = codec::decode_error(&bytes);
    }
}
