//! The bytes of requests, replies and errors. The only file that knows bincode.
//!
//! bincode 2, "standard" configuration: little-endian, integers of variable length, enum variants by their index, fields
//! in the order of their declaration, no names. `docs/protocol/peer.md` says it without bincode. A message begins with the
//! size of the body that follows it:
//!
//! ```text
//! +---------------+-----------------------------+
//! | body size u64 | request or reply, bincode   |     size: 0 no body, 2^64 - 1 not known yet
//! +---------------+-----------------------------+
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::BodySpec;
use super::message::{FREE_BATCH_MAX, PeerReply, PeerRequest, RECONCILE_BATCH_MAX};
use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::key::check_key;
use crate::limits::{OBJECT_SIZE_MAX, STREAM_CHUNK_SIZE};
use crate::listing::OWN_CURSOR_BITS;
use crate::local::keys::check_limit;
use crate::pattern::check_patterns;
use crate::stream::Codec;
use crate::ttl::ValueName;

/// The most bytes of a message, the size of its body included: the largest, a page of 256 keys of 1,024 bytes with
/// their versions, has about 300 KiB.
pub const MESSAGE_MAX: usize = 512 * 1024;

/// The most bytes of an error on the wire.
pub const ERROR_MAX: usize = 2 * 1024;

/// The most bytes of the text of an error; a longer one is cut.
pub const ERROR_TEXT_MAX: usize = 1024;

const SIZE_UNKNOWN: u64 = u64::MAX;
const SIZE_LEN: usize = 8;

/// Why a message cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// It is no message: the link ends.
    Malformed(&'static str),
    /// It is one, but over a limit or with an argument that cannot be: the request is refused.
    Refused(ApiError),
}

/// The bytes of a request, with the size of its body.
///
/// # Errors
/// `TooLarge` over [`MESSAGE_MAX`].
pub fn encode_request(request: &PeerRequest, body: BodySpec) -> ApiResult<Vec<u8>> {
    encode_message(request, body)
}

/// The bytes of a reply, with the size of its body.
///
/// # Errors
/// `TooLarge` over [`MESSAGE_MAX`].
pub fn encode_reply(reply: &PeerReply, body: BodySpec) -> ApiResult<Vec<u8>> {
    match reply {
        PeerReply::Failed(error) => encode_message(&PeerReply::Failed(cut(error)), body),
        _ => encode_message(reply, body),
    }
}

/// The request of a message.
///
/// # Errors
/// See [`DecodeError`]. A request that is refused has its body announced all the same.
pub fn decode_request(bytes: &[u8]) -> Result<(PeerRequest, BodySpec), (DecodeError, BodySpec)> {
    let (size, rest) = split_size(bytes).map_err(|e| (e, BodySpec::NONE))?;
    let request = decode(rest).map_err(|e| (e, size))?;
    let checked = check_size(size).and_then(|()| check_request(&request));
    checked.map_err(|error| (DecodeError::Refused(error), size))?;
    Ok((request, size))
}

/// The reply of a message.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_reply(bytes: &[u8]) -> Result<(PeerReply, BodySpec), DecodeError> {
    let (size, rest) = split_size(bytes)?;
    let reply = decode(rest)?;
    check_size(size).map_err(|_| DecodeError::Malformed("the body of a reply is larger than any object"))?;
    Ok((reply, size))
}

/// The bytes of an error, its text cut to [`ERROR_TEXT_MAX`].
pub fn encode_error(error: &ApiError) -> Vec<u8> {
    encode(&cut(error))
}

/// The error of bytes.
///
/// # Errors
/// `Malformed` where it is none, or longer than [`ERROR_MAX`].
pub fn decode_error(bytes: &[u8]) -> Result<ApiError, DecodeError> {
    if bytes.len() > ERROR_MAX {
        return Err(DecodeError::Malformed("an error is too long"));
    }
    decode(bytes)
}

fn encode_message(message: &impl Serialize, body: BodySpec) -> ApiResult<Vec<u8>> {
    let mut bytes = body.size.unwrap_or(SIZE_UNKNOWN).to_le_bytes().to_vec();
    bytes.extend_from_slice(&encode(message));
    if bytes.len() > MESSAGE_MAX {
        return Err(ApiError::new(
            ErrorCode::TooLarge,
            format!(
                "a message has {} bytes, at most {MESSAGE_MAX} are allowed: ask for less at once",
                bytes.len()
            ),
        ));
    }
    Ok(bytes)
}

fn split_size(bytes: &[u8]) -> Result<(BodySpec, &[u8]), DecodeError> {
    let (size, rest) = bytes
        .split_first_chunk::<SIZE_LEN>()
        .ok_or(DecodeError::Malformed("a message is cut off"))?;
    let size = u64::from_le_bytes(*size);
    Ok((
        BodySpec {
            size: (size != SIZE_UNKNOWN).then_some(size),
        },
        rest,
    ))
}

fn check_size(body: BodySpec) -> ApiResult<()> {
    match body.size {
        Some(size) if size > OBJECT_SIZE_MAX => Err(too_large("a body", size, OBJECT_SIZE_MAX)),
        _ => Ok(()),
    }
}

