//! Writes of many keys under construction: `cloud.mset(&pairs).ttl(...).send()`.

use std::sync::Arc;
use std::time::Duration;

use memproto::{ApiError, BlockClass, Placement};

use super::Driver;
use crate::Result;

/// A write of many keys; nothing happens until [`send`](Self::send), or [`each`](Self::each).
#[derive(Debug)]
#[must_use = "a write does nothing unless it is sent"]
pub struct PutMany<'a, K> {
    put: crate::PutMany<'a, K>,
    driver: Arc<Driver>,
}

impl<'a, K: AsRef<str> + Sync> PutMany<'a, K> {
    pub(super) fn new(put: crate::PutMany<'a, K>, driver: &Arc<Driver>) -> Self {
        Self {
            put,
            driver: Arc::clone(driver),
        }
    }

    /// Where the blocks are to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.put = self.put.placement(placement);
        self
    }

    /// How long the values live, each counted from when the node has stored it; at least 1 ms. Default: `None`, for good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.put = self.put.ttl(ttl);
        self
    }

    /// Whether the blocks may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.put = self.put.class(class);
        self
    }

    /// Writes them.
    ///
    /// # Errors
    /// As awaiting a [`crate::PutMany`].
    pub fn send(self) -> Result<()> {
        self.driver.run(self.put.into_future())
    }

    /// Writes them, and tells the answer of each key, in their order.
    ///
    /// # Errors
    /// As [`crate::PutMany::each`].
    pub fn each(self) -> Result<Vec<Result<(), ApiError>>> {
        self.driver.run(self.put.each())
    }
}
