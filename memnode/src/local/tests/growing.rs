//! The streams of the fake node: bytes that become more, until somebody says that they are all.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::stream::{KnownChunk, StreamOptions, StreamStatus};
use memproto::{BlockId, ChunkHash};
use tokio::sync::Notify;

use super::node::{Body, ByteRange};

/// How much of a file is read at a time.
const PIECE_LEN: u64 = 64 * 1024;

#[derive(Default)]
pub(crate) struct Growing {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    streams: Mutex<BTreeMap<BlockId, Stream>>,
    /// Told whenever one has grown, ended or gone.
    grown: Notify,
    /// Chunks that need not be sent, as the test laid them out.
    known: Mutex<BTreeMap<ChunkHash, Bytes>>,
}

/// One of them.
#[derive(Clone, Default)]
pub(crate) struct Stream {
    pub(crate) options: StreamOptions,
    pub(crate) bytes: BytesMut,
    /// Where its chunks end.
    pub(crate) ends: Vec<u64>,
    pub(crate) known: u64,
    pub(crate) finished: bool,
    is_appended: bool,
}

/// Lets the next one append.
pub(crate) struct Appending<'a> {
    inner: &'a Inner,
    id: BlockId,
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.inner.streams().get_mut(&self.id) {
            stream.is_appended = false;
        }
    }
}

impl Inner {
    fn streams(&self) -> MutexGuard<'_, BTreeMap<BlockId, Stream>> {
        self.streams.lock().unwrap()
    }
}

fn unknown(id: BlockId) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("no stream {id} is open"))
}

impl Growing {
    pub(crate) fn open(&self, id: BlockId, options: StreamOptions) {
        let stream = Stream {
            options,
            ..Stream::default()
        };
        self.inner.streams().insert(id, stream);
    }

    /// The stream as it is now.
    pub(crate) fn stream(&self, id: BlockId) -> Option<Stream> {
        self.inner.streams().get(&id).cloned()
    }

    /// How many are there and not finished.
    pub(crate) fn open_streams(&self) -> usize {
        self.inner
            .streams()
            .values()
            .filter(|stream| !stream.finished)
            .count()
    }

    pub(crate) fn free(&self, id: BlockId) -> Option<Stream> {
        let freed = self.inner.streams().remove(&id);
        self.inner.grown.notify_waiters();
        freed
    }

    /// A chunk that need not be sent from here on.
    pub(crate) fn know(&self, hash: ChunkHash, bytes: Bytes) {
        self.inner.known.lock().unwrap().insert(hash, bytes);
    }

    /// Begins to append. One does at a time.
    pub(crate) fn append(&self, id: BlockId) -> ApiResult<Appending<'_>> {
        let mut streams = self.inner.streams();
        let stream = streams
            .get_mut(&id)
            .filter(|stream| !stream.finished)
            .ok_or_else(|| unknown(id))?;
        if std::mem::replace(&mut stream.is_appended, true) {
            return Err(ApiError::new(
                ErrorCode::Busy,
                "another call appends to the stream",
            ));
        }
        let inner = &*self.inner;
        Ok(Appending { inner, id })
    }

    pub(crate) fn file(&self, id: BlockId, file: &File, range: ByteRange) -> ApiResult<u64> {
        let appending = self.append(id)?;
        let (mut at, mut left) = (range.offset, range.length);
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE_LEN) as usize];
            let read = file
                .read_at(&mut piece, at)
                .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
            if read == 0 && range.length != u64::MAX {
                return Err(ApiError::invalid("the file has become shorter"));
            }
            if read == 0 {
                break;
            }
            appending.push(&piece[..read])?;
            (at, left) = (at + read as u64, left - read as u64);
        }
        appending.end_chunk()
    }

    pub(crate) fn known(&self, id: BlockId, chunks: &[KnownChunk]) -> ApiResult<Vec<bool>> {
        let appending = self.append(id)?;
        let known = self.inner.known.lock().unwrap();
        chunks
            .iter()
            .map(|chunk| {
                let bytes = known.get(&chunk.hash);
                let Some(bytes) = bytes.filter(|bytes| bytes.len() == chunk.length as usize) else {
                    return Ok(false);
                };
                appending.push(bytes)?;
                appending.end_chunk()?;
                if let Some(stream) = self.inner.streams().get_mut(&id) {
                    stream.known += bytes.len() as u64;
                }
                Ok(true)
            })
            .collect()
    }

    pub(crate) fn status(&self, id: BlockId) -> ApiResult<StreamStatus> {
        let stream = self.stream(id).ok_or_else(|| unknown(id))?;
        let size = stream.bytes.len() as u64;
        Ok(StreamStatus {
            id,
            taken_bytes: size,
            placed_bytes: size,
            known_bytes: stream.known,
            stored_bytes: size - stream.known,
            holders: Vec::new(),
            finished: stream.finished,
        })
    }

    pub(crate) fn finish(&self, id: BlockId) -> ApiResult<Stream> {
        let mut streams = self.inner.streams();
        let stream = streams.get_mut(&id).ok_or_else(|| unknown(id))?;
        stream.finished = true;
        self.inner.grown.notify_waiters();
        Ok(stream.clone())
    }

    /// What comes of the range until the stream ends.
    pub(crate) fn follow(&self, id: BlockId, range: ByteRange) -> Body {
        let (sender, body) = Body::channel(None, |_| {});
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let mut at = range.offset as usize;
            let end = range.offset.saturating_add(range.length);
            loop {
                let grown = inner.grown.notified();
                tokio::pin!(grown);
                // From here on it hears of what happens.
                grown.as_mut().enable();
                let (piece, ended) = match inner.streams().get(&id) {
                    None => return sender.fail(unknown(id)),
                    Some(stream) => {
                        let there = stream.bytes.len().min(usize::try_from(end).unwrap_or(usize::MAX));
                        let piece = Bytes::copy_from_slice(stream.bytes.get(at..there).unwrap_or_default());
                        at += piece.len();
                        (piece, stream.finished || at as u64 == end)
                    }
                };
                if !piece.is_empty() && !sender.send(piece) {
                    return;
                }
                if ended {
                    return sender.finish();
                }
                tokio::select! {
                    () = grown => {}
                    () = sender.closed() => return,
                }
            }
        });
        body
    }
}

impl Appending<'_> {
    pub(crate) fn push(&self, bytes: &[u8]) -> ApiResult<()> {
        let mut streams = self.inner.streams();
        let stream = streams.get_mut(&self.id).ok_or_else(|| unknown(self.id))?;
        stream.bytes.extend_from_slice(bytes);
        self.inner.grown.notify_waiters();
        Ok(())
    }

    /// Ends a chunk, and returns the size of the stream.
    pub(crate) fn end_chunk(&self) -> ApiResult<u64> {
        let mut streams = self.inner.streams();
        let stream = streams.get_mut(&self.id).ok_or_else(|| unknown(self.id))?;
        let size = stream.bytes.len() as u64;
        if stream.ends.last() != Some(&size) && size > 0 {
            stream.ends.push(size);
        }
        Ok(size)
    }
}
