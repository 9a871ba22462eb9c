//! Memory that is filled in place and given to the node.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

#[cfg(target_os = "linux")]
use crate::memfd as system;
#[cfg(not(target_os = "linux"))]
use crate::no_memfd as system;
use system::{Descriptor, Map, Memory};

/// Memory for a large value, to be filled in place and given to the node with [`set_mapped`] or [`store_mapped`]: the node takes
/// over the memory itself, not a copy.
///
/// On Linux it is a memory file (`memfd_create`), which is sealed when it is given away; elsewhere ordinary memory, whose bytes
/// are sent. To the program it is a `[u8]` of zeroes.
///
/// ```no_run
/// use memsdk::{MemCloud, MemoryFile};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cloud = MemCloud::connect().await?;
/// let mut weights = MemoryFile::create(64 << 20)?;
/// weights[..4].copy_from_slice(b"GGUF");
/// cloud.set_mapped("weights", weights).await?;
/// # Ok(())
/// # }
/// ```
///
/// [`set_mapped`]: crate::MemCloud::set_mapped
/// [`store_mapped`]: crate::MemCloud::store_mapped
pub struct MemoryFile(Inner);

enum Inner {
    Shared(Memory),
    Own(Vec<u8>),
}

/// A file that nobody can write any more.
pub(crate) enum Sealed {
    /// Its descriptor, and its bytes to be read.
    Shared(Descriptor, Map),
    /// Ordinary memory.
    Own(Bytes),
}

impl MemoryFile {
    /// Memory of `len` bytes, all 0. It takes no memory of the system until it is written.
    ///
    /// # Errors
    /// Where the system has no memory for it.
    pub fn create(len: usize) -> io::Result<Self> {
        if len > 0
            && let Ok(memory) = Memory::create(len)
        {
            return Ok(Self(Inner::Shared(memory)));
        }
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(len, 0);
        Ok(Self(Inner::Own(bytes)))
    }

    /// Writes bytes from `offset` on. For memory that was not written before this takes half the time of a copy into the
    /// slice, because the system need not fill it with zeroes first.
    ///
    /// # Errors
    /// `InvalidInput` where they do not lie within; else where the system has no memory for them.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let end = offset
            .checked_add(bytes.len())
            .filter(|&end| end <= self.len())
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the bytes do not lie within the memory file",
                )
            })?;
        match &mut self.0 {
            Inner::Shared(memory) => memory.write_at(offset, bytes),
            Inner::Own(own) => {
                own[offset..end].copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    pub(crate) fn seal(self) -> io::Result<Sealed> {
        match self.0 {
            Inner::Shared(memory) => {
                let (descriptor, map) = memory.seal()?;
                Ok(Sealed::Shared(descriptor, map))
            }
            Inner::Own(bytes) => Ok(Sealed::Own(bytes.into())),
        }
    }
}

impl Deref for MemoryFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Shared(memory) => memory.as_slice(),
            Inner::Own(bytes) => bytes,
        }
    }
}

impl DerefMut for MemoryFile {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Inner::Shared(memory) => memory.as_mut_slice(),
            Inner::Own(bytes) => bytes,
        }
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_like_a_slice_and_by_offset() {
        for len in [0, 10] {
            let mut file = MemoryFile::create(len).unwrap();
            assert!(file.len() == len && file.iter().all(|&byte| byte == 0));
            file.fill(7);
            file.write_at(len, b"").unwrap();
            for (offset, bytes) in [(len, &b"x"[..]), (usize::MAX, b"xy")] {
                assert_eq!(
                    file.write_at(offset, bytes).unwrap_err().kind(),
                    io::ErrorKind::InvalidInput
                );
            }
        }
        let mut file = MemoryFile::create(10).unwrap();
        file[..2].copy_from_slice(b"ab");
        file.write_at(2, b"cd").unwrap();
        assert_eq!(&file[..5], b"abcd\0");
    }
}
