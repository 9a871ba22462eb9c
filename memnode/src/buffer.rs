//! Memory for one block that is being filled.

use bytes::Bytes;
use memproto::error::{ApiError, ApiResult, ErrorCode};

use crate::memory_file::{MemoryFile, MemoryFiles};
use crate::span::{SPAN_MIN, Span};
use crate::value::Value;

/// How much is handed out at a time to be filled, and how much of a fresh memory file is written in one call. Small enough
/// to stay in the processor's cache until it is written, and to be an allocation that glibc does not map anew each time.
const STEP: usize = 64 * 1024;

/// Memory for one block of a known size, filled from its beginning to its end.
///
/// It takes no more memory of the system than is filled, but for a file that is used again. The budget must have room
/// before it is made.
#[derive(Debug)]
pub struct BlockBuffer {
    size: usize,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    /// What is filled, and what was handed out beyond it (zeroes).
    Heap { bytes: Vec<u8>, filled: usize },
    /// Pages of the node's own.
    Span { span: Span, filled: usize },
    /// A file whose memory is there already, and is filled where it lies.
    Resident { file: MemoryFile, filled: usize },
    /// A file without memory: what fills it is gathered and written through its descriptor. See [`crate::platform`] for why.
    Fresh {
        file: MemoryFile,
        written: usize,
        /// What goes behind that: `gathered` bytes, and what was handed out beyond them (zeroes).
        step: Vec<u8>,
        gathered: usize,
    },
}

impl BlockBuffer {
    /// Memory for a block of `size` bytes: a memory file from [`MAPPED_MIN`](crate::memory_file::MAPPED_MIN) on, while
    /// there may be more of them, else ordinary memory.
    ///
    /// # Errors
    /// `OutOfMemory` where the system has less than the budget says.
    pub fn new(files: &MemoryFiles, size: u64) -> ApiResult<Self> {
        let len = usize::try_from(size).map_err(|_| no_memory(size))?;
        let memory = match files.create(len) {
            None => return Self::in_heap(size),
            Some(file) if file.memfd().is_resident() => Memory::Resident { file, filled: 0 },
            Some(file) => Memory::Fresh {
                file,
                written: 0,
                step: Vec::new(),
                gathered: 0,
            },
        };
        Ok(Self { size: len, memory })
    }

    /// Ordinary memory for a block, whatever its size: for one that no program maps, such as the chunk of a stream.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_heap(size: u64) -> ApiResult<Self> {
        let len = usize::try_from(size).map_err(|_| no_memory(size))?;
        if len >= SPAN_MIN {
            let span = Span::new(len).ok_or_else(|| no_memory(size))?;
            let memory = Memory::Span { span, filled: 0 };
            return Ok(Self { size: len, memory });
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| no_memory(size))?;
        let memory = Memory::Heap { bytes, filled: 0 };
        Ok(Self { size: len, memory })
    }

    /// How many bytes are filled.
    pub fn filled(&self) -> usize {
        match &self.memory {
            Memory::Heap { filled, .. } | Memory::Span { filled, .. } | Memory::Resident { filled, .. } => {
                *filled
            }
            Memory::Fresh {
                written, gathered, ..
            } => written + gathered,
        }
    }

    /// How many bytes are missing.
    pub fn remaining(&self) -> usize {
        self.size - self.filled()
    }

    /// Room for the next bytes: empty only where none are missing, and else perhaps less than is missing. What is put in
    /// counts once [`advance`](Self::advance) says so.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let missing = self.remaining();
        match &mut self.memory {
            Memory::Heap { bytes, filled } => spare_of(bytes, *filled, missing.min(STEP)),
            Memory::Span { span, filled } => {
                let end = span.len().min(*filled + STEP);
                span.warm_up(*filled, STEP);
                &mut span[*filled..end]
            }
            Memory::Resident { file, filled } => {
                let memory = file.memfd_mut().resident_mut().unwrap_or_default();
                &mut memory[*filled..]
            }
            Memory::Fresh { step, gathered, .. } => spare_of(step, *gathered, missing.min(STEP - *gathered)),
        }
    }

    /// Counts `len` bytes that were put into [`spare_mut`](Self::spare_mut).
    ///
    /// # Errors
    /// `OutOfMemory` where the system has less than the budget says; the buffer is of no use then.
    ///
    /// # Panics
    /// Where there was no room for so many.
    pub fn advance(&mut self, len: usize) -> ApiResult<()> {
        assert!(
            len <= self.spare_mut().len(),
            "more was filled than there was room"
        );
        let is_last = len == self.remaining();
        match &mut self.memory {
            Memory::Heap { filled, .. } | Memory::Span { filled, .. } | Memory::Resident { filled, .. } => {
                *filled += len;
            }
            Memory::Fresh {
                file,
                written,
                step,
                gathered,
            } => {
                *gathered += len;
                if is_last || *gathered == STEP {
                    write(file, written, &step[..*gathered])?;
                    *gathered = 0;
                }
            }
        }
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `InvalidArgument` where they are more than are missing; `OutOfMemory` as for [`advance`](Self::advance).
    pub fn extend(&mut self, bytes: &[u8]) -> ApiResult<()> {
        if bytes.len() > self.remaining() {
            return Err(ApiError::invalid(format!(
                "the value was said to have {} bytes, but has more",
                self.size
            )));
        }
        match &mut self.memory {
            Memory::Heap { bytes: all, filled } => {
                all.truncate(*filled);
                all.extend_from_slice(bytes);
                *filled += bytes.len();
            }
            Memory::Resident { .. } => {
                self.spare_mut()[..bytes.len()].copy_from_slice(bytes);
                self.advance(bytes.len())?;
            }
            Memory::Span { span, filled } => {
                span.warm_up(*filled, bytes.len());
                span[*filled..*filled + bytes.len()].copy_from_slice(bytes);
                *filled += bytes.len();
            }
            Memory::Fresh {
                file,
                written,
                step,
                gathered,
            } => {
                if *gathered > 0 {
                    write(file, written, &step[..*gathered])?;
                    *gathered = 0;
                }
                write(file, written, bytes)?;
            }
        }
        Ok(())
    }

    /// The block.
    ///
    /// # Errors
    /// `InvalidArgument` where bytes are missing.
    pub fn finish(self) -> ApiResult<Value> {
        if self.remaining() > 0 {
            return Err(ApiError::invalid(format!(
                "the value was said to have {} bytes, but has {}",
                self.size,
                self.filled()
            )));
        }
        Ok(match self.memory {
            Memory::Heap { bytes, .. } => Value::Heap(Bytes::from(bytes)),
            Memory::Span { span, .. } => Value::Span(span.into()),
            Memory::Resident { file, .. } | Memory::Fresh { file, .. } => Value::File(file.into()),
        })
    }
}

