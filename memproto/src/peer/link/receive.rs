//! What comes in: which frames are allowed when, and what they do.
//!
//! A peer that keeps to the protocol never makes an error here. Frames of a request that is over on this side are no error
//! as long as the peer can have sent them before it knew: that much is counted.

use std::time::Instant;

use bytes::Bytes;

use super::body::{ReceiveBody, SendBody};
use super::machine::Link;
use super::requests::{Phase, Request};
use super::{
    BodySpec, Consent, Event, LinkError, PAIRS_BEFORE_CONSENT_MAX, PEER_BODIES_MAX, PONGS_MAX, REQUESTS_MAX,
    RequestId,
};
use crate::error::{ApiError, ErrorCode};
use crate::peer::codec::{self, DecodeError, MESSAGE_MAX};
use crate::peer::frame::{self, FLAG_END, FLAG_MORE, Frame, Kind};
use crate::peer::message::PeerReply;
use crate::peer::pairing::PairMessage;

/// A message of which a part came.
pub(super) struct Assembly {
    kind: Kind,
    id: u64,
    bytes: Vec<u8>,
}

/// What the peer may still send for requests that are over on this side.
#[derive(Default)]
pub(super) struct Late {
    /// Replies to requests that this side cancelled.
    pub(super) replies: u64,
    /// Bytes of bodies that this side no longer wants.
    pub(super) bytes: u64,
}

/// Who may have a place for the pieces of a record.
pub(super) struct Taker<'a> {
    take: &'a mut dyn FnMut(RequestId, &[u8]) -> bool,
    /// Whether a piece of this record was not taken.
    is_refused: bool,
}

impl<'a> Taker<'a> {
    /// For one record.
    pub(super) fn new(take: &'a mut dyn FnMut(RequestId, &[u8]) -> bool) -> Self {
        Self {
            take,
            is_refused: false,
        }
    }

    fn takes(&mut self, id: RequestId, bytes: &[u8]) -> bool {
        self.is_refused |= !self.is_refused && !(self.take)(id, bytes);
        !self.is_refused
    }
}

type Handled = Result<(), LinkError>;

impl Link {
    pub(super) fn handle_frame(&mut self, frame: Frame<'_>, now: Instant, taker: &mut Taker<'_>) -> Handled {
        match frame.kind {
            Kind::Ping => self.handle_ping(frame.payload),
            Kind::Pong => self.handle_pong(frame.payload, now),
            Kind::Consent => self.handle_consent(frame.payload),
            Kind::Goodbye => Err(LinkError::ClosedByPeer(
                frame::decode_goodbye(frame.payload).map_err(broken)?,
            )),
            // This side said no. What was on its way is dropped: the peer learns of it soon.
            _ if self.ours == Consent::Denied => Ok(()),
            Kind::Pair => self.handle_pair(frame.payload),
            _ if !self.is_agreed() => Err(broken("a request before both sides agreed")),
            Kind::Request | Kind::Reply => self.handle_message(frame),
            Kind::Data => self.handle_data(frame, taker),
            Kind::Fail => self.handle_fail(frame),
            Kind::Credit => self.handle_credit(frame),
            Kind::Cancel => self.handle_cancel(frame),
        }
    }

    fn handle_ping(&mut self, payload: &[u8]) -> Handled {
        let token = frame::decode_number(payload).map_err(broken)?;
        if self.outbox.pongs.len() >= PONGS_MAX {
            return Err(broken("more pings than one at a time"));
        }
        self.outbox.pongs.push_back(token);
        Ok(())
    }

    fn handle_pong(&mut self, payload: &[u8], now: Instant) -> Handled {
        let token = frame::decode_number(payload).map_err(broken)?;
        if self.keepalive.handle_pong(token, now) {
            Ok(())
        } else {
            Err(broken("a pong that nobody asked for"))
        }
    }

    fn handle_consent(&mut self, payload: &[u8]) -> Handled {
        let consent = frame::decode_consent(payload).map_err(broken)?;
        if consent == self.theirs {
            return Ok(());
        }
        if self.theirs == Consent::Denied || consent == Consent::Waiting {
            return Err(broken("a consent that goes back"));
        }
        self.theirs = consent;
        self.events.push_back(Event::PeerConsent(consent));
        if consent == Consent::Denied {
            self.end_requests(&self.denied_error());
        }
        self.announce_agreement();
        Ok(())
    }

