//! Reading an object piece by piece.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use memproto::BlockId;
use tokio::io::{AsyncRead, ReadBuf};

use crate::Result;

/// An object, or a range of one, that is being read: an [`AsyncRead`].
///
/// The node sends no faster than this is read; at most 2 MiB wait in this process. Dropping it ends the transfer.
#[derive(Debug)]
pub struct Object {
    id: BlockId,
    size: u64,
    length: u64,
}

impl Object {
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
    /// [`Error::Api`](crate::Error::Api) where the node failed in the middle of the object (a peer went away).
    /// Short reads never look like the end.
    ///
    /// # Cancel safety
    /// A piece is either returned or still there.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        todo!()
    }

    /// All the bytes that are left, in one piece of memory.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn collect(self) -> Result<Bytes> {
        todo!()
    }
}

/// Errors are those of [`Object::next`], inside an [`io::Error`]; `error.downcast::<memsdk::Error>()` gives them back.
impl AsyncRead for Object {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
}
