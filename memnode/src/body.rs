//! The bytes of a value on their way through the node.
//!
//! A small value is one [`Bytes`]; a large one, or one of unknown size, comes in pieces under the credits of the
//! connection it arrives on. Whoever reads a body decides its pace: the credit of a piece goes back to the sender only
//! when the piece is taken out, so that a slow reader slows the writer and nothing grows in between.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use tokio::sync::mpsc;

use crate::memory_file::MemoryFile;
use crate::value::Value;

/// The bytes of a value: whole, or in pieces that are still arriving.
pub struct Body {
    size: Option<u64>,
    ready: VecDeque<Bytes>,
    source: Source,
    /// The memory file that the whole body lies in, and from which of its bytes on.
    file: Option<(Arc<MemoryFile>, u64)>,
}

/// Where the pieces behind the ready ones come from.
enum Source {
    /// There are none.
    End,
    /// A connection pushes them, under the credit that `on_consumed` gives back.
    Pushed {
        pieces: mpsc::UnboundedReceiver<Piece>,
        on_consumed: Box<dyn FnMut(u64) + Send>,
    },
    /// They are made when asked for.
    Pulled(BoxStream<'static, ApiResult<Bytes>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("size", &self.size)
            .field("ready", &self.ready.len())
            .finish()
    }
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
    Failed(ApiError),
}

impl From<ApiResult<Bytes>> for Piece {
    fn from(piece: ApiResult<Bytes>) -> Self {
        piece.map_or_else(Piece::Failed, Piece::Bytes)
    }
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Self {
        Self {
            size: Some(0),
            ready: VecDeque::new(),
            source: Source::End,
            file: None,
        }
    }

    /// Pieces that are here already, in order.
    pub fn from_pieces(pieces: VecDeque<Bytes>) -> Self {
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            size: Some(size),
            ready: pieces,
            source: Source::End,
            file: None,
        }
    }

    /// A part of a block's bytes, which must lie within it.
    pub fn part_of(value: &Value, part: std::ops::Range<u64>) -> Self {
        let bytes = value.bytes().slice(part.start as usize..part.end as usize);
        Self {
            file: value.file().map(|file| (Arc::clone(file), part.start)),
            ..Self::from(bytes)
        }
    }

    /// A body of exactly `size` bytes, whose pieces are made as the reader asks for them.
    pub fn pulled(size: u64, pieces: BoxStream<'static, ApiResult<Bytes>>) -> Self {
        Self {
            size: Some(size),
            ready: VecDeque::new(),
            source: Source::Pulled(pieces),
            file: None,
        }
    }

    /// A body whose pieces are yet to come. `size` is the exact length where the sender said it.
    ///
    /// `on_consumed` is called with the length of each piece that the reader took, to give credit back; it must not block.
    /// The queue itself has no bound: the protocol's window is the bound, and the connection enforces it.
    pub fn channel(size: Option<u64>, on_consumed: impl FnMut(u64) + Send + 'static) -> (BodySender, Body) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let source = Source::Pushed {
            pieces,
            on_consumed: Box::new(on_consumed),
        };
        (
            BodySender { pieces: sender },
            Self {
                size,
                ready: VecDeque::new(),
                source,
                file: None,
            },
        )
    }

    /// The exact length in bytes, where it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The bytes, where the body is whole already: no waiting, no copy.
    pub fn as_whole(&self) -> Option<Bytes> {
        match (&self.source, self.ready.len()) {
            (Source::End, 0) => Some(Bytes::new()),
            (Source::End, 1) => self.ready.front().cloned(),
            _ => None,
        }
    }

    /// The memory file that the body lies in as long as nothing was taken out of it, and from which of its bytes on.
    pub fn file(&self) -> Option<(&Arc<MemoryFile>, u64)> {
        let file = self.file.as_ref().filter(|_| !self.ready.is_empty());
        file.map(|(file, offset)| (file, *offset))
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
        let piece = match &mut self.source {
            Source::End => return None,
            Source::Pulled(pieces) => pieces.next().await.map_or(Piece::End, Piece::from),
            Source::Pushed { pieces, on_consumed } => match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => {
                    on_consumed(bytes.len() as u64);
                    Piece::Bytes(bytes)
                }
                Some(last) => last,
                None => Piece::Failed(ApiError::new(
                    ErrorCode::Cancelled,
                    "the sender went away before the end of the value",
                )),
            },
        };
        match piece {
            Piece::Bytes(bytes) => Some(Ok(bytes)),
            Piece::End => {
                self.source = Source::End;
                None
            }
            Piece::Failed(error) => {
                self.source = Source::End;
                Some(Err(error))
            }
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

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        let size = value.len() as u64;
        Self::part_of(&value, 0..size)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::from_pieces(VecDeque::from([bytes]))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn credit_goes_back_only_when_a_piece_is_taken() {
        let consumed = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&consumed);
        let (sender, mut body) = Body::channel(Some(6), move |bytes| {
            seen.fetch_add(bytes, Ordering::Relaxed);
        });
        assert!(sender.send(Bytes::from_static(b"abc")));
        assert!(sender.send(Bytes::from_static(b"def")));
        sender.finish();
        assert_eq!(consumed.load(Ordering::Relaxed), 0);
        assert_eq!(body.next().await.unwrap().unwrap(), "abc");
        assert_eq!(consumed.load(Ordering::Relaxed), 3);
        assert_eq!(body.collect(10).await.unwrap(), "def");
    }

    #[tokio::test]
    async fn a_sender_that_goes_away_is_not_an_end() {
        let (sender, mut body) = Body::channel(None, |_| {});
        sender.send(Bytes::from_static(b"half"));
        drop(sender);
        assert!(body.next().await.unwrap().is_ok());
        assert_eq!(body.next().await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn collecting_stops_at_its_limit() {
        let body = Body::from_pieces(VecDeque::from([
            Bytes::from_static(b"abc"),
            Bytes::from_static(b"def"),
        ]));
        assert_eq!(body.collect(5).await.unwrap_err().code, ErrorCode::TooLarge);
        assert_eq!(
            Body::from(Bytes::from_static(b"abc")).collect(3).await.unwrap(),
            "abc"
        );
        assert_eq!(Body::empty().collect(0).await.unwrap(), "");
    }
}
