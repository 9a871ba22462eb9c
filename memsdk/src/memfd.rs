//! Memory files of Linux: made here and given to the node, or got from it; and their way through a socket.
//!
//! `unsafe` stands here to look at mapped memory as bytes. That is sound where nobody changes the bytes while somebody looks,
//! and where the file is never shorter than the mapping. Of a file that the node gave that is checked: its seals keep
//! everybody from writing and from changing its length, and cannot be taken off. A file that the node fills is not mapped before
//! it has such seals. The node itself may have a mapping that it could
//! write; it runs as the same user, could write this process's memory outright, and promises not to. A file that is
//! made here has a descriptor that nobody else has until it is sealed.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use memmap2::{Mmap, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UnixStream;

/// A descriptor on its way to the node or from it.
pub(crate) type Descriptor = Arc<OwnedFd>;

/// What files of this kind are called under `/proc/PID/fd`. They have no other name.
const NAME: &str = "memcloud";

/// The most bytes that a read takes which looks for descriptors: it wants memory that is initialized.
const RECEIVE_MAX: usize = 64 * 1024;

/// The descriptor of a file, to be passed to the node.
pub(crate) fn share(file: &File) -> io::Result<Option<Descriptor>> {
    Ok(Some(Arc::new(OwnedFd::from(file.try_clone()?))))
}

/// A memory file that the node fills. It is not mapped before it is sealed: until then others may write it.
#[derive(Debug)]
pub(crate) struct Filling {
    descriptor: Descriptor,
    len: u64,
}

impl Filling {
    /// A file of `len` zeroes, at least one.
    pub(crate) fn create(len: u64) -> io::Result<Self> {
        let file = create_unnamed()?;
        file.set_len(len)?;
        let descriptor = Arc::new(OwnedFd::from(file));
        Ok(Self { descriptor, len })
    }

    /// The descriptor, to be passed to the node.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Arc::clone(&self.descriptor)
    }

    /// Ends the filling: nobody writes the file any more, whoever has its descriptor. Its bytes, to be read.
    ///
    /// # Errors
    /// `ResourceBusy` where somebody has a mapping that could be written; else what the system says.
    pub(crate) fn seal(self) -> io::Result<Map> {
        fcntl_add_seals(&self.descriptor, SEALS)?;
        Map::of(self.descriptor, 0, self.len)
    }
}

/// What nobody can change any more, nor take this off.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE)
    .union(SealFlags::SEAL);

fn create_unnamed() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux knows it since 6.3; some systems are set to refuse files that could be executed.
    match memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => Ok(File::from(memfd_create(NAME, flags)?)),
        made => Ok(File::from(made?)),
    }
}

/// Memory of this process that the node can map.
#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    map: MmapRaw,
}

impl Memory {
    /// `len` zeroes, at least one.
    pub(crate) fn create(len: usize) -> io::Result<Self> {
        let file = create_unnamed()?;
        file.set_len(len as u64)?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        Ok(Self { file, map })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is as long as the file and lives as long as `self`. The descriptor is this one's alone, and
        // all methods that write take `&mut self`.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), self.map.len()) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` says that nobody else looks.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr(), self.map.len()) }
    }

    /// Writes bytes that lie within the file.
    pub(crate) fn write_at(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset as u64)
    }

    /// Gives the memory up to be written, so that the node can be sure of it. The second part are its bytes, to be read.
    pub(crate) fn seal(self) -> io::Result<(Descriptor, Map)> {
        let Self { file, map } = self;
        let len = map.len();
        // The system refuses the seal as long as there is a writable mapping.
        drop(map);
        fcntl_add_seals(&file, SEALS)?;
        let descriptor = Arc::new(OwnedFd::from(file));
        let map = Map::of(Arc::clone(&descriptor), 0, len as u64)?;
        Ok((descriptor, map))
    }
}

/// A sealed memory file, or a part of one, mapped to be read.
#[derive(Debug)]
pub(crate) struct Map {
    map: Mmap,
    /// Where the part begins and how long it is.
    start: usize,
    len: usize,
    descriptor: Descriptor,
}

