//! One body in one direction: what is queued, under credit, and what came.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{BODY_QUEUE_MAX, BODY_WINDOW, SMALL_BODY_MAX};
use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::flow::{DATA_COST_MIN, ReceiveWindow, SendCredit, data_cost};
use crate::peer::codec;
use crate::peer::frame::{self, FLAG_END, HEADER_LEN, Kind};

/// Where the rest of a record is smaller than this, it is left empty rather than filled with a splinter of a body.
const SPLINTER: usize = 2 * 1024;

/// A body that this side sends.
pub(super) struct SendBody {
    size: Option<u64>,
    pushed: u64,
    queue: VecDeque<Bytes>,
    queued: u64,
    credit: SendCredit,
    end: Option<End>,
    /// The message before the body is on its way: data may follow.
    pub(super) announced: bool,
    /// Whether the body's id stands in one of the rings of the outbox.
    pub(super) in_ring: bool,
    room_awaited: bool,
}

enum End {
    Finished,
    Failed(ApiError),
}

/// What [`SendBody::emit`] did.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Emitted {
    /// The record has no room for it: the next one has.
    NoRoom,
    /// A piece went out.
    Piece,
    /// The last piece, or the failure, went out.
    Last,
}

impl SendBody {
    pub(super) fn new(size: Option<u64>) -> Self {
        Self {
            size,
            pushed: 0,
            queue: VecDeque::new(),
            queued: 0,
            credit: SendCredit::new(BODY_WINDOW),
            end: None,
            announced: false,
            in_ring: false,
            room_awaited: false,
        }
    }

    /// Whether the body is known to be small, so that it overtakes others.
    pub(super) fn is_small(&self) -> bool {
        self.size.is_some_and(|size| size <= SMALL_BODY_MAX)
    }

    /// How many bytes the caller may push, or `None` behind the end.
    pub(super) fn room(&mut self) -> Option<u64> {
        let room = BODY_QUEUE_MAX.saturating_sub(self.queued);
        self.room_awaited = room == 0;
        self.end.is_none().then_some(room)
    }

    /// Whether the caller waits for room and there is enough of it now. Tells it once.
    pub(super) fn take_room_notice(&mut self) -> bool {
        let open = self.room_awaited && self.end.is_none() && self.queued <= BODY_QUEUE_MAX / 2;
        self.room_awaited &= !open;
        open
    }

    /// Appends a piece. Returns false behind the end, and where the piece passes the announced size.
    pub(super) fn push(&mut self, bytes: Bytes) -> bool {
        if self.end.is_some() {
            return false;
        }
        let len = bytes.len() as u64;
        self.pushed = self.pushed.saturating_add(len);
        if self.size.is_some_and(|size| self.pushed > size) {
            self.fail(ApiError::new(
                ErrorCode::Internal,
                "a body is longer than was announced",
            ));
            return false;
        }
        if len > 0 {
            self.queued += len;
            self.queue.push_back(bytes);
        }
        if self.size == Some(self.pushed) {
            self.end = Some(End::Finished);
        }
        true
    }

    /// Marks the end behind what is queued.
    pub(super) fn finish(&mut self) {
        if self.end.is_none() {
            match self.size {
                Some(size) if size != self.pushed => {
                    self.fail(ApiError::new(
                        ErrorCode::Internal,
                        "a body is shorter than was announced",
                    ));
                }
                _ => self.end = Some(End::Finished),
            }
        }
    }

    /// Breaks the body off. What was queued is dropped; what was announced as whole is not taken back.
    pub(super) fn fail(&mut self, error: ApiError) {
        if self.end.is_none() {
            self.queue.clear();
            self.queued = 0;
            self.end = Some(End::Failed(error));
        }
    }

    /// Adds credit that the receiver gave.
    pub(super) fn grant(&mut self, bytes: u64) -> ApiResult<()> {
        self.credit.grant(bytes)
    }

    /// Whether there is something to send now.
    pub(super) fn is_ready(&self) -> bool {
        self.announced && (self.sendable() > 0 || (self.queued == 0 && self.end.is_some()))
    }

    /// Bytes of the queue that the credit pays for.
    fn sendable(&self) -> u64 {
        match self.credit.available() {
            0..DATA_COST_MIN => 0,
            credit => self.queued.min(credit),
        }
    }

