//! Values on their way to the node, in pieces under its credit.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use memproto::local::{DATA_COST_MIN, INLINE_MAX, Op};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::admission::Held;
use crate::calls::within;
use crate::connection::Call;
use crate::wire::{Credit, Reply};
use crate::{Error, MemCloud, Result};

/// The least room to read into.
const READ_MIN: usize = 64 * 1024;

/// Sends a request with a value that is there, in one frame where it fits.
pub(crate) async fn send_value(cloud: &MemCloud, op: Op, args: BytesMut, mut value: Bytes) -> Result<Reply> {
    if value.len() <= INLINE_MAX {
        let held = Held::Bytes(args.len() + value.len());
        let args = |out: &mut BytesMut| out.put_slice(&args);
        let (_call, reply) = cloud.exchange(op, held, args, value, cloud.timeout()).await?;
        return Ok(reply);
    }
    let first = value.split_to(INLINE_MAX);
    let mut upload = Upload::begin(cloud, op, args, first).await?;
    loop {
        let room = match upload.room().await? {
            Room::Bytes(room) => room,
            Room::Replied(reply) => return Ok(reply),
        };
        let chunk = value.split_to(value.len().min(room));
        let more = !value.is_empty();
        upload.send(chunk, more);
        if !more {
            return upload.finish().await;
        }
    }
}

/// Sends a request with what a reader yields: `size` bytes, or all up to its end.
///
/// # Errors
/// What the reader fails with, and `UnexpectedEof` where it ends before `size`: the request is cancelled then.
pub(crate) async fn send_reader<R: AsyncRead + Send + Unpin>(
    cloud: &MemCloud,
    op: Op,
    args: BytesMut,
    mut reader: R,
    size: Option<u64>,
) -> Result<Reply> {
    let mut upload = Upload::begin(cloud, op, args, Bytes::new()).await?;
    let mut left = size.unwrap_or(u64::MAX);
    let mut buffer = BytesMut::new();
    while left > 0 {
        if buffer.capacity() - buffer.len() < READ_MIN {
            buffer.reserve(INLINE_MAX);
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(INLINE_MAX);
        let mut limited = (&mut buffer).limit(room);
        // The node may refuse the value while we wait for its bytes.
        let read = tokio::select! {
            biased;
            reply = upload.call.reply() => return reply,
            read = reader.read_buf(&mut limited) => read?,
        };
        if read == 0 {
            if size.is_some() {
                return Err(Error::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            break;
        }
        left -= read as u64;
        let mut piece = buffer.split().freeze();
        while !piece.is_empty() {
            let room = match upload.room().await? {
                Room::Bytes(room) => room,
                Room::Replied(reply) => return Ok(reply),
            };
            let chunk = piece.split_to(piece.len().min(room));
            let more = left > 0 || !piece.is_empty();
            upload.send(chunk, more);
        }
    }
    if size.is_none() || size == Some(0) {
        upload.send(Bytes::new(), false);
    }
    upload.finish().await
}

/// A value on its way to the node, in pieces. Dropped before its end, it is cancelled.
struct Upload {
    call: Call,
    credit: Arc<Credit>,
    timeout: Duration,
}

enum Room {
    /// This many bytes may be sent now.
    Bytes(usize),
    /// The node needs no more.
    Replied(Reply),
}

impl Upload {
    async fn begin(cloud: &MemCloud, op: Op, args: BytesMut, first: Bytes) -> Result<Self> {
        let call = cloud
            .begin(op, Held::Upload, true, |out| out.put_slice(&args), first)
            .await?;
        let Some(credit) = call.upload.clone() else {
            return Err(Error::Protocol("a value in pieces has no credit".to_owned()));
        };
        Ok(Self {
            call,
            credit,
            timeout: cloud.timeout(),
        })
    }

    /// Waits until bytes may be sent.
    async fn room(&mut self) -> Result<Room> {
        let connection = Arc::clone(&self.call.connection);
        let credit = Arc::clone(&self.credit);
        let room = async {
            loop {
                let drained = pin!(connection.shared().room.notified());
                let mut drained = drained;
                drained.as_mut().enable();
                if !connection.shared().has_room() {
                    drained.await;
                    continue;
                }
                let available = credit.available();
                if available >= DATA_COST_MIN {
                    return usize::try_from(available).unwrap_or(usize::MAX).min(INLINE_MAX);
                }
                credit.changed.notified().await;
            }
        };
        let waited = within(self.timeout, async {
            tokio::select! {
                biased;
                reply = self.call.reply() => reply.map(Room::Replied),
                room = room => Ok(Room::Bytes(room)),
            }
        });
        waited.await
    }

    /// Sends bytes for which there is room.
    fn send(&mut self, chunk: Bytes, more: bool) {
        self.credit.take(chunk.len());
        self.call
            .connection
            .shared()
            .send_data(self.call.request, more, chunk);
    }

    async fn finish(mut self) -> Result<Reply> {
        within(self.timeout, self.call.reply()).await
    }
}
