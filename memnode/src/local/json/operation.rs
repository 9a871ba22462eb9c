//! An operation, done by the backend, and what came of it as JSON.

use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::listing::ListedKey;
use memproto::local::batch::BatchAnswer;
use memproto::local::keys::KeysRequest;
use serde::Serialize;
use serde_json::{Value, json};

use super::arguments::{Encoding, Hello, Put, PutMany, Read};
use super::request::{Operation, too_large};
use super::{IN_FLIGHT_MAX, LINE_MAX, VALUE_MAX};
use crate::body::Body;
use crate::local::backend::Backend;
use crate::local::operations::found_or_missing;
use crate::service::{Loaded, Stored};

/// The reply to `hello`.
pub(super) fn greeting<B: Backend>(backend: &B) -> Value {
    json!({
        "node_id": backend.node_id(),
        "node_version": env!("CARGO_PKG_VERSION"),
        "line_len_max": LINE_MAX,
        "value_len_max": VALUE_MAX,
        "in_flight_max": IN_FLIGHT_MAX,
    })
}

/// Does what was asked.
pub(super) async fn run<B: Backend>(backend: Arc<B>, operation: Operation) -> ApiResult<Value> {
    match operation {
        Operation::Hello(Hello { .. }) => Err(ApiError::invalid("hello was said already")),
        Operation::Ping => Ok(json!({})),
        Operation::Set(key, Put { value, options }) => {
            backend.set(&key, Body::from(value), options).await.map(stored)
        }
        Operation::Get(key, read) => {
            let found = backend.get(&key, read.range, read.strict).await;
            loaded(found_or_missing(found, &key)?, read).await
        }
        Operation::Del(key, strict) => Ok(json!({"deleted": backend.del(&key, strict).await?})),
        Operation::Mget(keys, encoding, strict) => {
            let answers = backend.mget(keys, VALUE_MAX as usize, strict).await;
            Ok(entries(answers, |answer| value_entry(&answer, encoding)))
        }
        Operation::Mset(PutMany { pairs, options }) => {
            let answers = backend.mset(pairs, options).await;
            Ok(entries(answers, |()| Ok(json!({}))))
        }
        Operation::Mdel(keys, strict) => {
            let answers = backend.mdel(keys, strict).await;
            Ok(entries(answers, |deleted| Ok(json!({"deleted": deleted}))))
        }
        Operation::Lifetime(name, change) => Ok(json!({"ttl_ms": backend.lifetime(name, change).await?})),
        Operation::Store(Put { value, options }) => {
            backend.store(Body::from(value), options).await.map(stored)
        }
        Operation::Load(id, read) => loaded(backend.load(id, read.range).await?, read).await,
        Operation::Free(ids) => json_of(&backend.free(ids).await?),
        Operation::Stream(Put { value, options }) => {
            backend.stream(Body::from(value), options).await.map(stored)
        }
        Operation::StreamOpen(options) => Ok(json!({"block": backend.stream_open(options).await?.id})),
        Operation::StreamWrite(id, bytes) => backend.stream_write(id, Body::from(bytes)).await.map(stored),
        Operation::StreamStatus(id) => stream_told(&backend.stream_status(id).await?),
        Operation::StreamFinish(id) => stream_told(&backend.stream_finish(id).await?),
        Operation::Keys(keys) => list(&*backend, keys).await,
        Operation::Status => json_of(&backend.status().await?),
        Operation::Stats => json_of(&backend.stats().await?),
        Operation::Peers => json_of(&backend.peers().await?),
        Operation::Connect(request) => json_of(&backend.connect(request).await?),
        Operation::PeerWait(wait) => json_of(&backend.peer_wait(wait).await?),
        Operation::PeerUpdate(update) => json_of(&backend.peer_update(update).await?),
        Operation::Disconnect(peer) => json_of(&backend.disconnect(peer).await?),
        Operation::ConsentList => json_of(&backend.consent_list().await?),
        Operation::ConsentDecide(decision) => json_of(&backend.consent_decide(decision).await?),
        Operation::ConsentWait(wait) => json_of(&backend.consent_wait(wait).await?),
        Operation::TrustAdd(addition) => json_of(&backend.trust_add(addition).await?),
        Operation::Flush(request) => json_of(&backend.flush(request).await?),
        Operation::TrustList => json_of(&backend.trust_list().await?),
        Operation::TrustRemove(removal) => json_of(&backend.trust_remove(removal).await?),
        Operation::PairOffer(offer) => json_of(&backend.pair_offer(offer).await?),
        Operation::PairWait(wait) => json_of(&backend.pair_wait(wait).await?),
        Operation::PairJoin(join) => json_of(&backend.pair_join(join).await?),
        Operation::Doctor(request) => json_of(&backend.doctor(request).await?),
        Operation::Stop => {
            backend.request_stop();
            Ok(json!({}))
        }
    }
}

