//! What stands beside `op` in a line, read and checked.

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::key::check_key;
use memproto::local::keys::{KeysOptions, KeysRequest, check_limit};
use memproto::local::{BATCH_KEYS_MAX, FREE_IDS_MAX, KEYS_PAGE_MAX};
use memproto::pattern::check_patterns;
use memproto::stream::{Compress, StreamOptions, StreamPlacement};
use memproto::{BlockClass, BlockId, LifetimeChange, Placement, Ttl, ValueName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::VALUE_MAX;
use super::request::too_large;
use crate::service::{ByteRange, PutOptions};

/// The byte of [`Placement::Peer`] in the native protocol, whose rules for its name hold here too.
const PLACEMENT_PEER: u8 = 3;

/// The fields of a line, without `id` and `op`.
pub(super) type Fields = Map<String, Value>;

/// Arguments of `hello`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    #[serde(default)]
    pub(super) token: String,
    /// The name of the program, for the log.
    #[serde(default)]
    pub(super) name: String,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hello({:?})", self.name)
    }
}

/// A value and how it is to be kept.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) value: Bytes,
    pub(super) options: PutOptions,
}

/// Keys, their values, and how all of these are to be kept.
#[derive(Debug)]
pub(super) struct PutMany {
    pub(super) pairs: Vec<(String, Bytes)>,
    pub(super) options: PutOptions,
}

/// Which part of a value is wanted, and how it is to be written.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) range: ByteRange,
    pub(super) encoding: Option<Encoding>,
    /// Whether the newest value that any connected peer knows of is wanted. For keys alone.
    pub(super) strict: bool,
}

/// How bytes stand in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// As they are: they must be UTF-8.
    Text,
    /// As RFC 4648, 4 has it, with padding.
    Base64,
}

/// Arguments that serde reads as they are.
///
/// # Errors
/// `InvalidArgument` for a field that is missing, unknown or not of its type.
pub(super) fn args<T: DeserializeOwned>(fields: Fields) -> ApiResult<T> {
    T::deserialize(Value::Object(fields))
        .map_err(|error| ApiError::invalid(format!("the request is not as specified: {error}")))
}

/// Checks that there are none.
pub(super) fn no_args(fields: Fields) -> ApiResult<()> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoArgs {}

    args(fields).map(|NoArgs {}| ())
}

/// Those of `set`.
pub(super) fn set(fields: Fields) -> ApiResult<(String, Put)> {
    let (key, put) = any_put(fields)?;
    let key = named(key, "key")?;
    check_key(key.as_bytes())?;
    Ok((key, put))
}

/// Those of `store` and `stream`.
pub(super) fn put(fields: Fields) -> ApiResult<Put> {
    let (key, put) = any_put(fields)?;
    nothing(key.is_none(), "key")?;
    nothing(!put.options.strict, "strict")?;
    Ok(put)
}

fn any_put(fields: Fields) -> ApiResult<(Option<String>, Put)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct PutArgs {
        key: Option<String>,
        text: Option<String>,
        base64: Option<String>,
        #[serde(default)]
        class: BlockClass,
        #[serde(default)]
        placement: PlacementArg,
        peer: Option<String>,
        ttl_ms: Option<Ttl>,
        #[serde(default)]
        strict: bool,
    }

    let put: PutArgs = args(fields)?;
    let options = PutOptions {
        ttl: put.ttl_ms,
        class: put.class,
        placement: placement(put.placement, put.peer.as_deref())?,
        strict: put.strict,
    };
    let value = value(put.text, put.base64.as_deref())?;
    Ok((put.key, Put { value, options }))
}

/// Those of `stream_open`.
pub(super) fn stream_options(fields: Fields) -> ApiResult<StreamOptions> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct StreamArgs {
        key: Option<String>,
        #[serde(default)]
        live: bool,
        #[serde(default)]
        class: BlockClass,
        #[serde(default)]
        placement: PlacementArg,
        peers: Option<Vec<String>>,
        ttl_ms: Option<Ttl>,
        #[serde(default)]
        compress: Compress,
    }

    let stream: StreamArgs = args(fields)?;
    let placement = match (stream.placement, stream.peers) {
        (PlacementArg::Auto, Some(peers)) => StreamPlacement::Peers(peers),
        (_, Some(_)) => return Err(ApiError::invalid("either placement or peers, not both")),
        (PlacementArg::Auto, None) => StreamPlacement::Auto,
        (PlacementArg::Local, None) => StreamPlacement::Local,
        (PlacementArg::Remote, None) => StreamPlacement::Remote,
    };
    let options = StreamOptions {
        key: stream.key,
        live: stream.live,
        ttl: stream.ttl_ms,
        class: stream.class,
        placement,
        compress: stream.compress,
    };
    options.check()?;
    Ok(options)
}

