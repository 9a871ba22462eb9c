//! What one connection asks for, and whether the answers are right.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use memproto::local::batch::{BatchAnswer, BatchKeys, BatchPairs, BatchReply};
use memproto::local::reply::{PutReply, decode_deleted};
use memproto::local::request::{DelRequest, FreeRequest, PutRequest, ReadRequest};
use memproto::local::{FREE_IDS_MAX, Op};
use memproto::{BlockClass, Placement};
use memsdk::BlockId;

use super::connection::{Answer, Connection};
use super::{Load, Operation, Pick};
use crate::exit::{Failure, Outcome};

/// Asks for one thing after another.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    load: &'a Load,
    random: Random,
    /// The keys of one request, written anew for each.
    keys: Vec<String>,
    /// What a batch answers where each key went well.
    batch_reply_len: usize,
    /// Blocks that were stored here and not freed.
    stored: Vec<BlockId>,
}

impl<'a> Asker<'a> {
    /// For the connection of this number.
    pub(super) fn new(load: &'a Load, number: usize) -> Self {
        Self {
            load,
            random: Random::new(number as u64),
            keys: vec![String::new(); load.items()],
            batch_reply_len: batch_reply_len(load),
            stored: Vec::new(),
        }
    }

    /// Appends a request to a connection; `number` is its number among all of the load.
    pub(super) fn ask(&mut self, number: u64, connection: &mut Connection) {
        let load = self.load;
        match load.operation {
            Operation::Store => {
                connection.ask(Op::Store, |out| put(load, None).encode(out), load.value.clone());
            }
            Operation::Load => {
                let at = self.choose(number, load.ids.len() as u64);
                let read = ReadRequest {
                    offset: 0,
                    length: u64::MAX,
                    target: load.ids[at as usize],
                    strict: false,
                    follow: false,
                };
                connection.ask(Op::Load, |out| read.encode(out), Bytes::new());
            }
            _ => self.ask_about_keys(number, connection),
        }
    }

    fn ask_about_keys(&mut self, number: u64, connection: &mut Connection) {
        let load = self.load;
        for at in 0..self.keys.len() {
            let chosen = self.choose(number, load.keys.count);
            let key = &mut self.keys[at];
            key.clear();
            // Writing to a String cannot fail.
            let _ = write!(key, "{}{chosen:012}", load.keys.prefix);
        }
        let key = self.keys[0].as_str();
        match load.operation {
            Operation::Set => connection.ask(
                Op::Set,
                |out| put(load, Some(key)).encode(out),
                load.value.clone(),
            ),
            Operation::Del => connection.ask(
                Op::Del,
                |out| DelRequest { key, strict: false }.encode(out),
                Bytes::new(),
            ),
            Operation::Mset => {
                let batch = BatchPairs {
                    ttl: None,
                    class: BlockClass::default(),
                    placement: Placement::default(),
                    strict: false,
                    pairs: self
                        .keys
                        .iter()
                        .map(|key| (key.as_str(), &load.value[..]))
                        .collect(),
                };
                connection.ask(Op::Mset, |out| batch.encode(out), Bytes::new());
            }
            Operation::Mget => {
                let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
                connection.ask(Op::Mget, |out| BatchKeys::encode(&keys, false, out), Bytes::new());
            }
            _ => {
                let read = ReadRequest {
                    offset: 0,
                    length: u64::MAX,
                    target: key,
                    strict: false,
                    follow: false,
                };
                connection.ask(Op::Get, |out| read.encode(out), Bytes::new());
            }
        }
    }

    fn choose(&mut self, number: u64, count: u64) -> u64 {
        match self.load.pick {
            Pick::EachOnce => number % count.max(1),
            Pick::Random => self.random.below(count),
        }
    }

