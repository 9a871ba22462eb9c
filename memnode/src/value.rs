//! The bytes of a block, in ordinary memory or in a memory file.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use crate::memory_file::MemoryFile;

/// The bytes of a block that does not lie inline. Cheap to clone; clones share the bytes.
#[derive(Clone, Debug)]
pub enum Value {
    /// Ordinary memory.
    Heap(Bytes),
    /// A memory file, which a program can map.
    File(Arc<MemoryFile>),
}

impl Value {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Value::Heap(bytes) => bytes.len(),
            Value::File(file) => file.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, without a copy. They keep the memory, and what is kept with it, for as long as they live.
    pub fn bytes(&self) -> Bytes {
        match self {
            Value::Heap(bytes) => bytes.clone(),
            Value::File(file) => Bytes::from_owner(OfFile(Arc::clone(file))),
        }
    }

    /// The memory file, where it is one.
    pub fn file(&self) -> Option<&Arc<MemoryFile>> {
        match self {
            Value::Heap(_) => None,
            Value::File(file) => Some(file),
        }
    }

    /// The same bytes, with something that lives as long as they are in use: the charge of the block. To be done once,
    /// before the value is shared.
    pub fn keeping(self, guard: impl Any + Send + Sync) -> Self {
        match self {
            Value::Heap(bytes) => Value::Heap(Bytes::from_owner(Kept { bytes, _guard: guard })),
            Value::File(file) => {
                file.keep(guard);
                Value::File(file)
            }
        }
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Value::Heap(bytes)
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        match self {
            Value::Heap(bytes) => bytes,
            Value::File(file) => file.as_slice(),
        }
    }
}

/// The bytes of a file, which they keep.
struct OfFile(Arc<MemoryFile>);

impl AsRef<[u8]> for OfFile {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Bytes of ordinary memory, and what lives as long as they do.
struct Kept<G> {
    bytes: Bytes,
    _guard: G,
}

impl<G> AsRef<[u8]> for Kept<G> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BlockBuffer;
    use crate::memory_file::{MAPPED_MIN, MemoryFiles};

    fn value(len: usize) -> Value {
        let files = MemoryFiles::new(10);
        let mut buffer = BlockBuffer::new(&files, len as u64).unwrap();
        buffer.extend(&vec![3; len]).unwrap();
        buffer.finish().unwrap()
    }

    #[test]
    fn a_guard_lives_as_long_as_the_bytes() {
        for len in [10, MAPPED_MIN] {
            let alive = Arc::new(());
            let value = value(len).keeping(Arc::clone(&alive));
            let bytes = value.bytes().slice(1..3);
            drop(value);
            assert_eq!(Arc::strong_count(&alive), 2);
            assert_eq!(bytes, [3, 3][..]);
            drop(bytes);
            assert_eq!(Arc::strong_count(&alive), 1);
        }
    }
}
