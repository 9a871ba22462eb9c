//! The keys of the pool, one after the other.

use std::sync::Arc;

use super::Driver;
use crate::{ListedKey, MissingNode, Result};

/// A walk through the keys of the pool, as [`crate::Scan`]: an iterator, which ends behind the first error.
#[derive(Clone, Debug)]
#[must_use = "nothing is listed unless keys are asked for"]
pub struct Scan<K = String> {
    scan: crate::Scan<K>,
    is_over: bool,
    driver: Arc<Driver>,
}

impl Scan {
    pub(super) fn new(scan: crate::Scan, driver: &Arc<Driver>) -> Self {
        Self {
            scan,
            is_over: false,
            driver: Arc::clone(driver),
        }
    }

    /// Gives with each key what is known of its value: its size, class and time to live, and where it lies.
    pub fn details(self) -> Scan<ListedKey> {
        Scan {
            scan: self.scan.details(),
            is_over: self.is_over,
            driver: self.driver,
        }
    }
}

impl<K: From<ListedKey>> Scan<K> {
    /// Leaves out the keys of other nodes: gives only those that this host's node answers for.
    pub fn local(mut self) -> Self {
        self.scan = self.scan.local();
        self
    }

    /// The nodes whose keys are missing, as far as the walk came to them: they are not connected, or did not answer. At the end it is all of them.
    pub fn missing(&self) -> &[MissingNode] {
        self.scan.missing()
    }
}

impl<K: From<ListedKey>> Iterator for Scan<K> {
    type Item = Result<K>;

    fn next(&mut self) -> Option<Result<K>> {
        if self.is_over {
            return None;
        }
        let next = self.driver.run(self.scan.next()).transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}
