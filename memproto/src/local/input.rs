//! Bytes that arrived, cut into frames.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{FrameError, FrameHeader, HEADER_LEN};
use super::limits::PREFACE;

/// The least room in bytes that is offered to a read: many small requests fit.
const READ_MIN: usize = 16 * 1024;

/// The most room in bytes that is offered to a read. A Unix socket holds some 200 KiB.
const READ_MAX: usize = 512 * 1024;

/// An empty buffer of more than this many bytes is worth giving back.
const ROOMY: usize = 4 * READ_MIN;

/// The receiving half of a connection, without the connection: bytes go in as they come, frames come out.
///
/// It holds what arrived and never more: a header that promises a long payload reserves nothing. The room for a read
/// grows only while reads fill it.
#[derive(Debug)]
pub struct Input {
    buffer: BytesMut,
    read_size: usize,
    offered: usize,
    /// Bytes that are dropped as they come.
    skipped: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            read_size: READ_MIN,
            offered: 0,
            skipped: 0,
        }
    }
}

impl Input {
    /// The buffer to read into behind what is there, with room for one read. After the read call
    /// [`received`](Self::received).
    pub fn read_buffer(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_MIN {
            self.buffer.reserve(self.read_size);
        }
        self.offered = self.buffer.capacity() - self.buffer.len();
        &mut self.buffer
    }

    /// Tells how many bytes the read brought, so that the next one gets more or less room.
    pub fn received(&mut self, bytes: usize) {
        self.skip_arrived();
        if bytes == self.offered {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        } else if bytes < self.read_size / 8 {
            self.read_size = (self.read_size / 2).max(READ_MIN);
        }
    }

