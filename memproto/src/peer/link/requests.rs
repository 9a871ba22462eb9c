//! The requests of a link: what the interface does to them, and how they end.

use std::time::Instant;

use bytes::Bytes;

use super::body::{ReceiveBody, SendBody};
use super::machine::Link;
use super::transmit::Message;
use super::{BODY_WINDOW, BodySpec, Consent, Event, REQUESTS_MAX, RequestId};
use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::peer::codec;
use crate::peer::frame::Kind;
use crate::peer::message::{PeerReply, PeerRequest};

/// A request that is not over.
pub(super) struct Request {
    pub(super) phase: Phase,
    pub(super) deadline: Option<Instant>,
    pub(super) send: Option<SendBody>,
    pub(super) receive: Option<ReceiveBody>,
    /// Its part of `theirs_committed`.
    pub(super) committed: u64,
}

impl Request {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase,
            deadline: None,
            send: None,
            receive: None,
            committed: 0,
        }
    }
}

/// How far a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Ours: waits to be sent.
    Queued,
    /// Ours: sent, waits for its reply.
    Asked,
    /// Ours: the body of the reply is coming.
    Answered,
    /// The peer's: waits for this side's reply.
    Handling,
    /// The peer's: the reply waits to be sent, or its body is going out.
    Replied,
}

impl Link {
    /// Asks the peer for something. `Reply` or `RequestFailed` follows exactly once, unless [`cancel`](Self::cancel)
    /// comes first.
    ///
    /// When the deadline passes the request is cancelled at the peer; before its reply it fails with `RequestFailed`,
    /// after it the reply's body with `BodyFailed`, both with `Timeout`. See [`set_deadline`](Self::set_deadline).
    ///
    /// # Errors
    /// `ConsentPending` or `Denied` before both sides agreed, `Busy` over [`REQUESTS_MAX`], `TooLarge` where the request
    /// does not fit a message, `PeerUnreachable` on a link that is over.
    pub fn open_request(
        &mut self,
        request: &PeerRequest,
        body: BodySpec,
        deadline: Option<Instant>,
    ) -> ApiResult<RequestId> {
        self.check_open()?;
        let bytes = codec::encode_request(request, body)?;
        let id = match self.last_ours {
            0 if self.we_dialled() => 1,
            last => last + 2,
        };
        self.last_ours = id;
        let send = body.has_body().then(|| SendBody::new(body.size));
        self.remember(
            id,
            Request {
                send,
                ..Request::new(Phase::Queued)
            },
        );
        self.outbox
            .messages
            .push_back(Message::new(Kind::Request, id, bytes));
        self.set_deadline(RequestId(id), deadline);
        Ok(RequestId(id))
    }

    /// Moves the deadline of a request of this side, such as after progress of its bodies.
    pub fn set_deadline(&mut self, id: RequestId, deadline: Option<Instant>) {
        if let Some(request) = self.requests.get_mut(&id.0) {
            request.deadline = deadline;
            self.next_deadline = [self.next_deadline, deadline].into_iter().flatten().min();
        }
    }

    /// Answers a request of the peer. What is left of the request's body is no longer wanted. Returns false where the
    /// request is gone or was answered, which is no error.
    ///
    /// A reply that does not fit a message becomes `Failed` with `TooLarge`, without a body.
    pub fn reply(&mut self, id: RequestId, reply: &PeerReply, body: BodySpec) -> bool {
        let Some(request) = self
            .requests
            .get_mut(&id.0)
            .filter(|it| it.phase == Phase::Handling)
        else {
            return false;
        };
        let (bytes, body) = match codec::encode_reply(reply, body) {
            Ok(bytes) => (bytes, body),
            Err(error) => {
                let bytes = codec::encode_reply(&PeerReply::Failed(error), BodySpec::NONE)
                    .expect("an error is cut to fit a message");
                (bytes, BodySpec::NONE)
            }
        };
        request.phase = Phase::Replied;
        request.send = body.has_body().then(|| SendBody::new(body.size));
        let unread = request.receive.take().map_or(0, |body| body.under_way());
        self.late.bytes = self.late.bytes.saturating_add(unread);
        self.theirs_committed -= std::mem::take(&mut request.committed);
        self.outbox
            .messages
            .push_back(Message::new(Kind::Reply, id.0, bytes));
        true
    }

    /// Appends a piece to the body that this side sends with a request or a reply. A piece may be larger than
    /// [`body_room`](Self::body_room), which must not be 0. Returns false where the body is no longer wanted: also where
    /// the pieces come to more than the size that was announced, the body then fails with `Internal`.
    pub fn push_body(&mut self, id: RequestId, bytes: Bytes) -> bool {
        let pushed = self.send_body(id).is_some_and(|body| body.push(bytes));
        self.enlist(id.0);
        pushed
    }

