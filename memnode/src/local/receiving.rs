//! Bodies that go from the socket straight into the memory where they will stay.
//!
//! The bytes of a DATA frame that is not there whole yet are not gathered first: what is there is put in its place, and what is missing
//! is read there. So is the beginning of the value in the frame of the request itself, where that is large.

use std::task::{Context, Poll, ready};
use std::time::Instant;

use memproto::error::{ApiError, ApiResult};
use memproto::flow::ReceiveWindow;
use memproto::local::request::PutRequest;
use memproto::local::{BODY_WINDOW, FLAG_MORE, FrameHeader, Op, data_cost};

use super::backend::Backend;
use super::session::{Body, End, Reply, Session};
use super::wire::Wire;
use crate::service::{Intake, PutOptions};

/// How much is read behind the bytes of a body: the header of the next frame, and small frames between those of a body.
const BEHIND_MAX: usize = 512;

/// Requests whose frame is shorter are gathered: they are there whole with the first read.
const DIRECT_MIN: usize = 32 * 1024;

/// A body that is being received.
#[derive(Debug)]
pub(super) struct Receiving {
    intake: Intake,
    window: ReceiveWindow,
}

/// The part of a frame that is still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct {
    header: FrameHeader,
    left: usize,
    /// The credit that the frame costs.
    cost: u64,
}

impl Receiving {
    /// A body that begins with `first`, the beginning of the `first_len` bytes in the frame of its request.
    ///
    /// # Errors
    /// Where the program sent more than its credit, or than the value was said to have.
    pub(super) fn begin(intake: Intake, first: &[u8], first_len: usize) -> ApiResult<Self> {
        let mut receiving = Self {
            intake,
            window: ReceiveWindow::new(BODY_WINDOW),
        };
        receiving.window.receive(data_cost(first_len))?;
        receiving.put(first)?;
        Ok(receiving)
    }

    fn put(&mut self, bytes: &[u8]) -> ApiResult<()> {
        if bytes.len() > self.intake.buffer().remaining() {
            return Err(has_more());
        }
        self.intake.buffer().extend(bytes)
    }
}

fn has_more() -> ApiError {
    ApiError::invalid("the value has more bytes than its size says")
}

impl<B: Backend, S: Wire> Session<B, S> {
    /// Takes a DATA frame that is there whole.
    pub(super) fn receive(&mut self, header: FrameHeader, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(receiving) = self
            .calls
            .get_mut(&header.request)
            .and_then(|call| call.receiving())
        else {
            self.input.skip(&header);
            return Ok(());
        };
        if header.status != 0 {
            let code = memproto::ErrorCode::from_number(header.status);
            self.input.skip(&header);
            let gave_up = ApiError::new(code, "the program gave up sending the value");
            self.received(header, Err(gave_up), 0, cx);
            return Ok(());
        }
        receiving.window.receive(data_cost(header.length as usize))?;
        let put = receiving.put(self.input.payload(&header));
        self.input.skip(&header);
        self.received(header, put, data_cost(header.length as usize), cx);
        Ok(())
    }

