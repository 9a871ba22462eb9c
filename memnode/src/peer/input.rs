//! Bytes from a connection on their way to the link's machine.

use std::io;

use memproto::peer::record::{self, LENGTH_PREFIX_LEN, RECORD_MAX};

/// A record with its length.
const RECORD_LEN: usize = LENGTH_PREFIX_LEN + RECORD_MAX;

/// How much is read from the socket at a time: four full records, so that a fast sender costs few system calls.
const READ_SIZE: usize = 4 * RECORD_LEN;

/// Bytes from the socket on their way to the machine, in one buffer that is used again and again.
pub(super) struct Input {
    buffer: Vec<u8>,
    /// Where the first byte that was not taken yet lies.
    start: usize,
    /// Behind the last byte that arrived.
    end: usize,
}

impl Input {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; READ_SIZE + RECORD_LEN],
            start: 0,
            end: 0,
        }
    }

    /// Reads once, by `read`. Returns how many bytes came, 0 at the end of the connection.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let bytes = read(&mut self.buffer[self.end..])?;
        self.end += bytes;
        Ok(bytes)
    }

    /// The next whole record without its length, or `None` where it has not all arrived.
    pub(super) fn next_record(&mut self) -> Result<Option<&mut [u8]>, record::RecordError> {
        let there = &self.buffer[self.start..self.end];
        let Some(prefix) = there.first_chunk::<LENGTH_PREFIX_LEN>() else {
            return Ok(None);
        };
        let length = record::check_length(*prefix)?;
        let from = self.start + LENGTH_PREFIX_LEN;
        if from + length > self.end {
            return Ok(None);
        }
        self.start = from + length;
        Ok(Some(&mut self.buffer[from..from + length]))
    }

    /// Makes room behind the part of a record that is left.
    pub(super) fn compact(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}
