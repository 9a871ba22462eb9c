//! Writes of many keys under construction: `cloud.mset(&pairs).ttl(...).await`.

use std::future::IntoFuture;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use memproto::key::check_key;
use memproto::local::Op;
use memproto::local::batch::BatchPairs;
use memproto::{BlockClass, Placement, Ttl};

use crate::batches::{Answer, answer, batches};
use crate::{MemCloud, Result};

/// A write of many keys; nothing happens until it is awaited, or [`each`](Self::each) is.
#[derive(Debug)]
#[must_use = "a write does nothing unless it is awaited"]
pub struct PutMany<'a, K> {
    cloud: MemCloud,
    pairs: &'a [(K, Bytes)],
    ttl: Option<Duration>,
    class: BlockClass,
    placement: Placement,
}

impl MemCloud {
    /// Makes each key name its value; frees what they named before. Of two values for one key the later one stays.
    ///
    /// # Errors
    /// Awaited, as [`set`](Self::set), the first that a key had; the others may have been set. See [`PutMany::each`].
    pub fn mset<'a, K: AsRef<str> + Sync>(&self, pairs: &'a [(K, Bytes)]) -> PutMany<'a, K> {
        PutMany {
            cloud: self.clone(),
            pairs,
            ttl: None,
            class: BlockClass::default(),
            placement: Placement::default(),
        }
    }
}

impl<'a, K: AsRef<str> + Sync> PutMany<'a, K> {
    /// Where the blocks are to lie. Default: [`Placement::Auto`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// How long the values live, each counted from when the node has stored it; at least 1 ms. Default: `None`, for
    /// good.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Whether the blocks may be evicted. Default: [`BlockClass::Pinned`].
    pub fn class(mut self, class: BlockClass) -> Self {
        self.class = class;
        self
    }

    /// The answer of each key, in their order.
    ///
    /// # Errors
    /// As [`MemCloud::mget_each`].
    pub async fn each(self) -> Result<Vec<Answer<()>>> {
        let Self {
            cloud,
            pairs,
            ttl,
            class,
            placement,
        } = self;
        for (key, _) in pairs {
            check_key(key.as_ref().as_bytes())?;
        }
        // Checked here, so that lengths fit their fields.
        let (byte, peer) = placement.to_wire();
        let placement = Placement::from_wire(byte, peer)?;
        let wire_ttl = ttl.map(Ttl::try_from).transpose()?;
        let mut answers = Vec::with_capacity(pairs.len());
        let head_len = BatchPairs::head_len(&placement);
        for batch in batches(pairs, head_len, |(key, value)| {
            (BatchPairs::pair_len(key.as_ref(), value), 0)
        }) {
            // It may be larger than a frame.
            if let [(key, value)] = batch {
                let put = cloud.set(key.as_ref(), value.clone()).ttl(ttl).class(class);
                let stored = put.placement(placement.clone()).await;
                answers.push(answer(stored.map(drop))?);
                continue;
            }
            let request = BatchPairs {
                ttl: wire_ttl,
                class,
                placement: placement.clone(),
                strict: cloud.is_strict,
                pairs: batch
                    .iter()
                    .map(|(key, value)| (key.as_ref(), &value[..]))
                    .collect(),
            };
            let entries = cloud
                .entries(Op::Mset, request.len(), batch.len(), |out: &mut BytesMut| {
                    request.encode(out);
                })
                .await?;
            answers.extend(entries.into_iter().map(|entry| entry.map(drop)));
        }
        Ok(answers)
    }
}

impl<'a, K: AsRef<str> + Sync> IntoFuture for PutMany<'a, K> {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'a, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answers = self.each().await?;
            answers.into_iter().try_for_each(|answer| Ok(answer?))
        })
    }
}
