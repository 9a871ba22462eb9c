//! KEYS: the names of a pool, a page at a time.
//!
//! A page costs what it holds, not what the pool has. Therefore keys come in no order, and a program that goes through all
//! pages sees each key that is there all the while at least once.

use bytes::{BufMut, BytesMut};

use crate::class::BlockClass;
use crate::error::{ApiError, ApiResult};
use crate::id::NodeId;
use crate::limits::{KEY_LEN_MAX, NODE_NAME_LEN_MAX};
use crate::listing::{KeyDetails, ListedKey, MissingNode};
use crate::pattern::{check_count, check_patterns};
use crate::ttl::Ttl;

use super::limits::{FRAME_PAYLOAD_MAX, KEYS_MISSING_MAX, KEYS_PAGE_MAX};
use super::read::{Fields, must_be_zero};

/// Bit of the options: keys of this node alone.
const LOCAL: u32 = 1;

/// Bit of the options: what is known of the values, too.
const DETAILS: u32 = 1 << 1;

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
/// `options`: bit 0 LOCAL, bit 1 DETAILS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysRequest<P = String> {
    /// Globs, see [`crate::pattern`]; a key that matches any of them comes.
    pub patterns: Vec<P>,
    /// 0 for the first page, then that of the last reply.
    pub cursor: u64,
    /// How many keys at most, from 1 on; the node may return fewer, also none, and a cursor.
    pub limit: u32,
    /// What is listed of what.
    pub options: KeysOptions,
}

/// What is listed of what; by default the keys of the whole pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeysOptions {
    /// Only keys that this node answers for.
    pub local: bool,
    /// With each key, what is known of its value.
    pub details: bool,
}

impl<P: AsRef<str>> KeysRequest<P> {
    /// Writes the arguments.
    pub fn encode(&self, out: &mut BytesMut) {
        let KeysOptions { local, details } = self.options;
        let bit = |bit, is_set| if is_set { bit } else { 0 };
        out.put_u32_le(bit(LOCAL, local) | bit(DETAILS, details));
        out.put_u32_le(self.limit);
        out.put_u64_le(self.cursor);
        out.put_u32_le(self.patterns.len() as u32);
        for pattern in &self.patterns {
            let pattern = pattern.as_ref();
            out.put_u16_le(pattern.len() as u16);
            out.put_slice(pattern.as_bytes());
        }
    }

    /// The same with patterns of its own.
    pub fn into_owned(self) -> KeysRequest {
        KeysRequest {
            patterns: self
                .patterns
                .iter()
                .map(|pattern| pattern.as_ref().to_owned())
                .collect(),
            cursor: self.cursor,
            limit: self.limit,
            options: self.options,
        }
    }
}

impl<'a> KeysRequest<&'a str> {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument`; `TooLarge` for too many or too long patterns; `Unsupported` for options of a later version.
    pub fn decode(payload: &'a [u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let options = fields.u32()?;
        must_be_zero((options & !(LOCAL | DETAILS)).into(), "these options of KEYS")?;
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
            options: KeysOptions {
                local: options & LOCAL != 0,
                details: options & DETAILS != 0,
            },
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
///  0       4         6         8        16
/// +-------+---------+---------+--------+  +---------+-----+----------+  +------+----------+------+
/// | count | missing | options | cursor |  | key len | key | details, |  | node | name len | name |
/// |  u32  |   u16   |   u16   |  u64   |  |   u16   |     | where so |  |  16  |    u8    |      |
/// +-------+---------+---------+--------+  +---------+-----+----------+  +------+----------+------+
///                                            count times                   missing times
/// details:
///  0      16       32     40    48      49
/// +------+--------+------+-----+-------+-------+
/// | node | holder | size | ttl | class | flags |    `ttl`: ms, 0 is for good; `class`: 0 pinned, 1 cache, 255 not known;
/// |  16  |   16   | u64  | u64 |  u8   |  u8   |    `flags`: bit 0 is a stream
/// +------+--------+------+-----+-------+-------+
/// ```
///
/// `options`: bit 1 DETAILS, each key has details.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeysReply {
    /// The keys, in no order: all with details or none.
    pub keys: Vec<ListedKey>,
    /// Nodes whose keys are missing, as far as the listing came to them on this page.
    pub missing: Vec<MissingNode>,
    /// With which cursor to ask for the next page; 0 where this was the last.
    pub cursor: u64,
}

