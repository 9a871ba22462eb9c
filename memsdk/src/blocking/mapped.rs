//! Large values without a copy, and those that go into files.

use std::fs::File;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use memproto::{BlockClass, BlockId, Placement};

use super::{Driver, MemCloud};
use crate::{Mapped, MemoryFile, Result, Stored};

/// A write of a [`MemoryFile`]; nothing happens until [`send`](Self::send).
#[derive(Debug)]
#[must_use = "a write does nothing unless it is sent"]
pub struct PutMapped {
    put: crate::PutMapped,
    driver: Arc<Driver>,
}

impl PutMapped {
    /// Where the block is to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.put = self.put.placement(placement);
        self
    }

    /// How long the value lives, at least 1 ms. Default: `None`, for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.put = self.put.ttl(ttl);
        self
    }

    /// Whether the block may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.put = self.put.class(class);
        self
    }

    /// Writes it.
    ///
    /// # Errors
    /// As awaiting a [`crate::PutMapped`].
    pub fn send(self) -> Result<Stored> {
        self.driver.run(self.put.into_future())
    }
}

/// Large values without a copy, on the same host.
impl MemCloud {
    /// The value of a key, mapped where that can be; `None` where no connected node has one.
    pub fn get_mapped(&self, key: &str) -> Result<Option<Mapped>> {
        self.driver.run(self.cloud.get_mapped(key))
    }

    /// The bytes of a block or stream, mapped where that can be.
    pub fn load_mapped(&self, id: BlockId) -> Result<Mapped> {
        self.driver.run(self.cloud.load_mapped(id))
    }

    /// Writes a range of a block or stream, `..` for all of it, to a file, from byte `at` of that on. Returns how many bytes were written.
    pub fn load_into(&self, id: BlockId, range: impl RangeBounds<u64>, file: &File, at: u64) -> Result<u64> {
        self.driver.run(self.cloud.load_into(id, range, file, at))
    }

    /// Makes `key` name what lies in a memory file, which the node takes over; frees what it named before.
    pub fn set_mapped(&self, key: impl Into<String>, file: MemoryFile) -> PutMapped {
        PutMapped {
            put: self.cloud.set_mapped(key, file),
            driver: Arc::clone(&self.driver),
        }
    }

    /// Stores what lies in a memory file, which the node takes over, as a block without a key.
    pub fn store_mapped(&self, file: MemoryFile) -> PutMapped {
        PutMapped {
            put: self.cloud.store_mapped(file),
            driver: Arc::clone(&self.driver),
        }
    }
}
