//! Which frame a descriptor belongs to. The descriptors themselves, whatever they are to the caller, are not looked at.
//!
//! A descriptor is attached to the first byte of its frame. The system tells with which read it came, and ends a read behind
//! the piece of the stream that brought one: so it belongs to a frame that begins among the bytes of that read.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use crate::error::{ApiError, ApiResult};

/// The descriptors that arrive on a connection.
#[derive(Debug)]
pub struct Arriving<D> {
    /// Bytes that were read of the connection.
    read: u64,
    /// What came for a frame that was not handled yet, and which bytes came with it.
    waiting: Option<(Range<u64>, D)>,
}

impl<D> Default for Arriving<D> {
    fn default() -> Self {
        Self {
            read: 0,
            waiting: None,
        }
    }
}

impl<D> Arriving<D> {
    /// Notes a read of so many bytes, and what came with them.
    ///
    /// # Errors
    /// `InvalidArgument` where another descriptor came before the frame of the last one was handled: it has two.
    pub fn note_read(&mut self, len: usize, descriptor: Option<D>) -> ApiResult<()> {
        let window = self.read..self.read + len as u64;
        self.read = window.end;
        match (descriptor, &self.waiting) {
            (None, _) => {}
            (Some(descriptor), None) => self.waiting = Some((window, descriptor)),
            (Some(_), Some(_)) => return Err(ApiError::invalid(TOO_MANY)),
        }
        Ok(())
    }

    /// Whether a descriptor waits for its frame. Whoever reads on while that frame is there whole risks the error of
    /// [`note_read`](Self::note_read) for nothing.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes the descriptor of the frame with which the `unhandled` bytes begin that were read and not handled.
    pub fn take(&mut self, unhandled: usize) -> Option<D> {
        let start = self.read - unhandled as u64;
        let taken = self.waiting.take_if(|(window, _)| window.contains(&start));
        taken.map(|(_, descriptor)| descriptor)
    }

    /// Checks, behind a frame, that no descriptor was left over. One that was is dropped.
    ///
    /// # Errors
    /// `InvalidArgument` where one was.
    pub fn check_taken(&mut self, unhandled: usize) -> ApiResult<()> {
        let handled = self.read - unhandled as u64;
        match self.waiting.take_if(|(window, _)| window.end <= handled) {
            Some(_) => Err(ApiError::invalid("a descriptor is attached where none belongs")),
            None => Ok(()),
        }
    }
}

/// What is said where a frame has more than one descriptor.
pub const TOO_MANY: &str = "more than one descriptor is attached to a frame";

/// The descriptors that leave on a connection.
#[derive(Debug)]
pub struct Departing<D> {
    /// Bytes that were written to the connection.
    written: u64,
    /// At which byte each is to be attached, in order.
    waiting: VecDeque<(u64, D)>,
}

impl<D> Default for Departing<D> {
    fn default() -> Self {
        Self {
            written: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl<D: Clone> Departing<D> {
    /// Attaches a descriptor to the frame that is appended next, behind `waiting` bytes that are still to be written.
    pub fn append(&mut self, descriptor: D, waiting: usize) {
        self.waiting
            .push_back((self.written + waiting as u64, descriptor));
    }

    /// How the next bytes are written: at most so many, since behind them comes one with a descriptor, and with this
    /// descriptor attached to the first.
    pub fn next_write(&self) -> (usize, Option<D>) {
        let mut coming = self.waiting.iter().peekable();
        let descriptor = coming.next_if(|(at, _)| *at == self.written);
        let len_max = coming
            .peek()
            .map_or(usize::MAX, |(at, _)| (at - self.written) as usize);
        (len_max, descriptor.map(|(_, descriptor)| descriptor.clone()))
    }

    /// Notes that so many bytes were written, one at least, as [`next_write`](Self::next_write) said.
    pub fn note_written(&mut self, len: usize) {
        if self.waiting.front().is_some_and(|(at, _)| *at == self.written) {
            self.waiting.pop_front();
        }
        self.written += len as u64;
    }
}

/// The first `len_max` bytes of some slices: those that are whole, or where the first is not, its part.
pub fn cut<'a>(slices: &'a [IoSlice<'a>], len_max: usize) -> (&'a [IoSlice<'a>], Option<IoSlice<'a>>) {
    let mut left = len_max;
    let fits = |slice: &&IoSlice<'_>| match left.checked_sub(slice.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let whole = slices.iter().take_while(fits).count();
    let part = match slices.first() {
        Some(first) if whole == 0 => Some(IoSlice::new(&first[..len_max])),
        _ => None,
    };
    (&slices[..whole], part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_belongs_to_a_frame_that_begins_in_its_read() {
        let mut arriving = Arriving::default();
        arriving.note_read(100, None).unwrap();
        // Bytes 100 to 180; of which the last 30 begin the frame.
        arriving.note_read(80, Some('a')).unwrap();
        assert_eq!(arriving.take(90), None, "a frame that began before");
        assert_eq!(arriving.check_taken(30), Ok(()));
        // The rest of the frame.
        arriving.note_read(20, None).unwrap();
        assert!(arriving.is_waiting());
        assert_eq!(arriving.take(50), Some('a'));
        assert_eq!(arriving.take(50), None);
        assert_eq!(arriving.check_taken(0), Ok(()));
    }

    #[test]
    fn a_descriptor_that_no_frame_takes_and_a_second_one_are_errors() {
        let mut arriving = Arriving::default();
        arriving.note_read(16, Some('a')).unwrap();
        assert!(arriving.check_taken(0).is_err());
        assert!(!arriving.is_waiting());
        arriving.note_read(16, Some('b')).unwrap();
        assert!(arriving.note_read(16, Some('c')).is_err());
    }

    #[test]
    fn descriptors_leave_with_the_first_byte_of_their_frames() {
        let mut departing = Departing::default();
        assert_eq!(departing.next_write(), (usize::MAX, None));
        departing.append('a', 10);
        departing.append('b', 26);
        assert_eq!(departing.next_write(), (10, None));
        departing.note_written(4);
        assert_eq!(departing.next_write(), (6, None));
        departing.note_written(6);
        assert_eq!(departing.next_write(), (16, Some('a')));
        departing.note_written(1);
        assert_eq!(departing.next_write(), (15, None));
        departing.note_written(15);
        departing.append('c', 50);
        assert_eq!(departing.next_write(), (50, Some('b')));
    }

    #[test]
    fn a_write_ends_before_the_byte_with_the_next_descriptor() {
        let (first, second) = ([1; 10], [2; 5]);
        let slices = [IoSlice::new(&first), IoSlice::new(&second)];
        for (len_max, whole, part) in [
            (4, 0, Some(4)),
            (10, 1, None),
            (12, 1, None),
            (usize::MAX, 2, None),
        ] {
            let (slices, rest) = cut(&slices, len_max);
            assert_eq!((slices.len(), rest.map(|rest| rest.len())), (whole, part));
        }
    }
}
