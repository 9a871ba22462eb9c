//! Batches: MGET, MSET and MDEL, many keys in one frame and all the answers in another.
//!
//! A reply has one entry for each key, in the order of the request, so that one key's failure says nothing about the others.

use bytes::{BufMut, Bytes, BytesMut};

use crate::class::BlockClass;
use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::key::check_key;
use crate::placement::Placement;
use crate::ttl::Ttl;

use super::limits::{BATCH_KEYS_MAX, FRAME_PAYLOAD_MAX};
use super::read::{Fields, must_be_zero};
use super::request::{Keeping, STRICT, keeping, put_keeping, strictness};

/// What stands in front of the entries of a request or reply.
const HEAD_LEN: usize = 8;

/// What each entry of a reply needs at least: its head, and the size of a value that has no room.
const ENTRY_ROOM: usize = 16;

/// Flag of an entry: the value is there, but has no room in this frame. Its size stands in its place.
const FLAG_LATER: u16 = 1;

/// Arguments of MGET and MDEL:
///
/// ```text
///  0         4       8
/// +---------+-------+  +---------+-----+
/// | options | count |  | key len | key |  count times
/// +---------+-------+  +---------+-----+
/// ```
///
/// Bit 0 of `options` is STRICT; `count` is 1 to [`BATCH_KEYS_MAX`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchKeys<'a> {
    /// The keys.
    pub keys: Vec<&'a str>,
    /// Whether each is read or deleted strictly, as by GET and DEL.
    pub strict: bool,
}

impl<'a> BatchKeys<'a> {
    /// Bytes of the arguments without any key.
    pub const EMPTY_LEN: usize = HEAD_LEN;

    /// Bytes that a key adds to the arguments.
    pub const fn key_len(key: &str) -> usize {
        2 + key.len()
    }

    /// Writes the arguments. See [`key_len`](Self::key_len) for what fits.
    pub fn encode(keys: &[&str], strict: bool, out: &mut BytesMut) {
        out.put_u32_le(u32::from(strict) * STRICT);
        out.put_u32_le(keys.len() as u32);
        for key in keys {
            out.put_u16_le(key.len() as u16);
            out.put_slice(key.as_bytes());
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad key or none, `TooLarge` for too many, `Unsupported` for options of a later version.
    pub fn decode(payload: &'a [u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let (count, strict) = head(&mut fields)?;
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let len = usize::from(fields.u16()?);
            keys.push(check_key(fields.bytes(len)?)?);
        }
        fields.end()?;
        Ok(Self { keys, strict })
    }
}

/// Arguments of MSET:
///
/// ```text
///  0         4       8        16      17      18      19     20         22    24
/// +---------+-------+--------+-------+-------+-------+------+----------+-----+------+
/// | options | count | ttl ms | class | place | repl. | opts | peer len |  0  | peer |
/// |   u32   |  u32  |  u64   |  u8   |  u8   |  u8   |  u8  |   u16    | u16 |      |
/// +---------+-------+--------+-------+-------+-------+------+----------+-----+------+
///
/// +---------+---+-----------+-----+-------+
/// | key len | 0 | value len | key | value |  count times
/// |   u16   |u16|    u32    |     |       |
/// +---------+---+-----------+-----+-------+
/// ```
///
/// `ttl ms`, `class`, `place` and `opts` are those of a SET and hold for all pairs. `options` and `repl.` are 0 in this
/// version; `count` is 1 to [`BATCH_KEYS_MAX`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchPairs<'a> {
    /// How long each value lives; `None` is for good.
    pub ttl: Option<Ttl>,
    /// The class of all values.
    pub class: BlockClass,
    /// The placement of each value.
    pub placement: Placement,
    /// Whether each is set strictly, as by SET.
    pub strict: bool,
    /// Keys and their values. Where a key comes twice, the later value stays.
    pub pairs: Vec<(&'a str, &'a [u8])>,
}

impl<'a> BatchPairs<'a> {
    /// Bytes of the arguments without any pair.
    pub fn head_len(placement: &Placement) -> usize {
        24 + placement.to_wire().1.len()
    }

    /// Bytes that a pair adds to the arguments.
    pub const fn pair_len(key: &str, value: &[u8]) -> usize {
        8 + key.len() + value.len()
    }

    /// Bytes of the arguments, which have to fit a frame.
    pub fn len(&self) -> usize {
        let pairs = self.pairs.iter().map(|(key, value)| Self::pair_len(key, value));
        Self::head_len(&self.placement) + pairs.sum::<usize>()
    }

