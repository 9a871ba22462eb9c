//! Arguments of requests. Decoding borrows; nothing is copied but the name of a peer.

use bytes::{BufMut, BytesMut};

use crate::class::BlockClass;
use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::id::BlockId;
use crate::key::check_key;
use crate::limits::OBJECT_SIZE_MAX;
use crate::placement::Placement;
use crate::ttl::{LifetimeChange, Ttl, ValueName};

use super::frame::Op;
use super::limits::{CLIENT_NAME_LEN_MAX, FREE_IDS_MAX, TOKEN_LEN_MAX};
use super::read::{Fields, must_be_zero};

/// The option of reads, writes and deletions of keys that asks all connected peers first: bit 0.
///
/// The newest value of all is read, and a write or deletion is acknowledged when every connected peer has dropped what is
/// older. Such operations on one key are linearizable; each costs a round trip to the slowest peer.
pub(super) const STRICT: u32 = 1;

/// The option of a LOAD that lets the bytes of a stream come as they are written: bit 1.
const FOLLOW: u32 = 2;

/// Reads the options of an operation on keys: whether it is strict.
///
/// # Errors
/// `Unsupported` for options of a later version.
pub(super) fn strictness(options: u32, what: &str) -> ApiResult<bool> {
    must_be_zero((options & !STRICT).into(), what)?;
    Ok(options & STRICT != 0)
}

/// Arguments of HELLO:
///
/// ```text
///  0         2         4         6          8
/// +---------+---------+---------+----------+------+-------+
/// |  from   |   to    |name len |token len | name | token |
/// +---------+---------+---------+----------+------+-------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelloRequest<'a> {
    /// The lowest protocol version that the client speaks.
    pub version_min: u16,
    /// The highest one.
    pub version_max: u16,
    /// The name of the program, for the log; at most [`CLIENT_NAME_LEN_MAX`] bytes.
    pub name: &'a str,
    /// The token of the node's folder, which TCP needs; empty on a Unix socket. At most [`TOKEN_LEN_MAX`] bytes.
    pub token: &'a str,
}

impl<'a> HelloRequest<'a> {
    /// Writes the arguments.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.version_min);
        out.put_u16_le(self.version_max);
        out.put_u16_le(self.name.len() as u16);
        out.put_u16_le(self.token.len() as u16);
        out.put_slice(self.name.as_bytes());
        out.put_slice(self.token.as_bytes());
    }

    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument`, `TooLarge` for the name and the token.
    pub fn decode(payload: &'a [u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let (version_min, version_max) = (fields.u16()?, fields.u16()?);
        let (name_len, token_len) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
        check_len(name_len, CLIENT_NAME_LEN_MAX, "the client's name")?;
        check_len(token_len, TOKEN_LEN_MAX, "the token")?;
        let name = fields.text(name_len, "the client's name")?;
        let token = fields.text(token_len, "the token")?;
        fields.end()?;
        Ok(Self {
            version_min,
            version_max,
            name,
            token,
        })
    }
}

/// Arguments of SET, STORE and STREAM, in front of the value or its first bytes:
///
/// ```text
///  0         8         16      17      18      19     20        22         24
/// +---------+---------+-------+-------+-------+------+---------+----------+-----+------+- -
/// |  size   | ttl ms  | class | place | repl. | opts | key len | peer len | key | peer | value
/// +---------+---------+-------+-------+-------+------+---------+----------+-----+------+- -
/// ```
///
/// `size` is that of the whole value, `u64::MAX` where it is not known. `ttl ms` is 0 for a value that does not expire.
/// `repl.` is 0 in this version. Bit 0 of `opts` is STRICT, in a SET alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutRequest<'a> {
    /// The size of the value in bytes, where it is known.
    pub size: Option<u64>,
    /// How long the value lives; `None` is for good.
    pub ttl: Option<Ttl>,
    /// The class.
    pub class: BlockClass,
    /// The placement.
    pub placement: Placement,
    /// The key of a SET; `None` in STORE and STREAM.
    pub key: Option<&'a str>,
    /// Whether all connected peers drop what is older before the reply. In a SET alone.
    pub strict: bool,
}

