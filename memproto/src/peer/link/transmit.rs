//! What goes out: which frames share a record, and which of them go first.
//!
//! In each record: what concerns the link; then credits; then requests, replies and cancellations in the order in which
//! they were made; then small bodies in turn; then the others in turn, one piece each. While large bodies wait, the rest
//! has three quarters of a record at most, so that neither stops the other.

use std::collections::VecDeque;
use std::time::Instant;

use super::body::Emitted;
use super::machine::Link;
use super::requests::Phase;
use super::{Consent, Event, Goodbye, RequestId};
use crate::peer::frame::{self, FLAG_MORE, HEADER_LEN, Kind};
use crate::peer::pairing::{PAIR_MESSAGE_MAX, PairMessage};
use crate::peer::record::{OpenRecord, RECORD_PLAINTEXT_MAX};

/// About how many bytes one call of [`Link::poll_transmit`] makes: enough for one write to be worth its call, little enough that a
/// request that comes meanwhile waits for half a millisecond of a wire of 1 Gbit/s.
const TRANSMIT_TARGET: usize = 64 * 1024;

/// Where the rest of a record is smaller than this, a message that does not fit begins in the next one.
const SPLINTER: usize = 1024;

/// How much of a record goes to everything else while large bodies wait.
const SHARE_BEFORE_BULK: usize = RECORD_PLAINTEXT_MAX / 4 * 3;

/// What waits to be sent, the bytes of bodies apart.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) consent: Option<Consent>,
    pub(super) goodbye: Option<Goodbye>,
    pub(super) pongs: VecDeque<u64>,
    pub(super) pairs: VecDeque<PairMessage>,
    pub(super) credits: VecDeque<(u64, u64)>,
    pub(super) messages: VecDeque<Message>,
    small: VecDeque<u64>,
    bulk: VecDeque<u64>,
}

/// A request, a reply or a cancellation that waits to be sent.
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) sent: usize,
}

impl Message {
    pub(super) fn new(kind: Kind, id: u64, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            id,
            bytes,
            sent: 0,
        }
    }
}

impl Outbox {
    /// Drops all but what is said last.
    pub(super) fn clear(&mut self) {
        *self = Self {
            consent: self.consent,
            goodbye: self.goodbye,
            ..Self::default()
        };
    }

    /// Takes a message back of which nothing was sent. Returns whether there was one.
    pub(super) fn take_back(&mut self, kind: Kind, id: u64) -> bool {
        let before = self.messages.len();
        self.messages
            .retain(|message| message.kind != kind || message.id != id || message.sent > 0);
        self.messages.len() < before
    }
}

