//! The link's state and its interface.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::keepalive::Keepalive;
use super::receive::{Assembly, Late, Taker, broken};
use super::requests::Request;
use super::transmit::Outbox;
use super::{Consent, Event, Goodbye, LinkConfig, LinkError, PAIRS_MAX, RequestId};
use crate::error::{ApiError, ErrorCode};
use crate::peer::frame;
use crate::peer::handshake::{Established, PeerIdentity};
use crate::peer::pairing::PairMessage;
use crate::peer::record::{Opener, RecordError, Sealer};

/// One side of a link.
pub struct Link {
    pub(super) peer: PeerIdentity,
    code: String,
    transcript: [u8; 32],
    we_dialled: bool,
    pub(super) sealer: Sealer,
    opener: Opener,
    pub(super) keepalive: Keepalive,
    /// What the person at this side said.
    pub(super) ours: Consent,
    /// What the person at the other side said.
    pub(super) theirs: Consent,
    agreement_announced: bool,
    /// How many messages of pairing the peer sent before both sides agreed.
    pub(super) pairs_before_consent: u32,
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) ours_in_flight: usize,
    pub(super) theirs_in_flight: usize,
    /// Sum of what the peer's request bodies may make this side hold.
    pub(super) theirs_committed: u64,
    pub(super) last_ours: u64,
    pub(super) last_theirs: u64,
    pub(super) late: Late,
    pub(super) assembly: Option<Assembly>,
    /// Not later than the earliest deadline of a request.
    pub(super) next_deadline: Option<Instant>,
    pub(super) outbox: Outbox,
    pub(super) events: VecDeque<Event>,
    pub(super) closed: Option<LinkError>,
}

impl Link {
    /// A link on a fresh handshake. Consent is `Waiting` on both sides.
    pub fn new(established: Established, config: LinkConfig, now: Instant) -> Self {
        let Established {
            keys,
            peer,
            code,
            transcript,
            we_dialled,
            version: _,
        } = established;
        Self {
            peer,
            code,
            transcript,
            we_dialled,
            sealer: Sealer::new(keys.send, config.rekey_records),
            opener: Opener::new(keys.receive, config.rekey_records),
            keepalive: Keepalive::new(config, now),
            ours: Consent::Waiting,
            theirs: Consent::Waiting,
            agreement_announced: false,
            pairs_before_consent: 0,
            requests: BTreeMap::new(),
            ours_in_flight: 0,
            theirs_in_flight: 0,
            theirs_committed: 0,
            last_ours: 0,
            last_theirs: 0,
            late: Late::default(),
            assembly: None,
            next_deadline: None,
            outbox: Outbox::default(),
            events: VecDeque::new(),
            closed: None,
        }
    }

    /// Who is there.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The six digits of the handshake.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The hash over the whole handshake, the same on both sides of this link and on no other link.
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// Whether this side began the connection.
    pub fn we_dialled(&self) -> bool {
        self.we_dialled
    }

    /// Takes one record, without its length prefix, and decrypts it in place.
    ///
    /// # Errors
    /// The link is over: events are still to be taken out (the last is `Closed`), and a goodbye may be waiting in
    /// [`poll_transmit`](Self::poll_transmit). Further records are refused with the same error.
    pub fn handle_record(&mut self, record: &mut [u8], now: Instant) -> Result<(), LinkError> {
        self.handle_record_with(record, now, |_, _| false)
    }

    /// The same for who has a place for the bytes of some bodies: `take` is offered each piece of a body where it lies. A piece that
    /// it takes, by returning true, makes no [`Event::Data`], and its credit goes back by itself. One that it does not take makes its event, and then
    /// no more pieces of this record are offered, so that none overtakes another.
    ///
    /// # Errors
    /// As [`handle_record`](Self::handle_record).
    pub fn handle_record_with(
        &mut self,
        record: &mut [u8],
        now: Instant,
        mut take: impl FnMut(RequestId, &[u8]) -> bool,
    ) -> Result<(), LinkError> {
        if let Some(reason) = &self.closed {
            return Err(reason.clone());
        }
        let result = self.open_record(record, now, &mut Taker::new(&mut take));
        if let Err(error) = &result {
            if matches!(error, LinkError::Protocol(_)) {
                self.outbox.goodbye = Some(Goodbye::ProtocolError);
            }
            self.end(error.clone());
        }
        result
    }

    /// Ends the link for a record that cannot be: its length is none that a record has.
    pub fn refuse_record(&mut self, error: RecordError) {
        if !self.is_closed() {
            self.outbox.goodbye = Some(Goodbye::ProtocolError);
            self.end(error.into());
        }
    }

