//! Writes under construction: `cloud.set("key", value).placement(...).await`.

use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use memproto::key::check_key;
use memproto::local::reply::PutReply;
use memproto::local::request::PutRequest;
use memproto::local::{DATA_COST_MIN, INLINE_MAX, Op};
use memproto::{BlockClass, BlockId, Placement, Ttl};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::admission::Held;
use crate::calls::within;
use crate::connection::{Call, broken};
use crate::wire::{Credit, Reply};
use crate::{Error, MemCloud, Result};

/// The least room to read into.
const READ_MIN: usize = 64 * 1024;

/// Room for the arguments of a write without its key.
const ARGS_MIN: usize = 32;

/// What a write made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// The id of the new block or stream.
    pub id: BlockId,
    /// Its size in bytes.
    pub size: u64,
}

/// What is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Key(String),
    Block,
    Stream,
}

#[derive(Clone, Debug)]
pub(crate) struct PutOptions {
    pub(crate) target: Target,
    pub(crate) ttl: Option<Duration>,
    pub(crate) class: BlockClass,
    pub(crate) placement: Placement,
    strict: bool,
}

impl PutOptions {
    /// What a client writes where nothing else is said.
    pub(crate) fn new(cloud: &MemCloud, target: Target) -> Self {
        Self {
            strict: cloud.is_strict && matches!(target, Target::Key(_)),
            target,
            ttl: None,
            class: BlockClass::default(),
            placement: Placement::default(),
        }
    }

    /// The operation and its arguments.
    pub(crate) fn encode(&self, size: Option<u64>) -> Result<(Op, BytesMut)> {
        let (op, key) = match &self.target {
            Target::Key(key) => (Op::Set, Some(check_key(key.as_bytes())?)),
            Target::Block => (Op::Store, None),
            Target::Stream => (Op::Stream, None),
        };
        let ttl = self.ttl.map(Ttl::try_from).transpose()?;
        // Checked here, so that lengths fit their fields.
        let (byte, peer) = self.placement.to_wire();
        let placement = Placement::from_wire(byte, peer)?;
        let mut args = BytesMut::with_capacity(ARGS_MIN + key.map_or(0, str::len));
        PutRequest {
            size,
            ttl,
            class: self.class,
            placement,
            key,
            strict: self.strict,
        }
        .encode(&mut args);
        Ok((op, args))
    }
}

/// A write of a value in memory; nothing happens until it is awaited.
#[derive(Clone, Debug)]
#[must_use = "a write does nothing unless it is awaited"]
pub struct Put {
    pub(crate) cloud: MemCloud,
    pub(crate) options: PutOptions,
    pub(crate) value: Bytes,
}

impl Put {
    pub(crate) fn new(cloud: &MemCloud, target: Target, value: Bytes) -> Self {
        Self {
            cloud: cloud.clone(),
            options: PutOptions::new(cloud, target),
            value,
        }
    }

    /// Where the block is to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
        self
    }

    /// How long the value lives, counted from when the node has stored it all; at least 1 ms. Default: `None`,
    /// for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.options.ttl = ttl.into();
        self
    }

    /// Whether the block may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.options.class = class;
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<Stored>;
    type IntoFuture = BoxFuture<'static, Result<Stored>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(send_value(self))
    }
}

/// A write of what a reader yields; nothing happens until it is awaited.
///
/// The reader is read no faster than the node takes the bytes. Where it fails, the write is cancelled and fails with
/// [`Error::Io`]; nothing is kept of it.
#[derive(Debug)]
#[must_use = "a write does nothing unless it is awaited"]
pub struct PutStream<R> {
    pub(crate) cloud: MemCloud,
    pub(crate) options: PutOptions,
    pub(crate) reader: R,
    pub(crate) size: Option<u64>,
}

impl<R> PutStream<R> {
    pub(crate) fn new(cloud: &MemCloud, target: Target, reader: R, size: Option<u64>) -> Self {
        Self {
            cloud: cloud.clone(),
            options: PutOptions::new(cloud, target),
            reader,
            size,
        }
    }

    /// Where the bytes are to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
        self
    }

    /// How long the bytes live, counted from when the node has stored it all; at least 1 ms. Default: `None`,
    /// for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.options.ttl = ttl.into();
        self
    }

    /// Whether the bytes may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.options.class = class;
        self
    }

    /// The number of bytes to take from the reader, where it is known: the node then refuses at once what it has no room
    /// for. No more is read than this; a reader that ends before is an error and nothing is stored.
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> IntoFuture for PutStream<R> {
    type Output = Result<Stored>;
    type IntoFuture = BoxFuture<'static, Result<Stored>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(send_reader(self))
    }
}

async fn send_value(put: Put) -> Result<Stored> {
    let Put {
        cloud,
        options,
        mut value,
    } = put;
    let size = value.len() as u64;
    if value.len() <= INLINE_MAX {
        let (op, args) = options.encode(Some(size))?;
        let held = Held::Bytes(args.len() + value.len());
        let args = |out: &mut BytesMut| out.put_slice(&args);
        let (_call, reply) = cloud.exchange(op, held, args, value, cloud.timeout()).await?;
        return stored(&reply);
    }
    let first = value.split_to(INLINE_MAX);
    let mut upload = Upload::begin(&cloud, &options, Some(size), first).await?;
    loop {
        let room = match upload.room().await? {
            Room::Bytes(room) => room,
            Room::Replied(stored) => return Ok(stored),
        };
        let chunk = value.split_to(value.len().min(room));
        let more = !value.is_empty();
        upload.send(chunk, more);
        if !more {
            return upload.finish().await;
        }
    }
}

async fn send_reader<R: AsyncRead + Send + Unpin>(put: PutStream<R>) -> Result<Stored> {
    let PutStream {
        cloud,
        options,
        mut reader,
        size,
    } = put;
    let mut upload = Upload::begin(&cloud, &options, size, Bytes::new()).await?;
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
            reply = upload.call.reply() => return stored(&reply?),
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
                Room::Replied(stored) => return Ok(stored),
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
    Replied(Stored),
}

impl Upload {
    async fn begin(cloud: &MemCloud, options: &PutOptions, size: Option<u64>, first: Bytes) -> Result<Self> {
        let (op, args) = options.encode(size)?;
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
                reply = self.call.reply() => stored(&reply?).map(Room::Replied),
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

    async fn finish(mut self) -> Result<Stored> {
        stored(&within(self.timeout, self.call.reply()).await?)
    }
}

pub(crate) fn stored(reply: &Reply) -> Result<Stored> {
    let PutReply { id, size } = PutReply::decode(&reply.payload).map_err(broken)?;
    Ok(Stored { id, size })
}
