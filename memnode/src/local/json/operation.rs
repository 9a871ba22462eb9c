//! An operation, done by the backend, and what came of it as JSON.

use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use memproto::error::{ApiError, ApiResult, ErrorCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::request::{Encoding, Hello, Keys, Operation, Put, Read, too_large};
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
            let found = backend.get(&key, read.range).await;
            loaded(found_or_missing(found, &key)?, read).await
        }
        Operation::Del(key) => Ok(json!({"deleted": backend.del(&key).await?})),
        Operation::Store(Put { value, options }) => {
            backend.store(Body::from(value), options).await.map(stored)
        }
        Operation::Load(id, read) => loaded(backend.load(id, read.range).await?, read).await,
        Operation::Free(ids) => json_of(&backend.free(ids).await?),
        Operation::Stream(Put { value, options }) => {
            backend.stream(Body::from(value), options).await.map(stored)
        }
        Operation::Keys(keys) => list(&*backend, keys).await,
        Operation::Status => json_of(&backend.status().await?),
        Operation::Stats => json_of(&backend.stats().await?),
        Operation::Peers => json_of(&backend.peers().await?),
        Operation::Connect(request) => json_of(&backend.connect(request).await?),
        Operation::PeerWait(wait) => json_of(&backend.peer_wait(wait).await?),
        Operation::Disconnect(peer) => json_of(&backend.disconnect(peer).await?),
        Operation::ConsentList => json_of(&backend.consent_list().await?),
        Operation::ConsentDecide(decision) => json_of(&backend.consent_decide(decision).await?),
        Operation::TrustList => json_of(&backend.trust_list().await?),
        Operation::TrustRemove(removal) => json_of(&backend.trust_remove(removal).await?),
        Operation::Stop => {
            backend.request_stop();
            Ok(json!({}))
        }
    }
}

fn stored(Stored { id, size }: Stored) -> Value {
    json!({"block": id, "size": size})
}

async fn loaded(Loaded { id, size, body }: Loaded, read: Read) -> ApiResult<Value> {
    let length = body.size().unwrap_or(size);
    if length > VALUE_MAX {
        return Err(too_large(length));
    }
    let value = body.collect(VALUE_MAX).await?;
    let mut reply = json!({"block": id, "size": size});
    let text = match read.encoding {
        Some(Encoding::Base64) => None,
        _ => std::str::from_utf8(&value).ok(),
    };
    match (text, read.encoding) {
        (Some(text), _) => reply["text"] = text.into(),
        (None, Some(Encoding::Text)) => {
            return Err(ApiError::invalid(
                "the value is no UTF-8: read it with \"as\":\"base64\"",
            ));
        }
        (None, _) => reply["base64"] = Base64::encode_string(&value).into(),
    }
    Ok(reply)
}

async fn list<B: Backend>(backend: &B, keys: Keys) -> ApiResult<Value> {
    let page = backend.keys(&keys.patterns, keys.cursor, keys.limit).await?;
    let cursor = (page.cursor != 0).then(|| page.cursor.to_string());
    Ok(json!({"keys": page.keys, "cursor": cursor}))
}

fn json_of(value: &impl Serialize) -> ApiResult<Value> {
    serde_json::to_value(value).map_err(|error| {
        tracing::error!(%error, "a reply cannot be written as JSON");
        ApiError::new(ErrorCode::Internal, "the node failed; its log has more")
    })
}
