//! A line, read into an operation.

use bytes::Bytes;
use memproto::control::{
    ConnectRequest, ConsentDecision, ConsentWait, DoctorRequest, FlushRequest, PairJoin, PairOffer, PairWait,
    PeerName, PeerUpdate, PeerWait, TrustAddition, TrustRemoval,
};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::local::Op;
use memproto::local::keys::KeysRequest;
use memproto::stream::StreamOptions;
use memproto::{BlockId, LifetimeChange, ValueName};
use serde_json::Value;

use super::arguments::{self, Encoding, Fields, Hello, Put, PutMany, Read};
use super::{LINE_MAX, VALUE_MAX};

/// The longest `id` in bytes, as it stands in the line.
const ID_LEN_MAX: usize = 64;

/// What a line asks for.
#[derive(Debug)]
pub(super) enum Operation {
    Hello(Hello),
    Ping,
    Set(String, Put),
    Get(String, Read),
    Del(String, bool),
    Mget(Vec<String>, Option<Encoding>, bool),
    Mset(PutMany),
    Mdel(Vec<String>, bool),
    Lifetime(ValueName, LifetimeChange),
    Store(Put),
    Load(BlockId, Read),
    Free(Vec<BlockId>),
    Stream(Put),
    StreamOpen(StreamOptions),
    StreamWrite(BlockId, Bytes),
    StreamStatus(BlockId),
    StreamFinish(BlockId),
    Keys(KeysRequest),
    Status,
    Stats,
    Peers,
    Connect(ConnectRequest),
    PeerWait(PeerWait),
    PeerUpdate(PeerUpdate),
    Disconnect(PeerName),
    ConsentList,
    ConsentDecide(ConsentDecision),
    TrustList,
    TrustRemove(TrustRemoval),
    PairOffer(PairOffer),
    PairWait(PairWait),
    PairJoin(PairJoin),
    Doctor(DoctorRequest),
    ConsentWait(ConsentWait),
    TrustAdd(TrustAddition),
    Flush(FlushRequest),
    Stop,
}

impl Operation {
    /// How many bytes it may make the node hold beyond its line.
    pub(super) fn held(&self) -> usize {
        match self {
            Operation::Get(..) | Operation::Load(..) | Operation::Mget(..) | Operation::Keys(_) => {
                VALUE_MAX as usize
            }
            _ => 0,
        }
    }

    /// The operation of the native protocol by which it is timed; `None` for those on no data.
    pub(super) fn timed_as(&self) -> Option<Op> {
        Some(match self {
            Operation::Set(..) => Op::Set,
            Operation::Get(..) => Op::Get,
            Operation::Del(..) => Op::Del,
            Operation::Mget(..) => Op::Mget,
            Operation::Mset(_) => Op::Mset,
            Operation::Mdel(..) => Op::Mdel,
            Operation::Store(_) => Op::Store,
            Operation::Load(..) => Op::Load,
            Operation::Free(_) => Op::Free,
            Operation::Stream(_) => Op::Stream,
            Operation::StreamWrite(..) => Op::StreamWrite,
            Operation::Lifetime(_, LifetimeChange::Tell) => Op::Ttl,
            Operation::Lifetime(_, LifetimeChange::Expire(_)) => Op::Expire,
            Operation::Lifetime(_, LifetimeChange::Persist) => Op::Persist,
            Operation::Keys(_) => Op::Keys,
            _ => return None,
        })
    }
}

/// Reads a line: its id, `null` where it has none that can be echoed, and what it asks for.
pub(super) fn parse(line: &[u8]) -> (Value, ApiResult<Operation>) {
    let mut fields: Fields = match serde_json::from_slice(line) {
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

fn operation(mut fields: Fields) -> ApiResult<Operation> {
    let Some(Value::String(op)) = fields.remove("op") else {
        return Err(ApiError::invalid("the request has no op, such as \"op\":\"get\""));
    };
    Ok(match op.as_str() {
        "hello" => Operation::Hello(arguments::args(fields)?),
        "set" => {
            let (key, put) = arguments::set(fields)?;
            Operation::Set(key, put)
        }
        "get" => {
            let (key, read) = arguments::get(fields)?;
            Operation::Get(key, read)
        }
        "del" => {
            let (key, strict) = arguments::key(fields)?;
            Operation::Del(key, strict)
        }
        "mget" => {
            let (keys, encoding, strict) = arguments::get_many(fields)?;
            Operation::Mget(keys, encoding, strict)
        }
        "mset" => Operation::Mset(arguments::put_many(fields)?),
        "mdel" => {
            let (keys, strict) = arguments::keys(fields)?;
            Operation::Mdel(keys, strict)
        }
        "store" => Operation::Store(arguments::put(fields)?),
        "stream" => Operation::Stream(arguments::put(fields)?),
        "stream_open" => Operation::StreamOpen(arguments::stream_options(fields)?),
        "stream_write" => {
            let (id, bytes) = arguments::stream_write(fields)?;
            Operation::StreamWrite(id, bytes)
        }
        "stream_status" => Operation::StreamStatus(arguments::block(fields)?),
        "stream_finish" => Operation::StreamFinish(arguments::block(fields)?),
        "load" => {
            let (id, read) = arguments::load(fields)?;
            Operation::Load(id, read)
        }
        "free" => Operation::Free(arguments::blocks(fields)?),
        "ttl" => Operation::Lifetime(arguments::name(fields)?, LifetimeChange::Tell),
        "expire" => {
            let (name, change) = arguments::expire(fields)?;
            Operation::Lifetime(name, change)
        }
        "persist" => Operation::Lifetime(arguments::name(fields)?, LifetimeChange::Persist),
        "keys" => Operation::Keys(arguments::listing(fields)?),
        "connect" => Operation::Connect(arguments::args(fields)?),
        "peer_wait" => Operation::PeerWait(arguments::args(fields)?),
        "peer_update" => Operation::PeerUpdate(arguments::args(fields)?),
        "disconnect" => Operation::Disconnect(arguments::args(fields)?),
        "consent_decide" => Operation::ConsentDecide(arguments::args(fields)?),
        "pair_offer" => Operation::PairOffer(arguments::args(fields)?),
        "pair_wait" => Operation::PairWait(arguments::args(fields)?),
        "pair_join" => Operation::PairJoin(arguments::args(fields)?),
        "consent_wait" => Operation::ConsentWait(arguments::args(fields)?),
        "trust_add" => Operation::TrustAdd(arguments::args(fields)?),
        "flush" => Operation::Flush(arguments::args(fields)?),
        "trust_remove" => Operation::TrustRemove(arguments::args(fields)?),
        "doctor" => Operation::Doctor(arguments::args(fields)?),
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
            arguments::no_args(fields)?;
            bare
        }
    })
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
            op in "set|get|mget|mset|mdel|store|load|stream_open|stream_write|stream_finish|free|ttl|expire|keys|connect|peer_wait|peer_update|hello|stop|pair_offer|pair_join|doctor",
            field in "key|keys|pairs|text|base64|block|blocks|offset|length|as|peer|quota_bytes|limit|patterns|cursor|local|details|ttl_ms|token|peers|compress|live",
            value in r#""[a-z=]{0,9}"|-?[0-9]{1,20}|null|\[[0-9]\]|\[\"[a-z]?\"\]|\{\}|1e400"#,
        ) {
            let _ = parse(format!(r#"{{"id":1,"op":"{op}","{field}":{value}}}"#).as_bytes());
        }
    }
}
