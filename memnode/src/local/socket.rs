//! The socket of a program, which wakes its session for what arrives and for nothing else.
//!
//! tokio's own `UnixStream` asks the system for both directions at once. Then every reply that the program reads out of its
//! socket wakes the session, because there is room to write again: one needless wake in each round trip. This one asks for
//! what can be read, and for room to write only while a write has found none.
//!
//! `unsafe` stands here for two reasons: the room for a read is not initialized, and tokio wants to be promised that a descriptor
//! stays open while it waits for it.

#![allow(unsafe_code)]

use std::io::{self, IoSlice, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How soon a write is tried again where the system has no descriptor to wait for room with. The program is served, more
/// slowly, rather than lost because others have opened too much.
const WRITE_RETRY: Duration = Duration::from_millis(5);

/// A connected Unix socket.
#[derive(Debug)]
pub(super) struct Socket {
    readable: AsyncFd<UnixStream>,
    /// The same socket under a descriptor of its own, while a write waits for room.
    writable: Option<AsyncFd<UnixStream>>,
    /// Runs while a write waits for room without such a descriptor.
    retry: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Waits for the socket on the runtime of the caller.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            readable: register(stream, Interest::READABLE)?,
            writable: None,
            retry: None,
        })
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(retry) = &mut self.retry {
                ready!(retry.as_mut().poll(cx));
                self.retry = None;
            }
            if let Some(writable) = &self.writable {
                let mut ready = ready!(writable.poll_write_ready(cx))?;
                match ready.try_io(|socket| write(socket.get_ref())) {
                    Ok(written) => {
                        self.writable = None;
                        return Poll::Ready(written);
                    }
                    Err(_would_block) => continue,
                }
            }
            match write(self.readable.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let same = self.readable.get_ref().try_clone();
                    match same.and_then(|same| register(same, Interest::WRITABLE)) {
                        Ok(writable) => self.writable = Some(writable),
                        Err(error) if is_out_of_descriptors(&error) => {
                            self.retry = Some(Box::pin(sleep(WRITE_RETRY)));
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                written => return Poll::Ready(written),
            }
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

fn register(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a `UnixStream` has one descriptor, which is open and its own until it is dropped, and `AsyncFd` gives up its
    // registration before it drops the stream. It hands the stream out by shared reference alone here, so nobody replaces it.
    let registered = unsafe { AsyncFd::register_with_interest(stream, interest) };
    Ok(registered?)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.readable.poll_read_ready(cx))?;
            let offered = buffer.remaining();
            let read = ready.try_io(|socket| {
                // SAFETY: the system writes bytes into this room and takes none out, so what is initialized stays so.
                let room = unsafe { buffer.unfilled_mut() };
                let (filled, _) = rustix::io::read(socket.get_ref(), room)?;
                Ok(filled.len())
            });
            match read {
                Ok(Ok(read)) => {
                    if 0 < read && read < offered {
                        // All was read: epoll(7) tells of what comes next, so that no call is needed to find nothing.
                        ready.clear_ready();
                    }
                    // SAFETY: the system has written so many bytes to the beginning of the room.
                    unsafe { buffer.assume_init(read) };
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut socket| socket.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.readable.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_write_that_finds_no_room_goes_on_when_there_is_some() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (Socket::new(ours).unwrap(), Socket::new(theirs).unwrap());
        // Some times what a socket holds.
        let sent: Vec<u8> = (0..4 << 20).map(|i: u32| (i % 251) as u8).collect();
        let mut received = Vec::new();
        let (written, read) = tokio::join!(
            async {
                ours.write_all(&sent).await?;
                ours.shutdown().await
            },
            theirs.read_to_end(&mut received)
        );
        written.unwrap();
        assert_eq!(read.unwrap(), sent.len());
        assert!(received == sent, "other bytes came than were sent");
        // The descriptor that waited for room is given back.
        assert!(ours.writable.is_none());
    }

    #[tokio::test]
    async fn small_messages_go_both_ways_until_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (Socket::new(ours).unwrap(), Socket::new(theirs).unwrap());
        let mut buffer = [0; 16];
        for message in [&b"ping"[..], b"a longer one"] {
            ours.write_all(message).await.unwrap();
            let read = theirs.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..read], message);
            theirs.write_all(message).await.unwrap();
            let read = ours.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..read], message);
        }
        drop(theirs);
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 0);
        assert!(ours.write_all(b"nobody").await.is_err());
    }
}
