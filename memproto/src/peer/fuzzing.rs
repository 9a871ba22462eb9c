//! The bodies of the fuzz targets of the peer protocol. See [`crate::fuzzing`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::cipher::Secret;
use super::codec::{self, DecodeError};
use super::frame::{self, Kind};
use super::handshake::{Established, PeerIdentity};
use super::link::{
    BODY_WINDOW, BodySpec, Consent, Event, Goodbye, Link, LinkConfig, PEER_BODIES_MAX, REQUESTS_MAX,
    RequestId,
};
use super::manifest::ManifestPage;
use super::message::{PeerReply, PeerRequest};
use super::pairing::{PairMessage, PairRefusal};
use super::record::{Opener, RECORD_PLAINTEXT_MAX, Sealer, SessionKeys, TrafficKey, check_length};
use crate::error::ApiError;
use crate::fuzzing::script::Script;
use crate::id::{BlockId, NodeId};

pub use super::handshake::fuzzing::peer_handshake;
pub use super::pairing::fuzzing::peer_pairing;
pub use super::record::fuzzing::peer_records;

/// Reads what lies in the records of a link. The first byte of the input chooses what it is taken for. What is taken means
/// the same when it is written and read again.
pub fn peer_messages(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 5 {
        0 => match codec::decode_request(bytes) {
            Ok((request, body)) => {
                let again = codec::encode_request(&request, body).expect("what was read fits a message");
                assert_eq!(codec::decode_request(&again), Ok((request, body)));
            }
            Err((DecodeError::Malformed(what), _)) => assert!(!what.is_empty()),
            Err((DecodeError::Refused(error), _)) => assert!(!error.message.is_empty()),
        },
        1 => {
            if let Ok((reply, body)) = codec::decode_reply(bytes) {
                let again = codec::encode_reply(&reply, body).expect("what was read fits a message");
                let (second, size) = codec::decode_reply(&again).expect("what was written can be read");
                assert_eq!(size, body);
                match (&reply, &second) {
                    // The text of an error is cut when it is written.
                    (PeerReply::Failed(first), PeerReply::Failed(second)) => is_cut(first, second),
                    _ => assert_eq!(second, reply),
                }
            }
        }
        2 => {
            if let Ok(error) = codec::decode_error(bytes) {
                let again = codec::decode_error(&codec::encode_error(&error));
                is_cut(&error, &again.expect("what was written can be read"));
            }
        }
        3 => {
            if let Ok(page) = ManifestPage::decode(bytes) {
                // The list of holders may have had others, or another order.
                assert_eq!(ManifestPage::decode(&page.encode()), Ok(page));
            }
        }
        _ => frames(bytes),
    }
}

fn is_cut(whole: &ApiError, cut: &ApiError) {
    assert_eq!(whole.code, cut.code);
    assert!(whole.message.starts_with(&cut.message) && cut.message.len() <= codec::ERROR_TEXT_MAX);
}

fn frames(mut rest: &[u8]) {
    let whole = rest;
    let mut again = Vec::new();
    while !rest.is_empty() {
        let Ok(frame) = frame::take(&mut rest) else { break };
        frame::put(&mut again, frame.kind, frame.flags, frame.id, frame.payload);
        if let Ok(consent) = frame::decode_consent(frame.payload) {
            assert_eq!(frame::encode_consent(consent), frame.payload);
        }
        let _ = frame::decode_goodbye(frame.payload);
        let _ = frame::decode_number(frame.payload);
    }
    assert!(whole.starts_with(&again));
}

/// Plays a peer that has an identity and the keys, and sends what it likes, against a link whose own side does something of
/// everything that a driver does. The input is a script: see `Play::step`.
pub fn peer_link(data: &[u8]) {
    let mut play = Play::new();
    let mut script = Script::new(data);
    while !script.is_over() && !play.link.is_closed() {
        play.step(&mut script);
        play.check();
    }
}

/// The unit in which a script moves the clock.
const TICK: Duration = Duration::from_millis(50);

/// A link under attack, and what the events have told of it.
struct Play {
    link: Link,
    /// The attacker's end of the same keys.
    sealer: Sealer,
    opener: Opener,
    now: Instant,
    /// Requests of the peer that are open, and the unread bytes of their bodies.
    theirs: BTreeMap<RequestId, u64>,
    /// Requests of this side that are open.
    ours: BTreeMap<RequestId, u64>,
    /// Which requests of the peer were answered.
    answered: BTreeSet<RequestId>,
    is_over: bool,
}