    /// Looks at an answer to one of the requests.
    ///
    /// # Errors
    /// Where it is not what a node with these keys and blocks answers.
    pub(super) fn check(&mut self, answer: &Answer<'_>) -> Outcome {
        match *answer {
            Answer::Value { size } if size == self.load.value.len() as u64 => Ok(()),
            Answer::Value { size } => Err(Failure::Other(format!(
                "a value of {size} bytes came where {} had been stored: somebody else writes under '{}'",
                self.load.value.len(),
                self.load.keys.prefix
            ))),
            Answer::Payload(payload) => self.check_payload(payload),
        }
    }

    fn check_payload(&mut self, payload: &[u8]) -> Outcome {
        match self.load.operation {
            Operation::Set => PutReply::decode(payload).map(drop)?,
            Operation::Store => self.stored.push(PutReply::decode(payload)?.id),
            Operation::Del => {
                if !decode_deleted(payload)? {
                    return Err(self.key_is_gone());
                }
            }
            // Only a reply of another length needs a closer look.
            Operation::Mset | Operation::Mget if payload.len() == self.batch_reply_len => {}
            Operation::Mset | Operation::Mget => {
                let reply = BatchReply::decode(&Bytes::copy_from_slice(payload))?;
                for entry in reply.entries {
                    if let BatchAnswer::Later { .. } = entry? {
                        return Err(Failure::Usage(
                            "the values of one batch are too large for one reply: take a smaller --batch or --size"
                                .to_owned(),
                        ));
                    }
                }
                return Err(self.key_is_gone());
            }
            Operation::Get | Operation::Load => {
                return Err(Failure::Other(
                    "the node answers a read without a value".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn key_is_gone(&self) -> Failure {
        Failure::Other(format!(
            "keys of the benchmark are gone: somebody else deletes or changes what is under '{}'",
            self.load.keys.prefix
        ))
    }

    /// Appends a request that frees what was stored here, once it is this connection's share of the blocks that the load may
    /// hold. Returns whether it did.
    pub(super) fn free_share(&mut self, connection: &mut Connection) -> bool {
        let share = (self.load.keys.count / self.load.clients.max(1) as u64).clamp(1, FREE_IDS_MAX as u64);
        let is_filling = self.load.pick == Pick::EachOnce;
        if is_filling || (self.stored.len() as u64) < share {
            return false;
        }
        let ids = std::mem::take(&mut self.stored);
        for ids in ids.chunks(FREE_IDS_MAX) {
            connection.ask(Op::Free, |out| FreeRequest::encode(ids, out), Bytes::new());
        }
        true
    }

    /// The blocks that were stored here and not freed.
    pub(super) fn into_stored(self) -> Vec<BlockId> {
        self.stored
    }
}

fn put<'a>(load: &Load, key: Option<&'a str>) -> PutRequest<'a> {
    PutRequest {
        size: Some(load.value.len() as u64),
        ttl: None,
        class: BlockClass::Pinned,
        placement: Placement::Local,
        key,
        strict: false,
    }
}

fn batch_reply_len(load: &Load) -> usize {
    let value = match load.operation {
        Operation::Mget => load.value.clone(),
        _ => Bytes::new(),
    };
    let reply = BatchReply {
        entries: vec![Ok(BatchAnswer::Done(value)); load.items()],
    };
    let mut out = BytesMut::new();
    reply.encode(&mut out);
    out.len()
}

/// Marsaglia's xorshift64*: cheap, and more than random enough to spread requests over keys.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// Another sequence for each seed, the same in each run.
    fn new(seed: u64) -> Self {
        // The golden ratio in 64 bits spreads small numbers; the state must not be 0.
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `count`, or 0.
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        // The upper half of the product is even enough for counts far below 2^64, and cheaper than a remainder.
        ((u128::from(random) * u128::from(count)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_reach_all_keys_about_as_often() {
        for seed in 0..3 {
            let mut random = Random::new(seed);
            let mut counts = [0; 10];
            for _ in 0..10_000 {
                counts[random.below(10) as usize] += 1;
            }
            assert!(
                counts.iter().all(|count| (800..1_200).contains(count)),
                "{counts:?}"
            );
            assert_eq!(random.below(1), 0);
            assert_eq!(random.below(0), 0);
        }
    }
}
