//! The keys of the pool, one after the other.

use std::sync::Arc;

use super::Driver;
use crate::Result;

/// A walk through the keys of the pool, as [`crate::Scan`]: an iterator, which ends behind the first error.
#[derive(Clone, Debug)]
#[must_use = "nothing is listed unless keys are asked for"]
pub struct Scan {
    scan: Option<crate::Scan>,
    driver: Arc<Driver>,
}

impl Scan {
    pub(super) fn new(scan: crate::Scan, driver: &Arc<Driver>) -> Self {
        Self {
            scan: Some(scan),
            driver: Arc::clone(driver),
        }
    }
}

impl Iterator for Scan {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let next = self.driver.run(self.scan.as_mut()?.next()).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.scan = None;
        }
        next
    }
}