impl Play {
    fn new() -> Self {
        let key = |seed| TrafficKey(Secret([seed; 32]));
        let config = LinkConfig {
            // Low, so that a script passes over changes of key.
            rekey_records: 5,
            ..LinkConfig::default()
        };
        let established = Established {
            keys: SessionKeys {
                send: key(1),
                receive: key(2),
            },
            peer: PeerIdentity {
                node_id: NodeId::from_bytes([7; 16]),
                public_key: [7; 32],
                name: "stranger".to_owned(),
                offered_quota_bytes: 0,
                incarnation: 1,
            },
            code: "123456".to_owned(),
            transcript: [9; 32],
            we_dialled: true,
            version: 1,
        };
        let now = Instant::now();
        Self {
            link: Link::new(established, config, now),
            sealer: Sealer::new(key(2), config.rekey_records),
            opener: Opener::new(key(1), config.rekey_records),
            now,
            theirs: BTreeMap::new(),
            ours: BTreeMap::new(),
            answered: BTreeSet::new(),
            is_over: false,
        }
    }

    /// Takes a step off the script: its first byte chooses it, the next two are its arguments.
    fn step(&mut self, script: &mut Script<'_>) {
        let [what, a, b] = script.take();
        match what % 16 {
            0 => {
                let len = u16::from_le_bytes([a, b]);
                self.deliver(script.take_up_to(len.into()));
            }
            // A frame with a good header.
            1..=5 => self.deliver_frame(a, script.take_up_to(b.into())),
            6 => self.request_of_the_peer(a, b),
            7 => {
                let quota_bytes = u64::from(a);
                self.link.set_consent(Consent::Agreed {
                    quota_bytes,
                    for_good: false,
                });
            }
            8 => self.consent_of_the_peer(a),
            9 => self.ask(a),
            10 => self.answer(a, b),
            11 => self.push(a, b),
            12 => self.read(a),
            13 => self.give_up(a, b),
            14 => {
                self.now += TICK * u32::from(a);
                self.link.handle_timeout(self.now);
            }
            _ => self.transmit(),
        }
    }

    fn deliver(&mut self, plaintext: &[u8]) {
        let mut record = Vec::new();
        let open = self.sealer.begin(&mut record);
        record.extend_from_slice(&plaintext[..plaintext.len().min(RECORD_PLAINTEXT_MAX)]);
        let is_there = self.sealer.finish(open, &mut record);
        if is_there == Ok(true) {
            // What the link thinks of it is in its events.
            let _ = self.link.handle_record(&mut record[4..], self.now);
        }
    }

    fn deliver_frame(&mut self, what: u8, payload: &[u8]) {
        let kinds = [
            Kind::Request,
            Kind::Reply,
            Kind::Data,
            Kind::Fail,
            Kind::Credit,
            Kind::Cancel,
            Kind::Ping,
            Kind::Pong,
        ];
        let kind = kinds[usize::from(what % 8)];
        let id = match kind {
            Kind::Ping | Kind::Pong => 0,
            _ => u64::from(what / 16) + 1,
        };
        let flags = match kind {
            Kind::Request | Kind::Reply | Kind::Data => what / 8 % 2,
            _ => 0,
        };
        let mut record = Vec::new();
        frame::put(&mut record, kind, flags, id, payload);
        self.deliver(&record);
    }

    fn request_of_the_peer(&mut self, id: u8, size: u8) {
        let body = match size {
            0 => BodySpec::NONE,
            255 => BodySpec::UNKNOWN,
            size => BodySpec::exact(u64::from(size)),
        };
        let message = codec::encode_request(&PeerRequest::Usage, body).expect("it is short");
        let mut record = Vec::new();
        frame::put(&mut record, Kind::Request, 0, u64::from(id), &message);
        self.deliver(&record);
    }

    fn consent_of_the_peer(&mut self, what: u8) {
        let consent = match what % 8 {
            0 => Consent::Denied,
            1 => Consent::Waiting,
            7 => return self.pair_of_the_peer(what),
            _ => Consent::Agreed {
                quota_bytes: 1,
                for_good: false,
            },
        };
        let mut record = Vec::new();
        frame::put(&mut record, Kind::Consent, 0, 0, &frame::encode_consent(consent));
        self.deliver(&record);
    }

    /// A message of pairing, which this side answers.
    fn pair_of_the_peer(&mut self, what: u8) {
        let mut record = Vec::new();
        frame::put(&mut record, Kind::Pair, 0, 0, &[4, what]);
        self.deliver(&record);
        self.link.pair(PairMessage::Refuse(PairRefusal::NoOffer));
    }

    fn ask(&mut self, what: u8) {
        let (body, deadline) = match what % 4 {
            0 => (BodySpec::NONE, None),
            1 => (BodySpec::UNKNOWN, None),
            2 => (BodySpec::exact(u64::from(what)), None),
            _ => (BodySpec::NONE, Some(self.now + TICK * u32::from(what))),
        };
        let request = PeerRequest::Locate {
            id: BlockId::new(u64::from(what) + 1).expect("it is small and positive"),
        };
        let is_agreed = self.link.is_agreed();
        if let Ok(id) = self.link.open_request(&request, body, deadline) {
            assert!(is_agreed, "a request went out before both sides agreed");
            self.ours.insert(id, 0);
        }
    }

