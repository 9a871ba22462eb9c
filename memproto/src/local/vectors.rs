//! The known-answer vectors of `docs/protocol/vectors`, and arguments under random bytes.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::batch::{BatchAnswer, BatchKeys, BatchPairs, BatchReply};
use super::keys::{KeysOptions, KeysReply, KeysRequest};
use super::reply::{
    HelloReply, MappedReply, PutReply, ReadReply, decode_deleted, decode_freed, decode_lifetime,
    encode_deleted, encode_freed, encode_lifetime,
};
use super::request::{
    DelRequest, FreeRequest, HelloRequest, LifetimeRequest, PutRequest, ReadRequest, decode_credit,
    decode_empty,
};
use super::streams::{
    LoadIntoRequest, NamedFile, StreamFileRequest, StreamKnownRequest, StreamWriteRequest, decode_known,
    encode_known,
};
use super::{FrameHeader, Input, Op, Output};
use crate::class::BlockClass;
use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::id::BlockId;
use crate::listing::{KeyDetails, ListedKey};
use crate::placement::Placement;
use crate::stream::{ChunkHash, KnownChunk};
use crate::ttl::{LifetimeChange, Ttl, ValueName};

const FRAMES: &str = include_str!("../../../docs/protocol/vectors/local-frames.json");
const REFUSED: &str = include_str!("../../../docs/protocol/vectors/local-refused.json");

const PLACEMENTS: [&str; 4] = ["auto", "local", "remote", "peer"];

