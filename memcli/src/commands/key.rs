//! `set`, `get`, `keys`.

use std::io::IsTerminal;
use std::path::Path;

use memsdk::{BlockId, Opened, Stored};
use serde::Serialize;

use crate::cli::{GetArgs, KeysArgs, SetArgs};
use crate::commands::batch::no_key;
use crate::commands::block::{file_named, hand_out};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::unless_interrupted;
use crate::output::{printable, write_json, write_raw};
use crate::progress::Transfer;
use crate::value::Input;

/// What `set --json` prints.
#[derive(Serialize)]
struct Set<'a> {
    key: &'a str,
    id: BlockId,
    size_bytes: u64,
}

/// Puts a value under a key.
pub(super) async fn set(args: SetArgs, context: &Context) -> Outcome {
    let key = memproto::key::check_key(args.key.as_bytes())?;
    let input = Input::from_argument(&args.value)?;
    let cloud = context.connect().await?;
    let Stored { id, size } = match input {
        Input::Whole(value) => cloud.set(key, value).ttl(args.keep.ttl).await?,
        Input::Reader(source) => {
            let transfer = Transfer::new(context.output, source.size);
            let size = source.size;
            let write = async {
                Ok(cloud
                    .set_stream(key, transfer.reader(source), size)
                    .ttl(args.keep.ttl)
                    .await?)
            };
            let stored = unless_interrupted("the key keeps what it had", write).await?;
            transfer.finish();
            stored
        }
    };
    let result = Set {
        key,
        id,
        size_bytes: size,
    };
    context.output.made(&result, id, || {
        format!("Set '{}' (Block ID: {id})", printable(key))
    })
}

/// Prints the value of a key.
pub(super) async fn get(args: GetArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let opened = match file_named(args.output.as_deref()) {
        Some(_) => cloud.open_key_mapped(&args.key).await?,
        None => cloud.open_key(&args.key).await?.map(Opened::Object),
    };
    let opened = opened.ok_or_else(|| no_key(&args.key))?;
    hand_out(opened, Some(&args.key), args.output.as_deref(), context).await
}

/// Lists keys, one a line.
pub(super) async fn keys(args: KeysArgs, context: &Context) -> Outcome {
    let [pattern] = &args.pattern[..] else {
        return Err(Failure::Usage(too_many_patterns(&args.pattern)));
    };
    let keys = context.connect().await?.keys(pattern).await?;
    if context.output.is_json() {
        return write_json(&keys);
    }
    if keys.is_empty() && Path::new(pattern).exists() {
        context
            .output
            .note(&format!("'{pattern}' is a file here: {QUOTE_THE_PATTERN}"));
    }
    // A key may hold line ends and worse: people get them escaped, programs as they are.
    let is_terminal = std::io::stdout().is_terminal();
    let show = |key: &String| {
        if is_terminal {
            printable(key).into_owned()
        } else {
            key.clone()
        }
    };
    let lines: String = keys.iter().map(|key| show(key) + "\n").collect();
    write_raw(lines.as_bytes())
}

const QUOTE_THE_PATTERN: &str =
    "if the shell made it of a pattern, put that in quotes, as in: memcli keys '*'";

fn too_many_patterns(patterns: &[String]) -> String {
    let count = patterns.len();
    if patterns.iter().all(|pattern| Path::new(pattern).exists()) {
        format!(
            "the shell seems to have made {count} file names of a pattern: put the pattern in quotes, as in: memcli \
             keys '*'"
        )
    } else {
        format!("{count} patterns were given, one is expected; put it in quotes, as in: memcli keys 'user:*'")
    }
}