    /// Ends the body that this side sends. Where bytes are missing from the size that was announced, the body fails
    /// instead with `Internal`. A body that has its announced size ends by itself.
    pub fn finish_body(&mut self, id: RequestId) {
        if let Some(body) = self.send_body(id) {
            body.finish();
        }
        self.enlist(id.0);
    }

    /// Breaks off the body that this side sends. The reader gets the error.
    pub fn fail_body(&mut self, id: RequestId, error: &ApiError) {
        if let Some(body) = self.send_body(id) {
            body.fail(error.clone());
        }
        self.enlist(id.0);
    }

    /// How many bytes the caller may push now: `None` where the body is finished or no longer wanted. After 0 an
    /// [`Event::BodyRoom`] tells when it opens.
    pub fn body_room(&mut self, id: RequestId) -> Option<u64> {
        self.send_body(id).and_then(SendBody::room)
    }

    /// Tells that the reader took this many bytes of the peer's body: credit goes back.
    pub fn consume(&mut self, id: RequestId, bytes: u64) {
        let receive = self
            .requests
            .get_mut(&id.0)
            .and_then(|request| request.receive.as_mut());
        if let Some(grant) = receive.and_then(|body| body.consume(bytes)) {
            self.outbox.credits.push_back((id.0, grant));
        }
    }

    /// Forgets a request of this side: nothing more comes of it.
    pub fn cancel(&mut self, id: RequestId) {
        if !self.is_ours(id.0) {
            return;
        }
        let Some(request) = self.forget(id.0) else { return };
        // What was not sent is simply not sent.
        if self.outbox.take_back(Kind::Request, id.0) {
            return;
        }
        self.outbox
            .messages
            .push_back(Message::new(Kind::Cancel, id.0, Vec::new()));
        let unread = match request.phase {
            Phase::Answered => request.receive.map_or(0, |body| body.under_way()),
            _ => {
                self.late.replies += 1;
                BODY_WINDOW
            }
        };
        self.late.bytes = self.late.bytes.saturating_add(unread);
    }

    fn send_body(&mut self, id: RequestId) -> Option<&mut SendBody> {
        self.requests.get_mut(&id.0)?.send.as_mut()
    }

    pub(super) fn remember(&mut self, id: u64, request: Request) {
        if self.is_ours(id) {
            self.ours_in_flight += 1;
        } else {
            self.theirs_in_flight += 1;
            self.theirs_committed += request.committed;
        }
        self.requests.insert(id, request);
    }

    pub(super) fn forget(&mut self, id: u64) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        if self.is_ours(id) {
            self.ours_in_flight -= 1;
        } else {
            self.theirs_in_flight -= 1;
            self.theirs_committed -= request.committed;
        }
        Some(request)
    }

    fn check_open(&self) -> ApiResult<()> {
        if let Some(reason) = &self.closed {
            return Err(self.unreachable_error(reason));
        }
        match (self.ours, self.theirs) {
            (Consent::Agreed { .. }, Consent::Agreed { .. }) if self.ours_in_flight >= REQUESTS_MAX => {
                let message = format!(
                    "{REQUESTS_MAX} requests to '{}' are in flight: try again",
                    self.peer.name
                );
                Err(ApiError::new(ErrorCode::Busy, message))
            }
            (Consent::Agreed { .. }, Consent::Agreed { .. }) => Ok(()),
            (Consent::Denied, _) | (_, Consent::Denied) => Err(self.denied_error()),
            _ => {
                let message = format!(
                    "not both sides have agreed to the link with '{}' yet",
                    self.peer.name
                );
                Err(ApiError::new(ErrorCode::ConsentPending, message))
            }
        }
    }

    pub(super) fn end_overdue(&mut self, now: Instant) {
        let is_overdue = |request: &Request| request.deadline.is_some_and(|at| now >= at);
        let overdue: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, it)| is_overdue(it))
            .map(|(&id, _)| id)
            .collect();
        for id in overdue {
            let message = format!("'{}' did not answer in time", self.peer.name);
            self.fail_request(id, ApiError::new(ErrorCode::Timeout, message));
            self.cancel(RequestId(id));
        }
        self.next_deadline = self
            .requests
            .values()
            .filter_map(|request| request.deadline)
            .min();
    }

    /// Tells that a request came to nothing. The caller then removes it.
    fn fail_request(&mut self, id: u64, error: ApiError) {
        let (phase, id) = (self.requests[&id].phase, RequestId(id));
        self.events.push_back(match phase {
            Phase::Queued | Phase::Asked => Event::RequestFailed { id, error },
            Phase::Answered => Event::BodyFailed { id, error },
            Phase::Handling | Phase::Replied => Event::Cancelled { id },
        });
    }

    /// Ends every request with this error.
    pub(super) fn end_requests(&mut self, error: &ApiError) {
        while let Some(&id) = self.requests.keys().next() {
            self.fail_request(id, error.clone());
            self.forget(id);
        }
        self.assembly = None;
        self.next_deadline = None;
        self.outbox.clear();
    }
}