/// What stands in front of the keys of a reply.
const HEAD_LEN: usize = 16;

/// Bytes of the details of a key.
const DETAILS_LEN: usize = 50;

/// The most bytes of the nodes whose keys are missing.
const MISSING_LEN_MAX: usize = KEYS_MISSING_MAX * (16 + 1 + NODE_NAME_LEN_MAX);

const CLASS_UNKNOWN: u8 = 0xff;

const IS_STREAM: u8 = 1;

impl KeysReply {
    /// Writes the reply. A [`KeysPage`] keeps it within a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let has_details = self.keys.iter().any(|listed| listed.details.is_some());
        out.put_u32_le(self.keys.len() as u32);
        out.put_u16_le(self.missing.len() as u16);
        out.put_u16_le(if has_details { DETAILS as u16 } else { 0 });
        out.put_u64_le(self.cursor);
        for ListedKey { key, details } in &self.keys {
            out.put_u16_le(key.len() as u16);
            out.put_slice(key.as_bytes());
            if let Some(details) = details {
                encode_details(details, out);
            }
        }
        for MissingNode { node, name } in &self.missing {
            out.put_slice(node.as_bytes());
            out.put_u8(name.len() as u8);
            out.put_slice(name.as_bytes());
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// `InvalidArgument` where the counts are not those of the keys and nodes, a text is not UTF-8, or a class or a time to live is none;
    /// `Unsupported` for options of a later version.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let count = fields.u32()? as usize;
        let missing_count = usize::from(fields.u16()?);
        let options = u32::from(fields.u16()?);
        must_be_zero((options & !DETAILS).into(), "these options of a reply to KEYS")?;
        let cursor = fields.u64()?;
        // The counts are the other side's word: a key has at least two bytes in the frame, a node 17.
        let mut keys = Vec::with_capacity(count.min(payload.len() / 2));
        for _ in 0..count {
            let len = usize::from(fields.u16()?);
            let key = fields.text(len, "a key")?.to_owned();
            let has_details = options & DETAILS != 0;
            let details = has_details.then(|| decode_details(&mut fields)).transpose()?;
            keys.push(ListedKey { key, details });
        }
        let mut missing = Vec::with_capacity(missing_count.min(payload.len() / 17));
        for _ in 0..missing_count {
            let node = NodeId::from_bytes(fields.array()?);
            let len = usize::from(fields.u8()?);
            let name = fields.text(len, "a name")?.to_owned();
            missing.push(MissingNode { node, name });
        }
        fields.end()?;
        Ok(Self {
            keys,
            missing,
            cursor,
        })
    }
}

fn encode_details(details: &KeyDetails, out: &mut BytesMut) {
    out.put_slice(details.node.as_bytes());
    out.put_slice(details.holder.as_bytes());
    out.put_u64_le(details.size);
    out.put_u64_le(details.ttl.map_or(0, Ttl::as_millis));
    out.put_u8(details.class.map_or(CLASS_UNKNOWN, BlockClass::to_byte));
    out.put_u8(if details.is_stream { IS_STREAM } else { 0 });
}

