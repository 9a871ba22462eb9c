//! The bodies of the fuzz targets of the local protocol. See [`crate::fuzzing`].

use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{BatchAnswer, BatchKeys, BatchPairs, BatchReply};
use super::keys::{KeysReply, KeysRequest};
use super::reply::{
    HelloReply, MappedReply, PutReply, ReadReply, decode_deleted, decode_freed, decode_lifetime,
    encode_deleted, encode_freed, encode_lifetime,
};
use super::request::{
    DelRequest, FreeRequest, HelloRequest, LifetimeRequest, PutRequest, ReadRequest, decode_credit,
    decode_empty,
};
use super::streams::{
    LoadIntoRequest, StreamFileRequest, StreamKnownRequest, StreamWriteRequest, decode_known, encode_known,
};
use super::{BATCH_KEYS_MAX, FRAME_PAYLOAD_MAX, FrameError, FrameHeader, Input, Op};
use crate::control::{
    ConnectRequest, ConsentDecision, ConsentRequest, ConsentState, ConsentWait, DoctorReport, DoctorRequest,
    FlushRequest, Freed, NodeStatus, PairCodeShown, PairJoin, PairOffer, PairWait, PeerInfo, PeerName,
    PeerUpdate, PeerUpdated, PeerWait, Stats, TrustAdded, TrustAddition, TrustRemoval, TrustedDevice,
};
use crate::error::ApiResult;
use crate::id::BlockId;
use crate::stream::{StreamFinished, StreamName, StreamOpened, StreamOptions, StreamStatus};

/// Cuts a connection's bytes into frames, and reads each as the request and as the reply that it claims to be. The first
/// byte of the input is how many bytes arrive at a time.
pub fn local_frames(data: &[u8]) {
    let Some((&piece_len, bytes)) = data.split_first() else {
        return;
    };
    let whole = cut(bytes, bytes.len());
    assert_eq!(whole, cut(bytes, usize::from(piece_len)));
    for (header, payload) in whole.0 {
        assert!(payload.len() <= FRAME_PAYLOAD_MAX);
        if let Some(op) = Op::from_byte(header.op) {
            request(op, &payload);
            reply(op, &payload);
        }
    }
}

/// Reads the arguments and the reply of a batch. The first byte of the input chooses which.
pub fn local_batches(data: &[u8]) {
    let Some((&kind, payload)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => request(Op::Mget, payload),
        1 => request(Op::Mset, payload),
        _ => batch_reply(payload),
    }
}