fn vectors(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn op_of(name: &str) -> Op {
    *Op::ALL.iter().find(|op| op.as_str() == name).unwrap()
}

/// `strict` stands only where it is set.
fn with_strict(strict: bool, mut meaning: Value) -> Value {
    if strict {
        meaning["strict"] = true.into();
    }
    meaning
}

fn whole_or_rest(length: u64) -> Value {
    if length == u64::MAX {
        Value::Null
    } else {
        json!(length.to_string())
    }
}

/// What a payload means, in the words of the vectors.
fn meaning(from_node: bool, op: Op, status: u16, payload: &[u8]) -> ApiResult<Value> {
    if status != 0 {
        let message = std::str::from_utf8(payload).unwrap();
        return Ok(json!({"error": ErrorCode::from_number(status), "message": message}));
    }
    Ok(match (from_node, op) {
        (_, Op::Data) => json!({"value_hex": hex(payload)}),
        (_, Op::Credit) => json!({"bytes": decode_credit(payload)?.to_string()}),
        (_, Op::Ping | Op::Attach | Op::Cancel | Op::Unmap | Op::Status | Op::Stats | Op::Stop) => {
            decode_empty(payload)?;
            json!({})
        }
        (false, Op::Hello) => {
            let HelloRequest {
                version_min,
                version_max,
                name,
                token,
            } = HelloRequest::decode(payload)?;
            json!({"version_min": version_min, "version_max": version_max, "name": name, "token": token})
        }
        (true, Op::Hello) => {
            let reply = HelloReply::decode(payload)?;
            json!({
                "version": reply.version, "in_flight_max": reply.in_flight_max,
                "held_bytes_max": reply.held_bytes_max, "node_id": reply.node_id, "node_version": reply.node_version,
            })
        }
        (false, Op::Set | Op::Store | Op::Stream | Op::SetMapped | Op::StoreMapped) => {
            let (put, value) = PutRequest::decode(payload, matches!(op, Op::Set | Op::SetMapped))?;
            let (placement, peer) = put.placement.to_wire();
            with_strict(
                put.strict,
                json!({
                    "size": put.size.map(|size| size.to_string()),
                    "ttl_ms": put.ttl.map(|ttl| ttl.as_millis().to_string()), "class": put.class,
                    "placement": PLACEMENTS[usize::from(placement)],
                    "peer": peer, "key": put.key, "value_hex": hex(value),
                }),
            )
        }
        (
            true,
            Op::Set
            | Op::Store
            | Op::Stream
            | Op::SetMapped
            | Op::StoreMapped
            | Op::StreamWrite
            | Op::StreamFile,
        ) => {
            let PutReply { id, size } = PutReply::decode(payload)?;
            json!({"id": id.to_string(), "size": size.to_string()})
        }
        (false, Op::Get | Op::GetMapped) => {
            let ReadRequest {
                offset,
                length,
                target,
                strict,
                ..
            } = ReadRequest::<&str>::decode(payload)?;
            let read = json!({"offset": offset.to_string(), "length": whole_or_rest(length), "key": target});
            with_strict(strict, read)
        }
        (false, Op::Load | Op::LoadMapped) => {
            let ReadRequest {
                offset,
                length,
                target,
                follow,
                ..
            } = ReadRequest::<BlockId>::decode(payload)?;
            let mut read = json!({"offset": offset.to_string(), "length": whole_or_rest(length), "id": target.to_string()});
            if follow {
                read["follow"] = true.into();
            }
            read
        }
        (true, Op::Get | Op::Load | Op::LoadInto) => {
            let (ReadReply { id, size, length }, value) = ReadReply::decode(payload)?;
            json!({
                "id": id.to_string(), "size": size.to_string(), "length": whole_or_rest(length),
                "value_hex": hex(value),
            })
        }
        (false, Op::StreamWrite) => {
            let (StreamWriteRequest { id }, value) = StreamWriteRequest::decode(payload)?;
            json!({"id": id.to_string(), "value_hex": hex(value)})
        }
        (false, Op::StreamFile) => {
            let StreamFileRequest {
                id,
                offset,
                length,
                named,
            } = StreamFileRequest::decode(payload)?;
            let mut meaning =
                json!({"id": id.to_string(), "offset": offset.to_string(), "length": whole_or_rest(length)});
            if let Some(NamedFile {
                descriptor,
                device,
                inode,
            }) = named
            {
                meaning["named"] = json!({
                    "descriptor": descriptor, "device": device.to_string(), "inode": inode.to_string(),
                });
            }
            meaning
        }
        (false, Op::StreamKnown) => {
            let StreamKnownRequest { id, chunks } = StreamKnownRequest::decode(payload)?;
            let chunks: Vec<_> = chunks
                .iter()
                .map(|chunk| json!({"hash_hex": hex(chunk.hash.as_bytes()), "length": chunk.length}))
                .collect();
            json!({"id": id.to_string(), "chunks": chunks})
        }
        (true, Op::StreamKnown) => json!({"appended": decode_known(payload, payload.len())?}),
        (false, Op::LoadInto) => {
            let LoadIntoRequest {
                id,
                offset,
                length,
                at,
            } = LoadIntoRequest::decode(payload)?;
            json!({
                "id": id.to_string(), "offset": offset.to_string(), "length": whole_or_rest(length),
                "at": at.to_string(),
            })
        }
        (true, Op::GetMapped | Op::LoadMapped) => {
            let (MappedReply { read, offset }, value) = MappedReply::decode(payload)?;
            let ReadReply { id, size, length } = read;
            json!({
                "id": id.to_string(), "size": size.to_string(), "length": length.to_string(),
                "offset": offset.map(|offset| offset.to_string()), "value_hex": hex(value),
            })
        }
        (false, Op::Del) => {
            let DelRequest { key, strict } = DelRequest::decode(payload)?;
            with_strict(strict, json!({"key": key}))
        }
        (true, Op::Del) => json!({"deleted": decode_deleted(payload)?}),
        (false, Op::Free) => {
            let ids: Vec<_> = FreeRequest::decode(payload)?
                .ids
                .iter()
                .map(BlockId::to_string)
                .collect();
            json!({"ids": ids})
        }
        (true, Op::Free) => {
            let freed = decode_freed(payload)?;
            json!({"blocks": freed.blocks.to_string(), "bytes": freed.bytes.to_string()})
        }
        (false, Op::Ttl | Op::Expire | Op::Persist) => {
            let LifetimeRequest { name, change } = LifetimeRequest::decode(payload, op)?;
            let ttl = change.wanted().flatten();
            let (id, key) = match name {
                ValueName::Id(id) => (Some(id), None),
                ValueName::Key(key) => (None, Some(key)),
            };
            json!({
                "ttl_ms": ttl.map(|ttl| ttl.as_millis().to_string()), "key": key,
                "id": id.map(|id| id.to_string()),
            })
        }
        (true, Op::Ttl | Op::Expire | Op::Persist) => {
            json!({"ttl_ms": decode_lifetime(payload)?.map(|ttl| ttl.as_millis().to_string())})
        }
        (false, Op::Keys) => {
            let KeysRequest {
                patterns,
                cursor,
                limit,
                options,
            } = KeysRequest::decode(payload)?;
            json!({
                "limit": limit, "cursor": cursor.to_string(), "patterns": patterns,
                "local": options.local, "details": options.details,
            })
        }
        (true, Op::Keys) => {
            let KeysReply {
                keys,
                missing,
                cursor,
            } = KeysReply::decode(payload)?;
            let keys: Vec<Value> = keys.iter().map(listed_key).collect();
            json!({"keys": keys, "missing": missing, "cursor": cursor.to_string()})
        }
        (false, Op::Mget | Op::Mdel) => {
            let BatchKeys { keys, strict } = BatchKeys::decode(payload)?;
            with_strict(strict, json!({"keys": keys}))
        }
        (false, Op::Mset) => {
            let batch = BatchPairs::decode(payload)?;
            let (placement, peer) = batch.placement.to_wire();
            let pairs = batch.pairs.iter();
            let pairs = pairs.map(|(key, value)| json!({"key": key, "value_hex": hex(value)}));
            with_strict(
                batch.strict,
                json!({
                    "ttl_ms": batch.ttl.map(|ttl| ttl.as_millis().to_string()), "class": batch.class,
                    "placement": PLACEMENTS[usize::from(placement)],
                    "peer": peer, "pairs": pairs.collect::<Vec<_>>(),
                }),
            )
        }
        (true, Op::Mget | Op::Mset | Op::Mdel) => {
            let entries = BatchReply::decode(&Bytes::copy_from_slice(payload))?.entries;
            let entries = entries.iter().map(|entry| match entry {
                Ok(BatchAnswer::Done(value)) => json!({"value_hex": hex(value)}),
                Ok(BatchAnswer::Later { size }) => json!({"later": size.to_string()}),
                Err(error) => json!({"error": error.code, "message": error.message}),
            });
            json!({"entries": entries.collect::<Vec<_>>()})
        }
        _ => {
            let json: Value =
                serde_json::from_slice(payload).map_err(|e| ApiError::invalid(e.to_string()))?;
            json!({"json": json})
        }
    })
}

/// A key of a listing: a text, or where it has details an object.
fn listed_key(listed: &ListedKey) -> Value {
    let Some(details) = listed.details else {
        return json!(listed.key);
    };
    json!({
        "key": listed.key, "node": details.node, "holder": details.holder, "size": details.size.to_string(),
        "class": details.class, "ttl_ms": details.ttl.map(|ttl| ttl.as_millis().to_string()),
        "is_stream": details.is_stream,
    })
}

fn key_to_list(value: &Value) -> ListedKey {
    let details = value.is_object().then(|| {
        let ttl = value["ttl_ms"].as_str();
        KeyDetails {
            node: serde_json::from_value(value["node"].clone()).unwrap(),
            holder: serde_json::from_value(value["holder"].clone()).unwrap(),
            size: number(&value["size"]),
            class: serde_json::from_value(value["class"].clone()).unwrap(),
            ttl: ttl.map(|ms| Ttl::from_millis(ms.parse().unwrap()).unwrap()),
            is_stream: value["is_stream"].as_bool().unwrap(),
        }
    });
    let key = value["key"].as_str().unwrap_or_else(|| text(value)).to_owned();
    ListedKey { key, details }
}

fn placement(meaning: &Value) -> Placement {
    match text(&meaning["placement"]) {
        "local" => Placement::Local,
        "remote" => Placement::Remote,
        "peer" => Placement::Peer(text(&meaning["peer"]).to_owned()),
        _ => Placement::Auto,
    }
}

/// Writes a payload from its meaning; control JSON, whose bytes JSON leaves open, is taken from the vector.
fn encode(from_node: bool, op: Op, meaning: &Value, payload: &[u8], out: &mut BytesMut) {
    let id = |value: &Value| text(value).parse::<BlockId>().unwrap();
    let length = || {
        meaning["length"]
            .as_str()
            .map_or(u64::MAX, |length| length.parse().unwrap())
    };
    let value = || unhex(text(&meaning["value_hex"]));
    if let Some(message) = meaning["message"].as_str() {
        return out.put_slice(message.as_bytes());
    }
    let strict = meaning["strict"] == true;
    let ttl = meaning["ttl_ms"]
        .as_str()
        .map(|ms| Ttl::from_millis(ms.parse().unwrap()).unwrap());
    match (from_node, op) {
        (_, Op::Data) => out.put_slice(&value()),
        (_, Op::Credit) => out.put_u64_le(number(&meaning["bytes"])),
        (false, Op::Hello) => {
            let name = text(&meaning["name"]);
            HelloRequest {
                version_min: 1,
                version_max: 1,
                name,
                token: text(&meaning["token"]),
            }
            .encode(out);
        }
        (true, Op::Hello) => HelloReply {
            version: 1,
            in_flight_max: meaning["in_flight_max"].as_u64().unwrap() as u32,
            held_bytes_max: meaning["held_bytes_max"].as_u64().unwrap(),
            node_id: text(&meaning["node_id"]).parse().unwrap(),
            node_version: text(&meaning["node_version"]).to_owned(),
        }
        .encode(out),
        (false, Op::Set | Op::Store | Op::Stream | Op::SetMapped | Op::StoreMapped) => {
            let class: BlockClass = serde_json::from_value(meaning["class"].clone()).unwrap();
            let size = meaning["size"].as_str().map(|size| size.parse().unwrap());
            PutRequest {
                size,
                ttl,
                class,
                placement: placement(meaning),
                key: meaning["key"].as_str(),
                strict,
            }
            .encode(out);
            out.put_slice(&value());
        }
        (
            true,
            Op::Set
            | Op::Store
            | Op::Stream
            | Op::SetMapped
            | Op::StoreMapped
            | Op::StreamWrite
            | Op::StreamFile,
        ) => {
            PutReply {
                id: id(&meaning["id"]),
                size: number(&meaning["size"]),
            }
            .encode(out);
        }
        (false, Op::Get | Op::GetMapped) => {
            ReadRequest {
                offset: number(&meaning["offset"]),
                length: length(),
                target: text(&meaning["key"]),
                strict,
                follow: false,
            }
            .encode(out);
        }
        (false, Op::Load | Op::LoadMapped) => {
            ReadRequest {
                offset: number(&meaning["offset"]),
                length: length(),
                target: id(&meaning["id"]),
                strict,
                follow: meaning["follow"] == true,
            }
            .encode(out);
        }
        (true, Op::GetMapped | Op::LoadMapped) => {
            let (id, size) = (id(&meaning["id"]), number(&meaning["size"]));
            let read = ReadReply {
                id,
                size,
                length: length(),
            };
            let offset = meaning["offset"].as_str().map(|offset| offset.parse().unwrap());
            MappedReply { read, offset }.encode(out);
            out.put_slice(&value());
        }
        (false, Op::StreamWrite) => {
            let id = id(&meaning["id"]);
            StreamWriteRequest { id }.encode(out);
            out.put_slice(&value());
        }
        (false, Op::StreamFile) => StreamFileRequest {
            id: id(&meaning["id"]),
            offset: number(&meaning["offset"]),
            length: length(),
            named: meaning.get("named").map(|named| NamedFile {
                descriptor: named["descriptor"].as_u64().unwrap() as u32,
                device: number(&named["device"]),
                inode: number(&named["inode"]),
            }),
        }
        .encode(out),
        (false, Op::StreamKnown) => {
            let chunks = meaning["chunks"].as_array().unwrap().iter().map(|chunk| {
                let hash: [u8; ChunkHash::LEN] = unhex(text(&chunk["hash_hex"])).try_into().unwrap();
                let length = chunk["length"].as_u64().unwrap() as u32;
                KnownChunk::new(ChunkHash::from_bytes(hash), length).unwrap()
            });
            StreamKnownRequest::encode(id(&meaning["id"]), &chunks.collect::<Vec<_>>(), out);
        }
        (true, Op::StreamKnown) => {
            let appended = meaning["appended"].as_array().unwrap().iter();
            let appended: Vec<_> = appended.map(|appended| appended.as_bool().unwrap()).collect();
            encode_known(&appended, out);
        }
        (false, Op::LoadInto) => LoadIntoRequest {
            id: id(&meaning["id"]),
            offset: number(&meaning["offset"]),
            length: length(),
            at: number(&meaning["at"]),
        }
        .encode(out),
        (true, Op::Get | Op::Load | Op::LoadInto) => {
            let (id, size) = (id(&meaning["id"]), number(&meaning["size"]));
            ReadReply {
                id,
                size,
                length: length(),
            }
            .encode(out);
            out.put_slice(&value());
        }
        (false, Op::Del) => DelRequest {
            key: text(&meaning["key"]),
            strict,
        }
        .encode(out),
        (true, Op::Del) => encode_deleted(meaning["deleted"].as_bool().unwrap(), out),
        (false, Op::Free) => {
            let ids: Vec<_> = meaning["ids"].as_array().unwrap().iter().map(id).collect();
            FreeRequest::encode(&ids, out);
        }
        (true, Op::Free) => {
            let (blocks, bytes) = (number(&meaning["blocks"]), number(&meaning["bytes"]));
            encode_freed(&crate::control::Freed { blocks, bytes }, out);
        }
        (false, Op::Ttl | Op::Expire | Op::Persist) => {
            let name = match meaning["key"].as_str() {
                Some(key) => ValueName::Key(key.to_owned()),
                None => ValueName::Id(id(&meaning["id"])),
            };
            let change = match op {
                Op::Expire => LifetimeChange::Expire(ttl.unwrap()),
                Op::Persist => LifetimeChange::Persist,
                _ => LifetimeChange::Tell,
            };
            let request = LifetimeRequest { name, change };
            assert_eq!(request.op(), op);
            request.encode(out);
        }
        (true, Op::Ttl | Op::Expire | Op::Persist) => encode_lifetime(ttl, out),
        (false, Op::Keys) => {
            let limit = meaning["limit"].as_u64().unwrap() as u32;
            KeysRequest {
                patterns: meaning["patterns"].as_array().unwrap().iter().map(text).collect(),
                cursor: number(&meaning["cursor"]),
                limit,
                options: KeysOptions {
                    local: meaning["local"].as_bool().unwrap(),
                    details: meaning["details"].as_bool().unwrap(),
                },
            }
            .encode(out);
        }
        (true, Op::Keys) => {
            let keys = meaning["keys"].as_array().unwrap();
            KeysReply {
                keys: keys.iter().map(key_to_list).collect(),
                missing: serde_json::from_value(meaning["missing"].clone()).unwrap(),
                cursor: number(&meaning["cursor"]),
            }
            .encode(out);
        }
        (false, Op::Mget | Op::Mdel) => {
            let keys: Vec<_> = meaning["keys"].as_array().unwrap().iter().map(text).collect();
            BatchKeys::encode(&keys, strict, out);
        }
        (false, Op::Mset) => {
            let pairs = meaning["pairs"].as_array().unwrap();
            let values: Vec<_> = pairs.iter().map(|pair| unhex(text(&pair["value_hex"]))).collect();
            let pairs: Vec<_> = pairs
                .iter()
                .zip(&values)
                .map(|(pair, value)| (text(&pair["key"]), &value[..]))
                .collect();
            let class = serde_json::from_value(meaning["class"].clone()).unwrap();
            let placement = placement(meaning);
            BatchPairs {
                ttl,
                class,
                placement,
                strict,
                pairs,
            }
            .encode(out);
        }
        (true, Op::Mget | Op::Mset | Op::Mdel) => {
            let entries = meaning["entries"].as_array().unwrap();
            let entries = entries.iter().map(batch_entry).collect();
            BatchReply { entries }.encode(out);
        }
        _ => out.put_slice(payload),
    }
}

fn batch_entry(entry: &Value) -> ApiResult<BatchAnswer> {
    if let Some(value) = entry["value_hex"].as_str() {
        return Ok(BatchAnswer::Done(unhex(value).into()));
    }
    if entry["later"].is_string() {
        return Ok(BatchAnswer::Later {
            size: number(&entry["later"]),
        });
    }
    let code = serde_json::from_value(entry["error"].clone()).unwrap();
    Err(ApiError::new(code, text(&entry["message"])))
}

fn one_frame(bytes: &[u8]) -> (FrameHeader, Bytes) {
    let mut input = Input::default();
    input.extend(bytes);
    let header = input.peek().unwrap().unwrap();
    let payload = input.take(&header);
    assert!(input.is_empty());
    (header, payload)
}

#[test]
fn frames_mean_what_the_vectors_say() {
    for vector in vectors(FRAMES) {
        let name = text(&vector["name"]);
        let (header, payload) = one_frame(&unhex(text(&vector["hex"])));
        let op = Op::from_byte(header.op).unwrap();
        assert_eq!(op.as_str(), text(&vector["op"]), "{name}");
        assert_eq!(header.request, number(&vector["request"]), "{name}");
        assert_eq!(header.more(), vector["more"].as_bool().unwrap(), "{name}");
        assert_eq!(
            u64::from(header.status),
            vector["status"].as_u64().unwrap(),
            "{name}"
        );
        let from_node = vector["from"] == "node";
        assert_eq!(
            meaning(from_node, op, header.status, &payload).unwrap(),
            vector["meaning"],
            "{name}"
        );
    }
}

#[test]
fn meanings_become_the_bytes_of_the_vectors() {
    for vector in vectors(FRAMES) {
        let name = text(&vector["name"]);
        let (_, payload) = one_frame(&unhex(text(&vector["hex"])));
        let op = op_of(text(&vector["op"]));
        let mut header = FrameHeader::new(op, number(&vector["request"]));
        header = header.with_more(vector["more"].as_bool().unwrap());
        header.status = vector["status"].as_u64().unwrap() as u16;
        let mut output = Output::default();
        let from_node = vector["from"] == "node";
        output.frame_copied(
            header,
            |out| encode(from_node, op, &vector["meaning"], &payload, out),
            &[],
        );
        assert_eq!(hex(&output.to_vec()), text(&vector["hex"]), "{name}");
    }
}

#[test]
fn truncated_arguments_are_errors() {
    for vector in vectors(FRAMES) {
        let (header, payload) = one_frame(&unhex(text(&vector["hex"])));
        let op = Op::from_byte(header.op).unwrap();
        let from_node = vector["from"] == "node";
        // What ends with a text or a value of free length may end anywhere in it.
        let fixed_len = match op {
            Op::Hello | Op::Keys | Op::Free | Op::Mget | Op::Mset | Op::Mdel => payload.len(),
            Op::Set | Op::Store | Op::Stream | Op::SetMapped | Op::StoreMapped => payload.len().min(24),
            Op::Get | Op::Load | Op::GetMapped | Op::LoadMapped => payload.len().min(20),
            Op::StreamWrite => payload.len().min(12),
            Op::StreamFile => payload.len(),
            Op::LoadInto if from_node => payload.len().min(24),
            Op::LoadInto => payload.len(),
            Op::Ttl | Op::Expire | Op::Persist => payload.len().min(17),
            _ => 0,
        };
        if header.status == 0 {
            for end in (0..fixed_len).filter(|end| op != Op::Free || (end % 8 != 4 || *end < 12)) {
                assert!(
                    meaning(from_node, op, 0, &payload[..end]).is_err(),
                    "{}, {end}",
                    vector["name"]
                );
            }
        }
    }
}

#[test]
fn refused_arguments_have_the_codes_of_the_vectors() {
    for vector in vectors(REFUSED)
        .iter()
        .filter(|vector| vector["effect"] == "reply")
    {
        let (header, payload) = one_frame(&unhex(text(&vector["hex"])));
        let Some(op) = Op::from_byte(header.op) else {
            continue;
        };
        // The session itself judges flags and the size of a value.
        if let Err(error) = meaning(false, op, 0, &payload) {
            assert_eq!(error.code.as_str(), text(&vector["error"]), "{}", vector["name"]);
        }
    }
}

proptest! {
    #[test]
    fn arguments_of_random_bytes_never_panic(
        op in 0u8..100,
        from_node: bool,
        payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        if let Some(op) = Op::from_byte(op) {
            let _ = meaning(from_node, op, 0, &payload);
        }
    }

    #[test]
    fn a_put_survives_its_bytes(
        size in proptest::option::of(0..=crate::limits::OBJECT_SIZE_MAX),
        ttl_ms in proptest::option::of(1..=crate::ttl::TTL_MS_MAX),
        key in "[^\0]{1,200}",
        peer in "[a-z]{1,20}",
        strict: bool,
        value in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let placement = Placement::Peer(peer);
        let ttl = ttl_ms.map(|ms| Ttl::from_millis(ms).unwrap());
        let put = PutRequest { size, ttl, class: BlockClass::Cache, placement, key: Some(&key), strict };
        let mut bytes = BytesMut::new();
        put.encode(&mut bytes);
        bytes.extend_from_slice(&value);
        prop_assert_eq!(PutRequest::decode(&bytes, true), Ok((put, &value[..])));
    }
}
