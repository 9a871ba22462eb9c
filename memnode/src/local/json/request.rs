//! A line, read into an operation.

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use memproto::control::{ConnectRequest, ConsentDecision, PeerName, PeerWait, TrustRemoval};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::key::check_key;
use memproto::local::keys::check_limit;
use memproto::local::{FREE_IDS_MAX, KEYS_PAGE_MAX};
use memproto::pattern::check_patterns;
use memproto::{BlockClass, BlockId, Placement, Ttl};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{LINE_MAX, VALUE_MAX};
use crate::service::{ByteRange, PutOptions};

/// The longest `id` in bytes, as it stands in the line.
const ID_LEN_MAX: usize = 64;

/// The byte of [`Placement::Peer`] in the native protocol, whose rules for its name hold here too.
const PLACEMENT_PEER: u8 = 3;

/// What a line asks for.
#[derive(Debug)]
pub(super) enum Operation {
    Hello(Hello),
    Ping,
    Set(String, Put),
    Get(String, Read),
    Del(String),
    Store(Put),
    Load(BlockId, Read),
    Free(Vec<BlockId>),
    Stream(Put),
    Keys(Keys),
    Status,
    Stats,
    Peers,
    Connect(ConnectRequest),
    PeerWait(PeerWait),
    Disconnect(PeerName),
    ConsentList,
    ConsentDecide(ConsentDecision),
    TrustList,
    TrustRemove(TrustRemoval),
    Stop,
}

impl Operation {
    /// How many bytes it may make the node hold beyond its line.
    pub(super) fn held(&self) -> usize {
        match self {
            Operation::Get(..) | Operation::Load(..) | Operation::Keys(_) => VALUE_MAX as usize,
            _ => 0,
        }
    }
}

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

/// Which part of a value is wanted, and how it is to be written.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) range: ByteRange,
    pub(super) encoding: Option<Encoding>,
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

/// Which keys are wanted.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) patterns: Vec<String>,
    pub(super) cursor: u64,
    pub(super) limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysArgs {
    #[serde(default = "every_key")]
    patterns: Vec<String>,
    cursor: Option<String>,
    #[serde(default = "keys_page_max")]
    limit: u32,
}

fn every_key() -> Vec<String> {
    vec!["*".to_owned()]
}

