//! The body of the fuzz target of JSON lines. See [`crate::fuzzing`].

use memproto::key::check_key;
use memproto::limits::PATTERN_LEN_MAX;
use memproto::local::{BATCH_KEYS_MAX, FREE_IDS_MAX};
use serde_json::Value;

use super::request::{Operation, parse};
use super::{VALUE_MAX, error_line};

/// Reads lines. Whatever stands in one, its id can be echoed, what is refused has a reply of one line, and what is taken
/// keeps to the limits.
pub fn json_lines(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        let (id, operation) = parse(line);
        assert!(
            matches!(id, Value::Null | Value::Number(_) | Value::String(_)),
            "{id}"
        );
        match operation {
            Ok(operation) => within_limits(&operation),
            Err(error) => {
                assert!(!error.message.is_empty());
                one_line(&error_line(&id, &error), &id);
            }
        }
    }
}

fn one_line(reply: &[u8], id: &Value) {
    let newlines = reply.iter().filter(|&&byte| byte == b'\n').count();
    assert!(reply.ends_with(b"\n") && newlines == 1);
    let reply: Value = serde_json::from_slice(reply).expect("a reply is JSON");
    assert_eq!(&reply["id"], id);
}

fn within_limits(operation: &Operation) {
    match operation {
        Operation::Set(key, put) => {
            assert_eq!(check_key(key.as_bytes()), Ok(&key[..]));
            assert!(put.value.len() as u64 <= VALUE_MAX);
        }
        Operation::Store(put) | Operation::Stream(put) => assert!(put.value.len() as u64 <= VALUE_MAX),
        Operation::Get(key, _) | Operation::Del(key, _) => {
            assert_eq!(check_key(key.as_bytes()), Ok(&key[..]));
        }
        Operation::Free(ids) => assert!(ids.len() <= FREE_IDS_MAX),
        Operation::Keys(keys) => {
            assert!(
                keys.patterns
                    .iter()
                    .all(|pattern| pattern.len() <= PATTERN_LEN_MAX)
            );
        }
        Operation::Mget(keys, ..) | Operation::Mdel(keys, _) => {
            assert!((1..=BATCH_KEYS_MAX).contains(&keys.len()));
            assert!(keys.iter().all(|key| check_key(key.as_bytes()).is_ok()));
        }
        _ => {}
    }
}
