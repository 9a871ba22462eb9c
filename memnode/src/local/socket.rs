//! The socket of a program, which wakes its session for what arrives and for nothing else.
//!
//! tokio's own `UnixStream` asks the system for both directions at once. Then every reply that the program reads out of its
//! socket wakes the session, because there is room to write again: one needless wake in each round trip. This one asks for
//! what can be read, and for room to write only while a write has found none.
//!
//! It passes descriptors once it is [attached](Wire::attach). Looking for them costs 0.13 us a read, so that connections on which
//! none are expected do not: the system drops what is attached there.
//!
//! `unsafe` stands here for two reasons: the room for a read is not initialized, and tokio wants to be promised that a descriptor
//! stays open while it waits for it.

#![allow(unsafe_code)]

use std::io::{self, IoSlice, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::{io::IoSliceMut, mem::MaybeUninit};

use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How soon a write is tried again where the system has no descriptor to wait for room with. The program is served, more
/// slowly, rather than lost because others have opened too much.
const WRITE_RETRY: Duration = Duration::from_millis(5);

use super::wire::{Arrived, Wire};
use crate::patience::Patience;
#[cfg(target_os = "linux")]
use crate::{
    memory_file::MemoryFile,
    platform::{DescriptorRef, Program},
};

/// A connected Unix socket.
#[derive(Debug)]
pub(super) struct Socket {
    readable: AsyncFd<UnixStream>,
    /// The same socket under a descriptor of its own, while a write waits for room.
    writable: Option<AsyncFd<UnixStream>>,
    patience: Patience,
    /// Whether the program waits for answers: then it is not looked for.
    is_owed: bool,
    patience_for_room: Patience,
    /// Whether reads look for descriptors.
    is_attached: bool,
    /// What the last read brought beside its bytes.
    arrived: Arrived,
    /// Runs while a write waits for room without such a descriptor.
    retry: Option<Pin<Box<Sleep>>>,
}

/// The most bytes that a read takes which looks for descriptors: it wants memory that is initialized, so that more would
/// cost more than the call.
#[cfg(target_os = "linux")]
const ATTACHED_READ_MAX: usize = 64 * 1024;

/// Bytes that a socket may hold of what its program has not read: a frame of the largest size with the system's own costs. Linux doubles the
/// number, and gives a user without privileges at most as much as this (`net.core.wmem_max`).
const SEND_BUFFER: usize = 208 * 1024;

impl Socket {
    /// Waits for the socket on the runtime of the caller, and looks again for so long before it does, see `patience`.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn new(stream: UnixStream, look_again: Duration) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Where it is refused the socket holds what the system gives every one.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
        Ok(Self {
            readable: register(stream, Interest::READABLE)?,
            writable: None,
            patience: Patience::for_requests(look_again),
            is_owed: false,
            patience_for_room: Patience::for_room(look_again),
            is_attached: false,
            arrived: Arrived::Nothing,
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
                        self.patience_for_room.found();
                        return Poll::Ready(written);
                    }
                    Err(_would_block) => continue,
                }
            }
            match write(self.readable.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.patience_for_room.look_again() {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let same = self.readable.get_ref().try_clone();
                    match same.and_then(|same| register(same, Interest::WRITABLE)) {
                        Ok(writable) => self.writable = Some(writable),
                        Err(error) if is_out_of_descriptors(&error) => {
                            self.retry = Some(Box::pin(sleep(WRITE_RETRY)));
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                written => {
                    self.patience_for_room.found();
                    return Poll::Ready(written);
                }
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

#[cfg(target_os = "linux")]
impl Wire for Socket {
    fn attach(&mut self) -> bool {
        self.is_attached = true;
        true
    }

    fn program(&self) -> io::Result<Program> {
        Program::of(self.readable.get_ref())
    }

    fn set_owed(&mut self, is_owed: bool) {
        self.is_owed = is_owed;
    }

    fn take_arrived(&mut self) -> Arrived {
        std::mem::take(&mut self.arrived)
    }

    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        behind: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let (offered, mut came) = (room.len() + behind.len(), 0);
        let mut arrived = Arrived::Nothing;
        let is_attached = self.is_attached;
        let polled = self.poll_read_with(cx, |stream| {
            let mut slices = [IoSliceMut::new(room), IoSliceMut::new(behind)];
            if is_attached {
                (came, arrived) = receive_attached(stream, &mut slices)?;
            } else {
                came = rustix::io::readv(stream, &mut slices)?;
            }
            let perhaps_more = came == offered || !matches!(arrived, Arrived::Nothing);
            Ok(Brought {
                bytes: came,
                perhaps_more,
            })
        });
        self.arrived = arrived;
        polled.map_ok(|()| came)
    }

    fn poll_write_attached(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        file: &MemoryFile,
    ) -> Poll<io::Result<usize>> {
        let descriptor = file.share()?;
        self.poll_write_with(cx, |socket| send_attached(socket, slices, descriptor))
    }
}

#[cfg(not(target_os = "linux"))]
impl Wire for Socket {
    fn set_owed(&mut self, is_owed: bool) {
        self.is_owed = is_owed;
    }
}

#[cfg(target_os = "linux")]
fn send_attached(
    socket: &UnixStream,
    slices: &[IoSlice<'_>],
    descriptor: DescriptorRef<'_>,
) -> io::Result<usize> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    Ok(sendmsg(socket, slices, &mut control, SendFlags::NOSIGNAL)?)
}

/// Reads bytes, and descriptors that were attached to them.
#[cfg(target_os = "linux")]
fn receive_attached(socket: &UnixStream, room: &mut [IoSliceMut<'_>]) -> io::Result<(usize, Arrived)> {
    // Room for one more than may come, to tell.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, room, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut arrived = if received.flags.contains(ReturnFlags::CTRUNC) {
        Arrived::Lost
    } else {
        Arrived::Nothing
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                arrived = match arrived {
                    Arrived::Nothing => Arrived::One(descriptor),
                    Arrived::Lost | Arrived::One(_) | Arrived::Several => Arrived::Several,
                };
            }
        }
    }
    Ok((received.bytes, arrived))
}

/// How much one read brought.
struct Brought {
    bytes: usize,
    /// Whether more may be there already.
    perhaps_more: bool,
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        #[cfg(target_os = "linux")]
        if socket.is_attached {
            let mut arrived = Arrived::Nothing;
            let polled = socket.poll_read_with(cx, |stream| {
                let offered = buffer.remaining().min(ATTACHED_READ_MAX);
                let bytes;
                let mut room = [IoSliceMut::new(buffer.initialize_unfilled_to(offered))];
                (bytes, arrived) = receive_attached(stream, &mut room)?;
                buffer.advance(bytes);
                // A read also ends behind a descriptor.
                let perhaps_more = bytes == offered || !matches!(arrived, Arrived::Nothing);
                Ok(Brought { bytes, perhaps_more })
            });
            socket.arrived = arrived;
            return polled;
        }
        socket.poll_read_with(cx, |stream| {
            let offered = buffer.remaining();
            let bytes = read(stream, buffer)?;
            Ok(Brought {
                bytes,
                perhaps_more: bytes == offered,
            })
        })
    }
}

impl Socket {
    /// Reads once, where there is something, or looks again as long as `patience` says.
    fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&UnixStream) -> io::Result<Brought>,
    ) -> Poll<io::Result<()>> {
        let Self {
            readable,
            patience,
            is_owed,
            ..
        } = self;
        if patience.is_looking() {
            match read(readable.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if patience.look_again() {
                        // Its task has its turn behind the others of the thread.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                read => {
                    patience.found();
                    return Poll::Ready(read.map(drop));
                }
            }
        }
        loop {
            let Poll::Ready(ready) = readable.poll_read_ready(cx) else {
                if !*is_owed && patience.look_again() {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            };
            let mut ready = ready?;
            match ready.try_io(|stream| read(stream.get_ref())) {
                Ok(Ok(brought)) => {
                    if 0 < brought.bytes && !brought.perhaps_more {
                        // All was read: epoll(7) tells of what comes next, so that no call is needed to find nothing.
                        ready.clear_ready();
                    }
                    patience.found();
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

/// Reads once into the room of a buffer. Returns how many bytes came.
fn read(stream: &UnixStream, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: the system writes bytes into this room and takes none out, so what is initialized stays so.
    let room = unsafe { buffer.unfilled_mut() };
    let (filled, _) = rustix::io::read(stream, room)?;
    let read = filled.len();
    // SAFETY: the system has written so many bytes to the beginning of the room.
    unsafe { buffer.assume_init(read) };
    buffer.advance(read);
    Ok(read)
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
    use crate::local::LOOK_AGAIN_DEFAULT;

    #[tokio::test]
    async fn a_write_that_finds_no_room_goes_on_when_there_is_some() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut ours, mut theirs) = (
            Socket::new(ours, LOOK_AGAIN_DEFAULT).unwrap(),
            Socket::new(theirs, Duration::ZERO).unwrap(),
        );
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
        let (mut ours, mut theirs) = (
            Socket::new(ours, LOOK_AGAIN_DEFAULT).unwrap(),
            Socket::new(theirs, Duration::ZERO).unwrap(),
        );
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
