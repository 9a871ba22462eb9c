//! The descriptors of one connection: which frame one belongs to, and what the program has mapped.
//!
//! A descriptor is attached to the first byte of its frame. The system tells with which read it came, and ends a read behind
//! the piece that brought one; so a descriptor belongs to a frame that begins among the bytes of that read. One that no
//! frame takes is closed, and the connection with it.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use memproto::BlockId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::local::MAPPED_MAX;

use super::wire::Arrived;
use crate::memory_file::{Lease, MemoryFile};
use crate::platform::Descriptor;

/// Descriptors on their way in and out, and the leases of those that went out.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    is_attached: bool,
    /// Bytes that were read of the connection, and written to it.
    read: u64,
    written: u64,
    /// What came and belongs to a frame that was not handled yet; `None` in it where the descriptor was lost.
    received: Option<(Range<u64>, Option<Descriptor>)>,
    /// At which byte of what is written a file is to be attached, in order.
    to_send: VecDeque<(u64, Arc<MemoryFile>)>,
    /// What the program has mapped, by the request that asked for it.
    leases: HashMap<u64, Lease>,
}

/// How the next bytes are written.
pub(super) struct NextWrite {
    /// At most so many, since behind them comes a byte with a descriptor.
    pub(super) len_max: usize,
    /// The file whose descriptor goes with the first of them.
    pub(super) file: Option<Arc<MemoryFile>>,
}

impl Descriptors {
    /// From here on descriptors are passed.
    pub(super) fn attach(&mut self) {
        self.is_attached = true;
    }

    /// Notes a read of so many bytes, and what came with them.
    ///
    /// # Errors
    /// `InvalidArgument` where more than one descriptor came for a frame: the program does not keep to the protocol.
    pub(super) fn note_read(&mut self, len: usize, arrived: Arrived) -> ApiResult<()> {
        let window = self.read..self.read + len as u64;
        self.read = window.end;
        let descriptor = match arrived {
            Arrived::Nothing => return Ok(()),
            Arrived::One(descriptor) => Some(descriptor),
            Arrived::Lost => None,
            Arrived::Several => return Err(too_many()),
        };
        if self.received.is_some() {
            return Err(too_many());
        }
        self.received = Some((window, descriptor));
        Ok(())
    }

    /// Whether a descriptor came whose frame was not handled yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.received.is_some()
    }

    /// The descriptor of the frame with which the `unhandled` bytes begin that were read and not handled.
    ///
    /// # Errors
    /// `InvalidArgument` where it has none; `Busy` where this process had no room for it.
    pub(super) fn take(&mut self, unhandled: usize) -> ApiResult<Descriptor> {
        let start = self.read - unhandled as u64;
        let Some((_, descriptor)) = self.received.take_if(|(window, _)| window.contains(&start)) else {
            return Err(ApiError::invalid(
                "no descriptor is attached to the request: send ATTACH before, and the descriptor with its first byte",
            ));
        };
        descriptor.ok_or_else(|| {
            let message = "the node has no descriptor left for the memory file: send the value's bytes";
            ApiError::new(ErrorCode::Busy, message)
        })
    }

    /// Checks, behind a frame, that no descriptor was left over.
    ///
    /// # Errors
    /// `InvalidArgument` where one was.
    pub(super) fn check_taken(&mut self, unhandled: usize) -> ApiResult<()> {
        let handled = self.read - unhandled as u64;
        match &self.received {
            Some((window, _)) if window.end <= handled => {
                self.received = None;
                Err(ApiError::invalid("a descriptor is attached where none belongs"))
            }
            _ => Ok(()),
        }
    }

    /// Attaches a file to the frame that is appended next, behind `waiting` bytes that are still to be written. Returns
    /// false where that cannot be; then the bytes must flow.
    pub(super) fn append(
        &mut self,
        request: u64,
        id: BlockId,
        file: &Arc<MemoryFile>,
        waiting: usize,
    ) -> bool {
        if !self.is_attached || self.leases.len() >= MAPPED_MAX {
            return false;
        }
        if let Err(error) = file.share() {
            tracing::debug!(%error, "cannot seal a memory file: its bytes are sent");
            return false;
        }
        self.to_send
            .push_back((self.written + waiting as u64, Arc::clone(file)));
        self.leases.insert(request, file.lease(id));
        true
    }

    /// How to write next.
    pub(super) fn next_write(&self) -> NextWrite {
        let mut coming = self.to_send.iter().peekable();
        let file = coming.next_if(|(at, _)| *at == self.written);
        let len_max = coming
            .peek()
            .map_or(usize::MAX, |(at, _)| (at - self.written) as usize);
        NextWrite {
            len_max,
            file: file.map(|(_, file)| Arc::clone(file)),
        }
    }

    /// Notes that so many bytes were written, one at least, as [`next_write`](Self::next_write) said.
    pub(super) fn note_written(&mut self, len: usize) {
        if self.to_send.front().is_some_and(|(at, _)| *at == self.written) {
            self.to_send.pop_front();
        }
        self.written += len as u64;
    }

    /// Whether the program has mapped what this request asked for.
    pub(super) fn is_mapped(&self, request: u64) -> bool {
        self.leases.contains_key(&request)
    }

    /// The program has it mapped no longer. Returns whether it had.
    pub(super) fn unmap(&mut self, request: u64) -> bool {
        self.leases.remove(&request).is_some()
    }
}

/// The first `len_max` bytes of some slices: how many of them are whole, and where that is none, the part of the first.
pub(super) fn cut<'a>(slices: &'a [IoSlice<'a>], len_max: usize) -> (&'a [IoSlice<'a>], Option<IoSlice<'a>>) {
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

fn too_many() -> ApiError {
    ApiError::invalid("more than one descriptor is attached to a frame")
}

#[cfg(test)]
mod tests {
    use super::*;

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
