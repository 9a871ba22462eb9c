//! Many keys in one request.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use memproto::key::check_key;
use memproto::local::batch::{BatchAnswer, BatchKeys, BatchReply};
use memproto::local::{BATCH_KEYS_MAX, FRAME_PAYLOAD_MAX, INLINE_MAX, Op};
use memproto::{ApiError, ErrorCode};

use crate::admission::Held;
use crate::connection::broken;
use crate::{Error, MemCloud, Result};

/// How many values that are too large for a batch are read at a time.
const LARGE_READS_MAX: usize = 8;

/// What the node answered about one key.
pub(crate) type Answer<T> = std::result::Result<T, ApiError>;

/// Many keys in one request: one round trip to the node, one system call each way, whatever their number.
///
/// A list of any length goes in as many requests as it needs, and a value of any size is fine. Each key is answered as it
/// would be alone: the `*_each` methods, and [`PutMany::each`](crate::PutMany::each), give these answers, the others the
/// first error among them.
impl MemCloud {
    /// The values of several keys, in the order of the keys; `None` where no connected node has the key.
    ///
    /// # Errors
    /// As [`get`](Self::get), the first that a key had.
    pub async fn mget<K: AsRef<str> + Sync>(&self, keys: &[K]) -> Result<Vec<Option<Bytes>>> {
        let answers = self.mget_each(keys).await?;
        answers.into_iter().map(|answer| Ok(answer?)).collect()
    }

    /// As [`mget`](Self::mget), with the error of each key.
    ///
    /// # Errors
    /// What keeps the batch as a whole from being answered: a bad key, a lost connection, the deadline.
    pub async fn mget_each<K: AsRef<str> + Sync>(&self, keys: &[K]) -> Result<Vec<Answer<Option<Bytes>>>> {
        let keys = checked(keys)?;
        let mut answers: Vec<Answer<Option<Bytes>>> = vec![Ok(None); keys.len()];
        // Where what is yet to be asked for stands, and how much it takes in a reply, as far as that is known.
        let mut open: Vec<(usize, usize)> = (0..keys.len()).map(|at| (at, 0)).collect();
        let mut large = Vec::new();
        while !open.is_empty() {
            let mut later = Vec::new();
            for batch in batches(&open, BatchKeys::EMPTY_LEN, |&(at, value_len)| {
                (BatchKeys::key_len(keys[at]), value_len)
            }) {
                let names: Vec<&str> = batch.iter().map(|&(at, _)| keys[at]).collect();
                let entries = self.batch(Op::Mget, FRAME_PAYLOAD_MAX, &names).await?;
                for (&(at, _), entry) in batch.iter().zip(entries) {
                    match entry {
                        Ok(BatchAnswer::Done(value)) => answers[at] = Ok(Some(value)),
                        Ok(BatchAnswer::Later { size }) if size <= INLINE_MAX as u64 => {
                            later.push((at, size as usize));
                        }
                        Ok(BatchAnswer::Later { .. }) => large.push(at),
                        Err(error) if error.code == ErrorCode::NotFound => {}
                        Err(error) => answers[at] = Err(error),
                    }
                }
            }
            // A batch of values whose sizes are known fits its reply. Where one grew meanwhile it is read alone.
            if later.len() == open.len() {
                large.extend(later.drain(..).map(|(at, _)| at));
            }
            open = later;
        }
        let keys = &keys;
        let mut reads = stream::iter(large)
            .map(|at| async move { (at, self.get(keys[at]).await) })
            .buffer_unordered(LARGE_READS_MAX);
        while let Some((at, read)) = reads.next().await {
            answers[at] = answer(read)?;
        }
        drop(reads);
        Ok(answers)
    }

    /// Deletes several keys and frees their values. Returns how many there were.
    ///
    /// # Errors
    /// As [`del`](Self::del), the first that a key had; the others are deleted.
    pub async fn mdel<K: AsRef<str> + Sync>(&self, keys: &[K]) -> Result<u64> {
        let mut deleted = 0;
        for answer in self.mdel_each(keys).await? {
            deleted += u64::from(answer?);
        }
        Ok(deleted)
    }

