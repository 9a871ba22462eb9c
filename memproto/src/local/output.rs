//! Frames that wait to be written.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::{FrameHeader, HEADER_LEN};
use super::limits::ERROR_MESSAGE_MAX;
use crate::error::ApiError;

/// Values up to this many bytes are copied behind their header; longer ones are handed to the system where they lie.
/// A copy of 4 KiB costs about as much as the bookkeeping of a piece of its own.
const COPY_MAX: usize = 4 * 1024;

/// An empty buffer of more than this many bytes is worth giving back.
const ROOMY: usize = 16 * 1024;

/// Buffers of more than this many bytes are given back when all was written.
const KEEP_MAX: usize = 128 * 1024;

/// The sending half of a connection, without the connection: frames go in, slices for one vectored write come out.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Output {
    /// Appends a frame: the header, whose length is filled in here, what `args` writes, and a value.
    pub fn frame(&mut self, header: FrameHeader, args: impl FnOnce(&mut BytesMut), value: Bytes) {
        if value.len() <= COPY_MAX {
            self.frame_copied(header, args, &value);
            return;
        }
        self.begin(header, args, value.len());
        self.len += value.len();
        self.pieces.push_back(self.tail.split().freeze());
        self.pieces.push_back(value);
    }

    /// Appends a frame with a copy of a value: for small ones.
    pub fn frame_copied(&mut self, header: FrameHeader, args: impl FnOnce(&mut BytesMut), value: &[u8]) {
        self.begin(header, args, value.len());
        self.tail.extend_from_slice(value);
        self.len += value.len();
    }

    /// Appends a frame that says what went wrong.
    pub fn error(&mut self, mut header: FrameHeader, error: &ApiError) {
        header.status = error.code.number();
        header.flags = 0;
        let message = cut(&error.message, ERROR_MESSAGE_MAX);
        self.frame_copied(header, |_| {}, message.as_bytes());
    }

    /// Appends bytes that are no frame: the preface.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    fn begin(&mut self, mut header: FrameHeader, args: impl FnOnce(&mut BytesMut), value_len: usize) {
        let start = self.tail.len();
        self.tail.put_bytes(0, HEADER_LEN);
        args(&mut self.tail);
        let args_len = self.tail.len() - start - HEADER_LEN;
        header.length = (args_len + value_len) as u32;
        self.tail[start..start + HEADER_LEN].copy_from_slice(&header.encode());
        self.len += HEADER_LEN + args_len;
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `slices` with what waits, in order, and returns how many it filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// Drops the first `written` bytes: they are gone.
    pub fn advance(&mut self, mut written: usize) {
        self.len = self.len.saturating_sub(written);
        while let Some(first) = self.pieces.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written.min(self.tail.len()));
        if self.tail.is_empty() {
            if self.tail.capacity() > KEEP_MAX {
                self.tail = BytesMut::new();
            } else {
                self.tail.clear();
            }
        }
    }

    /// Whether it holds memory that a burst left behind and nothing lies in.
    pub fn is_roomy(&self) -> bool {
        self.is_empty() && self.tail.capacity() > ROOMY
    }

    /// Gives back all memory that nothing lies in: for a connection at rest.
    pub fn give_back(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// All that waits, as one copy: for tests and vectors.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len);
        self.pieces.iter().for_each(|piece| all.extend_from_slice(piece));
        all.extend_from_slice(&self.tail);
        all
    }
}

/// The longest start of a text that has at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::local::{FRAME_PAYLOAD_MAX, Op};

    #[test]
    fn what_is_written_in_parts_is_what_was_appended() {
        let mut output = Output::default();
        for i in 0..20u64 {
            let value = Bytes::from(vec![i as u8; (i as usize % 3) * 3_000]);
            output.frame(
                FrameHeader::new(Op::Data, i + 1),
                |args| args.put_u64_le(i),
                value,
            );
        }
        let expected = output.to_vec();
        assert_eq!(output.len(), expected.len());
        let mut written = Vec::new();
        for step in (1..).step_by(977) {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = output.slices(&mut slices);
            if filled == 0 {
                break;
            }
            let there: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            let step = step.min(there.len());
            written.extend_from_slice(&there[..step]);
            output.advance(step);
        }
        assert_eq!(written, expected);
        assert!(output.is_empty());
    }

    #[test]
    fn a_large_value_is_not_copied() {
        let value = Bytes::from(vec![1; COPY_MAX + 1]);
        let mut output = Output::default();
        output.frame(FrameHeader::new(Op::Get, 1), |_| {}, value.clone());
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(output.slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), value.as_ptr());
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = ApiError::new(ErrorCode::Internal, "ü".repeat(FRAME_PAYLOAD_MAX));
        let mut output = Output::default();
        output.error(FrameHeader::new(Op::Get, 1), &error);
        let bytes = output.to_vec();
        assert!(bytes.len() <= HEADER_LEN + ERROR_MESSAGE_MAX);
        assert!(std::str::from_utf8(&bytes[HEADER_LEN..]).is_ok());
    }
}