    /// Whether there is no pair, which is no request.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Writes the arguments. See [`len`](Self::len) for what fits.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(0);
        out.put_u32_le(self.pairs.len() as u32);
        put_keeping(self.ttl, self.class, &self.placement, self.strict, out);
        let peer = self.placement.to_wire().1;
        out.put_u16_le(peer.len() as u16);
        out.put_u16_le(0);
        out.put_slice(peer.as_bytes());
        for (key, value) in &self.pairs {
            out.put_u16_le(key.len() as u16);
            out.put_u16_le(0);
            out.put_u32_le(value.len() as u32);
            out.put_slice(key.as_bytes());
            out.put_slice(value);
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// As for [`BatchKeys::decode`].
    pub fn decode(payload: &'a [u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let (count, options) = head(&mut fields)?;
        must_be_zero(options.into(), "these options of a batch")?;
        let Keeping {
            ttl,
            class,
            place,
            strict,
        } = keeping(&mut fields)?;
        let peer_len = usize::from(fields.u16()?);
        must_be_zero(fields.u16()?.into(), "these options of a batch")?;
        let peer = fields.text(peer_len, "the name of the peer")?;
        let placement = Placement::from_wire(place, peer)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let key_len = usize::from(fields.u16()?);
            must_be_zero(fields.u16()?.into(), "these options of a value")?;
            let value_len = fields.u32()? as usize;
            let key = check_key(fields.bytes(key_len)?)?;
            pairs.push((key, fields.bytes(value_len)?));
        }
        fields.end()?;
        Ok(Self {
            ttl,
            class,
            placement,
            strict,
            pairs,
        })
    }
}

/// What was answered for one key, where it went well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BatchAnswer {
    /// Done; with the value in a reply to MGET, else with no bytes.
    Done(Bytes),
    /// The key has a value of this size, for which the frame has no room: it is to be asked for again.
    Later {
        /// The size in bytes.
        size: u64,
    },
}

/// The reply to MGET, MSET and MDEL:
///
/// ```text
///  0       4          8
/// +-------+----------+  +--------+-------+-----+-------+
/// | count | 4 zeroes |  | status | flags | len | bytes |  count times
/// |  u32  |          |  |  u16   |  u16  | u32 |       |
/// +-------+----------+  +--------+-------+-----+-------+
/// ```
///
/// With status 0, `bytes` is the value, or with flag 1 its size (8 bytes). Else it is the error's message, which may be cut or
/// left out. A key that no node has is `NotFound`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BatchReply {
    /// One entry for each key, in the order of the request.
    pub entries: Vec<ApiResult<BatchAnswer>>,
}

impl BatchReply {
    /// The entry of a key that no node has.
    pub const fn missing() -> ApiError {
        ApiError {
            code: ErrorCode::NotFound,
            message: String::new(),
        }
    }

    /// Bytes that the values of a reply to so many keys may have in all, so that it fits a frame.
    pub const fn room(count: usize) -> usize {
        FRAME_PAYLOAD_MAX.saturating_sub(HEAD_LEN + count * ENTRY_ROOM)
    }

    /// Writes the reply, which fits a frame: a value for which there is no room becomes [`BatchAnswer::Later`].
    pub fn encode(&self, out: &mut BytesMut) {
        let mut room = Self::room(self.entries.len());
        out.put_u32_le(self.entries.len() as u32);
        out.put_u32_le(0);
        for entry in &self.entries {
            match entry {
                Ok(BatchAnswer::Done(value)) if value.len() <= room => {
                    room -= value.len();
                    put_entry(0, 0, value, out);
                }
                Ok(BatchAnswer::Done(value)) => {
                    put_entry(0, FLAG_LATER, &(value.len() as u64).to_le_bytes(), out);
                }
                Ok(BatchAnswer::Later { size }) => put_entry(0, FLAG_LATER, &size.to_le_bytes(), out),
                Err(error) => {
                    let message = &error.message[..error.message.floor_char_boundary(room)];
                    room -= message.len();
                    put_entry(error.code.number(), 0, message.as_bytes(), out);
                }
            }
        }
    }

    /// Reads it. Values share the payload's memory.
    ///
    /// # Errors
    /// `InvalidArgument` where the count is not that of the entries, or an entry is not as specified.
    pub fn decode(payload: &Bytes) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let count = fields.u32()? as usize;
        fields.bytes(4)?;
        // The count is the other side's word.
        let mut entries = Vec::with_capacity(count.min(BATCH_KEYS_MAX));
        for _ in 0..count {
            let (status, flags, len) = (fields.u16()?, fields.u16()?, fields.u32()? as usize);
            let bytes = fields.bytes(len)?;
            entries.push(match (status, flags) {
                (0, 0) => Ok(BatchAnswer::Done(payload.slice_ref(bytes))),
                (0, FLAG_LATER) => {
                    let mut fields = Fields::new(bytes);
                    let size = fields.u64()?;
                    fields.end()?;
                    Ok(BatchAnswer::Later { size })
                }
                (0, _) => return Err(ApiError::invalid(format!("unknown flags {flags} of an entry"))),
                (status, _) => Err(ApiError::new(
                    ErrorCode::from_number(status),
                    String::from_utf8_lossy(bytes),
                )),
            });
        }
        fields.end()?;
        Ok(Self { entries })
    }
}

