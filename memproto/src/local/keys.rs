//! KEYS: the names of a pool, a page at a time.
//!
//! A page costs what it holds, not what the pool has. Therefore keys come in no order, and a program that goes through all
//! pages sees each key that is there all the while at least once.

use bytes::{BufMut, BytesMut};

use crate::error::{ApiError, ApiResult};
use crate::limits::KEY_LEN_MAX;
use crate::pattern::{check_count, check_patterns};

use super::limits::{FRAME_PAYLOAD_MAX, KEYS_PAGE_MAX};
use super::read::{Fields, must_be_zero};

/// Arguments of KEYS:
///
/// ```text
///  0         4       8        16      20
/// +---------+-------+--------+-------+  +-------------+---------+
/// | options | limit | cursor | count |  | pattern len | pattern |  count times
/// |   u32   |  u32  |  u64   |  u32  |  |     u16     |         |
/// +---------+-------+--------+-------+  +-------------+---------+
/// ```
///
/// `options` is 0 in this version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysRequest<'a> {
    /// Globs, see [`crate::pattern`]; a key that matches any of them comes.
    pub patterns: Vec<&'a str>,
    /// 0 for the first page, then that of the last reply.
    pub cursor: u64,
    /// How many keys at most, from 1 on; the node may return fewer, also none, and a cursor.
    pub limit: u32,
}

impl<'a> KeysRequest<'a> {
    /// Writes the arguments.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(0);
        out.put_u32_le(self.limit);
        out.put_u64_le(self.cursor);
        out.put_u32_le(self.patterns.len() as u32);
        for pattern in &self.patterns {
            out.put_u16_le(pattern.len() as u16);
            out.put_slice(pattern.as_bytes());
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument`; `TooLarge` for too many or too long patterns; `Unsupported` for options of a later version.
    pub fn decode(payload: &'a [u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        must_be_zero(fields.u32()?.into(), "these options of KEYS")?;
        let limit = fields.u32()?;
        let cursor = fields.u64()?;
        let count = fields.u32()? as usize;
        check_count(count)?;
        let mut patterns = Vec::with_capacity(count);
        for _ in 0..count {
            let len = usize::from(fields.u16()?);
            patterns.push(fields.text(len, "a pattern")?);
        }
        fields.end()?;
        check_patterns(&patterns)?;
        check_limit(limit)?;
        Ok(Self {
            patterns,
            cursor,
            limit,
        })
    }
}

/// Checks how many keys a page is to have at most.
///
/// # Errors
/// `InvalidArgument` for 0.
pub fn check_limit(limit: u32) -> ApiResult<()> {
    if limit == 0 {
        return Err(ApiError::invalid("a limit of 0 keys lists nothing"));
    }
    Ok(())
}

/// The reply to KEYS:
///
/// ```text
///  0       4          8        16
/// +-------+----------+--------+  +---------+-----+
/// | count | 4 zeroes | cursor |  | key len | key |  count times
/// |  u32  |          |  u64   |  |   u16   |     |
/// +-------+----------+--------+  +---------+-----+
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeysReply {
    /// The keys, in no order.
    pub keys: Vec<String>,
    /// With which cursor to ask for the next page; 0 where this was the last.
    pub cursor: u64,
}

/// What stands in front of the keys of a reply.
const HEAD_LEN: usize = 16;

impl KeysReply {
    /// Writes the reply. A [`KeysPage`] keeps it within a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.keys.len() as u32);
        out.put_u32_le(0);
        out.put_u64_le(self.cursor);
        for key in &self.keys {
            out.put_u16_le(key.len() as u16);
            out.put_slice(key.as_bytes());
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// `InvalidArgument` where the count is not that of the keys or a key is not UTF-8.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let count = fields.u32()? as usize;
        fields.bytes(4)?;
        let cursor = fields.u64()?;
        // The count is the other side's word: a key has at least two bytes in the frame.
        let mut keys = Vec::with_capacity(count.min(payload.len() / 2));
        for _ in 0..count {
            let len = usize::from(fields.u16()?);
            keys.push(fields.text(len, "a key")?.to_owned());
        }
        fields.end()?;
        Ok(Self { keys, cursor })
    }
}

/// Collects the keys of a page, as many as are asked for and fit a frame.
#[derive(Debug)]
pub struct KeysPage {
    keys: Vec<String>,
    limit: usize,
    len: usize,
}

impl KeysPage {
    /// A page of at most `limit` keys, and never more than [`KEYS_PAGE_MAX`].
    pub fn new(limit: u32) -> Self {
        Self {
            keys: Vec::new(),
            limit: limit.min(KEYS_PAGE_MAX) as usize,
            len: HEAD_LEN,
        }
    }

    /// Adds a key to a page that is not full. Returns whether another one, whatever its length, has room.
    pub fn push(&mut self, key: &str) -> bool {
        self.len += 2 + key.len();
        self.keys.push(key.to_owned());
        self.keys.len() < self.limit && self.len + 2 + KEY_LEN_MAX <= FRAME_PAYLOAD_MAX
    }

    /// The reply with these keys, which goes on with `cursor`.
    pub fn finish(self, cursor: u64) -> KeysReply {
        KeysReply {
            keys: self.keys,
            cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_page_fits_a_frame(
            lens in proptest::collection::vec(1..=KEY_LEN_MAX, 6_000),
            limit in 1u32..=10_000,
            cursor: u64,
        ) {
            let mut page = KeysPage::new(limit);
            let mut lens = lens.into_iter();
            while page.push(&"k".repeat(lens.next().unwrap())) {}
            let reply = page.finish(cursor);
            prop_assert!(reply.keys.len() <= limit.min(KEYS_PAGE_MAX) as usize);
            let mut bytes = BytesMut::new();
            reply.encode(&mut bytes);
            prop_assert!(bytes.len() <= FRAME_PAYLOAD_MAX);
            prop_assert_eq!(KeysReply::decode(&bytes), Ok(reply));
        }

        #[test]
        fn a_request_survives_its_bytes_and_no_shorter_ones(
            patterns in proptest::collection::vec("[^\0]{0,20}", 1..20),
            cursor: u64,
            limit in 1..u32::MAX,
        ) {
            let patterns = patterns.iter().map(String::as_str).collect();
            let request = KeysRequest { patterns, cursor, limit };
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes);
            for end in 0..bytes.len() {
                prop_assert!(KeysRequest::decode(&bytes[..end]).is_err());
            }
            prop_assert_eq!(KeysRequest::decode(&bytes), Ok(request));
        }
    }
}
