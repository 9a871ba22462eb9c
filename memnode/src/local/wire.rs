//! What a session needs of its socket beyond bytes: descriptors, and whose they are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

use crate::memory_file::MemoryFile;
use crate::platform::{Descriptor, Program};

/// The socket of a program. Only a Unix socket of Linux passes descriptors; everything else has none of it.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// Looks for descriptors in what is read from here on. Returns false where none can be passed.
    fn attach(&mut self) -> bool {
        false
    }

    /// The program at the other end, whose files can be opened by their numbers.
    ///
    /// # Errors
    /// `Unsupported`, with a message for the program, where they cannot.
    fn program(&self) -> io::Result<Program> {
        let message = "files are opened by their numbers only for programs that come through the Unix socket on Linux: send the bytes";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    /// Whether the program waits for answers, so that nothing comes of it before it has them.
    fn set_owed(&mut self, _is_owed: bool) {}

    /// What the last read brought beside its bytes. To be asked after each read.
    fn take_arrived(&mut self) -> Arrived {
        Arrived::Nothing
    }

    /// Reads once into `room`, and where that is full into `behind`, which may stay empty. Returns how many bytes came, 0 at the end.
    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        _behind: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(self).poll_read(cx, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Writes as `poll_write_vectored` does, with the descriptor of a file attached to the first byte.
    fn poll_write_attached(
        &mut self,
        _cx: &mut Context<'_>,
        _slices: &[IoSlice<'_>],
        _file: &MemoryFile,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// What came with the bytes of one read.
#[derive(Debug, Default)]
pub(super) enum Arrived {
    /// No descriptor.
    #[default]
    Nothing,
    /// A descriptor.
    One(Descriptor),
    /// A descriptor for which this process had no room, so that the system closed it.
    Lost,
    /// More than one; they are closed.
    Several,
}

impl Wire for TcpStream {}

impl Wire for &mut TcpStream {}

impl Wire for DuplexStream {}
