//! JSON lines: the vectors, and what a connection holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use memproto::local::BATCH_KEYS_MAX;
use memproto::{BlockClass, Placement, Ttl};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use super::tcp::{Api, TOKEN, token};
use crate::local::gate::Gate;
use crate::local::json::{HELD_MAX, IN_FLIGHT_MAX, JsonSession, LINE_MAX, OUTPUT_MAX, VALUE_MAX};

const VECTORS: &str = include_str!("../../../../docs/protocol/vectors/local-json.json");

/// Puts what the node chose in the place of its name.
fn filled(value: &Value, names: &HashMap<String, Value>) -> Value {
    match value {
        Value::String(name) if name.starts_with('$') => names[name].clone(),
        Value::Array(items) => items.iter().map(|item| filled(item, names)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), filled(field, names)))
            .collect(),
        other => other.clone(),
    }
}

/// Checks a reply, and learns what the node chose.
fn check(expected: &Value, got: &Value, names: &mut HashMap<String, Value>) {
    match (expected, got) {
        (Value::String(name), got) if name.starts_with('$') => {
            assert_eq!(names.entry(name.clone()).or_insert_with(|| got.clone()), got);
        }
        (Value::Object(expected), Value::Object(got)) => {
            let free = expected.contains_key("code").then_some("message");
            let names_of = |fields: &serde_json::Map<String, Value>| -> Vec<String> {
                let names = fields.keys().filter(|name| Some(name.as_str()) != free);
                names.cloned().collect()
            };
            assert_eq!(names_of(expected), names_of(got));
            for (name, field) in expected {
                check(field, &got[name], names);
            }
        }
        (Value::Array(expected), Value::Array(got)) => {
            assert_eq!(expected.len(), got.len());
            for (expected, got) in expected.iter().zip(got) {
                check(expected, got, names);
            }
        }
        (expected, got) => assert_eq!(expected, got),
    }
}

#[tokio::test]
async fn sessions_go_as_specified() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for session in vectors["sessions"].as_array().unwrap() {
        println!("{}", session["name"]);
        let api = Api::start().await;
        let mut program = api.connect().await;
        let mut names = HashMap::from([("$token".to_owned(), json!(TOKEN))]);
        for exchange in session["exchanges"].as_array().unwrap() {
            let line = match &exchange["send"] {
                Value::String(line) => line.clone(),
                request => filled(request, &names).to_string(),
            };
            program.write(format!("{line}\n").as_bytes()).await;
            let reply = program.read().await.expect(&line);
            println!("{line} -> {reply}");
            check(&exchange["reply"], &reply, &mut names);
            if exchange["ends"] == true {
                assert_eq!(program.read().await, None);
            }
        }
    }
}

/// A session on a pipe that was greeted. Time is paused: it passes when nothing else can happen.
struct Piped {
    stream: BufReader<DuplexStream>,
    fake: Arc<Fake>,
}

impl Piped {
    async fn greeted() -> Self {
        let (stream, socket) = tokio::io::duplex(64 * 1024);
        let fake = Arc::new(Fake::new());
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let gate = Gate::new(token(), place);
        let session = JsonSession::new(Arc::clone(&fake), socket, gate, BytesMut::new());
        tokio::spawn(session.run(CancellationToken::new()));
        let mut piped = Self {
            stream: BufReader::new(stream),
            fake,
        };
        piped.send(&json!({"id": 0, "op": "hello", "token": TOKEN})).await;
        assert_eq!(piped.read().await["id"], 0);
        piped
    }

    async fn send(&mut self, request: &Value) {
        let line = format!("{request}\n");
        self.stream.write_all(line.as_bytes()).await.unwrap();
    }

