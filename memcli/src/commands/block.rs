//! `store`, `load`, `free`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memproto::control::Freed;
use memproto::{ErrorCode, Placement};
use memsdk::{BlockId, MemCloud, Opened, Stored};
use serde::Serialize;

use crate::cli::{FreeArgs, LoadArgs, PlacementArgs, StoreArgs};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::{Signals, unless_interrupted};
use crate::output::{printable, write_json};
use crate::part_file::PartFile;
use crate::progress::Transfer;
use crate::size::show_size;
use crate::value::{Input, OutputFile, collect_for_json, copy_to_stdout};

/// What `store --json` prints.
#[derive(Serialize)]
struct Made {
    id: BlockId,
    size_bytes: u64,
}

/// What is said of a write that Ctrl-C ended.
pub(super) const NOTHING_STORED: &str = "nothing was stored";

/// Stores a value as a block.
pub(super) async fn store(args: StoreArgs, context: &Context) -> Outcome {
    let input = Input::from_argument(&args.value)?;
    let placement = placement(args.placement);
    let cloud = context.connect().await?;
    let Stored { id, size, .. } = match input {
        Input::Whole(value) => {
            cloud
                .store(value)
                .placement(placement)
                .ttl(args.keep.ttl)
                .class(args.keep.mode.into())
                .await?
        }
        Input::Reader(source) => {
            let transfer = Transfer::new(context.output, source.size);
            let size = source.size;
            let write = async {
                Ok(cloud
                    .store_stream(transfer.reader(source), size)
                    .placement(placement)
                    .ttl(args.keep.ttl)
                    .class(args.keep.mode.into())
                    .await?)
            };
            let stored = unless_interrupted(NOTHING_STORED, write).await?;
            transfer.finish();
            stored
        }
    };
    context.output.made(&Made { id, size_bytes: size }, id, || {
        format!("Stored block ID: {id}")
    })
}

/// The placement that the options ask for.
pub(super) fn placement(args: PlacementArgs) -> Placement {
    match (args.peer, args.remote) {
        (Some(peer), _) => Placement::Peer(peer),
        (None, true) => Placement::Remote,
        (None, false) => Placement::Auto,
    }
}

/// Prints a block or a stream.
pub(super) async fn load(args: LoadArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let (id, file) = (args.id, file_named(args.output.as_deref()));
    let opened = match (args.range, file) {
        _ if args.follow => Opened::Object(cloud.follow(id).await?),
        (Some((offset, length)), _) => Opened::Object(cloud.open_range(id, offset, length).await?),
        (None, Some(_)) => cloud.open_mapped(id).await?,
        (None, None) => Opened::Object(cloud.open(id).await?),
    };
    match (&opened, file) {
        (Opened::Object(object), Some(path)) if !args.follow && PartFile::is_worth(object.length(), path) => {
            let begin = args.range.map_or(0, |(offset, _)| offset);
            let part = begin..begin + object.length();
            drop(opened);
            load_in_parts(&cloud, id, part, path, context).await
        }
        _ => hand_out(opened, None, args.output.as_deref(), context).await,
    }
}

/// Loads a large object into a file, so that what came is there where it is broken off.
async fn load_in_parts(
    cloud: &MemCloud,
    id: BlockId,
    part: Range<u64>,
    path: &Path,
    context: &Context,
) -> Outcome {
    let mut file = PartFile::open(path, id, &part)?;
    let had = file.done();
    if had > 0 {
        context
            .output
            .progress_line(&format!("{} are there from before", show_size(had)));
    }
    let transfer = Transfer::new(context.output, Some(part.end - part.start));
    let mut signals = Signals::watch()?;
    let filled = tokio::select! {
        filled = file.fill(cloud, &transfer) => filled,
        how = signals.next() => Err(Failure::Interrupted(how.to_owned())),
    };
    match filled {
        Ok(()) => {}
        Err(failure) => return Err(file.keep(failure)),
    }
    let summary = transfer.finish();
    file.persist()?;
    context.output.progress_line(&summary);
    let size_bytes = part.end - part.start;
    let result = Loaded {
        key: None,
        id,
        size_bytes,
        text: None,
        base64: None,
        file: Some(path.to_owned()),
    };
    context.output.confirm(&result, || {
        format!(
            "Wrote {id} to '{}' ({})",
            printable(&path.to_string_lossy()),
            show_size(size_bytes)
        )
    })
}