    fn handle_pair(&mut self, payload: &[u8]) -> Handled {
        if !self.is_agreed() {
            self.pairs_before_consent += 1;
            if self.pairs_before_consent > PAIRS_BEFORE_CONSENT_MAX {
                return Err(broken("too many messages of pairing"));
            }
        }
        let message = PairMessage::decode(payload).map_err(broken)?;
        self.events.push_back(Event::Pair(message));
        Ok(())
    }

    fn handle_message(&mut self, frame: Frame<'_>) -> Handled {
        match &self.assembly {
            Some(assembly) if assembly.kind != frame.kind || assembly.id != frame.id => {
                return Err(broken("a message begins before the one before it ended"));
            }
            Some(_) => {}
            None if frame.kind == Kind::Request => self.begin_request(frame.id)?,
            None => self.begin_reply(frame.id)?,
        }
        let begun = self.assembly.as_ref().map_or(0, |assembly| assembly.bytes.len());
        if begun + frame.payload.len() > MESSAGE_MAX {
            return Err(broken("a message is too long"));
        }
        if frame.flags & FLAG_MORE != 0 {
            let assembly = self.assembly.get_or_insert_with(|| Assembly {
                kind: frame.kind,
                id: frame.id,
                bytes: Vec::new(),
            });
            assembly.bytes.extend_from_slice(frame.payload);
            return Ok(());
        }
        // Most messages are one frame and are read where they lie.
        match self.assembly.take() {
            None => self.end_message(frame.kind, frame.id, frame.payload),
            Some(mut assembly) => {
                assembly.bytes.extend_from_slice(frame.payload);
                self.end_message(frame.kind, frame.id, &assembly.bytes)
            }
        }
    }

    fn end_message(&mut self, kind: Kind, id: u64, bytes: &[u8]) -> Handled {
        match kind {
            Kind::Request => self.end_request_message(id, bytes),
            _ => self.end_reply_message(id, bytes),
        }
    }

    fn begin_request(&mut self, id: u64) -> Handled {
        if self.is_ours(id) || id <= self.last_theirs {
            return Err(broken("the id of a request is not a new one of the peer's"));
        }
        if self.theirs_in_flight >= REQUESTS_MAX {
            return Err(broken("too many requests at once"));
        }
        self.last_theirs = id;
        Ok(())
    }

    fn begin_reply(&mut self, id: u64) -> Handled {
        self.check_known(id)?;
        match self.requests.get(&id) {
            Some(request) if request.phase == Phase::Asked => Ok(()),
            None if self.is_ours(id) && self.late.replies > 0 => {
                self.late.replies -= 1;
                Ok(())
            }
            _ => Err(broken("a reply that no request waits for")),
        }
    }

    fn end_request_message(&mut self, id: u64, bytes: &[u8]) -> Handled {
        let (request, body) = match codec::decode_request(bytes) {
            Ok(decoded) => decoded,
            Err((DecodeError::Malformed(what), _)) => return Err(broken(what)),
            Err((DecodeError::Refused(error), body)) => {
                self.refuse(id, body, error);
                return Ok(());
            }
        };
        let committed = ReceiveBody::commitment(body.size);
        if self.theirs_committed + committed > PEER_BODIES_MAX {
            let message = "too many bodies at once on this link: wait for one to end";
            self.refuse(id, body, ApiError::new(ErrorCode::Busy, message));
            return Ok(());
        }
        let receive = body.has_body().then(|| ReceiveBody::new(body.size));
        self.remember(
            id,
            Request {
                committed,
                receive,
                ..Request::new(Phase::Handling)
            },
        );
        self.events.push_back(Event::Request {
            id: RequestId(id),
            request,
            body,
        });
        Ok(())
    }

    /// Answers a request without telling anybody. It counts until the answer is out.
    fn refuse(&mut self, id: u64, body: BodySpec, error: ApiError) {
        let receive = body.has_body().then(|| ReceiveBody::new(body.size));
        self.remember(
            id,
            Request {
                receive,
                ..Request::new(Phase::Handling)
            },
        );
        self.reply(RequestId(id), &PeerReply::Failed(error), BodySpec::NONE);
    }

