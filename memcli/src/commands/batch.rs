//! `mget`, `mset`, `del`: many keys in one request, each with its own answer.

use std::io::IsTerminal;

use bytes::Bytes;
use memproto::ErrorCode;
use memsdk::ApiError;
use serde::Serialize;

use crate::cli::{DelArgs, MgetArgs, MsetArgs};
use crate::commands::block::placement;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{printable, write_json, write_raw};
use crate::value::bytes_for_json;

/// What could not be done with a key, in JSON.
#[derive(Serialize)]
struct Failed<'a> {
    key: &'a str,
    code: ErrorCode,
    message: String,
}

/// What `mget --json` prints.
#[derive(Serialize, Default)]
struct Got<'a> {
    values: Vec<Value<'a>>,
    missing: Vec<&'a str>,
    failed: Vec<Failed<'a>>,
}

#[derive(Serialize)]
struct Value<'a> {
    key: &'a str,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// Prints the values of several keys: a line with the key, a tab and the value for each that is there.
pub(super) async fn mget(args: MgetArgs, context: &Context) -> Outcome {
    let cloud = args.strict.of(&context.connect().await?);
    let answers = cloud.mget_each(&args.keys).await?;
    let mut result = Got::default();
    let mut lines = Vec::new();
    let is_terminal = std::io::stdout().is_terminal();
    for (key, answer) in args.keys.iter().zip(answers) {
        match answer {
            Ok(Some(value)) if context.output.is_json() => result.values.push(json_value(key, &value)),
            Ok(Some(value)) => {
                // As in `keys`: a key may hold line ends and worse.
                let shown = if is_terminal { printable(key) } else { key.into() };
                lines.extend_from_slice(shown.as_bytes());
                lines.push(b'\t');
                lines.extend_from_slice(&value);
                lines.push(b'\n');
            }
            Ok(None) => result.missing.push(key),
            Err(error) => result.failed.push(failed(key, error)),
        }
    }
    if context.output.is_json() {
        write_json(&result)?;
    } else {
        write_raw(&lines)?;
    }
    verdict(result.failed, &result.missing)
}

fn json_value<'a>(key: &'a str, value: &Bytes) -> Value<'a> {
    let (text, base64) = match bytes_for_json(value) {
        ("text", text) => (Some(text), None),
        (_, base64) => (None, Some(base64)),
    };
    Value {
        key,
        size_bytes: value.len() as u64,
        text,
        base64,
    }
}

/// What `mset --json` prints.
#[derive(Serialize, Default)]
struct Set<'a> {
    set: Vec<&'a str>,
    failed: Vec<Failed<'a>>,
}

/// Puts several values under their keys. One that is refused does not keep the others from being set.
pub(super) async fn mset(args: MsetArgs, context: &Context) -> Outcome {
    let (pairs, rest) = args.pairs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::Usage(
            "the last key has no value: each KEY is followed by its VALUE".to_owned(),
        ));
    }
    let mut typed = Vec::with_capacity(pairs.len());
    for [key, value] in pairs {
        let key = memproto::key::check_key(key.as_encoded_bytes())?;
        typed.push((key, Bytes::copy_from_slice(value.as_encoded_bytes())));
    }
    let cloud = args.strict.of(&context.connect().await?);
    let put = cloud.mset(&typed).placement(placement(args.placement));
    let put = put.ttl(args.keep.ttl).class(args.keep.mode.into());
    let answers = put.each().await?;
    let mut result = Set::default();
    for ((key, _), answer) in typed.iter().zip(answers) {
        match answer {
            Ok(()) => result.set.push(key),
            Err(error) => result.failed.push(failed(key, error)),
        }
    }
    if context.output.is_json() || !result.set.is_empty() {
        context.output.confirm(&result, || lines("Set", &result.set))?;
    }
    verdict(result.failed, &[])
}

/// What `del --json` prints.
#[derive(Serialize, Default)]
struct Deleted<'a> {
    deleted: Vec<&'a str>,
    missing: Vec<&'a str>,
    failed: Vec<Failed<'a>>,
}

/// Deletes keys. One that is not there does not keep the others from going.
pub(super) async fn del(args: DelArgs, context: &Context) -> Outcome {
    let cloud = args.strict.of(&context.connect().await?);
    let answers = cloud.mdel_each(&args.keys).await?;
    let mut result = Deleted::default();
    for (key, answer) in args.keys.iter().zip(answers) {
        match answer {
            Ok(true) => result.deleted.push(key),
            Ok(false) => result.missing.push(key),
            Err(error) => result.failed.push(failed(key, error)),
        }
    }
    // What was deleted is told whatever came after it.
    if context.output.is_json() || !result.deleted.is_empty() {
        context
            .output
            .confirm(&result, || lines("Deleted", &result.deleted))?;
    }
    verdict(result.failed, &result.missing)
}

fn lines(what: &str, keys: &[&str]) -> String {
    let lines = keys.iter().map(|key| format!("{what} '{}'", printable(key)));
    lines.collect::<Vec<_>>().join("\n")
}

fn failed(key: &str, error: ApiError) -> Failed<'_> {
    Failed {
        key,
        code: error.code,
        message: error.message,
    }
}

/// How the command ends: with the first failure and how many more there are, else with the keys that are missing.
fn verdict(failed: Vec<Failed<'_>>, missing: &[&str]) -> Outcome {
    let more = failed.len().saturating_sub(1);
    if let Some(Failed { key, code, message }) = failed.into_iter().next() {
        let others = match more {
            0 => String::new(),
            1 => " (and one more key failed)".to_owned(),
            more => format!(" (and {more} more keys failed)"),
        };
        return Err(Failure::api(code, format!("'{key}': {message}{others}")));
    }
    match missing {
        [] => Ok(()),
        [key] => Err(no_key(key)),
        [..] => Err(Failure::api(
            ErrorCode::NotFound,
            format!("no keys '{}'", missing.join("', '")),
        )),
    }
}

/// Nobody has the key.
pub(super) fn no_key(key: &str) -> Failure {
    Failure::api(
        ErrorCode::NotFound,
        format!("no key '{key}' on this node or a connected peer"),
    )
}
