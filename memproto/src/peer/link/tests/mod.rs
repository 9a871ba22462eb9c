//! Pairs of links with a fake clock: no sockets, no sleeps, no chance.

mod attacks;
mod behaviour;
mod bodies;
mod schedules;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::error::{ApiError, ErrorCode};
use crate::id::BlockId;
use crate::peer::handshake::tests::established_pair;
use crate::peer::message::{PeerReply, PeerRequest};
use crate::peer::record;

/// A low threshold, so that every longer test passes over changes of key.
const CONFIG: LinkConfig = LinkConfig {
    ping_after: PING_AFTER,
    dead_after: DEAD_AFTER,
    round_trip_every: ROUND_TRIP_EVERY,
    rekey_records: 5,
};

/// Two links and the wire between them. Side 0 dialled.
struct Pair {
    links: [Link; 2],
    now: Instant,
    events: [Vec<Event>; 2],
}

impl Pair {
    /// Before any consent.
    fn new() -> Self {
        let (left, right) = established_pair();
        let now = Instant::now();
        let links = [Link::new(left, CONFIG, now), Link::new(right, CONFIG, now)];
        Self {
            links,
            now,
            events: [Vec::new(), Vec::new()],
        }
    }

    /// Both sides agreed and nothing is under way.
    fn agreed() -> Self {
        let mut pair = Self::new();
        for link in &mut pair.links {
            link.set_consent(Consent::Agreed {
                quota_bytes: 1_000,
                for_good: false,
            });
        }
        pair.settle();
        pair.events = [Vec::new(), Vec::new()];
        pair
    }

    /// The records that one side has to send, each without its length prefix. At most one call of `poll_transmit`.
    fn records(&mut self, side: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.links[side].poll_transmit(self.now, &mut out);
        split(&out)
    }

    /// Hands one side a record.
    fn deliver(&mut self, side: usize, mut record: Vec<u8>) -> Result<(), LinkError> {
        let result = self.links[side].handle_record(&mut record, self.now);
        self.collect(side);
        result
    }

    fn collect(&mut self, side: usize) {
        while let Some(event) = self.links[side].poll_event() {
            self.events[side].push(event);
        }
    }

    /// Moves records until neither side has any.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                for record in self.records(side) {
                    moved = true;
                    // A side that closed refuses the rest, as it should.
                    let _ = self.deliver(1 - side, record);
                }
                self.collect(side);
            }
            if !moved {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for side in [0, 1] {
            self.links[side].handle_timeout(self.now);
            self.collect(side);
        }
    }

    fn take_events(&mut self, side: usize) -> Vec<Event> {
        self.collect(side);
        std::mem::take(&mut self.events[side])
    }

    /// The id of the only event, which is a request.
    fn take_request(&mut self, side: usize) -> RequestId {
        match &self.take_events(side)[..] {
            [Event::Request { id, .. }] => *id,
            other => panic!("one request was expected: {other:?}"),
        }
    }

    /// Side 0 asks with a body of this size, and side 1 learns of it.
    fn ask(&mut self, body: BodySpec) -> RequestId {
        let id = self.links[0].open_request(&store(), body, None).unwrap();
        self.settle();
        assert_eq!(self.take_request(1), id);
        id
    }
}

fn split(out: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut records) = (out, Vec::new());
    while let Some((prefix, behind)) = rest.split_first_chunk() {
        let (record, behind) = behind.split_at(record::check_length(*prefix).unwrap());
        records.push(record.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty());
    records
}

fn block(id: u64) -> BlockId {
    BlockId::new(id).unwrap()
}

fn store() -> PeerRequest {
    PeerRequest::Load {
        id: block(7),
        offset: 0,
        length: 1,
        relay: false,
    }
}

fn gone() -> PeerReply {
    PeerReply::Failed(ApiError::new(ErrorCode::NotFound, "no such block"))
}

/// Bytes that differ at every place, so that a piece in the wrong place is seen.
fn pattern(len: usize, seed: u64) -> Bytes {
    let word = |n: u64| {
        (n.wrapping_add(seed))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes()
    };
    (0..len.div_ceil(8) as u64).flat_map(word).take(len).collect()
}

/// The bytes of all pieces of one body.
fn data_of(events: &[Event], wanted: RequestId) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        match event {
            Event::Data { id, bytes } if *id == wanted => all.extend_from_slice(bytes),
            _ => {}
        }
    }
    all
}
