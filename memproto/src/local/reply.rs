//! What stands in replies of status 0.

use bytes::{BufMut, BytesMut};

use crate::control::Freed;
use crate::error::{ApiError, ApiResult};
use crate::id::{BlockId, NodeId};
use crate::ttl::Ttl;

use super::read::Fields;

/// The reply to HELLO:
///
/// ```text
///  0         2             4               8            16        32
/// +---------+-------------+---------------+------------+---------+--------------+
/// | version | version len | in flight max | held bytes | node id | node version |
/// +---------+-------------+---------------+------------+---------+--------------+
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloReply {
    /// The protocol version that both speak from here on.
    pub version: u16,
    /// How many requests the client may have in flight, see [`IN_FLIGHT_MAX`](super::IN_FLIGHT_MAX).
    pub in_flight_max: u32,
    /// How many bytes its requests may make the node hold, see [`HELD_BYTES_MAX`](super::HELD_BYTES_MAX).
    pub held_bytes_max: u64,
    /// The node.
    pub node_id: NodeId,
    /// The version of `memnode`, such as `0.1.0`.
    pub node_version: String,
}

impl HelloReply {
    /// Writes the reply.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.version);
        out.put_u16_le(self.node_version.len() as u16);
        out.put_u32_le(self.in_flight_max);
        out.put_u64_le(self.held_bytes_max);
        out.put_slice(self.node_id.as_bytes());
        out.put_slice(self.node_version.as_bytes());
    }

    /// Reads it. Bytes behind the version, from a newer node, are passed over.
    ///
    /// # Errors
    /// `InvalidArgument` where it is too short.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let (version, version_len) = (fields.u16()?, usize::from(fields.u16()?));
        let (in_flight_max, held_bytes_max) = (fields.u32()?, fields.u64()?);
        let node_id = NodeId::from_bytes(fields.array()?);
        let node_version = fields.text(version_len, "the node's version")?.to_owned();
        Ok(Self {
            version,
            in_flight_max,
            held_bytes_max,
            node_id,
            node_version,
        })
    }
}

/// The reply to SET, STORE and STREAM: the new id and its size, 8 bytes each. That to STREAM_WRITE and STREAM_FILE: the id of the
/// stream, and its size so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PutReply {
    /// The id of the block or stream.
    pub id: BlockId,
    /// Its size in bytes.
    pub size: u64,
}

impl PutReply {
    /// Writes the reply.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id.as_u64());
        out.put_u64_le(self.size);
    }

    /// Reads it.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong length or id.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let reply = Self {
            id: BlockId::try_from(fields.u64()?)?,
            size: fields.u64()?,
        };
        fields.end()?;
        Ok(reply)
    }
}

/// The reply to GET, LOAD and LOAD_INTO, in front of the bytes or the first of them:
///
/// ```text
///  0        8        16         24
/// +--------+--------+----------+- - - -
/// |   id   |  size  |  length  | value
/// +--------+--------+----------+- - - -
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadReply {
    /// The id of the block or stream.
    pub id: BlockId,
    /// The size of the whole object in bytes.
    pub size: u64,
    /// How many bytes of it come: the range that was asked for, as far as the object has it. [`LENGTH_UNKNOWN`](Self::LENGTH_UNKNOWN)
    /// where a stream is followed that has not ended: they come until the body ends.
    pub length: u64,
}

impl ReadReply {
    /// The length of the reply in front of the value.
    pub const LEN: usize = 24;

    /// The `length` of what nobody knows the end of yet.
    pub const LENGTH_UNKNOWN: u64 = u64::MAX;

    /// Writes the reply; the value goes behind it.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.id.as_u64());
        out.put_u64_le(self.size);
        out.put_u64_le(self.length);
    }

    /// Reads it. The second part is the value, or its first bytes.
    ///
    /// # Errors
    /// `InvalidArgument` where it is too short.
    pub fn decode(payload: &[u8]) -> ApiResult<(Self, &[u8])> {
        let mut fields = Fields::new(payload);
        let id = BlockId::try_from(fields.u64()?)?;
        let reply = Self {
            id,
            size: fields.u64()?,
            length: fields.u64()?,
        };
        Ok((reply, fields.rest()))
    }
}