impl<'a> PutRequest<'a> {
    /// Writes the arguments; the value goes behind them.
    pub fn encode(&self, out: &mut BytesMut) {
        let peer = self.placement.to_wire().1;
        let key = self.key.unwrap_or_default();
        out.put_u64_le(self.size.unwrap_or(u64::MAX));
        put_keeping(self.ttl, self.class, &self.placement, self.strict, out);
        out.put_u16_le(key.len() as u16);
        out.put_u16_le(peer.len() as u16);
        out.put_slice(key.as_bytes());
        out.put_slice(peer.as_bytes());
    }

    /// Reads the arguments of a request with a key or without. The second part is the value, or its first bytes.
    ///
    /// # Errors
    /// `InvalidArgument`, `TooLarge`, or `Unsupported` for a field of a later version.
    pub fn decode(payload: &'a [u8], has_key: bool) -> ApiResult<(Self, &'a [u8])> {
        let mut fields = Fields::new(payload);
        let size = Some(fields.u64()?).filter(|&size| size != u64::MAX);
        let Keeping {
            ttl,
            class,
            place,
            strict,
        } = keeping(&mut fields)?;
        let (key_len, peer_len) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
        let key = fields.bytes(key_len)?;
        let peer = fields.text(peer_len, "the name of the peer")?;
        let placement = Placement::from_wire(place, peer)?;
        if size.is_some_and(|size| size > OBJECT_SIZE_MAX) {
            return Err(ApiError::new(
                ErrorCode::TooLarge,
                format!("an object has at most {OBJECT_SIZE_MAX} bytes"),
            ));
        }
        let key = match has_key {
            true => Some(check_key(key)?),
            false if strict => {
                return Err(ApiError::invalid(
                    "what has no key cannot be strict: blocks never change",
                ));
            }
            false if key.is_empty() => None,
            false => return Err(ApiError::invalid("a key stands where none belongs")),
        };
        Ok((
            Self {
                size,
                ttl,
                class,
                placement,
                key,
                strict,
            },
            fields.rest(),
        ))
    }
}

/// How a write is to be kept, as SET and MSET have it in the same layout; the name of the peer stands elsewhere:
///
/// ```text
///  0        8       9       10      11     12
/// +--------+-------+-------+-------+------+
/// | ttl ms | class | place | repl. | opts |
/// +--------+-------+-------+-------+------+
/// ```
pub(super) struct Keeping {
    pub(super) ttl: Option<Ttl>,
    pub(super) class: BlockClass,
    /// The byte of the placement.
    pub(super) place: u8,
    /// See [`STRICT`].
    pub(super) strict: bool,
}

pub(super) fn put_keeping(
    ttl: Option<Ttl>,
    class: BlockClass,
    placement: &Placement,
    strict: bool,
    out: &mut BytesMut,
) {
    out.put_u64_le(ttl.map_or(0, Ttl::as_millis));
    out.put_u8(class.to_byte());
    out.put_u8(placement.to_wire().0);
    out.put_u8(0);
    out.put_u8(u8::from(strict));
}

pub(super) fn keeping(fields: &mut Fields<'_>) -> ApiResult<Keeping> {
    let ttl = match fields.u64()? {
        0 => None,
        ms => Some(Ttl::from_millis(ms)?),
    };
    let (class, place) = (fields.u8()?, fields.u8()?);
    must_be_zero(fields.u8()?.into(), "replicas")?;
    let strict = strictness(fields.u8()?.into(), "these options of a write")?;
    let class =
        BlockClass::from_byte(class).ok_or_else(|| ApiError::invalid(format!("unknown class {class}")))?;
    Ok(Keeping {
        ttl,
        class,
        place,
        strict,
    })
}