    /// Appends the next frame to a record that has this much room. To be called where [`is_ready`](Self::is_ready).
    pub(super) fn emit(&mut self, id: u64, room: usize, out: &mut Vec<u8>) -> Emitted {
        if let Some(End::Failed(error)) = &self.end {
            let payload = codec::encode_error(error);
            if room < HEADER_LEN + payload.len() {
                return Emitted::NoRoom;
            }
            frame::put(out, Kind::Fail, 0, id, &payload);
            return Emitted::Last;
        }
        let sendable = self.sendable();
        if room < HEADER_LEN || (room - HEADER_LEN) < sendable.min(SPLINTER as u64) as usize {
            return Emitted::NoRoom;
        }
        let len = sendable.min((room - HEADER_LEN) as u64);
        self.credit.take(data_cost(len as usize));
        let is_last = len == self.queued && self.end.is_some();
        frame::put_header(
            out,
            Kind::Data,
            if is_last { FLAG_END } else { 0 },
            id,
            len as usize,
        );
        self.copy_out(len as usize, out);
        if is_last { Emitted::Last } else { Emitted::Piece }
    }

    /// Moves bytes from the queue to the record: the one copy on the way out.
    fn copy_out(&mut self, len: usize, out: &mut Vec<u8>) {
        let mut missing = len;
        while missing > 0 {
            let piece = self
                .queue
                .front_mut()
                .expect("no more than what is queued is taken");
            let taken = piece.split_to(missing.min(piece.len()));
            out.extend_from_slice(&taken);
            missing -= taken.len();
            if piece.is_empty() {
                self.queue.pop_front();
            }
        }
        self.queued -= len as u64;
    }
}

/// A body that this side receives.
pub(super) struct ReceiveBody {
    size: Option<u64>,
    received: u64,
    /// What the received pieces cost, and how much of that was given back.
    cost: u64,
    returned: u64,
    consumed: u64,
    window: ReceiveWindow,
}

impl ReceiveBody {
    pub(super) fn new(size: Option<u64>) -> Self {
        Self {
            size,
            received: 0,
            cost: 0,
            returned: 0,
            consumed: 0,
            window: ReceiveWindow::new(BODY_WINDOW),
        }
    }

    /// Bytes that a body of this size may make this side hold unread.
    pub(super) fn commitment(size: Option<u64>) -> u64 {
        size.unwrap_or(u64::MAX).min(BODY_WINDOW)
    }

    /// Bytes that may still be under way when this side stops to listen.
    pub(super) fn under_way(&self) -> u64 {
        let missing = self.size.map_or(u64::MAX, |size| size - self.received);
        missing.min(self.window.outstanding())
    }

    /// Notes a piece that came.
    pub(super) fn take(&mut self, len: u64, is_last: bool) -> Result<(), String> {
        if len == 0 && !is_last {
            return Err("an empty piece of a body".to_owned());
        }
        let cost = data_cost(len as usize);
        self.window.receive(cost).map_err(|error| error.message)?;
        self.received += len;
        self.cost += cost;
        match self.size {
            Some(size) if self.received > size => {
                Err(format!("a body of {size} bytes goes on behind its end"))
            }
            Some(size) if is_last && self.received < size => {
                Err(format!("a body of {size} bytes ends after {}", self.received))
            }
            _ => Ok(()),
        }
    }

    /// Notes bytes that the reader took. Returns the credit to give back now, if any.
    pub(super) fn consume(&mut self, bytes: u64) -> Option<u64> {
        let bytes = bytes.min(self.received - self.consumed);
        self.consumed += bytes;
        // What small pieces cost beyond their bytes goes back with these, in proportion: all of it when all was read.
        let due = u128::from(self.cost) * u128::from(self.consumed) / u128::from(self.received.max(1));
        let back = (due as u64).saturating_sub(self.returned);
        self.returned += back;
        let grant = self.window.consume(back)?;
        // What is still to come was granted already, in whatever pieces it comes: the message would be in vain.
        let missing = self.size.map_or(u64::MAX, |size| size - self.received);
        let missing = missing.saturating_mul(DATA_COST_MIN);
        (self.window.outstanding() - grant < missing).then_some(grant)
    }
}