    fn open_record(
        &mut self,
        record: &mut [u8],
        now: Instant,
        taker: &mut Taker<'_>,
    ) -> Result<(), LinkError> {
        let mut rest = self.opener.open(record)?;
        self.keepalive.heard(now);
        while !rest.is_empty() {
            let frame = frame::take(&mut rest).map_err(broken)?;
            self.handle_frame(frame, now, taker)?;
        }
        Ok(())
    }

    /// Notes that bytes came which are no whole record yet: a peer that is slow is not dead.
    pub fn note_received(&mut self, now: Instant) {
        self.keepalive.heard(now);
    }

    /// Does what is due: deadlines, pings, and the end of a link that is dead.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        if let Some(silence) = self.keepalive.is_dead(now) {
            self.end(LinkError::TimedOut(silence));
            return;
        }
        self.keepalive.handle_timeout(now);
        if self.next_deadline.is_some_and(|at| now >= at) {
            self.end_overdue(now);
        }
    }

    /// Pings the peer now, and ends the link where that is not answered `within` the time: for a side that has reason to
    /// doubt that the peer is still there, for its machine slept or its addresses changed.
    pub fn check(&mut self, now: Instant, within: Duration) {
        if !self.is_closed() {
            self.keepalive.check(now, within);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), at the latest. It may be early.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.keepalive.next();
        (!self.is_closed()).then(|| self.next_deadline.map_or(next, |at| at.min(next)))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Says what the person at this side said. `Denied` ends every request; the driver then calls
    /// [`close`](Self::close). A repeated `Agreed` changes the grant. There is no way back: `Waiting` after an answer,
    /// and anything after `Denied`, is passed over.
    pub fn set_consent(&mut self, consent: Consent) {
        if self.is_closed()
            || consent == self.ours
            || consent == Consent::Waiting
            || self.ours == Consent::Denied
        {
            return;
        }
        self.ours = consent;
        self.outbox.consent = Some(consent);
        if consent == Consent::Denied {
            self.end_requests(&self.denied_error());
        }
        self.announce_agreement();
    }

    /// Sends a message of pairing. One that finds others waiting for a peer that does not read is dropped: the exchange
    /// then ends by its driver's deadline.
    pub fn pair(&mut self, message: PairMessage) {
        if !self.is_closed() && self.outbox.pairs.len() < PAIRS_MAX {
            self.outbox.pairs.push_back(message);
        }
    }

    /// What this side said.
    pub fn our_consent(&self) -> Consent {
        self.ours
    }

    /// What the other side said.
    pub fn their_consent(&self) -> Consent {
        self.theirs
    }

    /// Whether both sides agreed.
    pub fn is_agreed(&self) -> bool {
        matches!(
            (self.ours, self.theirs),
            (Consent::Agreed { .. }, Consent::Agreed { .. })
        )
    }

    /// Ends the link. `poll_transmit` has the goodbye, which overtakes all that was queued; write it and close.
    pub fn close(&mut self, reason: Goodbye) {
        if !self.is_closed() {
            self.outbox.goodbye = Some(reason);
            self.end(LinkError::Closed(reason));
        }
    }

    /// Whether the link is over.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// The smoothed round trip, once measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.keepalive.round_trip()
    }

    /// Number of requests in flight, of both sides.
    pub fn requests_in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Whether an id is of a request of this side: the side that dialled has the odd ones.
    pub(super) fn is_ours(&self, id: u64) -> bool {
        (id % 2 == 1) == self.we_dialled
    }

    pub(super) fn denied_error(&self) -> ApiError {
        let who = if self.ours == Consent::Denied {
            "this node does not allow"
        } else {
            "its owner denied"
        };
        ApiError::new(
            ErrorCode::Denied,
            format!("{who} the link with '{}'", self.peer.name),
        )
    }

    pub(super) fn unreachable_error(&self, reason: &LinkError) -> ApiError {
        let message = format!("the link with '{}' ended: {reason}", self.peer.name);
        ApiError::new(ErrorCode::PeerUnreachable, message)
    }

    pub(super) fn announce_agreement(&mut self) {
        if let (Consent::Agreed { .. }, Consent::Agreed { quota_bytes, .. }) = (self.ours, self.theirs)
            && !std::mem::replace(&mut self.agreement_announced, true)
        {
            self.events.push_back(Event::Agreed { quota_bytes });
        }
    }

    /// Ends the link. Only a goodbye is still sent.
    pub(super) fn end(&mut self, reason: LinkError) {
        if self.closed.is_none() {
            self.end_requests(&self.unreachable_error(&reason));
            self.closed = Some(reason.clone());
            self.events.push_back(Event::Closed { reason });
        }
    }
}