/// Arguments of GET and LOAD. GET has the key behind them, LOAD the id as 8 bytes:
///
/// ```text
///  0          8          16        20
/// +----------+----------+---------+-----------+
/// |  offset  |  length  | options | key or id |
/// +----------+----------+---------+-----------+
/// ```
///
/// `length` is `u64::MAX` for all the rest. Bit 0 of `options` is STRICT, in a GET alone; bit 1 is FOLLOW, in a LOAD alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRequest<T> {
    /// The first byte wanted.
    pub offset: u64,
    /// How many bytes at most.
    pub length: u64,
    /// The key or the id.
    pub target: T,
    /// Whether to read the newest value that any connected peer knows of. In a GET alone.
    pub strict: bool,
    /// Whether the bytes of a stream that is still being written are to come as they are written, until it ends. In a LOAD alone.
    pub follow: bool,
}

impl<'a> ReadRequest<&'a str> {
    /// Writes the arguments of a GET.
    pub fn encode(&self, out: &mut BytesMut) {
        put_range(out, self.offset, self.length, u32::from(self.strict) * STRICT);
        out.put_slice(self.target.as_bytes());
    }

    /// Reads the arguments of a GET.
    ///
    /// # Errors
    /// `InvalidArgument`, `TooLarge` for the key, or `Unsupported` for options of a later version.
    pub fn decode(payload: &'a [u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let (offset, length) = range(&mut fields)?;
        let strict = strictness(fields.u32()?, "these options of a read")?;
        Ok(Self {
            offset,
            length,
            target: check_key(fields.rest())?,
            strict,
            follow: false,
        })
    }
}

impl ReadRequest<BlockId> {
    /// Writes the arguments of a LOAD.
    pub fn encode(&self, out: &mut BytesMut) {
        put_range(out, self.offset, self.length, u32::from(self.follow) * FOLLOW);
        out.put_u64_le(self.target.as_u64());
    }

    /// Reads the arguments of a LOAD.
    ///
    /// # Errors
    /// As for a GET.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let (offset, length) = range(&mut fields)?;
        let options = fields.u32()?;
        must_be_zero((options & !FOLLOW).into(), "these options of a read")?;
        let target = BlockId::try_from(fields.u64()?)?;
        fields.end()?;
        Ok(Self {
            offset,
            length,
            target,
            strict: false,
            follow: options & FOLLOW != 0,
        })
    }
}

fn put_range(out: &mut BytesMut, offset: u64, length: u64, options: u32) {
    out.put_u64_le(offset);
    out.put_u64_le(length);
    out.put_u32_le(options);
}

fn range(fields: &mut Fields<'_>) -> ApiResult<(u64, u64)> {
    Ok((fields.u64()?, fields.u64()?))
}

/// Arguments of DEL: `options` (4 bytes, bit 0 is STRICT) and the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DelRequest<'a> {
    /// The key.
    pub key: &'a str,
    /// Whether all connected peers drop the key before the reply.
    pub strict: bool,
}

impl<'a> DelRequest<'a> {
    /// Writes the arguments.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(u32::from(self.strict) * STRICT);
        out.put_slice(self.key.as_bytes());
    }

    /// Reads them.
    ///
    /// # Errors
    /// As for a GET.
    pub fn decode(payload: &'a [u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let strict = strictness(fields.u32()?, "these options of a deletion")?;
        Ok(Self {
            key: check_key(fields.rest())?,
            strict,
        })
    }
}

/// Arguments of FREE: `options` (4 bytes, 0 in this version), and ids of 8 bytes each, 1 to [`FREE_IDS_MAX`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreeRequest {
    /// The ids.
    pub ids: Vec<BlockId>,
}