    /// Begins to read the rest of a frame that is not there whole into its place, where it is one of a body that is received so, or the
    /// request of a large one.
    pub(super) fn begin_direct(&mut self) -> Result<(), End> {
        let Some(header) = self.input.first_header().map_err(ApiError::from)? else {
            return Ok(());
        };
        match Op::from_byte(header.op) {
            Some(Op::Data) if header.status == 0 => self.begin_direct_data(header),
            Some(op @ (Op::Set | Op::Store)) if header.length as usize >= DIRECT_MIN => {
                self.begin_direct_put(header, op);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin_direct_data(&mut self, header: FrameHeader) -> Result<(), End> {
        let call = self.calls.get_mut(&header.request);
        let Some(receiving) = call.and_then(|call| call.receiving()) else {
            return Ok(());
        };
        if header.length as usize > receiving.intake.buffer().remaining() {
            // It is refused once it is there.
            return Ok(());
        }
        let cost = data_cost(header.length as usize);
        receiving.window.receive(cost)?;
        let there = self.input.begun_payload();
        let left = header.length as usize - there.len();
        receiving.put(there)?;
        self.input.take_begun();
        self.direct = Some(Direct { header, left, cost });
        Ok(())
    }

    /// What is not as it has to be is left to be refused once the frame is there.
    fn begin_direct_put(&mut self, header: FrameHeader, op: Op) {
        let is_plain = header.request != 0 && header.status == 0 && header.flags & !FLAG_MORE == 0;
        let is_taken = self.calls.contains_key(&header.request)
            || self.outgoing.contains(header.request)
            || self.descriptors.is_mapped(header.request);
        if !is_plain || is_taken || !self.is_greeted() || !self.has_room_for_call() {
            return;
        }
        let there = self.input.begun_payload();
        let Ok((put, value)) = PutRequest::decode(there, op == Op::Set) else {
            return;
        };
        let value_len = header.length as usize - (there.len() - value.len());
        let size = match put.size {
            Some(size) if size == value_len as u64 || header.more() && size > value_len as u64 => size,
            _ => return,
        };
        let options = PutOptions {
            ttl: put.ttl,
            class: put.class,
            placement: put.placement,
            strict: put.strict,
        };
        // Where it is refused, or has to go elsewhere, the usual way finds that out anew.
        let Some(Ok(intake)) = self.backend.begin_intake(put.key, size, &options) else {
            return;
        };
        let Ok(receiving) = Receiving::begin(intake, value, value_len) else {
            return;
        };
        let left = value_len - value.len();
        self.input.take_begun();
        let serial = self.next_serial();
        self.begin_receiving(header, serial, 0, receiving);
        let cost = data_cost(value_len);
        self.direct = Some(Direct { header, left, cost });
    }

    /// Reads the rest of a frame into its place.
    pub(super) fn poll_read_direct(&mut self, direct: Direct, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Direct { header, left, cost } = direct;
        let call = self.calls.get_mut(&header.request);
        let receiving = call.and_then(|call| call.receiving());
        let receiving =
            receiving.expect("no frame comes in the middle of another one, so nobody ended the request");
        let room = receiving.intake.buffer().spare_mut();
        let len = room.len().min(left);
        let mut behind = [0; BEHIND_MAX];
        // Only behind the last byte of the frame comes something else.
        let behind_len = if len == left { BEHIND_MAX } else { 0 };
        let read = ready!(
            self.socket
                .poll_read_into(cx, &mut room[..len], &mut behind[..behind_len])
        );
        let read = match read {
            Ok(0) => return Poll::Ready(Err(End::Gone(None))),
            Ok(read) => read,
            Err(error) => return Poll::Ready(Err(End::Gone(Some(error)))),
        };
        self.read_at = Instant::now();
        self.descriptors.note_read(read, self.socket.take_arrived())?;
        let here = read.min(len);
        let put = receiving.intake.buffer().advance(here);
        self.input.extend(&behind[..read - here]);
        if put.is_ok() && here < left {
            let left = left - here;
            self.direct = Some(Direct { header, left, cost });
            return Poll::Ready(Ok(()));
        }
        self.direct = None;
        // Where the system has no memory for it: the rest of the frame is read in the usual way, and dropped.
        self.input.skip_next(left - here);
        self.received(header, put, cost, cx);
        // Such a frame takes no descriptor.
        self.descriptors.arriving.check_taken(self.input.len())?;
        Poll::Ready(Ok(()))
    }

    /// Goes on behind a frame: gives credit back, ends the request where it failed, or carries it out where it is whole.
    fn received(&mut self, header: FrameHeader, put: ApiResult<()>, cost: u64, cx: &mut Context<'_>) {
        if put.is_ok() && header.more() {
            let call = self.calls.get_mut(&header.request);
            let receiving = call.and_then(|call| call.receiving());
            if let Some(bytes) = receiving.and_then(|receiving| receiving.window.consume(cost)) {
                let header = FrameHeader::new(Op::Credit, header.request);
                self.output.frame_copied(header, |_| {}, &bytes.to_le_bytes());
            }
            return;
        }
        let Some(call) = self.calls.remove(&header.request) else {
            return;
        };
        self.held -= call.held;
        let header = FrameHeader {
            op: call.op,
            ..FrameHeader::new(Op::Ping, header.request)
        };
        match (put, call.body) {
            (Ok(()), Body::Receiving(receiving)) => {
                let backend = std::sync::Arc::clone(&self.backend);
                let Receiving { intake, .. } = *receiving;
                let finish = async move { backend.finish_intake(intake).await.map(Reply::Stored) };
                self.begin(header, call.serial, 0, Body::None, finish, cx);
            }
            (Err(error), _) => self.reply(header, Err(error)),
            (Ok(()), Body::None | Body::Attached | Body::Piped(_)) => {}
        }
    }
}
