//! Streams that are written piece by piece.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memproto::stream::{Compress, KnownChunk, StreamFinished, StreamStatus};
use memproto::{BlockClass, BlockId, Placement};
use tokio::io::AsyncWriteExt;

use super::put::Reader;
use super::{Driver, MemCloud};
use crate::object::io_error;
use crate::{Error, Result};

/// A stream that is to be opened; nothing happens until [`open`](Self::open).
#[derive(Clone, Debug)]
#[must_use = "a stream is not opened unless this is"]
pub struct StreamWriterBuilder {
    builder: crate::StreamWriterBuilder,
    driver: Arc<Driver>,
}

impl StreamWriterBuilder {
    /// The key that names the stream, once it is whole.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.builder = self.builder.key(key);
        self
    }

    /// Whether the key names the stream from its first byte on. Default: `false`.
    pub fn live(mut self, live: bool) -> Self {
        self.builder = self.builder.live(live);
        self
    }

    /// How long the stream lives, counted from when it is whole; at least 1 ms. Default: `None`, for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.builder = self.builder.ttl(ttl);
        self
    }

    /// Whether the stream may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.builder = self.builder.class(class);
        self
    }

    /// Where the stream is to lie. Default: [`Placement::Auto`], on peers first.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.builder = self.builder.placement(placement);
        self
    }

    /// The peers on which the stream is to lie, 1 to 64, and nowhere else.
    pub fn peers<P: Into<String>>(mut self, peers: impl IntoIterator<Item = P>) -> Self {
        self.builder = self.builder.peers(peers);
        self
    }

    /// Whether the stream is compressed on its way to where it lies. Default: [`Compress::Auto`].
    pub fn compress(mut self, compress: Compress) -> Self {
        self.builder = self.builder.compress(compress);
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// As awaiting a [`crate::StreamWriterBuilder`].
    pub fn open(self) -> Result<StreamWriter> {
        let writer = self.driver.run(self.builder.into_future())?;
        Ok(StreamWriter::new(writer, &self.driver))
    }
}

/// A stream that is open: a [`Write`], and more. As [`crate::StreamWriter`]: [`flush`](Write::flush) ends a chunk, and dropped before
/// [`finish`](Self::finish) it stays unfinished on the node.
#[derive(Debug)]
pub struct StreamWriter {
    id: BlockId,
    /// `None` while it is dropped or finished.
    writer: Option<crate::StreamWriter>,
    driver: Arc<Driver>,
}

impl StreamWriter {
    fn new(writer: crate::StreamWriter, driver: &Arc<Driver>) -> Self {
        Self {
            id: writer.id(),
            writer: Some(writer),
            driver: Arc::clone(driver),
        }
    }

    /// The id, under which the stream can be read, also while it is written.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// Appends bytes, and ends a chunk behind them. Returns the size of the stream so far.
    ///
    /// # Errors
    /// As [`crate::StreamWriter::write_bytes`].
    pub fn write_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<u64> {
        let (writer, driver) = self.open_writer()?;
        driver.run(writer.write_bytes(bytes))
    }

    /// Appends what a reader yields up to its end, and ends a chunk behind it. Returns the size of the stream so far. The reader is read on this thread.
    ///
    /// # Errors
    /// As [`crate::StreamWriter::write_from`].
    pub fn write_from<R: Read + Send + Unpin>(&mut self, reader: R) -> Result<u64> {
        let (writer, driver) = self.open_writer()?;
        let appended = driver.run(writer.write_from(Reader(reader)));
        if appended.is_err() {
            // The node is told that the rest does not come.
            driver.settle();
        }
        appended
    }

    /// Appends a range of a file's bytes, `..` for all of them, and ends a chunk behind it. Returns the size of the stream so far.
    ///
    /// # Errors
    /// As [`crate::StreamWriter::write_file`].
    pub fn write_file(&mut self, file: File, range: impl RangeBounds<u64>) -> Result<u64> {
        let (writer, driver) = self.open_writer()?;
        driver.run(writer.write_file(file, range))
    }

    /// Appends those of the chunks, in their order, whose bytes are there already. Returns of each whether it was appended.
    ///
    /// # Errors
    /// As [`crate::StreamWriter::known`].
    pub fn known(&mut self, chunks: &[KnownChunk]) -> Result<Vec<bool>> {
        let (writer, driver) = self.open_writer()?;
        driver.run(writer.known(chunks))
    }

    /// How far the stream has come, and where it lies.
    ///
    /// # Errors
    /// As [`crate::StreamWriter::status`].
    pub fn status(&mut self) -> Result<StreamStatus> {
        let (writer, driver) = self.open_writer()?;
        driver.run(writer.status())
    }

    /// Ends the stream, once all of it lies where it is to stay.
    ///
    /// # Errors
    /// As [`crate::StreamWriter::finish`].
    pub fn finish(mut self) -> Result<StreamFinished> {
        match self.writer.take() {
            Some(writer) => self.driver.run(writer.finish()),
            None => Err(Error::ConnectionLost),
        }
    }

    fn open_writer(&mut self) -> Result<(&mut crate::StreamWriter, &Driver)> {
        // It is there as long as somebody can call this.
        let writer = self.writer.as_mut().ok_or(Error::ConnectionLost)?;
        Ok((writer, &self.driver))
    }
}

/// Errors are those of [`StreamWriter::write_bytes`], inside an [`io::Error`]; `error.downcast::<memsdk::Error>()` gives them back.
impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (writer, driver) = self.open_writer().map_err(io_error)?;
        let written = driver.run(async { Ok(AsyncWriteExt::write(writer, bytes).await?) });
        written.map_err(io_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        let (writer, driver) = self.open_writer().map_err(io_error)?;
        let flushed = driver.run(async { Ok(AsyncWriteExt::flush(writer).await?) });
        flushed.map_err(io_error)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer);
            self.driver.settle();
        }
    }
}

/// Streams that are written piece by piece.
impl MemCloud {
    /// Opens a stream that is written piece by piece, and can be read meanwhile.
    pub fn stream_writer(&self) -> StreamWriterBuilder {
        StreamWriterBuilder {
            builder: self.cloud.stream_writer(),
            driver: Arc::clone(&self.driver),
        }
    }

    /// Goes on with a stream that was not finished, behind what the node has taken of it.
    pub fn resume_stream(&self, id: BlockId) -> Result<StreamWriter> {
        let writer = self.driver.run(self.cloud.resume_stream(id))?;
        Ok(StreamWriter::new(writer, &self.driver))
    }

    /// How far a stream has come, and where it lies.
    pub fn stream_status(&self, id: BlockId) -> Result<StreamStatus> {
        self.driver.run(self.cloud.stream_status(id))
    }
}
