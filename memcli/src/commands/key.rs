//! `set`, `get`, `keys`.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;

use memsdk::{BlockId, Opened, Stored};
use serde::Serialize;

use crate::cli::{GetArgs, KeysArgs, SetArgs};
use crate::commands::batch::no_key;
use crate::commands::block::{file_named, hand_out, placement};
use crate::context::Context;
use crate::exit::Outcome;
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
    let placement = placement(args.placement);
    let cloud = args.strict.of(&context.connect().await?);
    let Stored { id, size, .. } = match input {
        Input::Whole(value) => {
            cloud
                .set(key, value)
                .ttl(args.keep.ttl)
                .class(args.keep.mode.into())
                .placement(placement)
                .await?
        }
        Input::Reader(source) => {
            let transfer = Transfer::new(context.output, source.size);
            let size = source.size;
            let write = async {
                Ok(cloud
                    .set_stream(key, transfer.reader(source), size)
                    .ttl(args.keep.ttl)
                    .class(args.keep.mode.into())
                    .placement(placement)
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
    let cloud = args.strict.of(&context.connect().await?);
    let opened = match file_named(args.output.as_deref()) {
        Some(_) => cloud.open_key_mapped(&args.key).await?,
        None => cloud.open_key(&args.key).await?.map(Opened::Object),
    };
    let opened = opened.ok_or_else(|| no_key(&args.key))?;
    hand_out(opened, Some(&args.key), args.output.as_deref(), context).await
}

/// Lists keys in ascending order, one a line.
pub(super) async fn keys(args: KeysArgs, context: &Context) -> Outcome {
    if let Some(hint) = expanded_by_the_shell(&args.patterns) {
        context.output.note(&hint);
    }
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut scan = context.connect().await?.scan(&args.patterns);
    let mut keys = BTreeSet::new();
    while keys.len() < limit
        && let Some(page) = scan.next_page().await?
    {
        keys.extend(page);
    }
    let keys: Vec<String> = keys.into_iter().take(limit).collect();
    if context.output.is_json() {
        return write_json(&keys);
    }
    // A key may hold line ends and worse: people get them escaped, programs as they are.
    let is_terminal = std::io::stdout().is_terminal();
    let mut lines = String::new();
    for key in &keys {
        lines += &if is_terminal { printable(key) } else { key.into() };
        lines.push('\n');
    }
    write_raw(lines.as_bytes())
}

/// What is to be said where all patterns are names of files here: the shell makes them of a `*` without quotes.
fn expanded_by_the_shell(patterns: &[String]) -> Option<String> {
    let are_files = patterns.iter().all(|pattern| Path::new(pattern).exists());
    let what = match patterns {
        _ if !are_files => return None,
        [file] => format!("'{file}' is the name of a file here"),
        files => format!("all {} patterns are names of files here", files.len()),
    };
    Some(format!(
        "{what}: if the shell made that of a pattern, put the pattern in quotes, as in: memcli keys '*'"
    ))
}