impl FreeRequest {
    /// Writes the arguments.
    pub fn encode(ids: &[BlockId], out: &mut BytesMut) {
        out.put_u32_le(0);
        ids.iter().for_each(|id| out.put_u64_le(id.as_u64()));
    }

    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong id, `TooLarge` for too many.
    pub fn decode(payload: &[u8]) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        must_be_zero(fields.u32()?.into(), "these options of FREE")?;
        let ids = fields.rest();
        if ids.is_empty() || !ids.len().is_multiple_of(8) {
            return Err(ApiError::invalid("FREE has one id or more, of 8 bytes each"));
        }
        check_len(ids.len() / 8, FREE_IDS_MAX, "the list of ids")?;
        let mut fields = Fields::new(ids);
        let ids = (0..ids.len() / 8)
            .map(|_| BlockId::try_from(fields.u64()?))
            .collect::<ApiResult<_>>()?;
        Ok(Self { ids })
    }
}

/// Arguments of TTL, EXPIRE and PERSIST, with the key behind them, or the id as 8 bytes:
///
/// ```text
///  0        8         12     13        16
/// +--------+---------+------+---------+-----------+
/// | ttl ms | options | kind | 3 zeroes| id or key |
/// +--------+---------+------+---------+-----------+
/// ```
///
/// `ttl ms` stands in EXPIRE alone, else it is 0. `kind` is 0 for an id, 1 for a key. `options` is 0 in this version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LifetimeRequest {
    /// The value.
    pub name: ValueName,
    /// What is done; it also decides the operation, see [`op`](Self::op).
    pub change: LifetimeChange,
}

impl LifetimeRequest {
    /// The operation with these arguments.
    pub fn op(&self) -> Op {
        match self.change {
            LifetimeChange::Tell => Op::Ttl,
            LifetimeChange::Expire(_) => Op::Expire,
            LifetimeChange::Persist => Op::Persist,
        }
    }

    /// Writes the arguments.
    pub fn encode(&self, out: &mut BytesMut) {
        let ttl = self.change.wanted().flatten();
        out.put_u64_le(ttl.map_or(0, Ttl::as_millis));
        out.put_u32_le(0);
        match &self.name {
            ValueName::Id(id) => {
                out.put_u32_le(0);
                out.put_u64_le(id.as_u64());
            }
            ValueName::Key(key) => {
                out.put_u32_le(1);
                out.put_slice(key.as_bytes());
            }
        }
    }

    /// Reads the arguments of one of the three operations.
    ///
    /// # Errors
    /// `InvalidArgument`, `TooLarge` for the key, or `Unsupported` for options of a later version.
    pub fn decode(payload: &[u8], op: Op) -> ApiResult<Self> {
        let mut fields = Fields::new(payload);
        let ttl_ms = fields.u64()?;
        let change = match op {
            Op::Expire => LifetimeChange::Expire(Ttl::from_millis(ttl_ms)?),
            _ if ttl_ms != 0 => return Err(ApiError::invalid("a time stands where none belongs")),
            Op::Persist => LifetimeChange::Persist,
            _ => LifetimeChange::Tell,
        };
        must_be_zero(fields.u32()?.into(), "these options of a time to live")?;
        let name = match fields.u32()? {
            0 => {
                let id = BlockId::try_from(fields.u64()?)?;
                fields.end()?;
                ValueName::Id(id)
            }
            1 => ValueName::Key(check_key(fields.rest())?.to_owned()),
            kind => return Err(ApiError::invalid(format!("unknown kind of name {kind}"))),
        };
        Ok(Self { name, change })
    }
}

/// The payload of CREDIT: how many bytes more the other side may send, 8 bytes.
///
/// # Errors
/// `InvalidArgument` for another length.
pub fn decode_credit(payload: &[u8]) -> ApiResult<u64> {
    let mut fields = Fields::new(payload);
    let bytes = fields.u64()?;
    fields.end()?;
    Ok(bytes)
}

/// Checks that a request without arguments has none.
///
/// # Errors
/// `InvalidArgument` where bytes stand behind the header.
pub fn decode_empty(payload: &[u8]) -> ApiResult<()> {
    Fields::new(payload).end()
}

fn check_len(len: usize, max: usize, what: &str) -> ApiResult<()> {
    if len <= max {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::TooLarge,
        format!("{what} has a length of {len}, at most {max} is allowed"),
    ))
}