/// Checks what the types alone do not say.
fn check_request(request: &PeerRequest) -> ApiResult<()> {
    let at_most = |what, count: usize, max: usize| {
        if count > max {
            Err(too_large(what, count as u64, max as u64))
        } else {
            Ok(())
        }
    };
    match request {
        PeerRequest::Store { size, .. } if *size > OBJECT_SIZE_MAX => {
            Err(too_large("a block", *size, OBJECT_SIZE_MAX))
        }
        PeerRequest::Store {
            size,
            chunk: Some(chunk),
            ..
        } => {
            check_chunk_len(chunk.length.into())?;
            match chunk.codec {
                Codec::Raw if *size != u64::from(chunk.length) => Err(ApiError::invalid(
                    "a chunk that is stored as it is has the length of its bytes",
                )),
                _ => check_chunk_len(*size),
            }
        }
        PeerRequest::Offer { length, .. } => check_chunk_len((*length).into()),
        PeerRequest::Hold { ids, .. } => at_most("a list of chunks", ids.len(), FREE_BATCH_MAX),
        PeerRequest::Free { ids } => at_most("a request to free", ids.len(), FREE_BATCH_MAX),
        PeerRequest::Expire { ids, .. } => at_most("a request to expire", ids.len(), FREE_BATCH_MAX),
        PeerRequest::Reconcile { keys, .. } => {
            at_most("a list of versions", keys.len(), RECONCILE_BATCH_MAX)?;
            keys.iter()
                .try_for_each(|known| check_key(known.key.as_bytes()).map(drop))
        }
        PeerRequest::Keys {
            patterns,
            cursor,
            limit,
            ..
        } => {
            check_patterns(patterns)?;
            check_limit(*limit)?;
            check_cursor(*cursor)
        }
        PeerRequest::Read { key, .. }
        | PeerRequest::Outdate { key, .. }
        | PeerRequest::Newest { key }
        | PeerRequest::Lifetime {
            name: ValueName::Key(key),
            ..
        } => check_key(key.as_bytes()).map(drop),
        _ => Ok(()),
    }
}

fn check_chunk_len(len: u64) -> ApiResult<()> {
    if (1..=STREAM_CHUNK_SIZE as u64).contains(&len) {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "a chunk of a stream has 1 to {STREAM_CHUNK_SIZE} bytes, not {len}"
    )))
}

fn check_cursor(cursor: u64) -> ApiResult<()> {
    if cursor >> OWN_CURSOR_BITS == 0 {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "a cursor of a node's own keys is below 2^{OWN_CURSOR_BITS}"
    )))
}

fn too_large(what: &str, size: u64, max: u64) -> ApiError {
    ApiError::new(
        ErrorCode::TooLarge,
        format!("{what} has the size {size}, at most {max} is allowed"),
    )
}

fn cut(error: &ApiError) -> ApiError {
    let end = error.message.floor_char_boundary(ERROR_TEXT_MAX);
    ApiError::new(error.code, &error.message[..end])
}

/// The limit is on what the decoded value claims, so that a few bytes cannot ask for much memory.
const fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MESSAGE_MAX>()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, configuration())
        .expect("the types of the messages have nothing that bincode cannot write")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bincode::serde::decode_from_slice(bytes, configuration()) {
        Ok((value, taken)) if taken == bytes.len() => Ok(value),
        Ok(_) => Err(DecodeError::Malformed("a message has bytes behind its end")),
        Err(_) => Err(DecodeError::Malformed("a message cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::BlockClass;
    use crate::id::NodeId;
    use crate::listing::{KeyDetails, ListedKey};
    use crate::local::keys::KeysPage;
    use crate::ttl::{TTL_MS_MAX, Ttl};

    fn listed(key_len: usize) -> ListedKey {
        ListedKey {
            key: "k".repeat(key_len),
            details: Some(KeyDetails {
                node: NodeId::from_bytes([0xff; 16]),
                holder: NodeId::from_bytes([0xff; 16]),
                size: u64::MAX,
                class: Some(BlockClass::Cache),
                ttl: Some(Ttl::from_millis(TTL_MS_MAX).unwrap()),
                is_stream: true,
            }),
        }
    }

    #[test]
    fn a_full_page_of_keys_of_any_length_is_a_message_that_can_be_read() {
        for key_len in [1, 16, 100, 300, 1_024] {
            let mut page = KeysPage::new(u32::MAX);
            while page.push(listed(key_len)) {}
            let reply = PeerReply::Keys {
                keys: page.into_keys(),
                cursor: u64::MAX,
            };
            let bytes = encode_reply(&reply, BodySpec::NONE).unwrap();
            assert_eq!(decode_reply(&bytes), Ok((reply, BodySpec::NONE)), "{key_len}");
        }
    }

    #[test]
    fn a_request_for_keys_is_bounded_as_that_of_a_program() {
        let refusal = |patterns: Vec<String>, cursor, limit| {
            let request = PeerRequest::Keys {
                patterns,
                cursor,
                limit,
                details: false,
            };
            let bytes = encode_request(&request, BodySpec::NONE).unwrap();
            match decode_request(&bytes) {
                Err((DecodeError::Refused(error), _)) => Some(error.code),
                Err(other) => panic!("{other:?}"),
                Ok((decoded, _)) => {
                    assert_eq!(decoded, request);
                    None
                }
            }
        };
        let all = || vec!["*".to_owned()];
        assert_eq!(refusal(all(), (1 << OWN_CURSOR_BITS) - 1, 1), None);
        assert_eq!(
            refusal(all(), 1 << OWN_CURSOR_BITS, 1),
            Some(ErrorCode::InvalidArgument)
        );
        assert_eq!(refusal(all(), 0, 0), Some(ErrorCode::InvalidArgument));
        assert_eq!(refusal(Vec::new(), 0, 1), Some(ErrorCode::InvalidArgument));
        assert_eq!(refusal(vec!["*".to_owned(); 65], 0, 1), Some(ErrorCode::TooLarge));
        assert_eq!(refusal(vec!["?".repeat(1_025)], 0, 1), Some(ErrorCode::TooLarge));
    }
}
