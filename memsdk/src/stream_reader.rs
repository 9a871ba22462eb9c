//! Reading at any place of an object.

use std::collections::{BTreeMap, VecDeque};
use std::future::IntoFuture;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use memproto::BlockId;
use memproto::limits::STREAM_CHUNK_SIZE;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use crate::object::io_error;
use crate::{Error, MemCloud, Result};

/// The size in bytes of the pieces in which a [`StreamReader`] fetches: that of the chunks in which a stream lies, unless it was cut otherwise.
pub const PIECE_SIZE: u64 = STREAM_CHUNK_SIZE as u64;

/// How many pieces a [`StreamReader`] is ahead at most of who reads forward, unless [`StreamReaderBuilder::read_ahead`] says otherwise: at 1 Gbit/s they are 70 ms, some
/// hundred round trips of a LAN.
pub const READ_AHEAD_DEFAULT: usize = 8;

/// How many bytes a [`StreamReader`] keeps at most, those on their way included, unless [`StreamReaderBuilder::cache_bytes`] says otherwise: what is read
/// ahead, and as much again for who goes back.
pub const CACHE_BYTES_DEFAULT: usize = 16 * 1024 * 1024;

/// The first pieces that are fetched ahead; each further piece that is read forward doubles the number.
const READ_AHEAD_MIN: usize = 2;

/// A reader that is to be opened; nothing happens until it is awaited.
#[derive(Clone, Debug)]
#[must_use = "nothing is opened unless this is awaited"]
pub struct StreamReaderBuilder {
    cloud: MemCloud,
    id: BlockId,
    read_ahead: usize,
    cache_bytes: usize,
}

impl StreamReaderBuilder {
    /// How many pieces of [`PIECE_SIZE`] are fetched ahead at most; 0 for none. Default: [`READ_AHEAD_DEFAULT`].
    pub fn read_ahead(mut self, pieces: usize) -> Self {
        self.read_ahead = pieces;
        self
    }

    /// How many bytes are kept at most, in whole pieces, and one piece at least. What is fetched ahead has its place in it. Default: [`CACHE_BYTES_DEFAULT`].
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }
}

impl IntoFuture for StreamReaderBuilder {
    type Output = Result<StreamReader>;
    type IntoFuture = BoxFuture<'static, Result<StreamReader>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                cloud,
                id,
                read_ahead,
                cache_bytes,
            } = self;
            // None of its bytes: who seeks first fetches nothing that is not read.
            let size = cloud.open_range(id, 0, 0).await?.size();
            let pieces_max = (cache_bytes / STREAM_CHUNK_SIZE).max(1);
            Ok(StreamReader {
                cloud,
                id,
                size,
                position: 0,
                reached: None,
                ahead: 0,
                // The piece that is read has a place of its own.
                ahead_max: read_ahead.min(pieces_max - 1),
                pieces_max,
                pieces: VecDeque::new(),
                fetches: BTreeMap::new(),
            })
        })
    }
}

/// An object that is read at any place: an [`AsyncRead`] and [`AsyncSeek`].
///
/// It fetches pieces of 1 MiB, those that are read and no others. Who goes forward from one piece into the next has some fetched ahead; who seeks elsewhere ends that. The
/// pieces that were read last are kept, within a bound. Of a stream that is still being written it reads what there was of it when it was opened.
pub struct StreamReader {
    cloud: MemCloud,
    id: BlockId,
    size: u64,
    position: u64,
    /// The piece that was read last, where the position is where that ended.
    reached: Option<u64>,
    /// How many pieces are fetched ahead now.
    ahead: usize,
    ahead_max: usize,
    pieces_max: usize,
    /// Those that are here, the one that was read last behind.
    pieces: VecDeque<(u64, Bytes)>,
    /// Those on their way.
    fetches: BTreeMap<u64, BoxFuture<'static, Result<Bytes>>>,
}