    fn end_reply_message(&mut self, id: u64, bytes: &[u8]) -> Handled {
        let (reply, body) = codec::decode_reply(bytes).map_err(|error| match error {
            DecodeError::Malformed(what) => broken(what),
            DecodeError::Refused(error) => broken(&error.message),
        })?;
        let Some(request) = self.requests.get_mut(&id) else {
            return Ok(());
        };
        request.phase = Phase::Answered;
        request.send = None;
        request.receive = body.has_body().then(|| ReceiveBody::new(body.size));
        self.events.push_back(Event::Reply {
            id: RequestId(id),
            reply,
            body,
        });
        if !body.has_body() {
            self.forget(id);
        }
        Ok(())
    }

    fn handle_data(&mut self, frame: Frame<'_>, taker: &mut Taker<'_>) -> Handled {
        self.check_known(frame.id)?;
        let (id, len) = (RequestId(frame.id), frame.payload.len() as u64);
        let Some(body) = self
            .requests
            .get_mut(&frame.id)
            .and_then(|request| request.receive.as_mut())
        else {
            self.late.bytes = self
                .late
                .bytes
                .checked_sub(len)
                .ok_or_else(|| broken("data of a body that is not open"))?;
            return Ok(());
        };
        let is_last = frame.flags & FLAG_END != 0;
        body.take(len, is_last).map_err(LinkError::Protocol)?;
        if len > 0 && taker.takes(id, frame.payload) {
            self.consume(id, len);
        } else if len > 0 {
            self.events.push_back(Event::Data {
                id,
                bytes: Bytes::copy_from_slice(frame.payload),
            });
        }
        if is_last {
            self.events.push_back(Event::BodyEnd { id });
            self.body_is_over(frame.id);
        }
        Ok(())
    }

    fn handle_fail(&mut self, frame: Frame<'_>) -> Handled {
        self.check_known(frame.id)?;
        let error = codec::decode_error(frame.payload).map_err(|_| broken("an error cannot be read"))?;
        if self
            .requests
            .get(&frame.id)
            .is_some_and(|request| request.receive.is_some())
        {
            self.events.push_back(Event::BodyFailed {
                id: RequestId(frame.id),
                error,
            });
            self.body_is_over(frame.id);
        }
        Ok(())
    }

    fn handle_credit(&mut self, frame: Frame<'_>) -> Handled {
        self.check_known(frame.id)?;
        let bytes = frame::decode_number(frame.payload).map_err(broken)?;
        let send: Option<&mut SendBody> = self
            .requests
            .get_mut(&frame.id)
            .and_then(|request| request.send.as_mut());
        if let Some(body) = send {
            body.grant(bytes).map_err(|error| broken(&error.message))?;
            self.enlist(frame.id);
        }
        Ok(())
    }

    fn handle_cancel(&mut self, frame: Frame<'_>) -> Handled {
        self.check_known(frame.id)?;
        if self.is_ours(frame.id) || !frame.payload.is_empty() {
            return Err(broken("a cancellation of what is not the peer's"));
        }
        if self.requests.contains_key(&frame.id) {
            self.outbox.take_back(Kind::Reply, frame.id);
            self.forget(frame.id);
            self.events.push_back(Event::Cancelled {
                id: RequestId(frame.id),
            });
        }
        Ok(())
    }

    /// Nothing more comes of the peer's body: behind a reply the request is over.
    fn body_is_over(&mut self, id: u64) {
        if self.is_ours(id) {
            self.forget(id);
        } else if let Some(request) = self.requests.get_mut(&id) {
            request.receive = None;
        }
    }

    /// Refuses an id that was never given to a request.
    fn check_known(&self, id: u64) -> Handled {
        let last = if self.is_ours(id) {
            self.last_ours
        } else {
            self.last_theirs
        };
        if id <= last {
            Ok(())
        } else {
            Err(broken("an id that no request has had"))
        }
    }
}

pub(super) fn broken(what: &str) -> LinkError {
    LinkError::Protocol(what.to_owned())
}