/// The file that a value is to be written to, unless that is stdout. Only there it is worth mapping: the system copies
/// from the node's memory into the file.
pub(super) fn file_named(output: Option<&Path>) -> Option<&Path> {
    output.filter(|path| *path != Path::new("-"))
}

/// What `get --json` and `load --json` print.
#[derive(Serialize)]
struct Loaded<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    id: BlockId,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// Gives an object to whoever asked: to stdout, to a file, or as JSON. `key` is the key by which it was asked for.
pub(super) async fn hand_out(
    opened: Opened,
    key: Option<&str>,
    output: Option<&Path>,
    context: &Context,
) -> Outcome {
    let (id, size) = (opened.id(), opened.size());
    let mut result = Loaded {
        key,
        id,
        size_bytes: size,
        text: None,
        base64: None,
        file: None,
    };
    match file_named(output) {
        Some(path) => {
            write_to_file(opened, path).await?;
            result.file = Some(path.to_owned());
            context.output.confirm(&result, || {
                let path = path.to_string_lossy();
                let what = key.map_or_else(|| id.to_string(), |key| format!("'{}'", printable(key)));
                format!("Wrote {what} to '{}' ({})", printable(&path), show_size(size))
            })
        }
        None if context.output.is_json() => {
            match collect_for_json(opened).await? {
                ("text", text) => result.text = Some(text),
                (_, base64) => result.base64 = Some(base64),
            }
            write_json(&result)
        }
        None => copy_to_stdout(opened).await,
    }
}

async fn write_to_file(opened: Opened, path: &Path) -> Outcome {
    match OutputFile::create(path)? {
        // Nothing has to be put in order there, and a signal ends even a write that waits for the pipe's reader.
        file @ OutputFile::Direct(..) => file.fill(opened).await,
        file @ OutputFile::Replacing(..) => {
            let note = format!("'{}' was not written", path.display());
            unless_interrupted(&note, file.fill(opened)).await
        }
    }
}

/// What `free --json` prints.
#[derive(Serialize, Default)]
struct FreedAll {
    freed: Vec<FreedOne>,
    missing: Vec<BlockId>,
}

/// One object that was freed.
#[derive(Serialize)]
struct FreedOne {
    id: BlockId,
    #[serde(flatten)]
    freed: Freed,
}

/// Frees blocks and streams. One that is not there does not keep the others from going.
pub(super) async fn free(args: FreeArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let mut result = FreedAll::default();
    let mut stopped_by = None;
    for id in args.ids {
        match cloud.free(id).await {
            Ok(Freed { blocks: 0, .. }) => result.missing.push(id),
            Err(error) if error.api_code() == Some(ErrorCode::NotFound) => result.missing.push(id),
            Ok(freed) => result.freed.push(FreedOne { id, freed }),
            Err(error) => {
                stopped_by = Some(error);
                break;
            }
        }
    }
    // What was freed is told whatever came after it.
    if context.output.is_json() || !result.freed.is_empty() {
        context.output.confirm(&result, || {
            let lines: Vec<String> = result.freed.iter().map(show_freed).collect();
            lines.join("\n")
        })?;
    }
    if let Some(error) = stopped_by {
        return Err(error.into());
    }
    if result.missing.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = result.missing.iter().map(ToString::to_string).collect();
    Err(Failure::api(
        ErrorCode::NotFound,
        format!(
            "no block or stream {} on this node or a connected peer",
            ids.join(", ")
        ),
    ))
}

fn show_freed(one: &FreedOne) -> String {
    let FreedOne {
        id,
        freed: Freed { blocks, bytes },
    } = one;
    match blocks {
        1 => format!("Freed {id} ({})", show_size(*bytes)),
        _ => format!("Freed {id} ({} in {blocks} blocks)", show_size(*bytes)),
    }
}