/// Those of `stream_write`.
pub(super) fn stream_write(fields: Fields) -> ApiResult<(BlockId, Bytes)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct WriteArgs {
        block: BlockId,
        text: Option<String>,
        base64: Option<String>,
    }

    let WriteArgs { block, text, base64 } = args(fields)?;
    Ok((block, value(text, base64.as_deref())?))
}

/// Those of `stream_status` and `stream_finish`.
pub(super) fn block(fields: Fields) -> ApiResult<BlockId> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct BlockArg {
        block: BlockId,
    }

    args(fields).map(|BlockArg { block }| block)
}

/// Those of `mset`.
pub(super) fn put_many(fields: Fields) -> ApiResult<PutMany> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct PutManyArgs {
        pairs: Vec<PairArg>,
        #[serde(default)]
        class: BlockClass,
        #[serde(default)]
        placement: PlacementArg,
        peer: Option<String>,
        ttl_ms: Option<Ttl>,
        #[serde(default)]
        strict: bool,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct PairArg {
        key: String,
        text: Option<String>,
        base64: Option<String>,
    }

    let put: PutManyArgs = args(fields)?;
    check_count(put.pairs.len())?;
    let options = PutOptions {
        ttl: put.ttl_ms,
        class: put.class,
        placement: placement(put.placement, put.peer.as_deref())?,
        strict: put.strict,
    };
    let pairs = put.pairs.into_iter().map(|PairArg { key, text, base64 }| {
        check_key(key.as_bytes())?;
        Ok((key, value(text, base64.as_deref())?))
    });
    Ok(PutMany {
        pairs: pairs.collect::<ApiResult<_>>()?,
        options,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlacementArg {
    #[default]
    Auto,
    Local,
    Remote,
}

fn placement(placement: PlacementArg, peer: Option<&str>) -> ApiResult<Placement> {
    match (placement, peer) {
        (PlacementArg::Auto, Some(peer)) => Placement::from_wire(PLACEMENT_PEER, peer),
        (_, Some(_)) => Err(ApiError::invalid("either placement or peer, not both")),
        (PlacementArg::Auto, None) => Ok(Placement::Auto),
        (PlacementArg::Local, None) => Ok(Placement::Local),
        (PlacementArg::Remote, None) => Ok(Placement::Remote),
    }
}

fn value(text: Option<String>, base64: Option<&str>) -> ApiResult<Bytes> {
    let value = match (text, base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => Base64::decode_vec(base64)
            .map_err(|_| ApiError::invalid("the value is no base64 of the standard alphabet with padding"))?,
        _ => {
            return Err(ApiError::invalid(
                "a value stands in text or in base64, one of the two",
            ));
        }
    };
    if value.len() as u64 > VALUE_MAX {
        return Err(too_large(value.len() as u64));
    }
    Ok(value.into())
}

/// Those of `get`.
pub(super) fn get(fields: Fields) -> ApiResult<(String, Read)> {
    let (key, block, read) = any_read(fields)?;
    nothing(block.is_none(), "block")?;
    let key = named(key, "key")?;
    check_key(key.as_bytes())?;
    Ok((key, read))
}

/// Those of `load`.
pub(super) fn load(fields: Fields) -> ApiResult<(BlockId, Read)> {
    let (key, block, read) = any_read(fields)?;
    nothing(key.is_none(), "key")?;
    nothing(!read.strict, "strict")?;
    Ok((named(block, "block")?, read))
}

fn any_read(fields: Fields) -> ApiResult<(Option<String>, Option<BlockId>, Read)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ReadArgs {
        key: Option<String>,
        block: Option<BlockId>,
        #[serde(default)]
        offset: u64,
        length: Option<u64>,
        #[serde(rename = "as")]
        encoding: Option<Encoding>,
        #[serde(default)]
        strict: bool,
    }

    let ReadArgs {
        key,
        block,
        offset,
        length,
        encoding,
        strict,
    } = args(fields)?;
    let range = ByteRange {
        offset,
        length: length.unwrap_or(u64::MAX),
    };
    let read = Read {
        range,
        encoding,
        strict,
    };
    Ok((key, block, read))
}

/// Those of `mget`.
pub(super) fn get_many(fields: Fields) -> ApiResult<(Vec<String>, Option<Encoding>, bool)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct GetManyArgs {
        keys: Vec<String>,
        #[serde(rename = "as")]
        encoding: Option<Encoding>,
        #[serde(default)]
        strict: bool,
    }

    let GetManyArgs {
        keys,
        encoding,
        strict,
    } = args(fields)?;
    check_keys(&keys)?;
    Ok((keys, encoding, strict))
}

/// Those of `del`.
pub(super) fn key(fields: Fields) -> ApiResult<(String, bool)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KeyArg {
        key: String,
        #[serde(default)]
        strict: bool,
    }

    let KeyArg { key, strict } = args(fields)?;
    check_key(key.as_bytes())?;
    Ok((key, strict))
}

