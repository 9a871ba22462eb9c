//! Systems without memory files that can be sealed: none is ever made, all blocks lie in ordinary memory, and programs give no files.

use std::convert::Infallible;
use std::io;

/// A descriptor that a program gave: never.
pub type Descriptor = Infallible;

/// A descriptor that a program is given: never.
pub type DescriptorRef<'a> = &'a Infallible;

/// A memory file, of which there is none here.
#[derive(Debug)]
pub enum Memfd {}

impl Memfd {
    /// # Errors
    /// `Unsupported`.
    pub fn create(_len: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Errors
    /// None: there is no descriptor.
    pub fn adopt(descriptor: Descriptor) -> io::Result<Self> {
        match descriptor {}
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        match *self {}
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        match *self {}
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match *self {}
    }

    /// # Errors
    /// None: there is no file.
    pub fn write_at(&mut self, _offset: usize, _bytes: &[u8]) -> io::Result<()> {
        match *self {}
    }

    /// Whether all of its memory is there.
    pub fn is_resident(&self) -> bool {
        match *self {}
    }

    /// The memory of the file.
    pub fn resident_mut(&mut self) -> Option<&mut [u8]> {
        match *self {}
    }

    /// Whether it can be used again.
    pub fn is_reusable(&self) -> bool {
        match *self {}
    }

    /// Whether a block of this length fits it.
    pub fn fits(&self, _len: usize) -> bool {
        match *self {}
    }

    /// # Errors
    /// None: there is no file.
    pub fn share(&self) -> io::Result<DescriptorRef<'_>> {
        match *self {}
    }

    /// # Errors
    /// None: there is no file.
    pub fn reuse(&mut self, _len: usize) -> io::Result<()> {
        match *self {}
    }
}

/// # Errors
/// None: there is no descriptor.
pub fn given_file(descriptor: Descriptor, _access: super::Access) -> io::Result<std::fs::File> {
    match descriptor {}
}

/// A program whose files can be opened by their numbers: none.
#[derive(Debug)]
pub enum Program {}

impl Program {
    /// # Errors
    /// None: there is no such program.
    pub fn open(&self, _named: memproto::local::streams::NamedFile) -> io::Result<std::fs::File> {
        match *self {}
    }
}

/// How many mappings this process may have: no matter, none is made.
pub fn mappings_max() -> usize {
    usize::MAX
}
