//! Known answers: `docs/protocol/vectors/peer-*.json`, made from fixed seeds. The files are the protocol; a change of
//! code that changes them is a change of protocol.
//!
//! `MEMCLOUD_WRITE_VECTORS=1 cargo test -p memproto vectors` writes them anew.

use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use x25519_dalek::{PublicKey, StaticSecret};

use super::cipher::{Cipher, Secret};
use super::codec;
use super::frame::{self, FLAG_END, FLAG_MORE, Kind};
use super::handshake::{Established, Handshake, HandshakeConfig, HandshakeRandom};
use super::link::{BodySpec, Consent, Goodbye};
use super::message::{AdoptedChunk, ChunkForm, KeyState, KeyVersion, Location, PeerReply, PeerRequest};
use super::pairing::{Joiner, Offer, PairCode, PairMessage, PairRandom, Parties, label_of};
use super::record::{Sealer, TrafficKey};
use super::transcript::{self, Role, Transcript};
use crate::control::GrantUse;
use crate::error::{ApiError, ErrorCode};
use crate::listing::{KeyDetails, ListedKey, OWN_CURSOR_BITS};
use crate::stream::{ChunkHash, Codec};
use crate::ttl::{LifetimeChange, TTL_MS_MAX, Ttl, ValueName};
use crate::{BlockClass, BlockId, NodeId, Version};

