//! Reading an object piece by piece.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use memproto::BlockId;
use tokio::io::AsyncReadExt;

use super::Driver;
use crate::{Error, Result};

/// An object, or a range of one, that is being read: a [`Read`].
///
/// As [`crate::Object`]: the node sends no faster than this is read, and dropping it ends the transfer.
#[derive(Debug)]
pub struct Object {
    /// `None` while it is dropped.
    object: Option<crate::Object>,
    id: BlockId,
    size: u64,
    length: u64,
    driver: Arc<Driver>,
}

impl Object {
    pub(super) fn new(object: crate::Object, driver: &Arc<Driver>) -> Self {
        Self {
            id: object.id(),
            size: object.size(),
            length: object.length(),
            object: Some(object),
            driver: Arc::clone(driver),
        }
    }

    /// The id of the block or stream.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// The size of the whole object in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes this reader yields in all: [`size`](Self::size), or less for a range.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next piece as it came from the node, without a copy; `None` behind the last.
    ///
    /// # Errors
    /// As [`crate::Object::next`].
    #[expect(
        clippy::should_implement_trait,
        reason = "it is named and answers as its asynchronous namesake; an Iterator would share half its methods with Read"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.object {
            Some(object) => self.driver.run(object.next()),
            None => Ok(None),
        }
    }

    /// All the bytes that are left, in one piece of memory.
    ///
    /// # Errors
    /// As [`crate::Object::collect`].
    pub fn collect(mut self) -> Result<Bytes> {
        match self.object.take() {
            Some(object) => self.driver.run(object.collect()),
            None => Ok(Bytes::new()),
        }
    }
}

/// Errors are those of [`Object::next`], inside an [`io::Error`]; `error.downcast::<memsdk::Error>()` gives them back.
impl Read for Object {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(object) = &mut self.object else {
            return Ok(0);
        };
        let read = self.driver.run(async { Ok(object.read(buffer).await?) });
        read.map_err(|error| match error {
            Error::Io(error) => error,
            error => io::Error::other(error),
        })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(object);
            self.driver.settle();
        }
    }
}