    /// Appends bytes, for whoever has them already.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.skip_arrived();
    }

    /// Drops so many of the next bytes that come.
    pub fn skip_next(&mut self, bytes: usize) {
        self.skipped += bytes;
        self.skip_arrived();
    }

    fn skip_arrived(&mut self) {
        let skipped = self.skipped.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.skipped -= skipped;
    }

    /// Number of bytes that were not taken yet.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether all that arrived was taken.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes the client's preface. Returns whether it is there whole.
    ///
    /// # Errors
    /// At the first byte that is not the preface's.
    pub fn take_preface(&mut self) -> Result<bool, FrameError> {
        let there = self.buffer.len().min(PREFACE.len());
        if self.buffer[..there] != PREFACE[..there] {
            return Err(FrameError::NoPreface);
        }
        if there < PREFACE.len() {
            return Ok(false);
        }
        self.buffer.advance(PREFACE.len());
        Ok(true)
    }

    /// The header of the first frame, once the frame is there whole.
    ///
    /// # Errors
    /// Where its length is over the limit, as soon as its header is there.
    pub fn peek(&self) -> Result<Option<FrameHeader>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(header)?;
        Ok((self.buffer.len() >= header.frame_len()).then_some(header))
    }

    /// The header of the first frame, once that is there; the frame need not be there whole.
    ///
    /// # Errors
    /// Where its length is over the limit.
    pub fn first_header(&self) -> Result<Option<FrameHeader>, FrameError> {
        let header = self.buffer.first_chunk::<HEADER_LEN>();
        header.map(FrameHeader::decode).transpose()
    }

    /// What is there of the payload of the first frame, whose header is there and which is not there whole.
    pub fn begun_payload(&self) -> &[u8] {
        &self.buffer[HEADER_LEN..]
    }

    /// Drops the beginning of a frame that is not there whole, for whoever reads the rest of it elsewhere.
    pub fn take_begun(&mut self) {
        self.buffer.clear();
    }

    /// How long the first frame says it is with its header, once its header is there. It need not be there whole.
    pub fn promised_len(&self) -> Option<usize> {
        let header = self.buffer.first_chunk::<HEADER_LEN>()?;
        FrameHeader::decode(header).ok().map(|header| header.frame_len())
    }

    /// The payload of the first frame. `header` is what [`peek`](Self::peek) gave just now.
    pub fn payload(&self, header: &FrameHeader) -> &[u8] {
        &self.buffer[HEADER_LEN..header.frame_len()]
    }

    /// Drops the first frame.
    pub fn skip(&mut self, header: &FrameHeader) {
        self.buffer.advance(header.frame_len());
        self.shrink();
    }

    /// Takes the payload of the first frame, without a copy.
    pub fn take(&mut self, header: &FrameHeader) -> Bytes {
        let mut frame = self.buffer.split_to(header.frame_len());
        frame.advance(HEADER_LEN);
        frame.freeze()
    }

    /// Whether it holds memory that a burst left behind and nothing lies in. To be asked behind
    /// [`read_buffer`](Self::read_buffer): only then a buffer that was used up is seen as a whole again.
    pub fn is_roomy(&self) -> bool {
        self.buffer.is_empty() && self.buffer.capacity() > ROOMY
    }

    /// Gives back all memory that nothing lies in: for a connection at rest. The next read gets as much as the first.
    pub fn give_back(&mut self) {
        if self.buffer.is_empty() {
            *self = Self::default();
        }
    }

    /// Gives memory back after a burst, so that a thousand idle connections hold little.
    fn shrink(&mut self) {
        if self.is_roomy() && self.read_size == READ_MIN {
            self.buffer = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::local::{Op, Output};

    fn frames(input: &mut Input) -> Vec<(FrameHeader, Bytes)> {
        let mut frames = Vec::new();
        while let Ok(Some(header)) = input.peek() {
            frames.push((header, input.take(&header)));
        }
        frames
    }

    fn three_frames() -> Vec<u8> {
        let mut output = Output::default();
        output.frame(FrameHeader::new(Op::Ping, 1), |_| {}, Bytes::new());
        output.frame(
            FrameHeader::new(Op::Data, 2).with_more(true),
            |_| {},
            Bytes::from(vec![7; 10_000]),
        );
        output.frame(
            FrameHeader::new(Op::Get, 3),
            |args| args.extend_from_slice(b"abc"),
            Bytes::new(),
        );
        output.to_vec()
    }

    #[test]
    fn frames_come_out_the_same_however_the_bytes_came_in() {
        let bytes = three_frames();
        let mut whole = Input::default();
        whole.extend(&bytes);
        let expected = frames(&mut whole);
        assert_eq!(expected.len(), 3);
        assert!(whole.is_empty());

        let mut slow = Input::default();
        let mut got = Vec::new();
        for byte in &bytes {
            slow.extend(&[*byte]);
            got.extend(frames(&mut slow));
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn a_truncated_frame_is_not_there_yet() {
        let bytes = three_frames();
        for end in 0..bytes.len() {
            let mut input = Input::default();
            input.extend(&bytes[..end]);
            let got = frames(&mut input);
            assert!(got.len() < 3);
            assert_eq!(input.peek(), Ok(None));
        }
    }

    #[test]
    fn a_promise_reserves_nothing() {
        let mut header = FrameHeader::new(Op::Set, 1);
        header.length = crate::local::FRAME_PAYLOAD_MAX as u32;
        let mut input = Input::default();
        let buffer = input.read_buffer();
        buffer.extend_from_slice(&header.encode());
        input.received(16);
        assert_eq!(input.peek(), Ok(None));
        assert!(input.read_buffer().capacity() <= 2 * READ_MIN);
    }

    #[test]
    fn what_a_burst_left_is_given_back_and_what_lies_there_is_not() {
        let mut input = Input::default();
        input.read_buffer().extend_from_slice(&vec![0; 2 * READ_MAX]);
        input.received(2 * READ_MAX);
        assert!(!input.is_roomy());
        input.give_back();
        assert_eq!(input.len(), 2 * READ_MAX);
        while let Ok(Some(header)) = input.peek() {
            input.skip(&header);
        }
        let _ = input.read_buffer();
        assert!(input.is_roomy());
        input.give_back();
        let _ = input.read_buffer();
        assert!(!input.is_roomy() && input.is_empty());
    }

    #[test]
    fn the_preface_is_refused_at_its_first_wrong_byte() {
        let mut input = Input::default();
        input.extend(b"ME");
        assert_eq!(input.take_preface(), Ok(false));
        input.extend(b"MC!");
        assert_eq!(input.take_preface(), Ok(true));
        assert_eq!(input.len(), 1);
        for wrong in [&b"G"[..], b"MX", b"POST / HTTP/1.1"] {
            let mut input = Input::default();
            input.extend(wrong);
            assert_eq!(input.take_preface(), Err(FrameError::NoPreface));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut input = Input::default();
            input.extend(&bytes);
            let _ = input.take_preface();
            let _ = frames(&mut input);
        }
    }
}
