//! Writes under construction: `cloud.set("key", value).placement(...).await`.

use std::future::IntoFuture;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use memproto::key::check_key;
use memproto::local::Op;
use memproto::local::reply::PutReply;
use memproto::local::request::PutRequest;
use memproto::{BlockClass, BlockId, Placement, Ttl};
use tokio::io::AsyncRead;

use crate::connection::broken;
use crate::wire::Reply;
use crate::{MemCloud, Result, upload};

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
    pub(crate) strict: bool,
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
/// [`Error::Io`](crate::Error::Io); nothing is kept of it.
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
        value,
    } = put;
    let (op, args) = options.encode(Some(value.len() as u64))?;
    stored(&upload::send_value(&cloud, op, args, value).await?)
}

async fn send_reader<R: AsyncRead + Send + Unpin>(put: PutStream<R>) -> Result<Stored> {
    let PutStream {
        cloud,
        options,
        reader,
        size,
    } = put;
    let (op, args) = options.encode(size)?;
    stored(&upload::send_reader(&cloud, op, args, reader, size).await?)
}

pub(crate) fn stored(reply: &Reply) -> Result<Stored> {
    let PutReply { id, size } = PutReply::decode(&reply.payload).map_err(broken)?;
    Ok(Stored { id, size })
}
