//! What is measured with which values, and whether the node has room for it.

use std::time::Duration;

use bytes::Bytes;
use memproto::ErrorCode;
use memproto::control::NodeStatus;
use memproto::local::FRAME_PAYLOAD_MAX;

use super::{KeySpace, Load, Operation, Pick};
use crate::cli::BenchArgs;
use crate::exit::{Failure, Outcome};
use crate::size::show_size;

/// How many keys the requests are spread over, unless somebody says otherwise: ten times more than fit a processor's
/// fastest cache, at 1 KiB far less than the smallest budget.
const KEYS_DEFAULT: u64 = 10_000;

/// The most keys that a `del` of a certain time prepares: some seconds' worth.
const DEL_KEYS_MAX: u64 = 1_000_000;

/// What a key and its block cost the budget at most beside the value, a value being replaced aside.
const ENTRY_BYTES_MAX: u64 = 1024;

/// What was asked for, checked.
pub(crate) struct Plan {
    /// What is measured, in this order.
    pub(crate) operations: Vec<Operation>,
    /// With values of these sizes.
    pub(crate) sizes: Vec<Size>,
    /// What all keys begin with.
    pub(crate) prefix: String,
    /// Connections.
    pub(crate) clients: usize,
    /// Threads that serve them.
    pub(crate) threads: usize,
    /// Requests in flight on each.
    pub(crate) pipeline: usize,
    /// Keys in a request of a batch operation.
    pub(crate) batch: usize,
    /// Requests of each operation.
    pub(crate) requests_max: u64,
    /// How long each operation is measured, where that is what ends it.
    pub(crate) duration: Option<Duration>,
}

/// A size of values and how many there is room for.
pub(crate) struct Size {
    /// A value.
    pub(crate) value: Bytes,
    /// How many keys or blocks the requests are spread over.
    pub(crate) keyspace: u64,
    /// Keys that a `del` deletes.
    pub(crate) del_keys: u64,
}

impl Plan {
    /// Checks what was typed against what the node has room for.
    ///
    /// # Errors
    /// `OutOfMemory` where the budget does not hold it, `Usage` where a batch does not fit a frame.
    pub(crate) fn new(args: BenchArgs, prefix: String, node: &NodeStatus) -> Outcome<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = args.threads.map_or(cores, |threads| threads as usize);
        let mut plan = Self {
            operations: args.operations,
            sizes: Vec::new(),
            prefix,
            clients: args.clients as usize,
            threads: threads.min(args.clients as usize),
            pipeline: args.pipeline as usize,
            batch: args.batch as usize,
            requests_max: if args.duration.is_some() {
                u64::MAX
            } else {
                args.requests
            },
            duration: args.duration,
        };
        if plan.operations.is_empty() {
            plan.operations = Operation::ALL.to_vec();
        }
        for size in args.size {
            let size = plan.size(size, args.keyspace, node)?;
            plan.sizes.push(size);
        }
        Ok(plan)
    }

    /// Finds out how many values of a size are spread over.
    ///
    /// # Errors
    /// `OutOfMemory` where the budget does not hold what was asked for, `Usage` where a batch does not fit a frame.
    fn size(&self, size: u64, keyspace: Option<u64>, node: &NodeStatus) -> Outcome<Size> {
        let has = |operation| self.operations.contains(&operation);
        if (has(Operation::Mset) || has(Operation::Mget)) && !batch_fits(self.batch, size) {
            return Err(Failure::Usage(format!(
                "one request of {} keys with values of {} is larger than {}: take a smaller --batch, or leave out mset \
                 and mget",
                self.batch,
                show_size(size),
                show_size(FRAME_PAYLOAD_MAX as u64),
            )));
        }
        let cost = size.saturating_add(ENTRY_BYTES_MAX);
        // While a value is replaced the node holds both.
        let under_way = self.clients as u64 * self.pipeline as u64 * self.batch_of(&self.operations) as u64;
        let kinds = u64::from(self.operations.iter().any(|op| is_about_keys(*op)))
            + u64::from(has(Operation::Store) || has(Operation::Load));
        let free_bytes = node.budget_bytes.saturating_sub(node.used_bytes);
        let room = (free_bytes / cost).saturating_sub(under_way) / kinds.max(1);
        let keyspace = match keyspace {
            Some(keyspace) => keyspace,
            None => KEYS_DEFAULT.min(room / 2).max(1),
        };
        if keyspace > room {
            let needed = keyspace
                .saturating_mul(kinds)
                .saturating_add(under_way)
                .saturating_mul(cost);
            let advice = match room {
                0 => {
                    "take a smaller --size, fewer --clients, or start the node with more --memory".to_owned()
                }
                room => {
                    format!("take --keyspace {room}, a smaller --size, or start the node with more --memory")
                }
            };
            return Err(Failure::api(
                ErrorCode::OutOfMemory,
                format!(
                    "{keyspace} values of {} need up to {}, of the node's budget {} are free: {advice}",
                    show_size(size),
                    show_size(needed),
                    show_size(free_bytes),
                ),
            ));
        }
        let size = usize::try_from(size).map_err(|_| {
            Failure::Usage("no value of this size fits the memory of this machine".to_owned())
        })?;
        let del_keys = self.requests_max.min(DEL_KEYS_MAX).min(room).max(1);
        Ok(Size {
            value: pattern(size)?,
            keyspace,
            del_keys,
        })
    }

    fn batch_of(&self, operations: &[Operation]) -> usize {
        let is_batch = operations.iter().any(|operation| operation.is_batch());
        if is_batch { self.batch } else { 1 }
    }

    /// A load of an operation with a size.
    pub(crate) fn load(&self, operation: Operation, size: &Size) -> Load {
        Load {
            operation,
            pick: Pick::Random,
            keys: KeySpace {
                prefix: self.prefix.clone(),
                count: size.keyspace,
            },
            ids: Vec::new(),
            value: size.value.clone(),
            batch: self.batch,
            clients: self.clients,
            pipeline: self.pipeline,
            threads: self.threads,
            requests_max: self.requests_max,
            duration: self.duration,
        }
    }
}

fn is_about_keys(operation: Operation) -> bool {
    !matches!(operation, Operation::Store | Operation::Load)
}

/// Whether the values of a batch fit a frame, keys and the heads of entries included, which have less than this each.
fn batch_fits(batch: usize, size: u64) -> bool {
    const HEAD_LEN_MAX: u64 = 64;
    size.saturating_add(HEAD_LEN_MAX).saturating_mul(batch as u64) <= FRAME_PAYLOAD_MAX as u64
}

/// Bytes of which no two pages are alike, so that no layer below can share them.
fn pattern(len: usize) -> Outcome<Bytes> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| Failure::Other("this machine has no memory for a value of this size".to_owned()))?;
    let words = (0_u64..).map(|word| (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes.extend(words.flatten().take(len));
    Ok(Bytes::from(bytes))
}