/// Those of `mdel`.
pub(super) fn keys(fields: Fields) -> ApiResult<(Vec<String>, bool)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KeysArg {
        keys: Vec<String>,
        #[serde(default)]
        strict: bool,
    }

    let KeysArg { keys, strict } = args(fields)?;
    check_keys(&keys)?;
    Ok((keys, strict))
}

/// Those of `free`.
pub(super) fn blocks(fields: Fields) -> ApiResult<Vec<BlockId>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct BlocksArg {
        blocks: Vec<BlockId>,
    }

    let BlocksArg { blocks } = args(fields)?;
    check_len(blocks.len(), FREE_IDS_MAX, "blocks in one request")?;
    Ok(blocks)
}

/// Those of `ttl` and `persist`.
pub(super) fn name(fields: Fields) -> ApiResult<ValueName> {
    let (name, ttl) = any_lifetime(fields)?;
    nothing(ttl.is_none(), "ttl_ms").map(|()| name)
}

/// Those of `expire`.
pub(super) fn expire(fields: Fields) -> ApiResult<(ValueName, LifetimeChange)> {
    let (name, ttl) = any_lifetime(fields)?;
    Ok((name, LifetimeChange::Expire(named(ttl, "ttl_ms")?)))
}

fn any_lifetime(fields: Fields) -> ApiResult<(ValueName, Option<Ttl>)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct LifetimeArgs {
        key: Option<String>,
        block: Option<BlockId>,
        ttl_ms: Option<Ttl>,
    }

    let LifetimeArgs { key, block, ttl_ms } = args(fields)?;
    let name = match (key, block) {
        (Some(key), None) => {
            check_key(key.as_bytes())?;
            ValueName::Key(key)
        }
        (None, Some(id)) => ValueName::Id(id),
        _ => {
            return Err(ApiError::invalid(
                "a value is named by its key or by its block, one of the two",
            ));
        }
    };
    Ok((name, ttl_ms))
}

/// Those of `keys`.
pub(super) fn listing(fields: Fields) -> ApiResult<KeysRequest> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ListingArgs {
        patterns: Option<Vec<String>>,
        cursor: Option<String>,
        limit: Option<u32>,
        #[serde(default)]
        local: bool,
        #[serde(default)]
        details: bool,
    }

    let ListingArgs {
        patterns,
        cursor,
        limit,
        local,
        details,
    } = args(fields)?;
    let patterns = patterns.unwrap_or_else(|| vec!["*".to_owned()]);
    check_patterns(&patterns)?;
    let limit = limit.unwrap_or(KEYS_PAGE_MAX);
    check_limit(limit)?;
    // A text, since not every reader of JSON has exact numbers of 64 bits.
    let cursor = cursor.map_or(Ok(0), |cursor| cursor.parse()).map_err(|_| {
        ApiError::invalid("a cursor is the text that the last page gave, or null for the first page")
    })?;
    Ok(KeysRequest {
        patterns,
        cursor,
        limit,
        options: KeysOptions { local, details },
    })
}

fn named<T>(field: Option<T>, name: &str) -> ApiResult<T> {
    field.ok_or_else(|| ApiError::invalid(format!("the request is not as specified: missing field `{name}`")))
}

fn nothing(is_absent: bool, name: &str) -> ApiResult<()> {
    if is_absent {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "the request is not as specified: unknown field `{name}`"
    )))
}

fn check_keys(keys: &[String]) -> ApiResult<()> {
    check_count(keys.len())?;
    keys.iter()
        .try_for_each(|key| check_key(key.as_bytes()).map(drop))
}

fn check_count(keys: usize) -> ApiResult<()> {
    if keys == 0 {
        return Err(ApiError::invalid("a batch has one key or more"));
    }
    check_len(keys, BATCH_KEYS_MAX, "keys in one request")
}

fn check_len(len: usize, len_max: usize, what: &str) -> ApiResult<()> {
    if len <= len_max {
        return Ok(());
    }
    let message = format!("{len} {what}: at most {len_max}");
    Err(ApiError::new(ErrorCode::TooLarge, message))
}