impl Link {
    /// Appends sealed records with their length prefixes, about 64 KiB, two records at most. Returns whether it appended any:
    /// write them, take the events out, and call again.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        while out.len() - begin < TRANSMIT_TARGET {
            let record = self.sealer.begin(out);
            self.fill(&record, out, now);
            match self.sealer.finish(record, out) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.end(error.into());
                    break;
                }
            }
        }
        out.len() > begin
    }

    /// Puts a body into its ring, where it has something to send.
    pub(super) fn enlist(&mut self, id: u64) {
        let Some(body) = self
            .requests
            .get_mut(&id)
            .and_then(|request| request.send.as_mut())
        else {
            return;
        };
        if body.is_ready() && !body.in_ring {
            body.in_ring = true;
            let ring = if body.is_small() {
                &mut self.outbox.small
            } else {
                &mut self.outbox.bulk
            };
            ring.push_back(id);
        }
    }

    fn fill(&mut self, record: &OpenRecord, out: &mut Vec<u8>, now: Instant) {
        self.put_link_frames(record, out, now);
        if self.is_closed() {
            return;
        }
        let limit = if self.outbox.bulk.is_empty() {
            RECORD_PLAINTEXT_MAX
        } else {
            SHARE_BEFORE_BULK
        };
        self.put_messages(record, limit, out);
        self.put_bodies(true, record, limit, out);
        self.put_bodies(false, record, RECORD_PLAINTEXT_MAX, out);
    }

    /// What concerns the link as a whole, and credits: each a few bytes, and few of them.
    fn put_link_frames(&mut self, record: &OpenRecord, out: &mut Vec<u8>, now: Instant) {
        if let Some(consent) = self.outbox.consent.take() {
            frame::put(out, Kind::Consent, 0, 0, &frame::encode_consent(consent));
        }
        if let Some(goodbye) = self.outbox.goodbye.take() {
            frame::put(out, Kind::Goodbye, 0, 0, &[frame::encode_goodbye(goodbye)]);
        }
        if self.is_closed() {
            return;
        }
        if let Some(token) = self.keepalive.take_ping(now) {
            frame::put(out, Kind::Ping, 0, 0, &token.to_le_bytes());
        }
        while let Some(token) = self.outbox.pongs.pop_front() {
            frame::put(out, Kind::Pong, 0, 0, &token.to_le_bytes());
        }
        while let Some(message) = self.outbox.pairs.pop_front() {
            let mut payload = Vec::with_capacity(PAIR_MESSAGE_MAX);
            message.encode(&mut payload);
            frame::put(out, Kind::Pair, 0, 0, &payload);
        }
        while record.room(out) >= HEADER_LEN + 8 {
            let Some((id, bytes)) = self.outbox.credits.pop_front() else {
                break;
            };
            frame::put(out, Kind::Credit, 0, id, &bytes.to_le_bytes());
        }
    }

    /// Messages in their order. A long one goes on in the next record; nothing but bodies comes in between.
    fn put_messages(&mut self, record: &OpenRecord, limit: usize, out: &mut Vec<u8>) {
        while let Some(message) = self.outbox.messages.front_mut() {
            let room = limit.saturating_sub(record.len(out));
            let missing = message.bytes.len() - message.sent;
            if room < HEADER_LEN + missing.min(SPLINTER) {
                return;
            }
            let len = missing.min(room - HEADER_LEN);
            let flags = if len < missing { FLAG_MORE } else { 0 };
            let part = &message.bytes[message.sent..message.sent + len];
            frame::put(out, message.kind, flags, message.id, part);
            message.sent += len;
            if len == missing {
                let (kind, id) = (message.kind, message.id);
                self.outbox.messages.pop_front();
                self.message_went_out(kind, id);
            }
        }
    }

    /// A body may follow its message; a reply without one ends its request.
    fn message_went_out(&mut self, kind: Kind, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if kind == Kind::Request {
            request.phase = Phase::Asked;
        }
        match &mut request.send {
            Some(body) => {
                body.announced = true;
                self.enlist(id);
            }
            None if kind == Kind::Reply => drop(self.forget(id)),
            None => {}
        }
    }

    fn put_bodies(&mut self, small: bool, record: &OpenRecord, limit: usize, out: &mut Vec<u8>) {
        loop {
            let ring = if small {
                &mut self.outbox.small
            } else {
                &mut self.outbox.bulk
            };
            let Some(id) = ring.pop_front() else { return };
            let Some(body) = self
                .requests
                .get_mut(&id)
                .and_then(|request| request.send.as_mut())
            else {
                continue;
            };
            if !body.is_ready() {
                body.in_ring = false;
                continue;
            }
            let emitted = body.emit(id, limit.saturating_sub(record.len(out)), out);
            if emitted == Emitted::NoRoom {
                ring.push_front(id);
                return;
            }
            body.in_ring = false;
            if emitted == Emitted::Last {
                self.body_went_out(id);
                continue;
            }
            if body.take_room_notice() {
                self.events.push_back(Event::BodyRoom { id: RequestId(id) });
            }
            self.enlist(id);
        }
    }

    /// The body that this side sends is out: behind a reply the request is over.
    fn body_went_out(&mut self, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.send = None;
        if request.phase == Phase::Replied {
            self.forget(id);
        }
    }
}
