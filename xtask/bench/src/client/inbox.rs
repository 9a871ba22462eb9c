//! What was read from a socket and not yet looked at.

use std::fs::File;
use std::io::{IoSliceMut, Read};

use anyhow::{Result, ensure};

use super::uninterrupted;

/// A buffer that is filled from a socket and looked at in place.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An empty one for at most so many bytes at a time.
    pub(super) fn new(len: usize) -> Self {
        Self {
            buffer: vec![0; len].into(),
            start: 0,
            end: 0,
        }
    }

    /// What is there.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Is done with so many bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once: what the socket has, as far as there is room.
    pub(super) fn read_some(&mut self, mut socket: &File) -> Result<()> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let read = uninterrupted(|| socket.read(&mut self.buffer[self.end..]))?;
        ensure!(read > 0, "the server closed the connection");
        self.end += read;
        Ok(())
    }

    /// Reads until so many bytes are there.
    pub(super) fn need(&mut self, socket: &File, len: usize) -> Result<()> {
        ensure!(len <= self.buffer.len(), "a reply of {len} bytes is too long");
        while self.end - self.start < len {
            self.read_some(socket)?;
        }
        Ok(())
    }

    /// Fills `slices`, first with what is there, then straight from the socket.
    pub(super) fn read_all_of(&mut self, mut socket: &File, mut slices: &mut [IoSliceMut<'_>]) -> Result<()> {
        while self.start < self.end && !slices.is_empty() {
            let taken = slices[0].len().min(self.end - self.start);
            slices[0][..taken].copy_from_slice(&self.buffer[self.start..self.start + taken]);
            self.consume(taken);
            IoSliceMut::advance_slices(&mut slices, taken);
        }
        // Slices of no bytes in front go away, so that a read of nothing means the end.
        IoSliceMut::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let read = uninterrupted(|| socket.read_vectored(slices))?;
            ensure!(read > 0, "the server closed the connection");
            IoSliceMut::advance_slices(&mut slices, read);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_come_in_order_however_they_are_read() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let there = File::from(OwnedFd::from(there));
        let mut inbox = Inbox::new(8);
        here.write_all(b"abcdefgh").unwrap();
        inbox.need(&there, 3).unwrap();
        inbox.consume(3);
        here.write_all(b"ijklmnop").unwrap();
        // Five bytes are there, the other three move to the front of them.
        inbox.need(&there, 8).unwrap();
        assert_eq!(inbox.bytes(), b"defghijk");
        inbox.consume(6);

        let (mut one, mut two) = ([0; 3], [0; 4]);
        let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        inbox.read_all_of(&there, &mut slices).unwrap();
        assert_eq!((&one, &two), (b"jkl", b"mnop"));

        drop(here);
        assert!(inbox.read_some(&there).is_err());
        assert!(inbox.need(&there, 9).is_err());
    }
}
