//! Systems without memory files that can be sealed: none is made, and none comes.

use std::convert::Infallible;
use std::io;

/// A descriptor on its way to the node or from it: never.
pub(crate) type Descriptor = Infallible;

/// The descriptor of a file, to be passed to the node: `None`, for none can be.
pub(crate) fn share(_file: &std::fs::File) -> io::Result<Option<Descriptor>> {
    Ok(None)
}

/// A memory file that the node fills: none.
#[derive(Debug)]
pub(crate) enum Filling {}

impl Filling {
    pub(crate) fn create(_len: u64) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        match *self {}
    }

    pub(crate) fn seal(self) -> io::Result<Map> {
        match self {}
    }
}

/// Memory of this process that the node can map: none.
#[derive(Debug)]
pub(crate) enum Memory {}

impl Memory {
    pub(crate) fn create(_len: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match *self {}
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        match *self {}
    }

    pub(crate) fn write_at(&mut self, _offset: usize, _bytes: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn seal(self) -> io::Result<(Descriptor, Map)> {
        match self {}
    }
}

/// A memory file that is mapped: none.
#[derive(Debug)]
pub(crate) enum Map {}

impl Map {
    pub(crate) fn of(descriptor: Descriptor, _offset: u64, _length: u64) -> io::Result<Self> {
        match descriptor {}
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match *self {}
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}