fn stored(Stored { id, size }: Stored) -> Value {
    json!({"block": id, "size": size})
}

/// What is told of a stream, which here is a `block`.
fn stream_told(told: &impl Serialize) -> ApiResult<Value> {
    let mut told = json_of(told)?;
    if let Some(id) = told.as_object_mut().and_then(|told| told.remove("id")) {
        told["block"] = id;
    }
    Ok(told)
}

async fn loaded(Loaded { id, size, body }: Loaded, read: Read) -> ApiResult<Value> {
    let length = body.size().unwrap_or(size);
    if length > VALUE_MAX {
        return Err(too_large(length));
    }
    let value = body.collect(VALUE_MAX).await?;
    let mut reply = json!({"block": id, "size": size});
    write_value(&mut reply, &value, read.encoding)?;
    Ok(reply)
}

/// Adds the bytes of a value to a reply.
fn write_value(reply: &mut Value, value: &[u8], encoding: Option<Encoding>) -> ApiResult<()> {
    let text = match encoding {
        Some(Encoding::Base64) => None,
        _ => std::str::from_utf8(value).ok(),
    };
    match (text, encoding) {
        (Some(text), _) => reply["text"] = text.into(),
        (None, Some(Encoding::Text)) => {
            return Err(ApiError::invalid(
                "the value is no UTF-8: read it with \"as\":\"base64\"",
            ));
        }
        (None, _) => reply["base64"] = Base64::encode_string(value).into(),
    }
    Ok(())
}

/// The reply to a batch: what each key's answer is in JSON, or its error.
fn entries<T>(answers: Vec<ApiResult<T>>, write: impl Fn(T) -> ApiResult<Value>) -> Value {
    let entries = answers.into_iter().map(|answer| match answer.and_then(&write) {
        Ok(entry) => entry,
        Err(mut error) => {
            // A batch's own protocol leaves the words out where the code says all.
            if error.code == ErrorCode::NotFound && error.message.is_empty() {
                "no connected node has this key".clone_into(&mut error.message);
            }
            json!({"error": error})
        }
    });
    json!({"entries": entries.collect::<Vec<_>>()})
}

/// A value in the reply to a batch, or that there is no room for it.
fn value_entry(answer: &BatchAnswer, encoding: Option<Encoding>) -> ApiResult<Value> {
    match answer {
        BatchAnswer::Later { size } => Ok(json!({"later": true, "size": size})),
        BatchAnswer::Done(value) => {
            let mut entry = json!({"size": value.len()});
            write_value(&mut entry, value, encoding)?;
            Ok(entry)
        }
    }
}

/// A page of keys: as texts, or as `entries` where there are details.
async fn list<B: Backend>(backend: &B, request: KeysRequest) -> ApiResult<Value> {
    let with_details = request.options.details;
    let page = backend.keys(request).await?;
    let cursor = (page.cursor != 0).then(|| page.cursor.to_string());
    let missing = json_of(&page.missing)?;
    let keys = page.keys.into_iter();
    if with_details {
        let entries = keys.map(listed_entry).collect::<Vec<_>>();
        return Ok(json!({"entries": entries, "cursor": cursor, "missing": missing}));
    }
    let keys = keys.map(|listed| listed.key).collect::<Vec<_>>();
    Ok(json!({"keys": keys, "cursor": cursor, "missing": missing}))
}

fn listed_entry(ListedKey { key, details }: ListedKey) -> Value {
    let Some(details) = details else {
        return json!({"key": key});
    };
    json!({
        "key": key, "node": details.node, "holder": details.holder, "size": details.size, "class": details.class,
        "ttl_ms": details.ttl, "stream": details.is_stream,
    })
}

fn json_of(value: &impl Serialize) -> ApiResult<Value> {
    serde_json::to_value(value).map_err(|error| {
        tracing::error!(%error, "a reply cannot be written as JSON");
        ApiError::new(ErrorCode::Internal, "the node failed; its log has more")
    })
}