    async fn read(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_quick_request_overtakes_a_slow_one() {
    let mut program = Piped::greeted().await;
    program
        .send(&json!({"id": 1, "op": "set", "key": "gated", "text": "x"}))
        .await;
    program.send(&json!({"id": 2, "op": "ping"})).await;
    assert_eq!(program.read().await["id"], 2);
    program.fake.gate.add_permits(9);
    assert_eq!(program.read().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn keys_come_in_pages_by_their_cursor() {
    let mut program = Piped::greeted().await;
    for key in ["a:1", "a:2", "a:3", "b:1"] {
        program.send(&json!({"op": "set", "key": key, "text": ""})).await;
        program.read().await;
    }
    let (mut listed, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    while pages == 0 || !cursor.is_null() {
        let request = json!({"op": "keys", "patterns": ["a:*", "*:1"], "cursor": cursor, "limit": 3});
        program.send(&request).await;
        let mut reply = program.read().await;
        let keys = reply["result"]["keys"].as_array().unwrap();
        assert!(keys.len() <= 3);
        listed.extend(keys.clone());
        cursor = reply["result"]["cursor"].take();
        pages += 1;
    }
    assert_eq!(
        (pages, listed),
        (2, vec![json!("a:1"), json!("a:2"), json!("a:3"), json!("b:1")])
    );
}

#[tokio::test(start_paused = true)]
async fn a_listing_has_details_where_they_are_asked_for_and_names_who_is_missing() {
    let mut program = Piped::greeted().await;
    program
        .send(&json!({"op": "set", "key": "a", "text": "value"}))
        .await;
    program.read().await;
    let node = memproto::NodeId::from_bytes([8; 16]);
    program
        .fake
        .missing
        .lock()
        .unwrap()
        .push(memproto::listing::MissingNode {
            node,
            name: "away".to_owned(),
        });
    let missing = json!([{"node": node, "name": "away"}]);
    program.send(&json!({"op": "keys"})).await;
    let keys = json!({"keys": ["a"], "cursor": null, "missing": missing});
    assert_eq!(program.read().await["result"], keys);
    program.send(&json!({"op": "keys", "details": true})).await;
    let mut result = program.read().await["result"].take();
    assert_eq!((&result["missing"], &result["keys"]), (&missing, &Value::Null));
    let mut entry = result["entries"][0].take();
    assert_eq!(entry["node"].take(), entry["holder"].take());
    let expected = json!({
        "key": "a", "size": 5, "class": "cache", "ttl_ms": 60_000, "stream": false, "node": null, "holder": null,
    });
    assert_eq!(entry, expected);
    program.send(&json!({"op": "keys", "local": true})).await;
    assert_eq!(program.read().await["result"]["missing"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_wait() {
    let mut program = Piped::greeted().await;
    for id in 0..2 * IN_FLIGHT_MAX {
        program
            .send(&json!({"id": id, "op": "set", "key": format!("gated{id}"), "text": "x"}))
            .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let running = program.fake.running.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(running, IN_FLIGHT_MAX as u64);
    program.fake.gate.add_permits(10 * IN_FLIGHT_MAX);
    for _ in 0..2 * IN_FLIGHT_MAX {
        assert_eq!(program.read().await["result"]["size"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_never_reads_makes_the_node_hold_little() {
    let mut program = Piped::greeted().await;
    program.fake.insert(vec![b'x'; VALUE_MAX as usize].into());
    let request = json!({"id": 1, "op": "load", "block": 1}).to_string() + "\n";
    let mut taken = 0;
    // Until nothing is taken any more.
    while tokio::time::timeout(
        Duration::from_secs(1),
        program.stream.write_all(request.as_bytes()),
    )
    .await
    .is_ok()
    {
        taken += request.len();
        assert!(taken < HELD_MAX, "the node goes on reading");
    }
    // One reply is longer than the mark, so what waits is a reply, not one for each request.
    assert!(VALUE_MAX as usize > OUTPUT_MAX);
    // And it goes on once the program reads.
    assert_eq!(program.read().await["result"]["size"], VALUE_MAX);
    assert_eq!(program.read().await["result"]["size"], VALUE_MAX);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_the_program_closed_its_side_is_answered() {
    let mut program = Piped::greeted().await;
    program
        .send(&json!({"id": 1, "op": "set", "key": "gated", "text": "x"}))
        .await;
    // The last line has no end.
    program
        .stream
        .write_all(br#"{"id": 2, "op": "ping"}"#)
        .await
        .unwrap();
    program.stream.shutdown().await.unwrap();
    assert_eq!(program.read().await["id"], 2);
    program.fake.gate.add_permits(9);
    assert_eq!(program.read().await["id"], 1);
    let mut rest = String::new();
    assert_eq!(program.stream.read_line(&mut rest).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_values_are_refused_with_the_way_out() {
    let mut program = Piped::greeted().await;
    let len = VALUE_MAX as usize + 1;
    program
        .send(&json!({"id": 1, "op": "store", "text": "x".repeat(len)}))
        .await;
    let refused = program.read().await;
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(1), &json!("too_large"))
    );
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("native protocol")
    );
    program.fake.insert(vec![0; len].into());
    program.send(&json!({"id": 2, "op": "load", "block": 1})).await;
    assert_eq!(program.read().await["error"]["code"], "too_large");
    program
        .send(&json!({"id": 3, "op": "load", "block": 1, "offset": 1}))
        .await;
    let part = program.read().await;
    assert_eq!(part["result"]["text"].as_str().unwrap().len(), len - 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_its_options_and_says_what_has_no_room() {
    let mut program = Piped::greeted().await;
    let request = json!({
        "op": "mset", "pairs": [{"key": "k", "text": "v"}], "class": "cache", "ttl_ms": 5, "peer": "B",
    });
    program.send(&request).await;
    assert_eq!(program.read().await["result"], json!({"entries": [{}]}));
    let options = program.fake.options.lock().unwrap()["k"].clone();
    assert_eq!(options.class, BlockClass::Cache);
    assert_eq!(options.ttl, Some(Ttl::from_millis(5).unwrap()));
    assert_eq!(options.placement, Placement::Peer("B".to_owned()));
    let large = program.fake.insert(vec![b'x'; VALUE_MAX as usize + 1].into());
    program
        .fake
        .keys
        .lock()
        .unwrap()
        .insert("large".to_owned(), large.id);
    program.send(&json!({"op": "mget", "keys": ["large", "k"]})).await;
    let entries = json!([{"later": true, "size": VALUE_MAX + 1}, {"size": 1, "text": "v"}]);
    assert_eq!(program.read().await["result"]["entries"], entries);
    let keys: Vec<String> = (0..=BATCH_KEYS_MAX).map(|i| i.to_string()).collect();
    program.send(&json!({"op": "mdel", "keys": keys})).await;
    assert_eq!(program.read().await["error"]["code"], "too_large");
}

#[tokio::test(start_paused = true)]
async fn an_endless_line_ends_the_connection() {
    let mut program = Piped::greeted().await;
    let piece = vec![b' '; 64 * 1024];
    for _ in 0..LINE_MAX / piece.len() {
        program.stream.write_all(&piece).await.unwrap();
    }
    program.stream.write_all(b" ").await.unwrap();
    let end = program.read().await;
    assert_eq!(
        (&end["id"], &end["error"]["code"]),
        (&Value::Null, &json!("too_large"))
    );
    let mut rest = String::new();
    assert_eq!(program.stream.read_line(&mut rest).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_panics_is_answered_and_disturbs_nobody() {
    let mut program = Piped::greeted().await;
    program.send(&json!({"id": 1, "op": "get", "key": "panic"})).await;
    assert_eq!(program.read().await["error"]["code"], "internal");
    program.send(&json!({"id": 2, "op": "ping"})).await;
    assert_eq!(program.read().await["id"], 2);
}

#[tokio::test(start_paused = true)]
async fn every_answer_about_data_is_timed() {
    let mut program = Piped::greeted().await;
    for request in [
        json!({"op": "mset", "pairs": [{"key": "k", "text": "v"}]}),
        json!({"op": "get", "key": "k"}),
        json!({"op": "get", "key": "nothing"}),
        json!({"op": "expire", "key": "k", "ttl_ms": 5}),
        json!({"op": "ttl", "key": "k"}),
        json!({"op": "ping"}),
        json!({"op": "status"}),
    ] {
        program.send(&request).await;
        program.read().await;
    }
    let timed = program.fake.timings.stats();
    let counts: Vec<_> = timed
        .iter()
        .map(|stats| (&*stats.operation, stats.count))
        .collect();
    assert_eq!(counts, [("get", 2), ("mset", 1), ("ttl", 1), ("expire", 1)]);
}

#[tokio::test(start_paused = true)]
async fn control_operations_have_the_native_objects() {
    let mut program = Piped::greeted().await;
    for (request, field, expected) in [
        (json!({"op": "status"}), "/name", json!("fake")),
        (json!({"op": "stats"}), "/blocks", json!(0)),
        (json!({"op": "peers"}), "/4999/name", json!("Node4999")),
        (
            json!({"op": "connect", "target": "B", "once": true}),
            "/name",
            json!("B"),
        ),
        (json!({"op": "consent_list"}), "", json!([])),
        (json!({"op": "trust_list"}), "", json!([])),
        (
            json!({"op": "peer_update", "peer": "B", "quota_bytes": 7}),
            "/lent/quota_bytes",
            json!(7),
        ),
        (
            json!({"op": "consent_wait", "timeout_ms": 0}),
            "/requests",
            json!([]),
        ),
        (
            json!({"op": "trust_add", "public_key": "00", "name": "B"}),
            "/device/quota_bytes",
            json!(5),
        ),
        (json!({"op": "flush"}), "/blocks", json!(0)),
        (
            json!({"op": "trust_remove", "peer": "B", "free_data": true}),
            "/blocks",
            json!(1),
        ),
    ] {
        program.send(&request).await;
        let reply = program.read().await;
        assert_eq!(reply["result"].pointer(field), Some(&expected), "{request}");
    }
    program.send(&json!({"op": "disconnect", "peer": "B"})).await;
    assert_eq!(program.read().await["error"]["code"], "unknown_peer");
    program.send(&json!({"op": "stop"})).await;
    assert_eq!(program.read().await["result"], json!({}));
    assert!(program.fake.stop.is_cancelled());
}