impl std::fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamReader")
            .field("id", &self.id)
            .field("size", &self.size)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl StreamReader {
    /// The id of the block or stream.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// The size of the object in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the next byte is read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes this process holds of it, those on their way included as if they were here.
    pub fn held_bytes(&self) -> usize {
        let fetched: usize = self.fetches.keys().map(|&piece| self.piece_len(piece)).sum();
        let here: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        fetched + here
    }

    fn piece_len(&self, piece: u64) -> usize {
        (self.size - piece * PIECE_SIZE).min(PIECE_SIZE) as usize
    }

    /// Notes that a piece is read: one behind the last is a step forward.
    fn enter(&mut self, piece: u64) {
        match self.reached {
            Some(reached) if reached == piece => return,
            Some(reached) if reached + 1 == piece => {
                self.ahead = (self.ahead * 2).max(READ_AHEAD_MIN).min(self.ahead_max);
            }
            _ => self.ahead = 0,
        }
        self.reached = Some(piece);
    }

    /// Fetches what is wanted and not here, the piece itself first, and gives up what is not wanted any more.
    fn fetch(&mut self, piece: u64) {
        let last = (self.size - 1) / PIECE_SIZE;
        let wanted = piece..=last.min(piece.saturating_add(self.ahead as u64));
        self.fetches.retain(|fetched, _| wanted.contains(fetched));
        for piece in wanted.clone() {
            let is_here = self.pieces.iter().any(|(at, _)| *at == piece);
            if is_here || self.fetches.contains_key(&piece) {
                continue;
            }
            if self.pieces.len() + self.fetches.len() >= self.pieces_max && !self.evict(&wanted) {
                break;
            }
            let (cloud, id, len) = (self.cloud.clone(), self.id, self.piece_len(piece));
            let fetch = async move {
                let bytes = cloud.load_range(id, piece * PIECE_SIZE, len as u64).await?;
                if bytes.len() == len {
                    return Ok(bytes);
                }
                Err(Error::Protocol(
                    "an object has become shorter while it was read".to_owned(),
                ))
            };
            self.fetches.insert(piece, Box::pin(fetch));
        }
    }

    /// Drops the piece that was not read for the longest time, but none that is wanted. Returns false where all are.
    fn evict(&mut self, wanted: &std::ops::RangeInclusive<u64>) -> bool {
        let oldest = self.pieces.iter().position(|(at, _)| !wanted.contains(at));
        oldest.and_then(|oldest| self.pieces.remove(oldest)).is_some()
    }

    /// Lets all fetches go on. Returns the error of the piece that is read, where it failed; another one is fetched anew when it is read.
    fn poll_fetches(&mut self, piece: u64, cx: &mut Context<'_>) -> Result<()> {
        let mut failed = Ok(());
        let pieces = &mut self.pieces;
        self.fetches
            .retain(|&fetched, fetch| match fetch.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(bytes)) => {
                    pieces.push_back((fetched, bytes));
                    false
                }
                Poll::Ready(Err(error)) => {
                    if fetched == piece {
                        failed = Err(error);
                    }
                    false
                }
            });
        failed
    }

    /// The bytes of a piece that is here, which from now on is the one that was read last.
    fn take_up(&mut self, piece: u64) -> Option<Bytes> {
        let at = self.pieces.iter().position(|(here, _)| *here == piece)?;
        let taken = self.pieces.remove(at)?;
        let bytes = taken.1.clone();
        self.pieces.push_back(taken);
        Some(bytes)
    }
}

/// Errors are those of [`MemCloud::load_range`], inside an [`io::Error`]; `error.downcast::<memsdk::Error>()` gives them back. What failed is tried again by the next read.
impl AsyncRead for StreamReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reader = self.get_mut();
        if buffer.remaining() == 0 || reader.position >= reader.size {
            return Poll::Ready(Ok(()));
        }
        let piece = reader.position / PIECE_SIZE;
        reader.enter(piece);
        reader.fetch(piece);
        if let Err(error) = reader.poll_fetches(piece, cx) {
            return Poll::Ready(Err(io_error(error)));
        }
        let Some(bytes) = reader.take_up(piece) else {
            return Poll::Pending;
        };
        let bytes = &bytes[(reader.position % PIECE_SIZE) as usize..];
        let taken = &bytes[..bytes.len().min(buffer.remaining())];
        buffer.put_slice(taken);
        reader.position += taken.len() as u64;
        Poll::Ready(Ok(()))
    }
}

/// Seeking asks nobody. Behind the end there is nothing to read; a place before the beginning is an error (`InvalidInput`), and the position stays.
impl AsyncSeek for StreamReader {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let reader = self.get_mut();
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => reader.size.checked_add_signed(by),
            SeekFrom::Current(by) => reader.position.checked_add_signed(by),
        };
        let position = position.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a seek before the first byte, or behind the last that can be counted",
            )
        })?;
        if position != reader.position {
            reader.position = position;
            // A step over a border by seeking is none forward, unless it goes to where reading would have.
            reader.reached = None;
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

/// Reading at any place.
impl MemCloud {
    /// Opens a block or stream to be read at any place.
    ///
    /// ```no_run
    /// # async fn example(id: memsdk::BlockId) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::SeekFrom;
    /// use tokio::io::{AsyncReadExt, AsyncSeekExt};
    ///
    /// let cloud = memsdk::MemCloud::connect().await?;
    /// let mut reader = cloud.reader(id).await?;
    /// reader.seek(SeekFrom::End(-8)).await?;
    /// let footer_at = reader.read_u64_le().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reader(&self, id: BlockId) -> StreamReaderBuilder {
        StreamReaderBuilder {
            cloud: self.clone(),
            id,
            read_ahead: READ_AHEAD_DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
        }
    }
}
