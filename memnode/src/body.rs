//! The bytes of a value on their way through the node.
//!
//! A small value is one [`Bytes`]; a large one, or one of unknown size, comes in pieces under the credits of the
//! connection it arrives on. Whoever reads a body decides its pace: the credit of a piece goes back to the sender only
//! when the piece is taken out, so that a slow reader slows the writer and nothing grows in between.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use tokio::sync::mpsc;

/// The bytes of a value: whole, or in pieces that are still arriving.
#[derive(Debug)]
pub struct Body {
    size: Option<u64>,
    ready: VecDeque<Bytes>,
    incoming: Option<Incoming>,
}

struct Incoming {
    pieces: mpsc::UnboundedReceiver<Piece>,
    on_consumed: Box<dyn FnMut(u64) + Send + Sync>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incoming")
    }
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
    Failed(ApiError),
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Self {
        Self {
            size: Some(0),
            ready: VecDeque::new(),
            incoming: None,
        }
    }

    /// A body whose end is in pieces yet to come. `size` is the exact length where the sender said it.
    ///
    /// `on_consumed` is called with the length of each piece that the reader took, to give credit back; it must not block.
    /// The queue itself has no bound: the protocol's window is the bound, and the connection enforces it.
    pub fn channel(
        size: Option<u64>,
        on_consumed: impl FnMut(u64) + Send + Sync + 'static,
    ) -> (BodySender, Body) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let incoming = Incoming {
            pieces,
            on_consumed: Box::new(on_consumed),
        };
        (
            BodySender { pieces: sender },
            Self {
                size,
                ready: VecDeque::new(),
                incoming: Some(incoming),
            },
        )
    }

    /// The exact length in bytes, where it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The bytes, where the body is whole already: no waiting, no copy.
    pub fn as_whole(&self) -> Option<Bytes> {
        match (&self.incoming, self.ready.len()) {
            (None, 0) => Some(Bytes::new()),
            (None, 1) => self.ready.front().cloned(),
            _ => None,
        }
    }

    /// The next piece, or `None` behind the last one.
    ///
    /// # Errors
    /// What the sender failed with; `Cancelled` where it went away before the end.
    ///
    /// # Cancel safety
    /// A piece is either returned or still there.
    pub async fn next(&mut self) -> Option<ApiResult<Bytes>> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(Ok(bytes));
        }
        let incoming = self.incoming.as_mut()?;
        let piece = incoming.pieces.recv().await;
        if let Some(Piece::Bytes(bytes)) = piece {
            (incoming.on_consumed)(bytes.len() as u64);
            return Some(Ok(bytes));
        }
        self.incoming = None;
        match piece {
            Some(Piece::Failed(error)) => Some(Err(error)),
            Some(_) => None,
            None => Some(Err(ApiError::new(
                ErrorCode::Cancelled,
                "the sender went away before the end of the value",
            ))),
        }
    }

    /// All of the body in one piece of memory, at most `size_max` bytes.
    ///
    /// # Errors
    /// `TooLarge` where more comes, and what [`next`](Self::next) fails with.
    pub async fn collect(mut self, size_max: u64) -> ApiResult<Bytes> {
        if let Some(whole) = self.as_whole().filter(|whole| whole.len() as u64 <= size_max) {
            return Ok(whole);
        }
        let mut all = BytesMut::with_capacity(self.size.unwrap_or(0).min(size_max) as usize);
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if (all.len() + piece.len()) as u64 > size_max {
                return Err(ApiError::new(
                    ErrorCode::TooLarge,
                    format!("the value has more than {size_max} bytes"),
                ));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self {
            size: Some(bytes.len() as u64),
            ready: VecDeque::from([bytes]),
            incoming: None,
        }
    }
}

/// The writing end of [`Body::channel`]. Dropped without [`finish`](Self::finish), the reader gets `Cancelled`.
#[derive(Debug)]
pub struct BodySender {
    pieces: mpsc::UnboundedSender<Piece>,
}

impl BodySender {
    /// Appends a piece. Returns false where nobody reads any more.
    pub fn send(&self, bytes: Bytes) -> bool {
        self.pieces.send(Piece::Bytes(bytes)).is_ok()
    }

    /// Ends the body.
    pub fn finish(self) {
        // Nobody reads any more: then nobody needs the end either.
        let _ = self.pieces.send(Piece::End);
    }

    /// Ends the body with an error, which the reader gets.
    pub fn fail(self, error: ApiError) {
        let _ = self.pieces.send(Piece::Failed(error));
    }

    /// Waits until the reader is gone.
    pub async fn closed(&self) {
        self.pieces.closed().await;
    }
}