fn keys_page_max() -> u32 {
    KEYS_PAGE_MAX
}

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
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlacementArg {
    #[default]
    Auto,
    Local,
    Remote,
}

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyArg {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlocksArg {
    blocks: Vec<BlockId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArgs {}

/// Reads a line: its id, `null` where it has none that can be echoed, and what it asks for.
pub(super) fn parse(line: &[u8]) -> (Value, ApiResult<Operation>) {
    let mut fields: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(fields) => fields,
        Err(error) => {
            let message = format!("the line is no JSON object: {error}");
            return (Value::Null, Err(ApiError::invalid(message)));
        }
    };
    let id = fields.remove("id").unwrap_or(Value::Null);
    let is_fine = match &id {
        Value::Null | Value::Number(_) => true,
        Value::String(text) => text.len() <= ID_LEN_MAX,
        _ => false,
    };
    if !is_fine {
        let message = format!("an id is a number, or a text of at most {ID_LEN_MAX} bytes");
        return (Value::Null, Err(ApiError::invalid(message)));
    }
    (id, operation(fields))
}

fn operation(mut fields: Map<String, Value>) -> ApiResult<Operation> {
    let Some(Value::String(op)) = fields.remove("op") else {
        return Err(ApiError::invalid("the request has no op, such as \"op\":\"get\""));
    };
    Ok(match op.as_str() {
        "hello" => Operation::Hello(args(fields)?),
        "set" => {
            let (key, put) = put(fields)?;
            let key = named(key, "key")?;
            check_key(key.as_bytes())?;
            Operation::Set(key, put)
        }
        "store" => Operation::Store(without_key(put(fields)?)?),
        "stream" => Operation::Stream(without_key(put(fields)?)?),
        "get" => {
            let (key, block, read) = read(fields)?;
            nothing(block.is_none(), "block")?;
            Operation::Get(named(key, "key")?, read)
        }
        "load" => {
            let (key, block, read) = read(fields)?;
            nothing(key.is_none(), "key")?;
            Operation::Load(named(block, "block")?, read)
        }
        "del" => {
            let KeyArg { key } = args(fields)?;
            check_key(key.as_bytes())?;
            Operation::Del(key)
        }
        "free" => {
            let BlocksArg { blocks } = args(fields)?;
            check_len(blocks.len(), FREE_IDS_MAX, "blocks in one request")?;
            Operation::Free(blocks)
        }
        "keys" => Operation::Keys(keys(fields)?),
        "connect" => Operation::Connect(args(fields)?),
        "peer_wait" => Operation::PeerWait(args(fields)?),
        "disconnect" => Operation::Disconnect(args(fields)?),
        "consent_decide" => Operation::ConsentDecide(args(fields)?),
        "trust_remove" => Operation::TrustRemove(args(fields)?),
        op => {
            let bare = match op {
                "ping" => Operation::Ping,
                "status" => Operation::Status,
                "stats" => Operation::Stats,
                "peers" => Operation::Peers,
                "consent_list" => Operation::ConsentList,
                "trust_list" => Operation::TrustList,
                "stop" => Operation::Stop,
                _ => {
                    let message = format!("this node does not know the operation {op:?}");
                    return Err(ApiError::new(ErrorCode::Unsupported, message));
                }
            };
            let NoArgs {} = args(fields)?;
            bare
        }
    })
}

fn args<T: DeserializeOwned>(fields: Map<String, Value>) -> ApiResult<T> {
    T::deserialize(Value::Object(fields))
        .map_err(|error| ApiError::invalid(format!("the request is not as specified: {error}")))
}

fn put(fields: Map<String, Value>) -> ApiResult<(Option<String>, Put)> {
    let PutArgs {
        key,
        text,
        base64,
        class,
        placement,
        peer,
        ttl_ms,
    } = args(fields)?;
    let placement = match (placement, peer) {
        (PlacementArg::Auto, Some(peer)) => Placement::from_wire(PLACEMENT_PEER, &peer)?,
        (_, Some(_)) => return Err(ApiError::invalid("either placement or peer, not both")),
        (PlacementArg::Auto, None) => Placement::Auto,
        (PlacementArg::Local, None) => Placement::Local,
        (PlacementArg::Remote, None) => Placement::Remote,
    };
    let value = match (text, base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => Base64::decode_vec(&base64)
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
    let put = Put {
        value: value.into(),
        options: PutOptions {
            class,
            placement,
            ttl: ttl_ms,
        },
    };
    Ok((key, put))
}

fn read(fields: Map<String, Value>) -> ApiResult<(Option<String>, Option<BlockId>, Read)> {
    let ReadArgs {
        key,
        block,
        offset,
        length,
        encoding,
    } = args(fields)?;
    if let Some(key) = &key {
        check_key(key.as_bytes())?;
    }
    let range = ByteRange {
        offset,
        length: length.unwrap_or(u64::MAX),
    };
    Ok((key, block, Read { range, encoding }))
}

fn keys(fields: Map<String, Value>) -> ApiResult<Keys> {
    let KeysArgs {
        patterns,
        cursor,
        limit,
    } = args(fields)?;
    check_patterns(&patterns)?;
    check_limit(limit)?;
    // A text, since not every reader of JSON has exact numbers of 64 bits.
    let cursor = cursor.map_or(Ok(0), |cursor| cursor.parse()).map_err(|_| {
        ApiError::invalid("a cursor is the text that the last page gave, or null for the first page")
    })?;
    Ok(Keys {
        patterns,
        cursor,
        limit,
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

fn without_key((key, put): (Option<String>, Put)) -> ApiResult<Put> {
    nothing(key.is_none(), "key").map(|()| put)
}

fn check_len(len: usize, len_max: usize, what: &str) -> ApiResult<()> {
    if len <= len_max {
        return Ok(());
    }
    let message = format!("{len} {what}: at most {len_max}");
    Err(ApiError::new(ErrorCode::TooLarge, message))
}

/// A value that JSON is not for.
pub(super) fn too_large(bytes: u64) -> ApiError {
    let message = format!(
        "a value of {bytes} bytes does not pass as JSON, {VALUE_MAX} is the most: use the native protocol (memcli, memsdk), \
         or read it in parts with offset and length"
    );
    ApiError::new(ErrorCode::TooLarge, message)
}

/// A line that is longer than any request; the connection cannot go on behind it.
pub(super) fn line_too_long(line_max: usize) -> ApiError {
    let hint = if line_max == LINE_MAX {
        ": use the native protocol (memcli, memsdk) for large values"
    } else {
        ""
    };
    ApiError::new(
        ErrorCode::TooLarge,
        format!("the line has more than {line_max} bytes{hint}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_never_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn requests_of_all_kinds_never_panic(
            op in "set|get|store|load|free|keys|connect|peer_wait|hello|stop",
            field in "key|text|base64|block|blocks|offset|length|as|peer|limit|token",
            value in r#""[a-z=]{0,9}"|-?[0-9]{1,20}|null|\[[0-9]\]|\{\}|1e400"#,
        ) {
            let _ = parse(format!(r#"{{"id":1,"op":"{op}","{field}":{value}}}"#).as_bytes());
        }
    }
}
