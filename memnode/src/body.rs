//! The bytes of a value on their way through the node.
//!
//! A small value is one [`Bytes`]; a large one, or one of unknown size, comes in pieces under the credits of the
//! connection it arrives on. Whoever reads a body decides its pace: the credit of a piece goes back to the sender only
//! when the piece is taken out, so that a slow reader slows the writer and nothing grows in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::buffer::BlockBuffer;
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
        place: Arc<Place>,
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

    /// A body whose pieces are made as the reader asks for them: exactly `size` bytes, where that is known.
    pub fn pulled(size: Option<u64>, pieces: BoxStream<'static, ApiResult<Bytes>>) -> Self {
        Self {
            size,
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
        let place = Arc::new(Place::default());
        let source = Source::Pushed {
            pieces,
            on_consumed: Box::new(on_consumed),
            place: Arc::clone(&place),
        };
        (
            BodySender {
                pieces: sender,
                place,
            },
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
            Source::Pushed {
                pieces, on_consumed, ..
            } => match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => {
                    on_consumed(bytes.len() as u64);
                    Piece::Bytes(bytes)
                }
                Some(last) => last,
                None => Piece::Failed(sender_gone()),
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

    /// Fills memory with the body, which must have just as many bytes as the memory has left. What a link [pushes](BodySender::push) from then on goes
    /// there at once, without a queue and without waking anybody before the end.
    ///
    /// # Errors
    /// `InvalidArgument` where it has more bytes or fewer, what [`next`](Self::next) fails with, and `OutOfMemory` where the system has less
    /// than the budget says.
    ///
    /// # Cancel safety
    /// The memory is gone, and what was in it.
    pub async fn fill(mut self, mut buffer: BlockBuffer) -> ApiResult<Value> {
        while let Some(piece) = self.ready.pop_front() {
            buffer.extend(&piece)?;
        }
        while let Source::Pushed {
            pieces,
            on_consumed,
            place,
        } = &mut self.source
        {
            let piece;
            (piece, buffer) = match place.settle(pieces, buffer) {
                Settled::Came(piece, buffer) => (piece, buffer),
                Settled::Placed => {
                    let placed = Placed(place);
                    let piece = pieces.recv().await;
                    let buffer = placed.take().ok_or_else(sender_gone)?;
                    (piece.unwrap_or_else(|| Piece::Failed(sender_gone())), buffer)
                }
            };
            match piece {
                Piece::Bytes(bytes) => {
                    on_consumed(bytes.len() as u64);
                    buffer.extend(&bytes)?;
                }
                Piece::End => return buffer.finish(),
                Piece::Failed(error) => return Err(error),
            }
        }
        while let Some(piece) = self.next().await {
            buffer.extend(&piece?)?;
        }
        buffer.finish()
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
    place: Arc<Place>,
}

/// What became of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It waits for its reader, who gives its credit back.
    Queued,
    /// It is where its reader wants it: whoever pushed it gives its credit back.
    Placed,
    /// Nobody reads any more.
    Unwanted,
}

impl BodySender {
    /// Appends a piece. Returns false where nobody reads any more.
    pub fn send(&self, bytes: Bytes) -> bool {
        self.pieces.send(Piece::Bytes(bytes)).is_ok()
    }

    /// Appends a piece, which goes where the reader [wants it](Body::fill) where it has said so. For who uses [`place`](Self::place) as well: nothing
    /// overtakes.
    pub fn push(&self, bytes: Bytes) -> Pushed {
        let mut place = self.place.lock();
        if self.put(&mut place, &bytes) {
            Pushed::Placed
        } else if self.send(bytes) {
            Pushed::Queued
        } else {
            Pushed::Unwanted
        }
    }

    /// Copies a piece to where its reader [wants it](Body::fill), where it has said so already. Returns whether that was done; whoever pushed it
    /// then gives its credit back.
    pub fn place(&self, bytes: &[u8]) -> bool {
        self.put(&mut self.place.lock(), bytes)
    }

    fn put(&self, place: &mut Option<BlockBuffer>, bytes: &[u8]) -> bool {
        let Some(buffer) = place else { return false };
        if let Err(error) = buffer.extend(bytes) {
            // The first error is the one that counts; nothing more is placed. Where nobody reads any more nobody needs it.
            let _ = self.pieces.send(Piece::Failed(error));
        }
        true
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

/// The memory that a body fills, where its reader has said so.
#[derive(Debug, Default)]
struct Place(Mutex<Option<BlockBuffer>>);

/// What [`Place::settle`] did.
enum Settled {
    /// Something was in the queue.
    Came(Piece, BlockBuffer),
    /// Nothing was, and what comes next goes into the memory.
    Placed,
}

impl Place {
    /// Takes what is in the queue, or else puts the memory where the sender finds it. The sender holds the lock while it chooses between the
    /// two, so nothing gets into the queue in between.
    fn settle(&self, pieces: &mut mpsc::UnboundedReceiver<Piece>, buffer: BlockBuffer) -> Settled {
        let mut place = self.lock();
        match pieces.try_recv() {
            Ok(piece) => Settled::Came(piece, buffer),
            Err(TryRecvError::Disconnected) => Settled::Came(Piece::Failed(sender_gone()), buffer),
            Err(TryRecvError::Empty) => {
                *place = Some(buffer);
                Settled::Placed
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<BlockBuffer>> {
        // What is in it is whole or not used any more, wherever somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that waits in its place, from which it is taken however the wait ends.
struct Placed<'a>(&'a Place);

impl Placed<'_> {
    fn take(&self) -> Option<BlockBuffer> {
        self.0.lock().take()
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        // Behind the lock: to give memory back takes a moment.
        let unused = self.take();
        drop(unused);
    }
}

fn sender_gone() -> ApiError {
    ApiError::new(
        ErrorCode::Cancelled,
        "the sender went away before the end of the value",
    )
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::task::{Context, Poll, Wake};

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

    const SIZE: usize = 300_000;

    /// Whether who waits was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Woken {
        fn was_woken(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn polled<F: Future + Unpin>(future: &mut F, woken: &Arc<Woken>) -> Poll<F::Output> {
        let waker = Arc::clone(woken).into();
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    fn memory() -> BlockBuffer {
        BlockBuffer::in_heap(SIZE as u64).unwrap()
    }

    fn pattern() -> Bytes {
        (0..SIZE).map(|at| (at % 251) as u8).collect()
    }

    #[tokio::test]
    async fn what_came_before_there_was_a_place_is_filled_in_before_what_comes_then() {
        let consumed = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&consumed);
        let (sender, body) = Body::channel(Some(SIZE as u64), move |bytes| {
            seen.fetch_add(bytes, Ordering::Relaxed);
        });
        let bytes = pattern();
        assert!(!sender.place(&bytes[..10]), "nobody has a place yet");
        assert_eq!(sender.push(bytes.slice(..100)), Pushed::Queued);
        assert_eq!(sender.push(bytes.slice(100..1_000)), Pushed::Queued);
        let (mut filled, woken) = (Box::pin(body.fill(memory())), Arc::<Woken>::default());
        assert!(polled(&mut filled, &woken).is_pending());
        // The reader gave back what was queued; what is placed is the sender's to give back.
        assert_eq!(consumed.load(Ordering::Relaxed), 1_000);
        assert!(sender.place(&bytes[1_000..200_000]));
        assert_eq!(sender.push(bytes.slice(200_000..)), Pushed::Placed);
        assert!(!woken.was_woken(), "nobody is woken before the end");
        sender.finish();
        let value = filled.await.unwrap();
        assert!(value.as_ref() == bytes);
        assert_eq!(consumed.load(Ordering::Relaxed), 1_000);
    }

    #[tokio::test]
    async fn bodies_that_are_not_placed_fill_memory_as_well() {
        let bytes = pattern();
        let pieces = [bytes.slice(..7), bytes.slice(7..)];
        let whole = Body::from_pieces(VecDeque::from(pieces.clone()));
        assert!(whole.fill(memory()).await.unwrap().as_ref() == bytes);
        let pulled = futures_util::stream::iter(pieces.clone().map(Ok)).boxed();
        let pulled = Body::pulled(Some(SIZE as u64), pulled);
        assert!(pulled.fill(memory()).await.unwrap().as_ref() == bytes);
        let (sender, body) = Body::channel(Some(SIZE as u64), |_| {});
        let (mut filled, woken) = (Box::pin(body.fill(memory())), Arc::default());
        assert!(polled(&mut filled, &woken).is_pending());
        for piece in pieces {
            assert!(sender.send(piece));
            assert!(polled(&mut filled, &woken).is_pending());
        }
        sender.finish();
        assert!(filled.await.unwrap().as_ref() == bytes);
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_too_short_or_broken_off_fills_nothing() {
        let begin = || {
            let (sender, body) = Body::channel(None, |_| {});
            let (mut filled, woken) = (Box::pin(body.fill(memory())), Arc::default());
            assert!(polled(&mut filled, &woken).is_pending());
            assert!(sender.place(&pattern()[1..]));
            (sender, filled)
        };
        let (sender, filled) = begin();
        assert!(sender.place(b"xy"));
        assert!(sender.place(b"and more"));
        assert_eq!(filled.await.unwrap_err().code, ErrorCode::InvalidArgument);
        let (sender, filled) = begin();
        sender.finish();
        assert_eq!(filled.await.unwrap_err().code, ErrorCode::InvalidArgument);
        let (sender, filled) = begin();
        sender.fail(ApiError::invalid("broken off"));
        assert_eq!(filled.await.unwrap_err().message, "broken off");
        let (sender, filled) = begin();
        drop(sender);
        assert_eq!(filled.await.unwrap_err().code, ErrorCode::Cancelled);
    }

    #[tokio::test]
    async fn who_gives_up_takes_the_memory_out_of_its_place() {
        let (sender, body) = Body::channel(Some(SIZE as u64), |_| {});
        let (mut filled, woken) = (Box::pin(body.fill(memory())), Arc::default());
        assert!(polled(&mut filled, &woken).is_pending());
        assert!(sender.place(b"abc"));
        drop(filled);
        assert!(!sender.place(b"def"));
        assert_eq!(sender.push(Bytes::from_static(b"def")), Pushed::Unwanted);
    }
}
