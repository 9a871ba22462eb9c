//! The descriptors of one connection: those of memory files and files that are on their way in and out, and what the program has mapped.

use std::collections::HashMap;
use std::sync::Arc;

use memproto::BlockId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::local::MAPPED_MAX;
use memproto::local::attached::{Arriving, Departing, TOO_MANY};

use super::wire::Arrived;
use crate::memory_file::{Lease, MemoryFile};
use crate::platform::Descriptor;

/// Descriptors on their way, and the leases of those that went out.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    is_attached: bool,
    /// `None` stands for a descriptor that was lost.
    pub(super) arriving: Arriving<Option<Descriptor>>,
    pub(super) departing: Departing<Arc<MemoryFile>>,
    /// What the program has mapped, by the request that asked for it.
    leases: HashMap<u64, Lease>,
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
        let descriptor = match arrived {
            Arrived::Nothing => None,
            Arrived::One(descriptor) => Some(Some(descriptor)),
            Arrived::Lost => Some(None),
            Arrived::Several => return Err(ApiError::invalid(TOO_MANY)),
        };
        self.arriving.note_read(len, descriptor)
    }

    /// Takes the descriptor of the frame with which the `unhandled` bytes begin that were read and not handled.
    ///
    /// # Errors
    /// `InvalidArgument` where it has none; `Busy` where this process had no room for it.
    pub(super) fn take(&mut self, unhandled: usize) -> ApiResult<Descriptor> {
        match self.arriving.take(unhandled) {
            Some(Some(descriptor)) => Ok(descriptor),
            Some(None) => Err(ApiError::new(
                ErrorCode::Busy,
                "the node has no descriptor left for the file: send or read the bytes",
            )),
            None => Err(ApiError::invalid(
                "no descriptor is attached to the request: send ATTACH before, and the descriptor with its first byte",
            )),
        }
    }

    /// [`take`](Self::take), for a request whose bytes can only go by way of a descriptor.
    ///
    /// # Errors
    /// `Unsupported` too, where none is passed on this connection.
    pub(super) fn take_file(&mut self, unhandled: usize) -> ApiResult<Descriptor> {
        if !self.is_attached {
            return Err(ApiError::new(
                ErrorCode::Unsupported,
                "no files are passed on this connection: send ATTACH before, and where that is refused, send or read the bytes",
            ));
        }
        self.take(unhandled)
    }

    /// Attaches the memory file of a block to the reply that is appended next, behind `waiting` bytes that are still to be
    /// written. Returns false where that cannot be; then the bytes must flow.
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
        self.departing.append(Arc::clone(file), waiting);
        self.leases.insert(request, file.lease(id));
        true
    }

    /// Whether the program has mapped what this request asked for.
    pub(super) fn is_mapped(&self, request: u64) -> bool {
        self.leases.contains_key(&request)
    }

    /// The program has it mapped no longer, if it had.
    pub(super) fn unmap(&mut self, request: u64) {
        self.leases.remove(&request);
    }
}