/// Room for `len` bytes or more behind the first `filled` of a vector.
fn spare_of(bytes: &mut Vec<u8>, filled: usize, len: usize) -> &mut [u8] {
    if bytes.len() < filled + len {
        bytes.resize(filled + len, 0);
    }
    &mut bytes[filled..filled + len]
}

/// Writes the next bytes of a fresh file.
fn write(file: &mut MemoryFile, written: &mut usize, bytes: &[u8]) -> ApiResult<()> {
    if let Err(error) = file.memfd_mut().write_at(*written, bytes) {
        tracing::warn!(%error, len = file.len(), "cannot fill a memory file");
        return Err(no_memory(file.len() as u64));
    }
    *written += bytes.len();
    Ok(())
}

fn no_memory(size: u64) -> ApiError {
    ApiError::new(
        ErrorCode::OutOfMemory,
        format!("the system has no {size} bytes for the node: start it with a smaller --memory"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_file::MAPPED_MIN;

    const SIZES: [usize; 6] = [0, 1, STEP, MAPPED_MIN - 1, MAPPED_MIN, MAPPED_MIN + 12_345];

    fn pattern(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|i| ((i + seed) % 251) as u8).collect()
    }

    /// Fills a buffer in pieces of changing lengths, in either way.
    fn fill(buffer: &mut BlockBuffer, bytes: &[u8]) {
        let mut rest = bytes;
        for turn in 1.. {
            if rest.is_empty() {
                break;
            }
            let len = rest.len().min(turn * 7_919 % 100_000 + 1);
            let piece = if turn % 3 == 0 {
                buffer.extend(&rest[..len]).unwrap();
                len
            } else {
                let room = buffer.spare_mut();
                let len = len.min(room.len());
                assert!(len > 0);
                room[..len].copy_from_slice(&rest[..len]);
                buffer.advance(len).unwrap();
                len
            };
            rest = &rest[piece..];
            assert_eq!(buffer.remaining(), rest.len());
        }
    }

    #[test]
    fn what_is_filled_in_pieces_is_the_block_wherever_it_lies() {
        for files_max in [0, 8] {
            let files = MemoryFiles::new(files_max);
            for size in SIZES {
                // The second and third block of a size lie in a file that is used again.
                for seed in 0..3 {
                    let bytes = pattern(size, seed);
                    let mut buffer = BlockBuffer::new(&files, size as u64).unwrap();
                    fill(&mut buffer, &bytes);
                    assert!(buffer.spare_mut().is_empty());
                    let value = buffer.finish().unwrap();
                    assert!(value.as_ref() == bytes && value.bytes() == bytes);
                    let is_file = cfg!(target_os = "linux") && files_max > 0 && size >= MAPPED_MIN;
                    assert_eq!(value.file().is_some(), is_file);
                }
            }
        }
    }

    #[test]
    fn more_or_less_than_was_said_is_an_error() {
        let files = MemoryFiles::new(8);
        for size in [10, MAPPED_MIN] {
            let mut buffer = BlockBuffer::new(&files, size as u64).unwrap();
            buffer.extend(&pattern(size - 1, 0)).unwrap();
            let error = buffer.extend(b"xy").unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
            assert_eq!(buffer.remaining(), 1);
            assert_eq!(buffer.finish().unwrap_err().code, ErrorCode::InvalidArgument);
        }
    }

    #[test]
    fn a_size_that_no_machine_has_is_out_of_memory() {
        let files = MemoryFiles::new(8);
        for size in [1 << 62, u64::MAX] {
            let error = BlockBuffer::new(&files, size).unwrap_err();
            assert_eq!(error.code, ErrorCode::OutOfMemory);
        }
    }
}
