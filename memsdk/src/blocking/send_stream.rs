//! A stream from what a reader yields, in one call.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use memproto::stream::Compress;
use memproto::{BlockClass, Placement};

use super::put::Reader;
use super::{Driver, MemCloud};
use crate::{Result, Stored};

/// A stream of what a reader yields; nothing happens until [`send`](Self::send).
///
/// The reader is read on the thread that sends, as that of a [`PutStream`](super::PutStream).
#[derive(Debug)]
#[must_use = "a write does nothing unless it is sent"]
pub struct SendStream<R> {
    stream: crate::SendStream<Reader<R>>,
    driver: Arc<Driver>,
}

impl<R: Read + Send + Unpin + 'static> SendStream<R> {
    /// The key that names the stream, once it is whole.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.stream = self.stream.key(key);
        self
    }

    /// Where the bytes are to lie. Default: [`Placement::Auto`], on peers first.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.stream = self.stream.placement(placement);
        self
    }

    /// The peers on which the bytes are to lie, 1 to 64, and nowhere else.
    pub fn peers<P: Into<String>>(mut self, peers: impl IntoIterator<Item = P>) -> Self {
        self.stream = self.stream.peers(peers);
        self
    }

    /// Whether the bytes are compressed on their way to where they lie. Default: [`Compress::Auto`].
    pub fn compress(mut self, compress: Compress) -> Self {
        self.stream = self.stream.compress(compress);
        self
    }

    /// How long the bytes live, at least 1 ms. Default: `None`, for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.stream = self.stream.ttl(ttl);
        self
    }

    /// Whether the bytes may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.stream = self.stream.class(class);
        self
    }

    /// The number of bytes to take from the reader, where it is known: see [`crate::SendStream::size`].
    pub fn size(mut self, size: u64) -> Self {
        self.stream = self.stream.size(size);
        self
    }

    /// Writes it.
    ///
    /// # Errors
    /// As awaiting a [`crate::SendStream`].
    pub fn send(self) -> Result<Stored> {
        let sent = self.driver.run(self.stream.into_future());
        if sent.is_err() {
            // The node is told that the rest does not come.
            self.driver.settle();
        }
        sent
    }
}

impl MemCloud {
    /// Stores what a reader yields as a stream: in chunks, which may lie on several nodes, peers first.
    pub fn stream<R>(&self, reader: R) -> SendStream<R>
    where
        R: Read + Send + Unpin + 'static,
    {
        SendStream {
            stream: self.cloud.stream(Reader(reader)),
            driver: Arc::clone(&self.driver),
        }
    }
}
