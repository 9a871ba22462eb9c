//! From a request's arguments to the backend, and from its answer to a reply.

use std::future::Future;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use memproto::BlockId;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::local::keys::KeysRequest;
use memproto::local::reply::{PutReply, ReadReply, encode_deleted, encode_freed, encode_lifetime};
use memproto::local::request::{
    DelRequest, FreeRequest, LifetimeRequest, PutRequest, ReadRequest, decode_empty,
};
use memproto::local::streams::encode_known;
use memproto::local::{BODY_WINDOW, FLAG_MORE, FRAME_PAYLOAD_MAX, FrameHeader, Op};
use memproto::stream::{StreamName, StreamOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backend::Backend;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::receiving::Receiving;
use super::session::{self, Reply, Session};
use super::streams::cannot_follow;
use super::wire::Wire;
use crate::body::Body;
use crate::service::{ByteRange, Here, Loaded, PutOptions, Stored, Written};

impl<B: Backend, S: Wire> Session<B, S> {
    /// Handles a request: answers it now, or begins a call. The frame is taken out of the input in any case.
    pub(super) fn request(&mut self, header: FrameHeader, op: Option<Op>, cx: &mut Context<'_>) {
        let refused = refusal(&header, op);
        if let Some(error) = refused {
            self.input.skip(&header);
            self.output.error(header, &error);
            return;
        }
        match op {
            Some(Op::Get) => self.get(header, false, cx),
            Some(Op::Load) => self.load(header, false, cx),
            Some(Op::GetMapped) => self.get(header, true, cx),
            Some(Op::LoadMapped) => self.load(header, true, cx),
            Some(op @ (Op::SetMapped | Op::StoreMapped)) => self.put_mapped(header, op, cx),
            Some(Op::Attach) => self.attach(header),
            Some(op @ (Op::Set | Op::Store | Op::Stream)) => self.put(header, op, cx),
            Some(Op::StreamWrite) => self.stream_write(header, cx),
            Some(Op::StreamFile) => self.stream_file(header, cx),
            Some(Op::StreamKnown) => self.stream_known(header, cx),
            Some(Op::LoadInto) => self.load_into(header, cx),
            Some(Op::Ping) => self.now(header, |payload| decode_empty(payload).map(|()| Reply::Empty)),
            Some(Op::Del) => self.call(
                header,
                0,
                |payload| DelRequest::decode(payload).map(|del| (del.key.to_owned(), del.strict)),
                |backend, (key, strict)| async move { backend.del(&key, strict).await.map(Reply::Deleted) },
                cx,
            ),
            Some(Op::Free) => self.call(
                header,
                0,
                FreeRequest::decode,
                |backend, free| async move { backend.free(free.ids).await.map(Reply::Freed) },
                cx,
            ),
            Some(op @ (Op::Ttl | Op::Expire | Op::Persist)) => self.call(
                header,
                0,
                |payload| LifetimeRequest::decode(payload, op),
                |backend, LifetimeRequest { name, change }| async move {
                    backend.lifetime(name, change).await.map(Reply::Lifetime)
                },
                cx,
            ),
            Some(Op::Keys) => self.keys(header, cx),
            Some(Op::Mget) => self.mget(header, cx),
            Some(Op::Mset) => self.mset(header, cx),
            Some(Op::Mdel) => self.mdel(header, cx),
            Some(op) => self.control(header, op, cx),
            None => unreachable_op(&mut self.output, header),
        }
    }

    fn get(&mut self, header: FrameHeader, as_file: bool, cx: &mut Context<'_>) {
        let Self {
            backend,
            input,
            output,
            outgoing,
            ..
        } = self;
        let waits = match ReadRequest::<&str>::decode(input.payload(&header)) {
            Err(error) => {
                output.error(header, &error);
                None
            }
            Ok(ReadRequest {
                offset,
                length,
                target,
                strict,
                ..
            }) => {
                let range = ByteRange { offset, length };
                let answer = |found: ApiResult<Option<Here<'_>>>| {
                    let found = found_or_missing(found, target);
                    append_here(header, found, as_file, output, outgoing)
                };
                let now = (!strict).then(|| backend.get_now(target, range, answer));
                match now.flatten() {
                    Some(as_file) => {
                        input.skip(&header);
                        return self.answered_here(header, as_file);
                    }
                    None => Some((target.to_owned(), range, strict)),
                }
            }
        };
        input.skip(&header);
        let Some((key, range, strict)) = waits else {
            return self.answered.note(header.op);
        };
        if self.admit(header, 0) {
            let backend = Arc::clone(&self.backend);
            let serial = self.next_serial();
            let call = async move {
                let loaded = found_or_missing(backend.get(&key, range, strict).await, &key)?;
                Ok(Reply::of(loaded, as_file))
            };
            self.begin(header, serial, 0, session::Body::None, call, cx);
        }
    }

    fn load(&mut self, header: FrameHeader, as_file: bool, cx: &mut Context<'_>) {
        let read = ReadRequest::<BlockId>::decode(self.input.payload(&header));
        self.input.skip(&header);
        let ReadRequest {
            offset,
            length,
            target,
            ..
        } = match read {
            Ok(read) if read.follow && as_file => return self.output.error(header, &cannot_follow()),
            Ok(read) if read.follow => return self.follow(header, read, cx),
            Ok(read) => read,
            Err(error) => return self.output.error(header, &error),
        };
        let range = ByteRange { offset, length };
        let (output, outgoing) = (&mut self.output, &mut self.outgoing);
        let answer = |found: ApiResult<Here<'_>>| append_here(header, found, as_file, output, outgoing);
        if let Some(as_file) = self.backend.load_now(target, range, answer) {
            self.answered_here(header, as_file);
        } else if self.admit(header, 0) {
            let backend = Arc::clone(&self.backend);
            let serial = self.next_serial();
            let call = async move { Ok(Reply::of(backend.load(target, range).await?, as_file)) };
            self.begin(header, serial, 0, session::Body::None, call, cx);
        }
    }

    fn put(&mut self, header: FrameHeader, op: Op, cx: &mut Context<'_>) {
        let payload = self.input.payload(&header);
        let (size, key, options, value_len) = match decode_put(payload, op, header.more()) {
            Err(error) => {
                self.input.skip(&header);
                return self.output.error(header, &error);
            }
            Ok((
                PutRequest {
                    size,
                    ttl,
                    class,
                    placement,
                    key,
                    strict,
                },
                value,
            )) => {
                let options = PutOptions {
                    ttl,
                    class,
                    placement,
                    strict,
                };
                let now = match (header.more(), op, key) {
                    (false, Op::Set, Some(key)) => self.backend.set_now(key, value, &options),
                    (false, Op::Store, _) => self.backend.store_now(value, &options),
                    _ => None,
                };
                if let Some(result) = now {
                    self.input.skip(&header);
                    return self.reply(header, result.map(Reply::Stored));
                }
                let intake = match (header.more(), op, size) {
                    (true, Op::Set | Op::Store, Some(size)) => self.backend.begin_intake(key, size, &options),
                    _ => None,
                };
                if let Some(intake) = intake {
                    let receiving = intake.and_then(|intake| Receiving::begin(intake, value, value.len()));
                    self.input.skip(&header);
                    return self.receive_put(header, receiving);
                }
                (size, key.map(str::to_owned), options, value.len())
            }
        };
        let held = u64::from(header.length) + if header.more() { BODY_WINDOW } else { 0 };
        if !self.admit(header, held) {
            return self.input.skip(&header);
        }
        let payload = self.input.take(&header);
        let value = payload.slice(payload.len() - value_len..);
        let serial = self.next_serial();
        let (incoming, body) = if header.more() {
            match Incoming::begin(serial, header.request, size, value, self.grant_sender()) {
                Ok((incoming, body)) => (session::Body::Piped(incoming), body),
                Err(error) => return self.output.error(header, &error),
            }
        } else {
            (session::Body::None, Body::from(value))
        };
        let backend = Arc::clone(&self.backend);
        let call = put_call(backend, op, key, body, options);
        self.begin(header, serial, held, incoming, call, cx);
    }

    /// Goes on with a write whose memory is there: its budget is what bounds it, and the connection holds nothing of it.
    fn receive_put(&mut self, header: FrameHeader, receiving: ApiResult<Receiving>) {
        match receiving {
            Err(error) => self.output.error(header, &error),
            Ok(receiving) if self.admit(header, 0) => {
                let serial = self.next_serial();
                self.begin_receiving(header, serial, 0, receiving);
            }
            Ok(_) => {}
        }
    }

    fn keys(&mut self, header: FrameHeader, cx: &mut Context<'_>) {
        self.call(
            header,
            // The page that it makes may wait for a program that does not read.
            FRAME_PAYLOAD_MAX as u64,
            |payload| KeysRequest::decode(payload).map(KeysRequest::into_owned),
            |backend, request| async move { backend.keys(request).await.map(Reply::Keys) },
            cx,
        );
    }

    fn control(&mut self, header: FrameHeader, op: Op, cx: &mut Context<'_>) {
        match op {
            Op::Status => self.ask(header, |b| async move { json(&b.status().await?) }, cx),
            Op::Stats => self.ask(header, |b| async move { json(&b.stats().await?) }, cx),
            Op::Peers => self.ask(header, |b| async move { json(&b.peers().await?) }, cx),
            Op::ConsentList => self.ask(header, |b| async move { json(&b.consent_list().await?) }, cx),
            Op::TrustList => self.ask(header, |b| async move { json(&b.trust_list().await?) }, cx),
            Op::Connect => self.tell(header, |b, args| async move { json(&b.connect(args).await?) }, cx),
            Op::PeerWait => self.tell(
                header,
                |b, args| async move { json(&b.peer_wait(args).await?) },
                cx,
            ),
            Op::PeerUpdate => self.tell(
                header,
                |b, args| async move { json(&b.peer_update(args).await?) },
                cx,
            ),
            Op::Disconnect => self.tell(
                header,
                |b, args| async move { json(&b.disconnect(args).await?) },
                cx,
            ),
            Op::ConsentDecide => {
                self.tell(
                    header,
                    |b, args| async move { json(&b.consent_decide(args).await?) },
                    cx,
                );
            }
            Op::ConsentWait => {
                self.tell(
                    header,
                    |b, args| async move { json(&b.consent_wait(args).await?) },
                    cx,
                );
            }
            Op::TrustAdd => self.tell(
                header,
                |b, args| async move { json(&b.trust_add(args).await?) },
                cx,
            ),
            Op::StreamOpen => self.tell(
                header,
                |b, options: StreamOptions| async move {
                    options.check()?;
                    json(&b.stream_open(options).await?)
                },
                cx,
            ),
            Op::StreamStatus => self.tell(
                header,
                |b, StreamName { id }| async move { json(&b.stream_status(id).await?) },
                cx,
            ),
            Op::StreamFinish => self.tell(
                header,
                |b, StreamName { id }| async move { json(&b.stream_finish(id).await?) },
                cx,
            ),
            Op::Flush => self.tell(header, |b, args| async move { json(&b.flush(args).await?) }, cx),
            Op::TrustRemove => {
                self.tell(
                    header,
                    |b, args| async move { json(&b.trust_remove(args).await?) },
                    cx,
                );
            }
            Op::PairOffer => self.tell(
                header,
                |b, args| async move { json(&b.pair_offer(args).await?) },
                cx,
            ),
            Op::PairWait => self.tell(
                header,
                |b, args| async move { json(&b.pair_wait(args).await?) },
                cx,
            ),
            Op::PairJoin => self.tell(
                header,
                |b, args| async move { json(&b.pair_join(args).await?) },
                cx,
            ),
            Op::Doctor => self.tell(header, |b, args| async move { json(&b.doctor(args).await?) }, cx),
            Op::Stop => {
                let stop = |backend: Arc<B>| async move {
                    backend.request_stop();
                    Ok(Reply::Empty)
                };
                self.ask(header, stop, cx);
            }
            _ => {
                self.input.skip(&header);
                unreachable_op(&mut self.output, header);
            }
        }
    }

    /// A control operation without arguments.
    fn ask<F>(&mut self, header: FrameHeader, run: impl FnOnce(Arc<B>) -> F, cx: &mut Context<'_>)
    where
        F: Future<Output = ApiResult<Reply>> + Send + 'static,
    {
        self.call(header, 0, decode_empty, |backend, ()| run(backend), cx);
    }

    /// A control operation with JSON.
    fn tell<T, F>(&mut self, header: FrameHeader, run: impl FnOnce(Arc<B>, T) -> F, cx: &mut Context<'_>)
    where
        T: DeserializeOwned,
        F: Future<Output = ApiResult<Reply>> + Send + 'static,
    {
        let parse = |payload: &[u8]| {
            serde_json::from_slice(payload).map_err(|error| {
                ApiError::invalid(format!("the request's JSON is not as specified: {error}"))
            })
        };
        self.call(header, 0, parse, run, cx);
    }

    /// Reads arguments, takes the frame out of the input, and begins the call.
    pub(super) fn call<T, F>(
        &mut self,
        header: FrameHeader,
        held: u64,
        decode: impl FnOnce(&[u8]) -> ApiResult<T>,
        run: impl FnOnce(Arc<B>, T) -> F,
        cx: &mut Context<'_>,
    ) where
        F: Future<Output = ApiResult<Reply>> + Send + 'static,
    {
        let held = held + u64::from(header.length);
        let args = decode(self.input.payload(&header));
        self.input.skip(&header);
        match args {
            Err(error) => self.output.error(header, &error),
            Ok(args) if self.admit(header, held) => {
                let serial = self.next_serial();
                let future = run(Arc::clone(&self.backend), args);
                self.begin(header, serial, held, session::Body::None, future, cx);
            }
            Ok(_) => {}
        }
    }

    fn now(&mut self, header: FrameHeader, answer: impl FnOnce(&[u8]) -> ApiResult<Reply>) {
        let result = answer(self.input.payload(&header));
        self.input.skip(&header);
        self.reply(header, result);
    }

    /// Ends a read that was answered while it was looked at, but for what goes as a file.
    fn answered_here(&mut self, header: FrameHeader, as_file: Option<Loaded>) {
        self.answered.note(header.op);
        if let Some(loaded) = as_file {
            self.append_mapped(header, loaded);
        }
    }

    /// Answers a request at once.
    pub(super) fn reply(&mut self, header: FrameHeader, result: ApiResult<Reply>) {
        self.answered.note(header.op);
        self.append_reply(header, result);
    }

    /// Appends the one reply of a request.
    pub(super) fn append_reply(&mut self, header: FrameHeader, result: ApiResult<Reply>) {
        let header = FrameHeader {
            flags: 0,
            status: 0,
            ..header
        };
        let output = &mut self.output;
        match result {
            Err(error) => output.error(header, &error),
            Ok(Reply::Empty) => output.frame_copied(header, |_| {}, &[]),
            Ok(Reply::Stored(Stored { id, size })) => {
                output.frame_copied(header, |out| PutReply { id, size }.encode(out), &[]);
            }
            Ok(Reply::Loaded(loaded)) => append_loaded(header, loaded, output, &mut self.outgoing),
            Ok(Reply::Mapped(loaded)) => self.append_mapped(header, loaded),
            Ok(Reply::Followed(loaded)) => append_followed(header, loaded, output, &mut self.outgoing),
            Ok(Reply::Written(Written { id, size, length })) => {
                output.frame_copied(header, |out| ReadReply { id, size, length }.encode(out), &[]);
            }
            Ok(Reply::Known(appended)) => {
                output.frame_copied(header, |out| encode_known(&appended, out), &[]);
            }
            Ok(Reply::Deleted(deleted)) => {
                output.frame_copied(header, |out| encode_deleted(deleted, out), &[]);
            }
            Ok(Reply::Freed(freed)) => output.frame_copied(header, |out| encode_freed(&freed, out), &[]),
            Ok(Reply::Lifetime(ttl)) => output.frame_copied(header, |out| encode_lifetime(ttl, out), &[]),
            Ok(Reply::Keys(page)) => output.frame_copied(header, |out| page.encode(out), &[]),
            Ok(Reply::Batch(batch)) => output.frame_copied(header, |out| batch.encode(out), &[]),
            Ok(Reply::Json(json)) => {
                let (length, body) = (json.len() as u64, Body::from(json));
                self.outgoing.begin(header, |_| {}, Some(length), body, output);
            }
        }
    }
}

/// Appends the reply to a read of what lies here, or returns what is to go as a file.
fn append_here(
    header: FrameHeader,
    here: ApiResult<Here<'_>>,
    as_file: bool,
    output: &mut memproto::local::Output,
    outgoing: &mut Outgoing,
) -> Option<Loaded> {
    match here {
        Err(error) => output.error(header, &error),
        Ok(here) if as_file => return Some(here.into()),
        Ok(Here::Small { id, size, bytes }) => {
            let length = bytes.len() as u64;
            output.frame_copied(header, |out| ReadReply { id, size, length }.encode(out), bytes);
        }
        Ok(Here::Large(loaded)) => append_loaded(header, loaded, output, outgoing),
    }
    None
}

fn append_loaded(
    header: FrameHeader,
    Loaded { id, size, body }: Loaded,
    output: &mut memproto::local::Output,
    outgoing: &mut Outgoing,
) {
    let Some(length) = body.size() else {
        let error = ApiError::new(ErrorCode::Internal, "the length of the value is not known");
        return output.error(header, &error);
    };
    let args = ReadReply { id, size, length };
    outgoing.begin(header, |out| args.encode(out), Some(length), body, output);
}

/// Appends the reply to a read that follows: the length is that of the body, where it is known.
fn append_followed(
    header: FrameHeader,
    Loaded { id, size, body }: Loaded,
    output: &mut memproto::local::Output,
    outgoing: &mut Outgoing,
) {
    let known = body.size();
    let length = known.unwrap_or(ReadReply::LENGTH_UNKNOWN);
    let args = ReadReply { id, size, length };
    outgoing.begin(header, |out| args.encode(out), known, body, output);
}

/// Why a request is refused before its arguments are looked at.
fn refusal(header: &FrameHeader, op: Option<Op>) -> Option<ApiError> {
    let Some(op) = op else {
        return Some(ApiError::new(
            ErrorCode::Unsupported,
            format!("this node does not know operation {}", header.op),
        ));
    };
    if header.flags & !FLAG_MORE != 0 {
        return Some(ApiError::new(
            ErrorCode::Unsupported,
            "this node does not know a flag of the request",
        ));
    }
    if header.more() && !op.takes_body() {
        return Some(ApiError::invalid(format!("{} takes no body", op.as_str())));
    }
    None
}

fn unreachable_op(output: &mut memproto::local::Output, header: FrameHeader) {
    output.error(
        header,
        &ApiError::new(ErrorCode::Unsupported, "this operation is no request"),
    );
}

/// Reads the arguments of a write and checks the size of what came with them.
fn decode_put(payload: &[u8], op: Op, more: bool) -> ApiResult<(PutRequest<'_>, &[u8])> {
    let (put, value) = PutRequest::decode(payload, op == Op::Set)?;
    let here = value.len() as u64;
    match put.size {
        Some(size) if here > size => Err(ApiError::invalid("the value has more bytes than its size says")),
        Some(size) if here < size && !more => Err(ApiError::invalid(format!(
            "the value ends {} bytes before its size",
            size - here
        ))),
        _ => Ok((put, value)),
    }
}

pub(super) async fn put_call<B: Backend>(
    backend: Arc<B>,
    op: Op,
    key: Option<String>,
    body: Body,
    options: PutOptions,
) -> ApiResult<Reply> {
    let stored = match (op, key) {
        (Op::Set, Some(key)) => backend.set(&key, body, options).await,
        (Op::Stream, _) => backend.stream(body, options).await,
        _ => backend.store(body, options).await,
    };
    stored.map(Reply::Stored)
}

/// What a `get` found, for a program that asked for one value.
///
/// # Errors
/// `NotFound` where there is none.
pub(super) fn found_or_missing<T>(found: ApiResult<Option<T>>, key: &str) -> ApiResult<T> {
    found?.ok_or_else(|| {
        ApiError::new(
            ErrorCode::NotFound,
            format!("no connected node has the key '{key}'"),
        )
    })
}

fn json(value: &impl Serialize) -> ApiResult<Reply> {
    serde_json::to_vec(value)
        .map(|json| Reply::Json(Bytes::from(json)))
        .map_err(|error| {
            tracing::error!(%error, "a reply does not serialize");
            ApiError::new(ErrorCode::Internal, "the node failed; its log has more")
        })
}