/// The reply to GET_MAPPED and LOAD_MAPPED, in front of the bytes or the first of them where there is no descriptor:
///
/// ```text
///  0        8        16       24       32
/// +--------+--------+--------+--------+- - - -
/// |   id   |  size  | length | offset | value
/// +--------+--------+--------+--------+- - - -
/// ```
///
/// `offset` is `u64::MAX` where bytes follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedReply {
    /// What was found, as in the reply to GET.
    pub read: ReadReply,
    /// From which byte of the attached memory file on the bytes lie; `None` where they follow as in a reply to GET.
    pub offset: Option<u64>,
}

impl MappedReply {
    /// The length of the reply in front of the value.
    pub const LEN: usize = ReadReply::LEN + 8;

    /// Writes the reply; where there is no descriptor the value goes behind it.
    pub fn encode(&self, out: &mut BytesMut) {
        self.read.encode(out);
        out.put_u64_le(self.offset.unwrap_or(u64::MAX));
    }

    /// Reads it. The second part is the value, or its first bytes.
    ///
    /// # Errors
    /// `InvalidArgument` where it is too short, where bytes follow although a descriptor is attached, and where the range
    /// ends behind the last byte that can be counted.
    pub fn decode(payload: &[u8]) -> ApiResult<(Self, &[u8])> {
        let (read, rest) = ReadReply::decode(payload)?;
        let mut fields = Fields::new(rest);
        let offset = Some(fields.u64()?).filter(|&offset| offset != u64::MAX);
        let value = fields.rest();
        let is_wrong =
            offset.is_some_and(|offset| !value.is_empty() || offset.checked_add(read.length).is_none());
        if is_wrong {
            return Err(ApiError::invalid("the range of a memory file is none"));
        }
        Ok((Self { read, offset }, value))
    }
}

/// Writes the reply to DEL: one byte, 1 where there was a key.
pub fn encode_deleted(deleted: bool, out: &mut BytesMut) {
    out.put_u8(deleted.into());
}

/// Reads the reply to DEL.
///
/// # Errors
/// `InvalidArgument` for anything but one byte.
pub fn decode_deleted(payload: &[u8]) -> ApiResult<bool> {
    let mut fields = Fields::new(payload);
    let deleted = fields.u8()? != 0;
    fields.end()?;
    Ok(deleted)
}

/// Writes the reply to TTL, EXPIRE and PERSIST: how long the value had to live in milliseconds, before any change; 0 for
/// good.
pub fn encode_lifetime(ttl: Option<Ttl>, out: &mut BytesMut) {
    out.put_u64_le(ttl.map_or(0, Ttl::as_millis));
}

/// Reads the reply to TTL, EXPIRE and PERSIST.
///
/// # Errors
/// `InvalidArgument` for a wrong length, or a time over its limit.
pub fn decode_lifetime(payload: &[u8]) -> ApiResult<Option<Ttl>> {
    let mut fields = Fields::new(payload);
    let ms = fields.u64()?;
    fields.end()?;
    match ms {
        0 => Ok(None),
        ms => Ttl::from_millis(ms).map(Some),
    }
}

/// Writes the reply to FREE: number of blocks and their bytes, 8 bytes each.
pub fn encode_freed(freed: &Freed, out: &mut BytesMut) {
    out.put_u64_le(freed.blocks);
    out.put_u64_le(freed.bytes);
}

/// Reads the reply to FREE.
///
/// # Errors
/// `InvalidArgument` for a wrong length.
pub fn decode_freed(payload: &[u8]) -> ApiResult<Freed> {
    let mut fields = Fields::new(payload);
    let freed = Freed {
        blocks: fields.u64()?,
        bytes: fields.u64()?,
    };
    fields.end()?;
    Ok(freed)
}
