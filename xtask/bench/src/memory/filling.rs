//! The keys of a node, filled and freed over its socket, many requests in flight.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use memproto::local::INLINE_MAX;
use memproto::{ApiError, ErrorCode};
use xtask::interrupt;

use crate::client::Client;
use crate::random::{Random, pattern};

/// The most requests of one write, and the most bytes of their values.
const BATCH_REQUESTS: usize = 64;
const BATCH_BYTES: u64 = 1 << 20;

/// A node is full when so many values in a row did not fit: small ones may still fit where large ones do not.
const REFUSALS: u32 = 64;

/// The sizes of values in bytes: from the first to the second, each power of two as likely as the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sizes(pub(super) u64, pub(super) u64);

/// All keys that a node has.
pub(super) struct Filling {
    random: Random,
    source: Vec<u8>,
    keys: Vec<u64>,
    next: u64,
}

impl Filling {
    /// No keys, and a sequence of sizes and choices that is the same in each run.
    pub(super) fn new() -> Self {
        Self {
            random: Random::new(6),
            source: pattern(INLINE_MAX),
            keys: Vec::new(),
            next: 0,
        }
    }

    /// Sets keys until the node has no room.
    ///
    /// # Errors
    /// When the node refuses for another reason.
    pub(super) fn fill(&mut self, client: &mut Client, sizes: Sizes) -> Result<()> {
        let mut refused_in_a_row = 0;
        while refused_in_a_row < REFUSALS {
            interrupt::check()?;
            let mut batch = HashMap::new();
            let mut bytes = 0;
            while bytes < BATCH_BYTES && batch.len() < BATCH_REQUESTS {
                let size = self.random.log_uniform(sizes.0, sizes.1);
                let id = client.queue_set(&key(self.next), &self.source[..size as usize]);
                batch.insert(id, self.next);
                bytes += size;
                self.next += 1;
            }
            client.flush()?;
            for _ in 0..batch.len() {
                let (id, outcome) = client.outcome()?;
                match outcome {
                    Ok(_) => {
                        let number = batch.remove(&id).context("a reply to another request")?;
                        self.keys.push(number);
                        refused_in_a_row = 0;
                    }
                    Err(ApiError {
                        code: ErrorCode::OutOfMemory,
                        ..
                    }) => refused_in_a_row += 1,
                    Err(error) => bail!("the node refuses a value: {error}"),
                }
            }
        }
        Ok(())
    }

    /// Deletes a part of the keys, chosen at random; 1 is all of them.
    ///
    /// # Errors
    /// When the node refuses.
    pub(super) fn free(&mut self, client: &mut Client, part: f64) -> Result<()> {
        self.random.shuffle(&mut self.keys);
        let kept = self.keys.len() - (self.keys.len() as f64 * part).round() as usize;
        for batch in self.keys.split_off(kept).chunks(BATCH_REQUESTS) {
            interrupt::check()?;
            for &number in batch {
                client.queue_del(&key(number));
            }
            client.flush()?;
            for _ in batch {
                client.outcome()?.1.context("the node does not delete")?;
            }
        }
        Ok(())
    }
}

fn key(number: u64) -> String {
    format!("memory:{number:010}")
}