/// Compares a file of vectors with what the code gives, or writes it where that is asked for.
fn check(file: &str, computed: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/protocol/vectors")
        .join(file);
    if std::env::var_os("MEMCLOUD_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(computed).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(&kept, computed, "the code no longer gives what {file} says");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What one side of a handshake is made from.
struct Seeds {
    signing: [u8; 32],
    nonce: [u8; 32],
    ephemeral: [u8; 32],
    name: &'static str,
    quota: u64,
    incarnation: u64,
}

impl Seeds {
    fn config(&self) -> HandshakeConfig {
        HandshakeConfig {
            signing_key: SigningKey::from_bytes(&self.signing),
            name: self.name.to_owned(),
            offered_quota_bytes: self.quota,
            incarnation: self.incarnation,
        }
    }

    fn random(&self) -> HandshakeRandom {
        HandshakeRandom::new(self.nonce, self.ephemeral)
    }

    fn json(&self) -> Value {
        let public_key = SigningKey::from_bytes(&self.signing).verifying_key().to_bytes();
        json!({
            "ed25519_seed": hex(&self.signing), "nonce": hex(&self.nonce), "ephemeral_secret": hex(&self.ephemeral),
            "name": self.name, "offered_quota_bytes": self.quota, "incarnation": self.incarnation,
            "ed25519_public": hex(&public_key), "node_id": NodeId::from_public_key(&public_key),
        })
    }
}

/// 32 bytes that count up.
fn counting(first: u8) -> [u8; 32] {
    std::array::from_fn(|n| first.wrapping_add(n as u8))
}

/// What a side has to send, without the length prefixes.
fn outgoing(side: &mut Handshake) -> Vec<Vec<u8>> {
    let (bytes, mut messages) = (side.poll_transmit().unwrap(), Vec::new());
    let mut rest = &bytes[..];
    while let Some((prefix, behind)) = rest.split_first_chunk() {
        let (message, behind) = behind.split_at(super::handshake::check_length(*prefix).unwrap());
        messages.push(message.to_vec());
        rest = behind;
    }
    messages
}

fn handshake_case(name: &str, initiator: &Seeds, responder: &Seeds) -> Value {
    let mut left = Handshake::initiate(initiator.config(), initiator.random()).unwrap();
    let mut right = Handshake::respond(responder.config(), responder.random()).unwrap();
    let mut messages = outgoing(&mut left);
    assert!(right.handle_message(&messages[0]).unwrap().is_none());
    messages.extend(outgoing(&mut right));
    assert!(left.handle_message(&messages[1]).unwrap().is_none());
    let left_result = left.handle_message(&messages[2]).unwrap().unwrap();
    messages.extend(outgoing(&mut left));
    let right_result = right.handle_message(&messages[3]).unwrap().unwrap();
    assert_eq!(left_result.code, right_result.code);

    // The same once more by hand, as the specification says it.
    let shared = StaticSecret::from(initiator.ephemeral)
        .diffie_hellman(&PublicKey::from(&StaticSecret::from(responder.ephemeral)));
    let shared = Secret(shared.to_bytes());
    let mut transcript = Transcript::new();
    transcript.append("initiator hello", &messages[0]);
    transcript.append("responder hello", &messages[1]);
    let hellos = transcript.hash();
    let key = |role| transcript::handshake_key(role, &shared, &hellos);
    let open = |role, context: &[u8; 32], message: &[u8]| {
        let mut plaintext = message.to_vec();
        let cipher = Cipher::new(&key(role));
        cipher.open(0, context, &mut plaintext).unwrap().to_vec()
    };
    let responder_auth = open(Role::Responder, &hellos, &messages[2]);
    transcript.append("responder identity", &responder_auth[..144]);
    let responder_signed = transcript.hash();
    transcript.append("responder auth", &messages[2]);
    let between = transcript.hash();
    let initiator_auth = open(Role::Initiator, &between, &messages[3]);
    transcript.append("initiator identity", &initiator_auth[..144]);
    let initiator_signed = transcript.hash();
    transcript.append("initiator auth", &messages[3]);
    let last = transcript.hash();
    let traffic = |role| transcript::traffic_key(role, &shared, &last);
    let message = |from, name, n: usize| json!({ "from": from, "name": name, "body": hex(&messages[n]) });
    json!({
        "name": name,
        "initiator": initiator.json(),
        "responder": responder.json(),
        "messages": [
            message("initiator", "HELLO", 0), message("responder", "HELLO", 1),
            message("responder", "AUTH", 2), message("initiator", "AUTH", 3),
        ],
        "shared_secret": hex(&shared.0),
        "transcript_behind_hellos": hex(&hellos),
        "handshake_key_responder_to_initiator": hex(&key(Role::Responder).0),
        "responder_auth_plaintext": hex(&responder_auth),
        "transcript_signed_by_responder": hex(&responder_signed),
        "transcript_between_auths": hex(&between),
        "handshake_key_initiator_to_responder": hex(&key(Role::Initiator).0),
        "initiator_auth_plaintext": hex(&initiator_auth),
        "transcript_signed_by_initiator": hex(&initiator_signed),
        "transcript_last": hex(&last),
        "traffic_key_initiator_to_responder": hex(&traffic(Role::Initiator).0),
        "traffic_key_responder_to_initiator": hex(&traffic(Role::Responder).0),
        "code": left_result.code.clone(),
        "first_record_of_initiator": first_record(left_result),
        "first_record_of_responder": first_record(right_result),
    })
}

/// The first record of a side that pings and agrees to 1 GiB.
fn first_record(established: Established) -> Value {
    let mut sealer = Sealer::new(established.keys.send, super::record::REKEY_RECORDS);
    let mut out = Vec::new();
    let record = sealer.begin(&mut out);
    frame::put(
        &mut out,
        Kind::Consent,
        0,
        0,
        &frame::encode_consent(Consent::Agreed {
            quota_bytes: 1 << 30,
            for_good: false,
        }),
    );
    frame::put(&mut out, Kind::Ping, 0, 0, &1_u64.to_le_bytes());
    let plaintext = hex(&out[4..]);
    sealer.finish(record, &mut out).unwrap();
    json!({ "plaintext": plaintext, "bytes": hex(&out) })
}

#[test]
fn handshakes_give_the_known_bytes() {
    let desk = Seeds {
        signing: counting(0),
        nonce: counting(32),
        ephemeral: counting(64),
        name: "desk",
        quota: 4 << 30,
        incarnation: 1_234_567_890_123,
    };
    let laptop = Seeds {
        signing: counting(100),
        nonce: counting(132),
        ephemeral: counting(164),
        name: "Jürgens Laptop",
        quota: 0,
        incarnation: 987_654_321,
    };
    let longest = Seeds {
        signing: [0xff; 32],
        nonce: [0; 32],
        ephemeral: [0xee; 32],
        name: "a-name-of-sixty-three-bytes-which-is-what-a-label-of-dns-allows",
        quota: 1 << 46,
        incarnation: 0,
    };
    let cases = [
        handshake_case("two nodes", &desk, &laptop),
        handshake_case("the same two, the other one dials", &laptop, &desk),
        handshake_case("the longest name and edge values", &longest, &desk),
    ];
    check("peer-handshake.json", &json!({ "cases": cases }));
}

#[test]
fn records_give_the_known_bytes() {
    let mut sealer = Sealer::new(TrafficKey(Secret(counting(7))), 2);
    let mut records = Vec::new();
    for number in 0..5_usize {
        let plaintext: Vec<u8> = (0..1 + number * 40).map(|n| (n + number) as u8).collect();
        let mut out = Vec::new();
        let record = sealer.begin(&mut out);
        out.extend_from_slice(&plaintext);
        sealer.finish(record, &mut out).unwrap();
        records.push(json!({ "number": number, "plaintext": hex(&plaintext), "bytes": hex(&out) }));
    }
    let keys: Vec<String> =
        std::iter::successors(Some(Secret(counting(7))), |key| Some(transcript::next_key(key)))
            .take(3)
            .map(|key| hex(&key.0))
            .collect();
    let file = json!({ "rekey_records": 2, "keys": keys, "records": records });
    check("peer-record.json", &file);
}

#[test]
fn frames_and_messages_give_the_known_bytes() {
    let mut frames = Vec::new();
    let mut add = |name: &str, kind, flags, id, payload: &[u8]| {
        let mut bytes = Vec::new();
        frame::put(&mut bytes, kind, flags, id, payload);
        let taken = frame::take(&mut &bytes[..]).unwrap();
        assert_eq!(
            (taken.kind, taken.flags, taken.id, taken.payload),
            (kind, flags, id, payload)
        );
        let number = kind as u8;
        frames.push(json!({ "name": name, "kind": number, "flags": flags, "id": id, "payload": hex(payload), "bytes": hex(&bytes) }));
    };
    add("PING", Kind::Ping, 0, 0, &1_u64.to_le_bytes());
    add("PONG", Kind::Pong, 0, 0, &1_u64.to_le_bytes());
    add(
        "CONSENT waiting",
        Kind::Consent,
        0,
        0,
        &frame::encode_consent(Consent::Waiting),
    );
    add(
        "CONSENT agreed",
        Kind::Consent,
        0,
        0,
        &frame::encode_consent(Consent::Agreed {
            quota_bytes: 1 << 32,
            for_good: false,
        }),
    );
    add(
        "CONSENT agreed for good",
        Kind::Consent,
        0,
        0,
        &frame::encode_consent(Consent::Agreed {
            quota_bytes: 1 << 32,
            for_good: true,
        }),
    );
    add(
        "CONSENT denied",
        Kind::Consent,
        0,
        0,
        &frame::encode_consent(Consent::Denied),
    );
    add(
        "GOODBYE stopping",
        Kind::Goodbye,
        0,
        0,
        &[frame::encode_goodbye(Goodbye::Stopping)],
    );
    add(
        "GOODBYE shared identity",
        Kind::Goodbye,
        0,
        0,
        &[frame::encode_goodbye(Goodbye::SharedIdentity)],
    );
    let usage = codec::encode_request(&PeerRequest::Usage, BodySpec::NONE).unwrap();
    add("REQUEST, first part", Kind::Request, FLAG_MORE, 1, &usage[..5]);
    add("REQUEST, last part", Kind::Request, 0, 1, &usage[5..]);
    add("DATA", Kind::Data, 0, 2, b"some bytes");
    add("DATA, last", Kind::Data, FLAG_END, 2, b"");
    let error = ApiError::new(ErrorCode::ShuttingDown, "the node is stopping");
    add("FAIL", Kind::Fail, 0, 2, &codec::encode_error(&error));
    add(
        "CREDIT",
        Kind::Credit,
        0,
        u64::MAX - 1,
        &(1_u64 << 20).to_le_bytes(),
    );
    add("CANCEL", Kind::Cancel, 0, 1, &[]);
    let mut join = Vec::new();
    PairMessage::Join(counting(1)).encode(&mut join);
    add("PAIR", Kind::Pair, 0, 0, &join);
    let file = json!({ "frames": frames, "requests": requests(), "replies": replies() });
    check("peer-frame.json", &file);
}

/// An exchange of pairing, with the right code or another one.
fn pairing_case(name: &str, typed: &str, shown: &PairCode, parties: &Parties, seeds: [[u8; 32]; 2]) -> Value {
    let bytes = |message: &PairMessage| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        hex(&bytes)
    };
    let [joining, offering] = seeds;
    let typed_code: PairCode = typed.parse().unwrap();
    let (joiner, join) = Joiner::begin(&typed_code, parties, &PairRandom::new(joining));
    let PairMessage::Join(share) = join else {
        panic!("{join:?} is no JOIN");
    };
    let (offer, answer) = Offer::answer(shown, parties, &PairRandom::new(offering), &share).unwrap();
    let PairMessage::Answer(share, proof) = answer else {
        panic!("{answer:?} is no ANSWER");
    };
    let last = joiner.finish(&share, &proof).ok();
    if let Some(PairMessage::Proof(proof)) = &last {
        assert_eq!(offer.finish(proof), Ok(()));
    }
    json!({
        "name": name, "typed": typed, "shown": shown.show(),
        "joining_public_key": hex(&parties.joining), "offering_public_key": hex(&parties.offering),
        "transcript": hex(&parties.transcript),
        "joining_random": hex(&joining), "offering_random": hex(&offering),
        "join": bytes(&join), "answer": bytes(&answer), "proof": last.as_ref().map(bytes),
    })
}

#[test]
fn pairing_gives_the_known_bytes() {
    let public_key = |seed| SigningKey::from_bytes(&counting(seed)).verifying_key().to_bytes();
    let parties = Parties {
        joining: public_key(0),
        offering: public_key(100),
        transcript: counting(50),
    };
    let offering_id = NodeId::from_public_key(&parties.offering);
    let shown = PairCode::new(offering_id, 1_234_567_u64.to_le_bytes());
    let wrong = PairCode::new(offering_id, 1_234_568_u64.to_le_bytes());
    let seeds = [counting(10), counting(20)];
    let cases = [
        pairing_case("the right code", &shown.show(), &shown, &parties, seeds),
        pairing_case("another code", &wrong.show(), &shown, &parties, seeds),
        pairing_case(
            "the same code once more",
            &shown.show(),
            &shown,
            &parties,
            [counting(30), counting(40)],
        ),
    ];
    let labels: Vec<Value> = [offering_id, node(), NodeId::from_bytes([0; 16])]
        .iter()
        .map(|id| json!({ "node_id": id, "label": label_of(*id) }))
        .collect();
    check("peer-pairing.json", &json!({ "labels": labels, "cases": cases }));
}

fn id(number: u64) -> BlockId {
    BlockId::new(number).unwrap()
}

fn node() -> NodeId {
    NodeId::from_bytes(std::array::from_fn(|n| 0x10 + n as u8))
}

fn known(key: &str) -> KeyVersion {
    KeyVersion {
        key: key.to_owned(),
        version: Version {
            time: 70_000,
            node: node(),
        },
        deleted: true,
    }
}

/// A key of a listing, with the class of its value, its time to live in milliseconds, and whether it lies in chunks.
fn listed(key: &str, value: Option<(BlockClass, Option<u64>, bool)>) -> ListedKey {
    let details = value.map(|(class, ttl, is_stream)| KeyDetails {
        node: node(),
        holder: node(),
        size: 70_000,
        class: Some(class),
        ttl: ttl.map(|ms| Ttl::from_millis(ms).unwrap()),
        is_stream,
    });
    ListedKey {
        key: key.to_owned(),
        details,
    }
}

fn requests() -> Vec<Value> {
    let all = [
        (
            PeerRequest::Store {
                id: id(300),
                size: 5,
                class: BlockClass::Cache,
                chunk: None,
                ttl: Some(Ttl::from_millis(600_000).unwrap()),
            },
            Some(5),
        ),
        (
            PeerRequest::Store {
                id: BlockId::MAX,
                size: 600,
                class: BlockClass::Pinned,
                chunk: Some(ChunkForm {
                    stream: id(1),
                    hash: ChunkHash::from_bytes([7; 32]),
                    length: 70_000,
                    codec: Codec::Zstd,
                }),
                ttl: None,
            },
            Some(600),
        ),
        (
            PeerRequest::Load {
                id: id(250),
                offset: 251,
                length: u64::from(u32::MAX) + 1,
                relay: true,
            },
            Some(0),
        ),
        (PeerRequest::Locate { id: id(1) }, Some(0)),
        (
            PeerRequest::Manifest {
                id: id(1),
                offset: 1 << 40,
                beyond: 3,
            },
            Some(0),
        ),
        (
            PeerRequest::Free {
                ids: vec![id(1), id(70_000)],
            },
            Some(0),
        ),
        (
            PeerRequest::Read {
                key: "schlüssel".to_owned(),
                offset: 0,
                length: u64::MAX,
            },
            Some(0),
        ),
        (
            PeerRequest::Outdate {
                key: "k".to_owned(),
                version: Version {
                    time: 1 << 60,
                    node: node(),
                },
                deleted: false,
            },
            Some(0),
        ),
        (
            PeerRequest::Reconcile {
                keys: vec![known("a"), known("b")],
                complete: true,
                clock: 1 << 60,
            },
            Some(0),
        ),
        (PeerRequest::Usage, None),
        (PeerRequest::Clock, Some(0)),
        (PeerRequest::Finish { stream: id(2) }, Some(0)),
        (
            PeerRequest::Expire {
                ids: vec![id(1), id(70_000)],
                ttl: Some(Ttl::from_millis(TTL_MS_MAX).unwrap()),
            },
            Some(0),
        ),
        (
            PeerRequest::Expire {
                ids: vec![id(2)],
                ttl: None,
            },
            Some(0),
        ),
        (
            PeerRequest::Lifetime {
                name: ValueName::Id(id(300)),
                change: LifetimeChange::Tell,
            },
            Some(0),
        ),
        (
            PeerRequest::Lifetime {
                name: ValueName::Key("k".to_owned()),
                change: LifetimeChange::Expire(Ttl::from_millis(250).unwrap()),
            },
            Some(0),
        ),
        (
            PeerRequest::Lifetime {
                name: ValueName::Key("k".to_owned()),
                change: LifetimeChange::Persist,
            },
            Some(0),
        ),
        (PeerRequest::Newest { key: "k".to_owned() }, Some(0)),
        (PeerRequest::Retell, Some(0)),
        (
            PeerRequest::Keys {
                patterns: vec!["user:*".to_owned(), "?".to_owned()],
                cursor: (1 << OWN_CURSOR_BITS) - 1,
                limit: 4_096,
                details: true,
            },
            Some(0),
        ),
        (PeerRequest::Flush, Some(0)),
        (
            PeerRequest::Offer {
                id: id(300),
                stream: id(2),
                hash: ChunkHash::from_bytes([8; 32]),
                length: 1 << 20,
                class: BlockClass::Pinned,
            },
            Some(0),
        ),
        (
            PeerRequest::Hold {
                stream: id(2),
                ids: vec![id(1), id(70_000)],
            },
            Some(0),
        ),
        (
            PeerRequest::Chunk {
                hash: ChunkHash::from_bytes([9; 32]),
            },
            Some(0),
        ),
    ];
    let vector = |(request, size): (PeerRequest, Option<u64>)| {
        let bytes = codec::encode_request(&request, BodySpec { size }).unwrap();
        assert_eq!(
            codec::decode_request(&bytes),
            Ok((request.clone(), BodySpec { size }))
        );
        json!({ "value": request, "body_size": size, "bytes": hex(&bytes) })
    };
    all.into_iter().map(vector).collect()
}

fn replies() -> Vec<Value> {
    let usage = GrantUse {
        quota_bytes: 1 << 30,
        used_bytes: 1_000,
    };
    let location = Location {
        holder: node(),
        size: 9,
        is_stream: true,
    };
    let all = [
        (
            PeerReply::Failed(ApiError::new(ErrorCode::QuotaExceeded, "the grant is used up")),
            Some(0),
        ),
        (PeerReply::Stored(usage), Some(0)),
        (
            PeerReply::Loaded {
                id: id(3),
                size: 100,
                length: 10,
                version: None,
            },
            Some(10),
        ),
        (
            PeerReply::Loaded {
                id: id(3),
                size: 10,
                length: 10,
                version: Some(known("a").version),
            },
            Some(10),
        ),
        (PeerReply::Missing, Some(0)),
        (
            PeerReply::Elsewhere {
                id: id(2),
                location,
                version: None,
            },
            Some(0),
        ),
        (PeerReply::Located(Some(location)), Some(0)),
        (
            PeerReply::Freed {
                blocks: 2,
                bytes: 300,
                usage,
            },
            Some(0),
        ),
        (
            PeerReply::Outdated {
                dropped: true,
                newer: Some(known("a")),
            },
            Some(0),
        ),
        (
            PeerReply::Reconciled {
                newer: vec![known("a")],
                clock: 1 << 60,
            },
            Some(0),
        ),
        (PeerReply::Usage(usage), Some(0)),
        (PeerReply::Finished { chunks: 3 }, Some(0)),
        (PeerReply::Expiring { blocks: 2 }, Some(0)),
        (PeerReply::Lives(None), Some(0)),
        (
            PeerReply::Moved(KeyState {
                version: known("a").version,
                deleted: false,
            }),
            Some(0),
        ),
        (PeerReply::Newest(None), Some(0)),
        (
            PeerReply::Newest(Some(KeyState {
                version: known("a").version,
                deleted: true,
            })),
            Some(0),
        ),
        (PeerReply::Retelling, Some(0)),
        (PeerReply::Lives(Some(Ttl::from_millis(1_000).unwrap())), Some(0)),
        (
            PeerReply::Keys {
                keys: vec![listed("a", None), listed("b", None)],
                cursor: 0x0123_4567_89ab,
            },
            Some(0),
        ),
        (
            PeerReply::Keys {
                keys: vec![
                    listed("here", Some((BlockClass::Cache, Some(60_000), false))),
                    listed("in chunks", Some((BlockClass::Pinned, None, true))),
                ],
                cursor: 0,
            },
            Some(0),
        ),
        (
            PeerReply::Clock {
                unix_ms: 1_795_000_000_000,
            },
            Some(0),
        ),
        (
            PeerReply::Adopted(Some(AdoptedChunk {
                stored: 600,
                codec: Codec::Zstd,
                usage,
            })),
            Some(0),
        ),
        (PeerReply::Adopted(None), Some(0)),
        (PeerReply::Held(vec![true, false]), Some(0)),
        (
            PeerReply::ChunkLoaded {
                length: 70_000,
                codec: Codec::Raw,
            },
            Some(70_000),
        ),
    ];
    let vector = |(reply, size): (PeerReply, Option<u64>)| {
        let bytes = codec::encode_reply(&reply, BodySpec { size }).unwrap();
        assert_eq!(
            codec::decode_reply(&bytes),
            Ok((reply.clone(), BodySpec { size }))
        );
        json!({ "value": reply, "body_size": size, "bytes": hex(&bytes) })
    };
    all.into_iter().map(vector).collect()
}