/// The frames of bytes that arrive in pieces, and why it ended, where it did before the bytes were used up.
fn cut(bytes: &[u8], piece_len: usize) -> (Vec<(FrameHeader, Bytes)>, Option<FrameError>) {
    let (mut input, mut frames, mut is_prefaced) = (Input::default(), Vec::new(), false);
    for piece in bytes.chunks(piece_len.max(1)) {
        input.extend(piece);
        if !is_prefaced {
            match input.take_preface() {
                Ok(taken) => is_prefaced = taken,
                Err(error) => return (frames, Some(error)),
            }
        }
        if !is_prefaced {
            continue;
        }
        loop {
            match input.peek() {
                Ok(Some(header)) => {
                    let payload = input.payload(&header).to_vec();
                    let taken = input.take(&header);
                    assert_eq!(taken, payload);
                    frames.push((header, taken));
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Reads arguments. What is taken has one form: written again it is the same bytes, so nothing in them was passed over.
fn request(op: Op, payload: &[u8]) {
    let mut again = BytesMut::new();
    let out = &mut again;
    let decoded = match op {
        Op::Hello => HelloRequest::decode(payload).map(|hello| hello.encode(out)),
        Op::Set | Op::Store | Op::Stream | Op::SetMapped | Op::StoreMapped => {
            PutRequest::decode(payload, matches!(op, Op::Set | Op::SetMapped)).map(|(put, value)| {
                put.encode(out);
                out.put_slice(value);
            })
        }
        Op::Get | Op::GetMapped => ReadRequest::<&str>::decode(payload).map(|read| read.encode(out)),
        Op::Load | Op::LoadMapped => ReadRequest::<BlockId>::decode(payload).map(|read| read.encode(out)),
        Op::StreamWrite => StreamWriteRequest::decode(payload).map(|(write, value)| {
            write.encode(out);
            out.put_slice(value);
        }),
        Op::StreamFile => StreamFileRequest::decode(payload).map(|file| file.encode(out)),
        Op::StreamKnown => StreamKnownRequest::decode(payload)
            .map(|known| StreamKnownRequest::encode(known.id, &known.chunks, out)),
        Op::LoadInto => LoadIntoRequest::decode(payload).map(|into| into.encode(out)),
        Op::Del => DelRequest::decode(payload).map(|del| del.encode(out)),
        Op::Free => FreeRequest::decode(payload).map(|free| FreeRequest::encode(&free.ids, out)),
        Op::Keys => KeysRequest::decode(payload).map(|keys| keys.encode(out)),
        Op::Mget | Op::Mdel => {
            BatchKeys::decode(payload).map(|batch| BatchKeys::encode(&batch.keys, batch.strict, out))
        }
        Op::Mset => BatchPairs::decode(payload).map(|batch| batch.encode(out)),
        Op::Ttl | Op::Expire | Op::Persist => LifetimeRequest::decode(payload, op).map(|lifetime| {
            assert_eq!(lifetime.op(), op);
            lifetime.encode(out);
        }),
        Op::Credit => decode_credit(payload).map(|bytes| out.put_u64_le(bytes)),
        Op::Connect => return json::<ConnectRequest>(payload),
        Op::PeerWait => return json::<PeerWait>(payload),
        Op::Disconnect => return json::<PeerName>(payload),
        Op::ConsentDecide => return json::<ConsentDecision>(payload),
        Op::TrustRemove => return json::<TrustRemoval>(payload),
        Op::PeerUpdate => return json::<PeerUpdate>(payload),
        Op::PairOffer => return json::<PairOffer>(payload),
        Op::PairWait => return json::<PairWait>(payload),
        Op::PairJoin => return json::<PairJoin>(payload),
        Op::Doctor => return json::<DoctorRequest>(payload),
        Op::ConsentWait => return json::<ConsentWait>(payload),
        Op::TrustAdd => return json::<TrustAddition>(payload),
        Op::Flush => return json::<FlushRequest>(payload),
        Op::StreamOpen => return json::<StreamOptions>(payload),
        Op::StreamStatus | Op::StreamFinish => return json::<StreamName>(payload),
        Op::Data | Op::Fault => return,
        _ => decode_empty(payload),
    };
    if decoded.is_ok() {
        assert_eq!(again, payload, "{op:?}");
    }
}

/// Reads a reply as a client does. What is taken means the same when it is written and read again.
fn reply(op: Op, payload: &[u8]) {
    match op {
        Op::Hello => survives(payload, HelloReply::decode, HelloReply::encode),
        Op::Set
        | Op::Store
        | Op::Stream
        | Op::SetMapped
        | Op::StoreMapped
        | Op::StreamWrite
        | Op::StreamFile => survives(payload, PutReply::decode, PutReply::encode),
        Op::StreamKnown => survives(
            payload,
            |payload| decode_known(payload, payload.len()),
            |appended, out| encode_known(appended, out),
        ),
        Op::Get | Op::Load | Op::LoadInto => survives(
            payload,
            |payload| ReadReply::decode(payload).map(|(reply, value)| (reply, value.to_vec())),
            |(reply, value), out| {
                reply.encode(out);
                out.put_slice(value);
            },
        ),
        Op::GetMapped | Op::LoadMapped => survives(
            payload,
            |payload| MappedReply::decode(payload).map(|(reply, value)| (reply, value.to_vec())),
            |(reply, value), out| {
                reply.encode(out);
                out.put_slice(value);
            },
        ),
        Op::Del => survives(payload, decode_deleted, |deleted, out| {
            encode_deleted(*deleted, out);
        }),
        Op::Free => survives(payload, decode_freed, encode_freed),
        Op::Keys => survives(payload, KeysReply::decode, KeysReply::encode),
        Op::Mget | Op::Mset | Op::Mdel => batch_reply(payload),
        Op::Ttl | Op::Expire | Op::Persist => {
            survives(payload, decode_lifetime, |ttl, out| encode_lifetime(*ttl, out));
        }
        Op::Status => json::<NodeStatus>(payload),
        Op::Stats => json::<Stats>(payload),
        Op::Peers => json::<Vec<PeerInfo>>(payload),
        Op::PeerUpdate => json::<PeerUpdated>(payload),
        Op::PairOffer => json::<PairCodeShown>(payload),
        Op::Connect | Op::PeerWait | Op::Disconnect | Op::PairWait | Op::PairJoin => {
            json::<PeerInfo>(payload);
        }
        Op::ConsentList => json::<Vec<ConsentRequest>>(payload),
        Op::TrustList => json::<Vec<TrustedDevice>>(payload),
        Op::Doctor => json::<DoctorReport>(payload),
        Op::ConsentWait => json::<ConsentState>(payload),
        Op::TrustAdd => json::<TrustAdded>(payload),
        Op::TrustRemove | Op::Flush => json::<Freed>(payload),
        Op::StreamOpen => json::<StreamOpened>(payload),
        Op::StreamStatus => json::<StreamStatus>(payload),
        Op::StreamFinish => json::<StreamFinished>(payload),
        _ => {}
    }
}

fn survives<T: PartialEq + Debug>(
    payload: &[u8],
    decode: impl Fn(&[u8]) -> ApiResult<T>,
    encode: impl Fn(&T, &mut BytesMut),
) {
    if let Ok(first) = decode(payload) {
        let mut again = BytesMut::new();
        encode(&first, &mut again);
        assert_eq!(decode(&again), Ok(first));
    }
}

fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) {
    if let Ok(first) = serde_json::from_slice::<T>(payload) {
        let again = serde_json::to_vec(&first).expect("what was read from JSON can be written as JSON");
        let again = serde_json::from_slice::<T>(&again).expect("what was written can be read");
        assert_eq!(again, first);
    }
}

/// Reads the reply to a batch. Written again it fits a frame, has the same entries, and leaves out only what has no room.
fn batch_reply(payload: &[u8]) {
    let Ok(first) = BatchReply::decode(&Bytes::copy_from_slice(payload)) else {
        return;
    };
    if first.entries.len() > BATCH_KEYS_MAX {
        // Nobody asked for so many.
        return;
    }
    let mut again = BytesMut::new();
    first.encode(&mut again);
    assert!(again.len() <= FRAME_PAYLOAD_MAX);
    let second = BatchReply::decode(&again.freeze()).expect("what was written can be read");
    assert_eq!(second.entries.len(), first.entries.len());
    for (before, after) in first.entries.iter().zip(&second.entries) {
        match (before, after) {
            (Ok(BatchAnswer::Done(value)), Ok(BatchAnswer::Later { size })) => {
                assert_eq!(*size, value.len() as u64);
            }
            (Err(before), Err(after)) => {
                assert_eq!(before.code, after.code);
                assert!(before.message.starts_with(&after.message));
            }
            _ => assert_eq!(before, after),
        }
    }
}