    fn answer(&mut self, which: u8, body: u8) {
        let Some(id) = nth(&self.theirs, which) else {
            return;
        };
        let body = match body {
            0..100 => BodySpec::NONE,
            100..200 => BodySpec::exact(u64::from(body)),
            _ => BodySpec::UNKNOWN,
        };
        if self.link.reply(id, &PeerReply::Missing, body) {
            assert!(self.answered.insert(id), "a request was answered twice");
            // What is left of its body is no longer wanted.
            self.theirs.insert(id, 0);
        }
    }

    fn push(&mut self, which: u8, len: u8) {
        let open = self.ours.keys().chain(self.theirs.keys());
        let open: Vec<RequestId> = open.copied().collect();
        let Some(&id) = open.get(usize::from(which) % open.len().max(1)) else {
            return;
        };
        match len {
            0 => self.link.finish_body(id),
            1 => self.link.fail_body(id, &ApiError::invalid("it broke off")),
            len => {
                if self.link.body_room(id).is_some_and(|room| room > 0) {
                    self.link.push_body(id, Bytes::from(vec![len; usize::from(len)]));
                }
            }
        }
    }

    fn read(&mut self, which: u8) {
        for open in [&mut self.theirs, &mut self.ours] {
            if let Some(id) = nth(open, which)
                && let Some(unread) = open.get_mut(&id)
            {
                self.link.consume(id, std::mem::take(unread));
            }
        }
    }

    fn give_up(&mut self, which: u8, how: u8) {
        match nth(&self.ours, which) {
            Some(id) if how < 250 => {
                self.link.cancel(id);
                self.ours.remove(&id);
            }
            _ => self.link.close(Goodbye::Stopping),
        }
    }

    /// Takes out what the link sends: records that the attacker can open, with frames that are as specified.
    fn transmit(&mut self) {
        let mut out = Vec::new();
        self.link.poll_transmit(self.now, &mut out);
        let mut rest = &mut out[..];
        while let Some((prefix, behind)) = rest.split_first_chunk_mut() {
            let len = check_length(*prefix).expect("a node keeps to the limits");
            let (record, behind) = behind.split_at_mut(len);
            rest = behind;
            let mut frames = self.opener.open(record).expect("a node seals in order");
            while !frames.is_empty() {
                frame::take(&mut frames).expect("a node's frames are as specified");
            }
        }
    }

    /// Takes the events out, and holds them against what the specification promises.
    fn check(&mut self) {
        while let Some(event) = self.link.poll_event() {
            assert!(!self.is_over, "{event:?} came behind the end");
            match event {
                Event::PeerConsent(_) | Event::Pair(_) => continue,
                Event::Closed { .. } => self.is_over = true,
                Event::Agreed { .. } => {}
                Event::Request { id, .. } => {
                    assert_eq!(self.theirs.insert(id, 0), None, "an id came twice");
                }
                Event::Data { id, bytes } => {
                    assert!(!bytes.is_empty());
                    let unread = self.theirs.get_mut(&id).or_else(|| self.ours.get_mut(&id));
                    let unread = unread.expect("bytes come for open requests alone");
                    *unread += bytes.len() as u64;
                    assert!(*unread <= BODY_WINDOW);
                }
                Event::BodyEnd { id } | Event::BodyFailed { id, .. } => {
                    assert!(self.theirs.contains_key(&id) || self.ours.contains_key(&id));
                }
                Event::Reply { id, .. } => assert!(self.ours.contains_key(&id), "nobody asked"),
                Event::RequestFailed { id, .. } => drop(self.ours.remove(&id)),
                Event::Cancelled { id } => drop(self.theirs.remove(&id)),
                Event::BodyRoom { .. } => {}
            }
            let said_yes = |consent| matches!(consent, Consent::Agreed { .. } | Consent::Denied);
            assert!(
                self.is_over || said_yes(self.link.our_consent()) && said_yes(self.link.their_consent()),
                "something passed before both sides answered"
            );
        }
        assert_eq!(self.is_over, self.link.is_closed());
        assert!(self.link.requests_in_flight() <= 2 * REQUESTS_MAX);
        assert!(self.theirs.values().sum::<u64>() <= PEER_BODIES_MAX);
    }
}

/// The id in this place of those that are open, counted around.
fn nth(open: &BTreeMap<RequestId, u64>, which: u8) -> Option<RequestId> {
    open.keys().nth(usize::from(which) % open.len().max(1)).copied()
}
