//! Writes under construction: `cloud.set("key", value).placement(...).await`.

use std::future::IntoFuture;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use memproto::{BlockClass, BlockId, Placement};
use tokio::io::AsyncRead;

use crate::{MemCloud, Result};

/// What a write made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    pub(crate) class: BlockClass,
    pub(crate) placement: Placement,
}

impl PutOptions {
    fn new(target: Target) -> Self {
        Self {
            target,
            class: BlockClass::default(),
            placement: Placement::default(),
        }
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
            options: PutOptions::new(target),
            value,
        }
    }

    /// Where the block is to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
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
        Box::pin(async move { todo!() })
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
            options: PutOptions::new(target),
            reader,
            size,
        }
    }

    /// Where the bytes are to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
        self
    }

    /// Whether the bytes may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.options.class = class;
        self
    }

    /// The exact number of bytes that the reader yields, where it is known: the node refuses at once what it has no
    /// room for, and a reader that ends early or goes on is an error.
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> IntoFuture for PutStream<R> {
    type Output = Result<Stored>;
    type IntoFuture = BoxFuture<'static, Result<Stored>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { todo!() })
    }
}