    /// As [`mdel`](Self::mdel), with the answer of each key: whether there was one.
    ///
    /// # Errors
    /// As [`mget_each`](Self::mget_each).
    pub async fn mdel_each<K: AsRef<str> + Sync>(&self, keys: &[K]) -> Result<Vec<Answer<bool>>> {
        let keys = checked(keys)?;
        let mut answers = Vec::with_capacity(keys.len());
        for batch in batches(&keys, BatchKeys::EMPTY_LEN, |key| (BatchKeys::key_len(key), 0)) {
            let entries = self.batch(Op::Mdel, 0, batch).await?;
            answers.extend(entries.into_iter().map(|entry| match entry {
                Ok(_) => Ok(true),
                Err(error) if error.code == ErrorCode::NotFound => Ok(false),
                Err(error) => Err(error),
            }));
        }
        Ok(answers)
    }

    /// One request with keys, and its entries. `reply_len` is what the node may have to hold of its reply.
    async fn batch(&self, op: Op, reply_len: usize, keys: &[&str]) -> Result<Vec<Answer<BatchAnswer>>> {
        let request_len: usize = keys.iter().map(|key| BatchKeys::key_len(key)).sum();
        self.entries(op, request_len + reply_len, keys.len(), |out| {
            BatchKeys::encode(keys, self.is_strict, out);
        })
        .await
    }

    /// One request of any kind with so many keys, and its entries. `held` is what the node may have to hold of it.
    pub(crate) async fn entries(
        &self,
        op: Op,
        held: usize,
        count: usize,
        args: impl Fn(&mut BytesMut),
    ) -> Result<Vec<Answer<BatchAnswer>>> {
        let (_call, reply) = self
            .exchange(op, Held::Bytes(held), args, Bytes::new(), self.timeout())
            .await?;
        let BatchReply { entries } = BatchReply::decode(&reply.payload).map_err(broken)?;
        if entries.len() != count {
            return Err(Error::Protocol(format!(
                "{count} keys were sent, {} were answered",
                entries.len()
            )));
        }
        Ok(entries)
    }
}

fn checked<K: AsRef<str>>(keys: &[K]) -> Result<Vec<&str>> {
    let keys = keys.iter().map(|key| Ok(check_key(key.as_ref().as_bytes())?));
    keys.collect()
}

/// What the node answered about one key, apart from what ended the whole.
pub(crate) fn answer<T>(result: Result<T>) -> Result<Answer<T>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Api(error)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

/// Cuts a list into batches that fit a frame both ways. `lens` tells how many bytes an item adds to the request, and how
/// many to the values of the reply; the request has `head_len` bytes in front of them. An item that fits no frame is alone
/// in its batch.
pub(crate) fn batches<T>(
    items: &[T],
    head_len: usize,
    lens: impl Fn(&T) -> (usize, usize),
) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let (mut request_len, mut reply_len) = (head_len, 0);
        let mut count = 0;
        for item in rest.iter().take(BATCH_KEYS_MAX) {
            let (in_request, in_reply) = lens(item);
            request_len += in_request;
            reply_len += in_reply;
            let fits = request_len <= FRAME_PAYLOAD_MAX && reply_len <= BatchReply::room(count + 1);
            if count > 0 && !fits {
                break;
            }
            count += 1;
        }
        let (batch, after) = rest.split_at_checked(count).filter(|_| count > 0)?;
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fit_a_frame_and_lose_nothing() {
        for len in [
            0,
            1,
            100,
            1_000,
            INLINE_MAX,
            FRAME_PAYLOAD_MAX,
            10 * FRAME_PAYLOAD_MAX,
        ] {
            let items: Vec<(usize, usize)> = (0..3_000).map(|at| (at, len)).collect();
            for cost in [(1, 0), (0, 1)] {
                let lens = |&(_, len): &(usize, usize)| (len * cost.0, len * cost.1);
                let cut: Vec<_> = batches(&items, BatchKeys::EMPTY_LEN, lens).collect();
                assert_eq!(cut.concat(), items);
                for batch in cut {
                    let sum = batch.len() * len;
                    assert!(batch.len() == 1 || sum <= FRAME_PAYLOAD_MAX);
                    assert!((1..=BATCH_KEYS_MAX).contains(&batch.len()));
                }
            }
        }
        assert_eq!(batches(&[] as &[()], 0, |()| (0, 0)).count(), 0);
    }
}