fn head(fields: &mut Fields<'_>) -> ApiResult<(usize, bool)> {
    let strict = strictness(fields.u32()?, "these options of a batch")?;
    match fields.u32()? as usize {
        0 => Err(ApiError::invalid("a batch has one key or more")),
        count if count > BATCH_KEYS_MAX => Err(ApiError::new(
            ErrorCode::TooLarge,
            format!("a batch of {count} keys, at most {BATCH_KEYS_MAX} are allowed"),
        )),
        count => Ok((count, strict)),
    }
}

fn put_entry(status: u16, flags: u16, bytes: &[u8], out: &mut BytesMut) {
    out.put_u16_le(status);
    out.put_u16_le(flags);
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reply_never_outgrows_a_frame_and_every_key_has_its_entry() {
        for value_len in [0, 1, 200, 260, 4096, 300_000] {
            let value = Bytes::from(vec![7; value_len]);
            let long = ApiError::new(ErrorCode::OutOfMemory, "ü".repeat(2_000));
            let mut entries = vec![Ok(BatchAnswer::Done(value)); BATCH_KEYS_MAX - 1];
            entries.push(Err(long));
            let mut bytes = BytesMut::new();
            BatchReply { entries }.encode(&mut bytes);
            assert!(bytes.len() <= FRAME_PAYLOAD_MAX, "{value_len}");
            let reply = BatchReply::decode(&bytes.freeze()).unwrap();
            assert_eq!(reply.entries.len(), BATCH_KEYS_MAX);
            let later = Ok(BatchAnswer::Later {
                size: value_len as u64,
            });
            assert_eq!(reply.entries.contains(&later), value_len > 243, "{value_len}");
        }
    }

    #[test]
    fn the_count_is_bounded_before_anything_is_reserved() {
        for (count, code) in [
            (0, ErrorCode::InvalidArgument),
            (BATCH_KEYS_MAX as u32 + 1, ErrorCode::TooLarge),
            (u32::MAX, ErrorCode::TooLarge),
        ] {
            let mut payload = vec![0; 4];
            payload.extend(count.to_le_bytes());
            assert_eq!(BatchKeys::decode(&payload).unwrap_err().code, code);
            assert_eq!(BatchPairs::decode(&payload).unwrap_err().code, code);
        }
        let mut lie = u32::MAX.to_le_bytes().to_vec();
        lie.extend([0; 4]);
        assert!(BatchReply::decode(&lie.into()).is_err());
    }

    proptest! {
        #[test]
        fn batches_survive_their_bytes_and_no_shorter_ones(
            pairs in proptest::collection::vec(("[^\0]{1,20}", proptest::collection::vec(any::<u8>(), 0..20)), 1..20),
            ttl_ms in proptest::option::of(1..=crate::ttl::TTL_MS_MAX),
            peer in "[a-z]{0,20}",
            strict: bool,
        ) {
            let placement = if peer.is_empty() { Placement::Remote } else { Placement::Peer(peer) };
            let ttl = ttl_ms.map(|ms| Ttl::from_millis(ms).unwrap());
            let pairs: Vec<(&str, &[u8])> = pairs.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            let keys: Vec<&str> = pairs.iter().map(|(key, _)| *key).collect();
            let (mut with_values, mut without) = (BytesMut::new(), BytesMut::new());
            let pairs = BatchPairs { ttl, class: BlockClass::Cache, placement, strict, pairs };
            pairs.encode(&mut with_values);
            BatchKeys::encode(&keys, strict, &mut without);
            prop_assert_eq!(with_values.len(), pairs.len());
            let lens: usize = keys.iter().map(|key| BatchKeys::key_len(key)).sum();
            prop_assert_eq!(without.len(), BatchKeys::EMPTY_LEN + lens);
            for end in 0..with_values.len() {
                prop_assert!(BatchPairs::decode(&with_values[..end]).is_err());
            }
            for end in 0..without.len() {
                prop_assert!(BatchKeys::decode(&without[..end]).is_err());
            }
            prop_assert_eq!(BatchPairs::decode(&with_values), Ok(pairs));
            prop_assert_eq!(BatchKeys::decode(&without), Ok(BatchKeys { keys, strict }));
        }
    }
}
