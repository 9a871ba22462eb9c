//! Reading an object piece by piece.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use memproto::BlockId;
use memproto::local::reply::ReadReply;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::connection::{Call, broken};
use crate::wire::{Piece, Reply};
use crate::{Error, Result};

/// An object, or a range of one, that is being read: an [`AsyncRead`].
///
/// The node sends no faster than this is read; at most 2 MiB wait in this process. Dropping it ends the transfer.
#[derive(Debug)]
pub struct Object {
    id: BlockId,
    size: u64,
    length: u64,
    /// Bytes of the range that have not come yet; `None` where nobody knows how many.
    left: Option<u64>,
    /// What came and was not handed out yet.
    piece: Bytes,
    state: State,
    /// How long a piece may take; `None` where one may come at any time.
    timeout: Option<Duration>,
    /// Runs while a piece is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    Open {
        call: Call,
        pieces: mpsc::UnboundedReceiver<Piece>,
    },
    Ended,
    Failed,
}

impl Object {
    /// The object that a reply to GET or LOAD begins.
    pub(crate) fn of(call: Call, reply: Reply, timeout: Duration) -> Result<Self> {
        let (read, _) = ReadReply::decode(&reply.payload).map_err(broken)?;
        let first = reply.payload.slice(ReadReply::LEN..);
        Self::new(call, read, first, reply.pieces, timeout)
    }

    /// The object that a reply to a LOAD begins that follows. Its next piece may come at any time.
    pub(crate) fn followed(call: Call, reply: Reply, timeout: Duration) -> Result<Self> {
        let (read, _) = ReadReply::decode(&reply.payload).map_err(broken)?;
        let mut object = Self::of(call, reply, timeout)?;
        if read.length == ReadReply::LENGTH_UNKNOWN && matches!(object.state, State::Open { .. }) {
            object.left = None;
            object.timeout = None;
        }
        Ok(object)
    }

    /// The object whose first bytes came with a reply.
    pub(crate) fn new(
        call: Call,
        ReadReply { id, size, length }: ReadReply,
        piece: Bytes,
        pieces: Option<mpsc::UnboundedReceiver<Piece>>,
        timeout: Duration,
    ) -> Result<Self> {
        let Some(left) = length.checked_sub(piece.len() as u64) else {
            return Err(longer_than_said());
        };
        let state = match pieces {
            Some(pieces) => State::Open { call, pieces },
            None if left > 0 => return Err(shorter_than_said(left)),
            None => State::Ended,
        };
        if let State::Open { call, .. } = &state {
            call.connection
                .shared()
                .consumed(call.request, &call.window, piece.len());
        }
        Ok(Self {
            id,
            size,
            length,
            left: Some(left),
            piece,
            state,
            timeout: Some(timeout),
            deadline: None,
        })
    }

    /// The id of the block or stream.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// The size of the whole object in bytes; of a stream that is still being written, what there was of it when it was opened, or `u64::MAX` where it is followed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes this reader yields in all: [`size`](Self::size), or less for a range; `u64::MAX` where a stream is followed that has not ended, since nobody
    /// knows it.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next piece as it came from the node, without a copy; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Api`] where the node failed in the middle of the object (a peer went away), [`Error::ConnectionLost`]
    /// where the node itself did, [`Error::Timeout`] where nothing came for the time of [`Builder::timeout`]. A transfer
    /// that breaks off never looks like the end.
    ///
    /// # Cancel safety
    /// A piece is either returned or still there.
    ///
    /// [`Builder::timeout`]: crate::Builder::timeout
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// All the bytes that are left, in one piece of memory.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`Error::Io`] where this process has no memory for them.
    pub async fn collect(mut self) -> Result<Bytes> {
        if matches!(self.state, State::Ended) {
            return Ok(self.piece);
        }
        // What is not known is not reserved.
        let left = usize::try_from(self.left.unwrap_or(0))
            .unwrap_or(usize::MAX)
            .saturating_add(self.piece.len());
        let mut all = Vec::new();
        all.try_reserve_exact(left)
            .map_err(|_| Error::Io(io::ErrorKind::OutOfMemory.into()))?;
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(Bytes::from(all))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.piece))));
        }
        let polled = self.poll_piece(cx);
        if let Poll::Ready(Err(_)) = polled {
            // Dropping the call cancels what is left of it.
            self.state = State::Failed;
        }
        polled
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            let (call, pieces) = match &mut self.state {
                State::Open { call, pieces } => (call, pieces),
                State::Ended => return Poll::Ready(Ok(None)),
                State::Failed => {
                    return Poll::Ready(Err(Error::Io(io::Error::other("the transfer has failed before"))));
                }
            };
            let Poll::Ready(piece) = pieces.poll_recv(cx) else {
                return self.poll_deadline(cx);
            };
            self.deadline = None;
            match piece {
                Some(Piece::Bytes(bytes)) => {
                    call.connection
                        .shared()
                        .consumed(call.request, &call.window, bytes.len());
                    if let Some(left) = &mut self.left {
                        *left = left
                            .checked_sub(bytes.len() as u64)
                            .ok_or_else(longer_than_said)?;
                    }
                    if !bytes.is_empty() {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                }
                Some(Piece::End) => {
                    if let Some(left) = self.left.filter(|&left| left > 0) {
                        return Poll::Ready(Err(shorter_than_said(left)));
                    }
                    call.finish();
                    self.state = State::Ended;
                }
                Some(Piece::Failed(error)) => {
                    call.finish();
                    return Poll::Ready(Err(Error::Api(error)));
                }
                None => return Poll::Ready(Err(call.connection.shared().lost_error())),
            }
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let Some(timeout) = self.timeout else {
            return Poll::Pending;
        };
        if self.deadline.is_none() && Handle::try_current().is_err() {
            return Poll::Ready(Err(Error::NoRuntime));
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(Error::Timeout))
    }
}

/// Errors are those of [`Object::next`], inside an [`io::Error`]; `error.downcast::<memsdk::Error>()` gives them back.
impl AsyncRead for Object {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let object = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if object.piece.is_empty() {
            match ready!(object.poll_next(cx)) {
                Ok(Some(piece)) => object.piece = piece,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let taken = object.piece.len().min(buffer.remaining());
        buffer.put_slice(&object.piece[..taken]);
        object.piece.advance(taken);
        Poll::Ready(Ok(()))
    }
}

/// The error of a call as that of a reader or writer.
pub(crate) fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn longer_than_said() -> Error {
    Error::Protocol("an object has more bytes than its reply said".to_owned())
}

fn shorter_than_said(left: u64) -> Error {
    Error::Protocol(format!(
        "an object ended {left} bytes before the length its reply said"
    ))
}
