//! Writes under construction: `cloud.set("key", value).ttl(...).send()`.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use memproto::{BlockClass, Placement};
use tokio::io::{AsyncRead, ReadBuf};

use super::{Driver, MemCloud};
use crate::{Result, Stored};

/// A write of a value in memory; nothing happens until [`send`](Self::send).
#[derive(Clone, Debug)]
#[must_use = "a write does nothing unless it is sent"]
pub struct Put {
    put: crate::Put,
    driver: Arc<Driver>,
}

impl Put {
    pub(super) fn new(put: crate::Put, driver: &Arc<Driver>) -> Self {
        Self {
            put,
            driver: Arc::clone(driver),
        }
    }

    /// Where the block is to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.put = self.put.placement(placement);
        self
    }

    /// How long the value lives, at least 1 ms. Default: `None`, for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.put = self.put.ttl(ttl);
        self
    }

    /// Whether the block may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.put = self.put.class(class);
        self
    }

    /// Writes it.
    ///
    /// # Errors
    /// As awaiting a [`crate::Put`].
    pub fn send(self) -> Result<Stored> {
        self.driver.run(self.put.into_future())
    }
}

/// A write of what a reader yields; nothing happens until [`send`](Self::send).
///
/// The reader is read on the thread that sends, no faster than the node takes the bytes. While it waits for its own source,
/// calls of other threads on clones of the client wait as well: a reader that is slow is best given a client of its own.
#[derive(Debug)]
#[must_use = "a write does nothing unless it is sent"]
pub struct PutStream<R> {
    put: crate::PutStream<Reader<R>>,
    driver: Arc<Driver>,
}

impl<R: Read + Send + Unpin + 'static> PutStream<R> {
    /// Where the bytes are to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.put = self.put.placement(placement);
        self
    }

    /// How long the bytes live, at least 1 ms. Default: `None`, for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.put = self.put.ttl(ttl);
        self
    }

    /// Whether the bytes may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.put = self.put.class(class);
        self
    }

    /// The number of bytes to take from the reader, where it is known: see [`crate::PutStream::size`].
    pub fn size(mut self, size: u64) -> Self {
        self.put = self.put.size(size);
        self
    }

    /// Writes it.
    ///
    /// # Errors
    /// As awaiting a [`crate::PutStream`].
    pub fn send(self) -> Result<Stored> {
        let sent = self.driver.run(self.put.into_future());
        if sent.is_err() {
            // The node is told that the rest does not come.
            self.driver.settle();
        }
        sent
    }
}

impl MemCloud {
    /// Makes `key` name what a reader yields.
    pub fn set_stream<R>(&self, key: impl Into<String>, reader: R, size: Option<u64>) -> PutStream<R>
    where
        R: Read + Send + Unpin + 'static,
    {
        self.put_stream(self.cloud.set_stream(key, Reader(reader), size))
    }

    /// Stores what a reader yields as one block.
    pub fn store_stream<R>(&self, reader: R, size: Option<u64>) -> PutStream<R>
    where
        R: Read + Send + Unpin + 'static,
    {
        self.put_stream(self.cloud.store_stream(Reader(reader), size))
    }

    fn put_stream<R>(&self, put: crate::PutStream<Reader<R>>) -> PutStream<R> {
        PutStream {
            put,
            driver: Arc::clone(&self.driver),
        }
    }
}

/// A reader that blocks, on a runtime that has nothing else to do than this thread's call.
#[derive(Debug)]
pub(super) struct Reader<R>(pub(super) R);

impl<R: Read + Unpin> AsyncRead for Reader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        let read = loop {
            match self.0.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // There is nobody to wake the call when there is more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "the reader does not block: let it block, or use memsdk::MemCloud",
                    )));
                }
                read => break read?,
            }
        };
        // A reader that claims more than there was room for is wrong, and no reason to panic.
        let read = read.min(room.len());
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}