impl Map {
    /// Maps the `length` bytes from `offset` on, 1 at least.
    ///
    /// # Errors
    /// `InvalidData` where the file is not sealed, or shorter; else what the system says.
    pub(crate) fn of(descriptor: Descriptor, offset: u64, length: u64) -> io::Result<Self> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let seals = fcntl_get_seals(&descriptor).map_err(|_| wrong("what came is no memory file"))?;
        let against_writing = SealFlags::WRITE | SealFlags::FUTURE_WRITE;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) || !seals.intersects(against_writing) {
            return Err(wrong("the memory file that came is not sealed"));
        }
        let size = rustix::fs::fstat(&descriptor)?.st_size as u64;
        let end = offset.checked_add(length).filter(|&end| end <= size);
        let end = end.ok_or_else(|| wrong("the memory file that came is shorter than its reply said"))?;
        let end = usize::try_from(end).map_err(|_| wrong("the memory file that came is too long"))?;
        // From the beginning: a mapping costs the same however long it is, and `offset` need not be that of a page. Private,
        // which makes no difference to a reader, but Linux before 6.7 refuses a shared mapping of a file sealed against writing.
        // SAFETY: the file has the seals that are checked above, and no seal can be taken off: its length stays, and nobody
        // but the node could write it (see the module).
        let map = unsafe { MmapOptions::new().len(end).map_copy_read_only(&descriptor)? };
        let start = end - length as usize;
        Ok(Self {
            map,
            start,
            len: length as usize,
            descriptor,
        })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }

    /// The file, and where the bytes begin in it.
    pub(crate) fn file(&self) -> (&Descriptor, u64) {
        (&self.descriptor, self.start as u64)
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// Reads bytes, and the descriptor that was attached to them.
pub(crate) fn poll_receive(
    socket: &UnixStream,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
    arrived: &mut Option<Descriptor>,
) -> Poll<io::Result<()>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        let len = buffer.remaining().min(RECEIVE_MAX);
        let room = buffer.initialize_unfilled_to(len);
        match socket.try_io(Interest::READABLE, || receive(socket, room)) {
            Ok((read, descriptor)) => {
                *arrived = descriptor.map(Arc::new);
                buffer.advance(read);
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn receive(socket: &UnixStream, room: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(room)];
    // Where this process has no room for a descriptor, none comes, and its frame misses it.
    let received = recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, descriptor))
}

/// Writes what the socket takes now, with a descriptor attached to the first byte.
pub(crate) fn try_send(
    socket: &UnixStream,
    slices: &[IoSlice<'_>],
    descriptor: &Descriptor,
) -> io::Result<usize> {
    socket.try_io(Interest::WRITABLE, || {
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        Ok(sendmsg(socket, slices, &mut control, SendFlags::NOSIGNAL)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8], seals: SealFlags) -> Descriptor {
        let mut memory = Memory::create(bytes.len()).unwrap();
        memory.as_mut_slice().copy_from_slice(bytes);
        let Memory { file, map } = memory;
        drop(map);
        fcntl_add_seals(&file, seals).unwrap();
        Arc::new(file.into())
    }

    #[test]
    fn what_was_filled_is_sealed_and_read() {
        let mut memory = Memory::create(10).unwrap();
        memory.as_mut_slice()[..5].copy_from_slice(b"Hello");
        memory.write_at(5, b"there").unwrap();
        assert_eq!(memory.as_slice(), b"Hellothere");
        let (descriptor, map) = memory.seal().unwrap();
        assert_eq!(map.as_slice(), b"Hellothere");
        let file = File::from(descriptor.try_clone().unwrap());
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(file.set_len(100).is_err());
        assert!(MmapOptions::new().map_raw(&file).is_err());
        assert_eq!(Map::of(descriptor, 5, 4).unwrap().as_slice(), b"ther");
    }

    #[test]
    fn what_others_filled_is_theirs_no_more_once_it_is_sealed() {
        let filling = Filling::create(5).unwrap();
        let theirs = File::from(filling.descriptor().try_clone().unwrap());
        theirs.write_all_at(b"Hello", 0).unwrap();
        let map = filling.seal().unwrap();
        assert_eq!(map.as_slice(), b"Hello");
        assert!(theirs.write_all_at(b"x", 0).is_err());
        assert!(theirs.set_len(1).is_err());
        assert_eq!(map.as_slice(), b"Hello");
        // One that is still mapped to be written is not trusted.
        let filling = Filling::create(5).unwrap();
        let _mapped = MmapOptions::new().len(5).map_raw(&filling.descriptor()).unwrap();
        assert!(filling.seal().is_err());
    }

    #[test]
    fn what_may_change_is_not_mapped() {
        let length = SealFlags::SHRINK | SealFlags::GROW;
        for seals in [
            length,
            SealFlags::SHRINK | SealFlags::WRITE,
            SealFlags::GROW | SealFlags::WRITE,
        ] {
            let error = Map::of(sealed(b"data", seals), 0, 4).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        assert!(Map::of(sealed(b"data", length | SealFlags::FUTURE_WRITE), 0, 4).is_ok());
        let (pipe, _) = io::pipe().unwrap();
        assert!(Map::of(Arc::new(pipe.into()), 0, 4).is_err());
    }

    #[test]
    fn a_reply_that_promises_more_than_the_file_has_is_refused() {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        let file = sealed(b"data", seals);
        for (offset, length) in [(0, 5), (4, 1), (5, 1), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(
                Map::of(Arc::clone(&file), offset, length).is_err(),
                "{offset} {length}"
            );
        }
    }
}
