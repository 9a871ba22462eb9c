//! Objects that go into files.

use std::fs::File;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use memproto::local::Op;
use memproto::local::reply::ReadReply;
use memproto::local::streams::LoadIntoRequest;
use memproto::{BlockId, ErrorCode};

use crate::calls::within;
use crate::connection::broken;
use crate::range::Part;
use crate::socket::{Descriptor, share};
use crate::{Error, MemCloud, Result, positioned};

/// The first part that one request asks for: even at 10 Mbit/s it comes within a few seconds, so that no deadline passes while all is well.
const PART_MIN: u64 = 4 * 1024 * 1024;

/// The largest part: at 1 GB/s the pause between two is a hundredth of one.
const PART_MAX: u64 = 256 * 1024 * 1024;

/// A part that came within this fraction of a call's time is followed by one of twice the size, also in the next call; another one by one of half.
const QUICK: u32 = 8;

/// What the node wrote to a file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled {
    /// How many bytes, from the beginning of the range on.
    pub(crate) bytes: u64,
    /// Whether these are all that there are to write.
    pub(crate) is_all: bool,
}

/// Objects that go into files.
impl MemCloud {
    /// Writes a range of a block or stream, `..` for all of it, to a file, from byte `at` of that on. Returns how many bytes were written, fewer than the range where the
    /// object ends before.
    ///
    /// On Linux the node writes the file itself, several chunks at a time, and no byte passes through a socket. Elsewhere, and on TCP, the bytes are read and written
    /// here. The file grows where it is too short; its own position is neither used nor moved.
    ///
    /// # Errors
    /// [`Error::Api`] as of [`open`](Self::open); `InvalidArgument` where it is no regular file, is not opened for writing, or is opened for appending; [`Error::Io`], or the
    /// node's word, where the file cannot be written. Some of the bytes may be written then, in no order.
    pub async fn load_into(
        &self,
        id: BlockId,
        range: impl RangeBounds<u64>,
        file: &File,
        at: u64,
    ) -> Result<u64> {
        let part = Part::of(range);
        let filled = match share(file)? {
            Some(descriptor) => self.fill(id, part, &descriptor, at).await?,
            None => Filled::default(),
        };
        if filled.is_all {
            return Ok(filled.bytes);
        }
        let rest = Part {
            offset: part.offset.saturating_add(filled.bytes),
            length: part.length - filled.bytes,
        };
        let written = self
            .write_here(id, rest, file, at.saturating_add(filled.bytes))
            .await?;
        Ok(filled.bytes + written)
    }

    /// Lets the node write the file, as far as it can.
    pub(crate) async fn fill(
        &self,
        id: BlockId,
        Part { offset, length }: Part,
        descriptor: &Descriptor,
        at: u64,
    ) -> Result<Filled> {
        let quick = self.inner.quick_part.load(Ordering::Relaxed);
        let (mut written, mut part) = (0, quick.max(PART_MIN));
        while written < length {
            let request = LoadIntoRequest {
                id,
                offset: offset.saturating_add(written),
                length: part.min(length - written),
                at: at.saturating_add(written),
            };
            let began = Instant::now();
            let Some(reply) = self.fill_part(request, descriptor).await? else {
                return Ok(Filled {
                    bytes: written,
                    is_all: false,
                });
            };
            if reply.length > request.length {
                return Err(Error::Protocol(
                    "the node wrote more than was asked for".to_owned(),
                ));
            }
            written += reply.length;
            if reply.length < request.length || request.offset + reply.length >= reply.size {
                break;
            }
            part = if began.elapsed() < self.timeout() / QUICK {
                (part * 2).min(PART_MAX)
            } else {
                // What takes long may take longer the next time.
                (part / 2).max(PART_MIN)
            };
            self.inner.quick_part.store(part, Ordering::Relaxed);
        }
        Ok(Filled {
            bytes: written,
            is_all: true,
        })
    }

    async fn fill_part(
        &self,
        request: LoadIntoRequest,
        descriptor: &Descriptor,
    ) -> Result<Option<ReadReply>> {
        let args = |out: &mut BytesMut| request.encode(out);
        let filled = within(self.timeout(), async {
            let descriptor = Some(descriptor.clone());
            let Some(mut call) = self.begin_attached(Op::LoadInto, &args, descriptor).await? else {
                return Ok(None);
            };
            let reply = call.reply().await?;
            let (reply, _) = ReadReply::decode(&reply.payload).map_err(broken)?;
            Ok(Some(reply))
        });
        match filled.await {
            // Busy is a node without a descriptor to spare.
            Err(error) if matches!(error.api_code(), Some(ErrorCode::Unsupported | ErrorCode::Busy)) => {
                Ok(None)
            }
            filled => filled,
        }
    }

    async fn write_here(
        &self,
        id: BlockId,
        Part { offset, length }: Part,
        file: &File,
        at: u64,
    ) -> Result<u64> {
        let mut object = self.open_range(id, offset, length).await?;
        let file = Arc::new(file.try_clone()?);
        let mut written = 0;
        while let Some(piece) = object.next().await? {
            let (file, to, len) = (Arc::clone(&file), at + written, piece.len() as u64);
            let write = tokio::task::spawn_blocking(move || positioned::write_all_at(&file, &piece, to));
            write.await.map_err(io::Error::other)??;
            written += len;
        }
        Ok(written)
    }
}
