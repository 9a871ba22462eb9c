//! From bytes to chunks: of a body that arrives, and of a file that the node reads itself.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use memproto::ChunkHash;
use memproto::error::{ApiError, ApiResult};
use memproto::limits::STREAM_CHUNK_SIZE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::platform;
use crate::service::lock;

/// How many chunks all streams together have under way, in memory of this node: 16 MiB, with what links and connections
/// hold less than the 32 MiB by which a daemon may grow.
pub(super) const BUFFERED_CHUNKS_MAX: usize = 16;

/// A chunk that is to be placed.
#[derive(Debug)]
pub(super) struct RawChunk {
    /// The bytes, in pieces as they came.
    pub(super) pieces: VecDeque<Bytes>,
    /// How many there are.
    pub(super) length: u32,
    /// Their hash.
    pub(super) hash: ChunkHash,
    /// The part of the room for chunks under way that it takes.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

impl RawChunk {
    /// Hashes some hundred microseconds.
    pub(super) fn of(pieces: VecDeque<Bytes>, room: OwnedSemaphorePermit) -> Self {
        let length = len_of(&pieces) as u32;
        Self {
            hash: hash_of(&pieces),
            pieces,
            length,
            _room: Some(room),
        }
    }
}

/// How many bytes pieces have.
pub(super) fn len_of<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> u64 {
    pieces.into_iter().map(|piece| piece.len() as u64).sum()
}

/// The hash of the bytes of a chunk.
pub(super) fn hash_of<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> ChunkHash {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    ChunkHash::from_bytes(*hasher.finalize().as_bytes())
}

/// Pieces of any length on their way to become chunks of [`STREAM_CHUNK_SIZE`]; nothing is copied.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    queue: VecDeque<Bytes>,
    length: usize,
}

impl Pieces {
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether there is a whole chunk.
    pub(super) fn has_chunk(&self) -> bool {
        self.length >= STREAM_CHUNK_SIZE
    }

    /// The next chunk: as long as one can be, or what is left. `None` where nothing is.
    pub(super) fn take_chunk(&mut self) -> Option<VecDeque<Bytes>> {
        if self.length == 0 {
            return None;
        }
        let mut chunk = VecDeque::new();
        let mut missing = STREAM_CHUNK_SIZE.min(self.length);
        self.length -= missing;
        while missing > 0 {
            let first = self.queue.front_mut().expect("the queue holds `length` bytes");
            if first.remaining() <= missing {
                missing -= first.remaining();
                chunk.extend(self.queue.pop_front());
            } else {
                chunk.push_back(first.split_to(missing));
                missing = 0;
            }
        }
        Some(chunk)
    }

    /// The bytes from one on, without taking them out.
    pub(super) fn from(&self, mut offset: usize) -> VecDeque<Bytes> {
        let mut rest = VecDeque::new();
        for piece in &self.queue {
            let skipped = offset.min(piece.len());
            offset -= skipped;
            if skipped < piece.len() {
                rest.push_back(piece.slice(skipped..));
            }
        }
        rest
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut all = Self::default();
        pieces.into_iter().for_each(|piece| all.push(piece));
        all
    }
}

/// Memory for chunks that are read from files. It is used again and again while files are read, since fresh memory costs as much as
/// reading into it; when nothing is read any more it goes back.
#[derive(Debug)]
pub(in crate::service) struct ChunkBuffers {
    room: Arc<Semaphore>,
    free: Arc<Mutex<Free>>,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    in_use: usize,
}

struct ChunkBuffer {
    bytes: Vec<u8>,
    free: Arc<Mutex<Free>>,
}

impl AsRef<[u8]> for ChunkBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ChunkBuffer {
    fn drop(&mut self) {
        let mut free = lock(&self.free);
        free.in_use -= 1;
        if free.in_use == 0 {
            free.buffers.clear();
        } else {
            free.buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Default for ChunkBuffers {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(BUFFERED_CHUNKS_MAX)),
            free: Arc::default(),
        }
    }
}

impl ChunkBuffers {
    /// How many chunks are under way.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn under_way(&self) -> usize {
        BUFFERED_CHUNKS_MAX - self.room.available_permits()
    }

    /// Waits for room for one more chunk under way.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.room).acquire_owned().await;
        permit.expect("nobody closes it")
    }

    /// A buffer of so many bytes, at most those of a chunk, with what `fill` puts in.
    fn filled(
        free: &Arc<Mutex<Free>>,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Bytes> {
        let mut known = lock(free);
        known.in_use += 1;
        let bytes = known.buffers.pop().unwrap_or_default();
        drop(known);
        let mut buffer = ChunkBuffer {
            bytes,
            free: Arc::clone(free),
        };
        buffer.bytes.resize(len, 0);
        fill(&mut buffer.bytes)?;
        Ok(Bytes::from_owner(buffer))
    }
}