fn decode_details(fields: &mut Fields<'_>) -> ApiResult<KeyDetails> {
    let node = NodeId::from_bytes(fields.array()?);
    let holder = NodeId::from_bytes(fields.array()?);
    let size = fields.u64()?;
    let ttl = match fields.u64()? {
        0 => None,
        ms => Some(Ttl::from_millis(ms)?),
    };
    let class =
        match fields.u8()? {
            CLASS_UNKNOWN => None,
            class => {
                let known = BlockClass::from_byte(class);
                Some(known.ok_or_else(|| {
                    ApiError::invalid(format!("a key has the class {class}, which is none"))
                })?)
            }
        };
    let flags = fields.u8()?;
    must_be_zero((flags & !IS_STREAM).into(), "these flags of a key")?;
    Ok(KeyDetails {
        node,
        holder,
        size,
        class,
        ttl,
        is_stream: flags & IS_STREAM != 0,
    })
}

/// Collects the keys of a page, as many as are asked for and fit a frame.
#[derive(Debug)]
pub struct KeysPage {
    keys: Vec<ListedKey>,
    limit: usize,
    len: usize,
}

impl KeysPage {
    /// A page of at most `limit` keys, and never more than [`KEYS_PAGE_MAX`].
    pub fn new(limit: u32) -> Self {
        Self {
            keys: Vec::new(),
            limit: limit.min(KEYS_PAGE_MAX) as usize,
            len: HEAD_LEN + MISSING_LEN_MAX,
        }
    }

    /// Adds a key to a page that is not full. Returns whether another one, whatever its length, has room.
    pub fn push(&mut self, key: ListedKey) -> bool {
        self.len += Self::len_of(key.key.len());
        self.keys.push(key);
        self.keys.len() < self.limit && self.len + Self::len_of(KEY_LEN_MAX) <= FRAME_PAYLOAD_MAX
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys.
    pub fn into_keys(self) -> Vec<ListedKey> {
        self.keys
    }

    /// The reply with these keys, which goes on with `cursor`.
    pub fn finish(self, cursor: u64) -> KeysReply {
        KeysReply {
            keys: self.keys,
            missing: Vec::new(),
            cursor,
        }
    }

    /// With details, be they there or not: so all pages are as long as those with them.
    fn len_of(key_len: usize) -> usize {
        2 + key_len + DETAILS_LEN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::local::KEYS_MISSING_MAX;

    fn details(is_stream: bool, ttl: Option<u64>, class: Option<BlockClass>) -> KeyDetails {
        KeyDetails {
            node: NodeId::from_bytes([3; 16]),
            holder: NodeId::from_bytes([4; 16]),
            size: 1 << 40,
            class,
            ttl: ttl.map(|ms| Ttl::from_millis(ms).unwrap()),
            is_stream,
        }
    }

    proptest! {
        #[test]
        fn a_page_fits_a_frame(
            lens in proptest::collection::vec(1..=KEY_LEN_MAX, 6_000),
            limit in 1u32..=10_000,
            cursor: u64,
            details in proptest::option::of((any::<bool>(), proptest::option::of(1..1_000u64), 0..3u8)),
            missing in 0..=KEYS_MISSING_MAX,
        ) {
            let details = details.map(|(is_stream, ttl, class)| {
                let class = [None, Some(BlockClass::Pinned), Some(BlockClass::Cache)][usize::from(class)];
                self::details(is_stream, ttl, class)
            });
            let mut page = KeysPage::new(limit);
            let mut lens = lens.into_iter();
            let mut key = || ListedKey { key: "k".repeat(lens.next().unwrap()), details };
            while page.push(key()) {}
            let mut reply = page.finish(cursor);
            let node = MissingNode { node: NodeId::from_bytes([5; 16]), name: "n".repeat(NODE_NAME_LEN_MAX) };
            reply.missing = vec![node; missing];
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
            local: bool,
            details: bool,
        ) {
            let patterns = patterns.iter().map(String::as_str).collect();
            let request = KeysRequest { patterns, cursor, limit, options: KeysOptions { local, details } };
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes);
            for end in 0..bytes.len() {
                prop_assert!(KeysRequest::decode(&bytes[..end]).is_err());
            }
            prop_assert_eq!(KeysRequest::decode(&bytes), Ok(request));
        }
    }
}
