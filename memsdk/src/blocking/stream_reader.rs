//! Reading at any place of an object.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use memproto::BlockId;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Driver, MemCloud};
use crate::object::io_error;
use crate::{Error, Result};

/// A reader that is to be opened; nothing happens until [`open`](Self::open).
#[derive(Clone, Debug)]
#[must_use = "nothing is opened unless this is"]
pub struct StreamReaderBuilder {
    builder: crate::StreamReaderBuilder,
    driver: Arc<Driver>,
}

impl StreamReaderBuilder {
    /// How many pieces of [`PIECE_SIZE`](crate::PIECE_SIZE) are fetched ahead at most; 0 for none. Default: [`READ_AHEAD_DEFAULT`](crate::READ_AHEAD_DEFAULT).
    pub fn read_ahead(mut self, pieces: usize) -> Self {
        self.builder = self.builder.read_ahead(pieces);
        self
    }

    /// How many bytes are kept at most, in whole pieces, and one piece at least. Default: [`CACHE_BYTES_DEFAULT`](crate::CACHE_BYTES_DEFAULT).
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.builder = self.builder.cache_bytes(bytes);
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// As awaiting a [`crate::StreamReaderBuilder`].
    pub fn open(self) -> Result<StreamReader> {
        let reader = self.driver.run(self.builder.into_future())?;
        Ok(StreamReader {
            id: reader.id(),
            size: reader.size(),
            reader: Some(reader),
            driver: self.driver,
        })
    }
}

/// An object that is read at any place: a [`Read`] and [`Seek`]. As [`crate::StreamReader`], but what is fetched ahead arrives while a call waits.
#[derive(Debug)]
pub struct StreamReader {
    id: BlockId,
    size: u64,
    /// `None` while it is dropped.
    reader: Option<crate::StreamReader>,
    driver: Arc<Driver>,
}

impl StreamReader {
    /// The id of the block or stream.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// The size of the object in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn open_reader(&mut self) -> io::Result<&mut crate::StreamReader> {
        // It is there as long as somebody can call this.
        self.reader
            .as_mut()
            .ok_or_else(|| io_error(Error::ConnectionLost))
    }
}

/// Errors are those of [`MemCloud::load_range`], inside an [`io::Error`]; `error.downcast::<memsdk::Error>()` gives them back.
impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let driver = Arc::clone(&self.driver);
        let reader = self.open_reader()?;
        let read = driver.run(async { Ok(AsyncReadExt::read(reader, buffer).await?) });
        read.map_err(io_error)
    }
}

/// Seeking asks nobody. Behind the end there is nothing to read; a place before the beginning is an error (`InvalidInput`).
impl Seek for StreamReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let driver = Arc::clone(&self.driver);
        let reader = self.open_reader()?;
        let sought = driver.run(async { Ok(AsyncSeekExt::seek(reader, to).await?) });
        sought.map_err(io_error)
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            drop(reader);
            self.driver.settle();
        }
    }
}

/// Reading at any place.
impl MemCloud {
    /// Opens a block or stream to be read at any place.
    pub fn reader(&self, id: BlockId) -> StreamReaderBuilder {
        StreamReaderBuilder {
            builder: self.cloud.reader(id),
            driver: Arc::clone(&self.driver),
        }
    }
}
