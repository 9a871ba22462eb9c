//! Bodies of replies, on their way out.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::flow::SendCredit;
use memproto::local::{BODY_WINDOW, DATA_COST_MIN, FrameHeader, INLINE_MAX, Op, Output, data_cost};

use crate::body::Body;

/// Bodies add to the output while fewer than this many bytes wait in it: enough for one write to fill the socket, little
/// enough that the reply to a small request, which goes behind them, is not held up.
const BULK_LEVEL: usize = 256 * 1024;

/// The bodies of replies that are under way on one connection, which take turns.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bodies: HashMap<u64, Sending>,
    turns: VecDeque<u64>,
}

#[derive(Debug)]
struct Sending {
    body: Body,
    /// What was taken out of the body and not sent yet.
    piece: Bytes,
    /// `None` where nobody knows yet.
    left: Option<u64>,
    credit: SendCredit,
}

/// What became of a turn.
enum Turn {
    /// Something was appended to the output, and more is to come.
    Went,
    /// It waits for credit or for the body's next piece.
    Waits,
    /// The last frame was appended.
    Ended,
}

impl Outgoing {
    /// Number of bodies under way.
    pub(super) fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Whether the body of this request is under way.
    pub(super) fn contains(&self, request: u64) -> bool {
        self.bodies.contains_key(&request)
    }

    /// Appends a reply with its body: in one frame where the body is whole and small, else the rest is sent by
    /// [`poll`](Self::poll). `length` is that of the body; `None` where it ends when it ends.
    pub(super) fn begin(
        &mut self,
        header: FrameHeader,
        args: impl FnOnce(&mut BytesMut),
        length: Option<u64>,
        body: Body,
        output: &mut Output,
    ) {
        match body.as_whole() {
            Some(value) if Some(value.len() as u64) == length && value.len() <= INLINE_MAX => {
                output.frame(header, args, value);
            }
            _ if length == Some(0) => output.frame(header, args, Bytes::new()),
            _ => {
                output.frame(header.with_more(true), args, Bytes::new());
                let credit = SendCredit::new(BODY_WINDOW);
                self.bodies.insert(
                    header.request,
                    Sending {
                        body,
                        piece: Bytes::new(),
                        left: length,
                        credit,
                    },
                );
                self.turns.push_back(header.request);
            }
        }
    }

    /// Adds credit that the program granted. One for a body that has ended is late, not wrong.
    pub(super) fn grant(&mut self, request: u64, bytes: u64) -> ApiResult<()> {
        self.bodies
            .get_mut(&request)
            .map_or(Ok(()), |sending| sending.credit.grant(bytes))
    }

    /// Drops the body of a cancelled request. Returns whether there was one.
    pub(super) fn cancel(&mut self, request: u64) -> bool {
        self.bodies.remove(&request).is_some()
    }

    /// Ends every body with an error.
    pub(super) fn fail_all(&mut self, error: &ApiError, output: &mut Output) {
        for (request, _) in self.bodies.drain() {
            output.error(FrameHeader::new(Op::Data, request), error);
        }
    }

    /// Appends frames, body by body in turn, while the output has room. Returns whether it appended any.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, output: &mut Output) -> bool {
        let mut appended = false;
        let mut waiting = 0;
        while waiting < self.turns.len() && output.len() < BULK_LEVEL {
            let Some(request) = self.turns.pop_front() else {
                break;
            };
            // A cancelled body leaves its turn behind.
            let Some(sending) = self.bodies.get_mut(&request) else {
                continue;
            };
            let turn = sending.take_turn(request, cx, output);
            appended |= !matches!(turn, Turn::Waits);
            waiting = if matches!(turn, Turn::Waits) {
                waiting + 1
            } else {
                0
            };
            match turn {
                Turn::Ended => drop(self.bodies.remove(&request)),
                Turn::Went | Turn::Waits => self.turns.push_back(request),
            }
        }
        appended
    }
}

impl Sending {
    fn take_turn(&mut self, request: u64, cx: &mut Context<'_>, output: &mut Output) -> Turn {
        let header = FrameHeader::new(Op::Data, request);
        if self.credit.available() < DATA_COST_MIN {
            return Turn::Waits;
        }
        if self.piece.is_empty() {
            let error = match pin!(self.body.next()).poll(cx) {
                Poll::Pending => return Turn::Waits,
                Poll::Ready(Some(Ok(piece))) if self.left.is_none_or(|left| piece.len() as u64 <= left) => {
                    self.piece = piece;
                    None
                }
                Poll::Ready(Some(Err(error))) => Some(error),
                Poll::Ready(None) if self.left.is_none() => {
                    output.frame(header, |_| {}, Bytes::new());
                    return Turn::Ended;
                }
                Poll::Ready(_) => Some(ApiError::new(
                    ErrorCode::Internal,
                    "the object is not as long as the node said; please report this",
                )),
            };
            if let Some(error) = error {
                output.error(header, &error);
                return Turn::Ended;
            }
            if self.piece.is_empty() {
                // An empty piece: the body may have another at once.
                cx.waker().wake_by_ref();
                return Turn::Waits;
            }
        }
        let room = usize::try_from(self.credit.available()).unwrap_or(usize::MAX);
        let chunk = self.piece.split_to(self.piece.len().min(INLINE_MAX).min(room));
        self.credit.take(data_cost(chunk.len()));
        if let Some(left) = &mut self.left {
            *left -= chunk.len() as u64;
        }
        let is_last = self.left == Some(0);
        output.frame(header.with_more(!is_last), |_| {}, chunk);
        if is_last { Turn::Ended } else { Turn::Went }
    }
}
