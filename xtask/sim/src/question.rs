//! What a program may ask its node for, and how the node is asked: by the calls that the local API makes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use memnode::body::Body;
use memnode::service::{ByteRange, Loaded, PutOptions, Service, Stored};
use memproto::error::ApiResult;
use memproto::{ErrorCode, Placement, Ttl};

use crate::history::{Action, Outcome};
use crate::world::World;

/// The prefix of a value, before the number of the operation that wrote it.
const VALUE_PREFIX: &str = "v";

/// Something that a program asks for, before it has a place in the history.
pub(crate) struct Question {
    pub(crate) actions: Vec<Action>,
    pub(crate) strict: bool,
    pub(crate) placement: Placement,
    pub(crate) len: usize,
}

impl Question {
    /// The keys that it may write.
    pub(crate) fn keys_written(&self) -> Vec<String> {
        let written = self.actions.iter().filter_map(|action| match action {
            Action::Set { key, .. } | Action::Del { key } => Some(key.clone()),
            _ => None,
        });
        written.collect()
    }
}

/// An action for the reader of a trace.
pub(crate) fn told(action: &Action, placement: &Placement) -> String {
    let placed = match placement {
        Placement::Auto => String::new(),
        Placement::Local => " here".to_owned(),
        Placement::Remote => " on a peer".to_owned(),
        Placement::Peer(name) => format!(" on {name}"),
    };
    match action {
        Action::Set { key, ttl_ms: None } => format!("set {key}{placed}"),
        Action::Set {
            key,
            ttl_ms: Some(ms),
        } => format!("set {key}{placed} for {ms} ms"),
        Action::Del { key } => format!("del {key}"),
        Action::Get { key } => format!("get {key}"),
        Action::Store => format!("store{placed}"),
        Action::Load { stored_by } => format!("load #{stored_by}"),
        Action::Free { stored_by } => format!("free #{stored_by}"),
    }
}

/// The node's answer to a question.
pub(crate) fn answer(
    world: Arc<World>,
    service: Arc<Service>,
    first: usize,
    question: &Question,
) -> impl Future<Output = Vec<Outcome>> + Send + use<> {
    let Question {
        actions,
        strict,
        placement,
        len,
    } = question;
    let (actions, strict, len) = (actions.clone(), *strict, *len);
    let placement = placement.clone();
    async move {
        if actions.len() > 1 {
            let pairs = actions
                .iter()
                .enumerate()
                .filter_map(|(offset, action)| match action {
                    Action::Set { key, .. } => Some((key.clone(), value_of(first + offset, len))),
                    _ => None,
                });
            let answers = service
                .mset(pairs.collect(), options(None, placement, strict))
                .await;
            return answers
                .into_iter()
                .map(|answer| outcome(answer, |()| Outcome::Done))
                .collect();
        }
        let answered = match &actions[0] {
            Action::Set { key, ttl_ms } => {
                let options = options(*ttl_ms, placement, strict);
                let stored = set(&service, key, value_of(first, len), options).await;
                outcome(stored, |_| Outcome::Done)
            }
            Action::Del { key } => outcome(del(&service, key, strict).await, |was_there| match was_there {
                true => Outcome::Deleted,
                false => Outcome::Nothing,
            }),
            Action::Get { key } => outcome(get(&service, key, strict).await, |found| {
                found.map_or(Outcome::Nothing, |value| Outcome::Found(writer_of(&value)))
            }),
            Action::Store => {
                let stored = service.store(value_of(first, len).into(), options(None, placement, false));
                outcome(stored.await, |stored: Stored| Outcome::Stored(stored.id))
            }
            Action::Load { stored_by } => match block_of(&world, *stored_by) {
                Some(id) => match service.load(id, ByteRange::ALL).await {
                    Ok(loaded) => outcome(bytes_of(loaded).await, |value| Outcome::Found(writer_of(&value))),
                    Err(error) if error.code == ErrorCode::NotFound => Outcome::Nothing,
                    Err(error) => Outcome::Failed(error.code),
                },
                None => Outcome::Nothing,
            },
            Action::Free { stored_by } => match block_of(&world, *stored_by) {
                Some(id) => match service.free(vec![id]).await {
                    // Somebody else freed it first.
                    Err(error) if error.code == ErrorCode::NotFound => Outcome::Nothing,
                    freed => outcome(freed, |_| Outcome::Done),
                },
                None => Outcome::Nothing,
            },
        };
        vec![answered]
    }
    .boxed()
}

fn outcome<T>(answer: ApiResult<T>, done: impl FnOnce(T) -> Outcome) -> Outcome {
    answer.map_or_else(|error| Outcome::Failed(error.code), done)
}

/// What a `set` asks for, strict or not.
fn options(ttl_ms: Option<u64>, placement: Placement, strict: bool) -> PutOptions {
    PutOptions {
        strict,
        ttl: ttl_ms.and_then(|ms| Ttl::from_millis(ms).ok()),
        placement,
        ..PutOptions::default()
    }
}

/// As the local API does: at once where the node can, else waiting for it.
async fn set(service: &Service, key: &str, value: Bytes, options: PutOptions) -> ApiResult<Stored> {
    match service.set_now(key, &value, &options) {
        Some(stored) => stored,
        None => service.set(key, Body::from(value), options).await,
    }
}

async fn del(service: &Service, key: &str, strict: bool) -> ApiResult<bool> {
    service.del(key, strict).await
}

async fn get(service: &Service, key: &str, strict: bool) -> ApiResult<Option<Bytes>> {
    let at_once = (!strict).then(|| {
        service.get_now(key, ByteRange::ALL, |found| {
            found.map(|found| found.map(Loaded::from))
        })
    });
    let found = match at_once.flatten() {
        Some(found) => found?,
        None => service.get(key, ByteRange::ALL, strict).await?,
    };
    match found {
        Some(loaded) => bytes_of(loaded).await.map(Some),
        None => Ok(None),
    }
}

async fn bytes_of(loaded: Loaded) -> ApiResult<Bytes> {
    let size = loaded.size;
    loaded.body.collect(size).await
}

fn block_of(world: &World, stored_by: usize) -> Option<memproto::BlockId> {
    match world.history().operations[stored_by].outcome {
        Outcome::Stored(id) => Some(id),
        _ => None,
    }
}

/// The value that names an operation, filled up to a length.
fn value_of(number: usize, len: usize) -> Bytes {
    let mut value = format!("{VALUE_PREFIX}{number}:");
    while value.len() < len {
        value.push('.');
    }
    value.into()
}

/// Which operation wrote a value; a number that no operation has where it is none of ours.
fn writer_of(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).ok();
    let number = text.and_then(|text| text.strip_prefix(VALUE_PREFIX)?.split_once(':')?.0.parse().ok());
    number.unwrap_or(usize::MAX)
}