/// A file, or a part of it, that is read chunk by chunk.
#[derive(Clone, Debug)]
pub(super) struct FileSource {
    file: Arc<File>,
    free: Arc<Mutex<Free>>,
}

impl FileSource {
    pub(super) fn new(file: File, buffers: &ChunkBuffers) -> Self {
        Self {
            file: Arc::new(file),
            free: Arc::clone(&buffers.free),
        }
    }

    /// How long the file is now.
    ///
    /// # Errors
    /// `InvalidArgument` where it is no regular file, and with what the system says.
    pub(super) fn size(&self) -> ApiResult<u64> {
        let metadata = self.file.metadata().map_err(|error| unreadable(&error))?;
        match metadata.is_file() {
            true => Ok(metadata.len()),
            false => Err(ApiError::invalid("the descriptor is not one of a regular file")),
        }
    }

    /// Reads and hashes a chunk: some hundred microseconds, or as long as a disk takes.
    ///
    /// # Errors
    /// `InvalidArgument` where the file has become shorter, and with what the system says.
    pub(super) fn chunk(&self, offset: u64, length: u32, room: OwnedSemaphorePermit) -> ApiResult<RawChunk> {
        let bytes = ChunkBuffers::filled(&self.free, length as usize, |bytes| {
            platform::read_exact_at(&self.file, bytes, offset)
        });
        let bytes = bytes.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ApiError::invalid(format!(
                "the file became shorter while it was read: it ends before byte {}",
                offset + u64::from(length)
            )),
            _ => unreadable(&error),
        })?;
        Ok(RawChunk::of(VecDeque::from([bytes]), room))
    }
}

fn unreadable(error: &io::Error) -> ApiError {
    ApiError::invalid(format!("the file cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use memproto::error::ErrorCode;

    use super::*;

    #[test]
    fn pieces_become_chunks_without_losing_a_byte() {
        let mut pieces = Pieces::default();
        let mut chunks = Vec::new();
        let all: Vec<u8> = (0..2 * STREAM_CHUNK_SIZE + 12_345)
            .map(|i| (i % 251) as u8)
            .collect();
        for piece in all.chunks(300_001) {
            pieces.push(Bytes::copy_from_slice(piece));
            if pieces.has_chunk() {
                chunks.extend(pieces.take_chunk());
            }
        }
        assert_eq!(pieces.from(0).iter().flatten().count(), pieces.len());
        assert_eq!(
            pieces
                .from(pieces.len() - 3)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
            all[all.len() - 3..]
        );
        chunks.extend(std::iter::from_fn(|| pieces.take_chunk()));
        let lengths: Vec<usize> = chunks
            .iter()
            .map(|chunk| chunk.iter().map(Bytes::len).sum())
            .collect();
        assert_eq!(lengths, [STREAM_CHUNK_SIZE, STREAM_CHUNK_SIZE, 12_345]);
        let joined: Vec<u8> = chunks.iter().flatten().flatten().copied().collect();
        assert!(joined == all);
        assert!(pieces.take_chunk().is_none());
    }

    #[tokio::test]
    async fn a_file_is_read_in_chunks_and_its_memory_is_used_again() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[7; 5_000]).unwrap();
        let buffers = ChunkBuffers::default();
        let source = FileSource::new(file, &buffers);
        assert_eq!(source.size().unwrap(), 5_000);
        let first = source.chunk(0, 4_096, buffers.room().await).unwrap();
        let second = source.chunk(4_096, 904, buffers.room().await).unwrap();
        assert_eq!(second.length, 904);
        assert_eq!(second.hash, hash_of(&[Bytes::from(vec![7; 904])]));
        drop(second);
        assert_eq!(lock(&buffers.free).buffers.len(), 1);
        drop(first);
        assert_eq!(lock(&buffers.free).buffers.len(), 0);
        let error = source.chunk(4_096, 905, buffers.room().await).unwrap_err();
        assert!(error.message.contains("became shorter"), "{error:?}");
        assert_eq!(lock(&buffers.free).in_use, 0);
    }

    #[test]
    fn a_folder_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        let source = FileSource::new(File::open(folder.path()).unwrap(), &ChunkBuffers::default());
        assert_eq!(source.size().unwrap_err().code, ErrorCode::InvalidArgument);
    }
}
