//! Batches: many keys in one request.
//!
//! Each key is read, set or deleted as it would be alone, and has its own answer. What has to go to peers goes there at
//! the same time.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use memproto::error::ApiResult;
use memproto::local::batch::{BatchAnswer, BatchReply};

use super::{ByteRange, PutOptions, Service};
use crate::body::Body;

/// How many keys of one batch are under way to peers at a time. At a round trip of 1 ms it makes 64,000 keys a second, and
/// what peers send for it stays within the windows of so many bodies.
const UNDER_WAY_MAX: usize = 64;

impl Service {
    /// Reads several keys, wherever their values lie. A value for which `room`, the bytes that all of them may have
    /// together, is used up is not read but answered with its size.
    ///
    /// # Errors
    /// For each key as [`get`](Self::get), and `NotFound` where no node has it.
    pub async fn mget(&self, keys: Vec<String>, room: usize, strict: bool) -> Vec<ApiResult<BatchAnswer>> {
        let room = &AtomicUsize::new(room);
        let reads = keys.into_iter().map(|key| async move {
            let Some(found) = self.get(&key, ByteRange::ALL, strict).await? else {
                return Err(BatchReply::missing());
            };
            let size = found.size;
            if !take(room, size) {
                return Ok(BatchAnswer::Later { size });
            }
            found.body.collect(size).await.map(BatchAnswer::Done)
        });
        stream::iter(reads).buffered(UNDER_WAY_MAX).collect().await
    }

    /// Sets several keys, all by the same options. Of two values for one key the later one stays, and both have its answer.
    ///
    /// # Errors
    /// For each key as [`set`](Self::set).
    ///
    /// # Cancel safety
    /// Dropped before it is done, each key either has the new value or the old one.
    pub async fn mset(&self, pairs: Vec<(String, Bytes)>, options: PutOptions) -> Vec<ApiResult<()>> {
        let mut lasts: BTreeMap<String, usize> = BTreeMap::new();
        let mut values: Vec<Bytes> = Vec::with_capacity(pairs.len());
        // For each pair, the one among `values` that decides it.
        let mut deciding = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let at = *lasts.entry(key).or_insert(values.len());
            match values.get_mut(at) {
                Some(earlier) => *earlier = value,
                None => values.push(value),
            }
            deciding.push(at);
        }
        let writes = lasts.into_iter().map(|(key, at)| {
            let (value, options) = (values[at].clone(), options.clone());
            async move {
                let stored = self.set(&key, Body::from(value), options).await;
                (at, stored.map(drop))
            }
        });
        let answers: HashMap<usize, ApiResult<()>> = stream::iter(writes)
            .buffer_unordered(UNDER_WAY_MAX)
            .collect()
            .await;
        deciding.iter().map(|at| answers[at].clone()).collect()
    }

    /// Deletes several keys everywhere. Tells of each whether any node had it.
    ///
    /// # Errors
    /// For each key as [`del`](Self::del).
    pub async fn mdel(&self, keys: Vec<String>, strict: bool) -> Vec<ApiResult<bool>> {
        let deletions = keys
            .into_iter()
            .map(|key| async move { self.del(&key, strict).await });
        stream::iter(deletions).buffered(UNDER_WAY_MAX).collect().await
    }
}

/// Takes bytes out of the room, where it has so many.
fn take(room: &AtomicUsize, bytes: u64) -> bool {
    let fits = |left: usize| {
        usize::try_from(bytes)
            .ok()
            .and_then(|bytes| left.checked_sub(bytes))
    };
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
        .is_ok()
}
