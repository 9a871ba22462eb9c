//! `push`: a folder on its way into a stream.

mod upload;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memproto::key::check_key;
use memproto::stream::StreamFinished;
use memproto::tree::{Entry, Index, Kind};
use memsdk::{BlockId, MemCloud};
use serde::Serialize;

use self::upload::Upload;
use crate::cli::PushArgs;
use crate::commands::blocking;
use crate::commands::named_tree::NamedTree;
use crate::context::Context;
use crate::exit::Outcome;
use crate::interrupt::unless_interrupted;
use crate::output::printable;
use crate::progress::Transfer;
use crate::size::show_size;
use crate::tree::changes::{Before, Changes, Seen};
use crate::tree::exclude::Exclude;
use crate::tree::last_push::LastPush;
use crate::tree::scan::Scan;
use crate::tree::{quoted, source};

/// What is said of a push that Ctrl-C ended.
const KEPT: &str =
    "the name keeps what it had; what was sent is kept for a while, so that another push goes on from there";

/// How many of the things that were left out are named.
const SKIPPED_NAMED_MAX: usize = 10;

/// What `push --json` prints.
#[derive(Serialize)]
struct Pushed<'a> {
    name: &'a str,
    id: Option<BlockId>,
    /// Whether the tree was there already, so that nothing was done.
    unchanged: bool,
    files: u64,
    size_bytes: u64,
    /// What had to be sent or stored, of that and the index.
    sent_bytes: u64,
    /// What was there already.
    known_bytes: u64,
    /// What the tree takes where it lies; not told of one that was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    duration_ms: u64,
    /// Paths of sockets, pipes and devices.
    skipped: Vec<String>,
}

/// Stores a folder under a name.
pub(super) async fn push(args: PushArgs, context: &Context) -> Outcome {
    let started = Instant::now();
    let name = check_key(args.name.as_bytes())?;
    let exclude = Exclude::new(&args.exclude_from, &args.exclude)?;
    let cloud = context.connect().await?;
    let folder = args.folder.clone();
    let scan = Arc::new(blocking(move || Scan::of(&folder, &exclude)).await?);
    note_skipped(&scan, context);
    // Without a home or a path nothing is remembered, and the next push has more to do.
    let last_push = context
        .home()
        .ok()
        .zip(args.folder.canonicalize().ok())
        .map(|(home, folder)| LastPush::of(&home, &folder, name));
    let existing = existing(&cloud, name, last_push.as_ref(), context).await?;
    let before = existing.as_ref().and_then(|existing| existing.before.as_ref());
    let mut changes = Changes::of(&scan, before);
    if args.read_all {
        changes.doubt_all();
    }
    let is_sure = changes.are_sure();
    // Whoever wants all to be read also wants to be sure that all of it is there.
    let is_unchanged = !args.read_all && changes.seem_none() && is_confirmed(&scan, &mut changes).await?;
    let mut pushed = Pushed::of(name, &scan);
    let remember = |tree: NamedTree, index: &Index| {
        if let Some(last_push) = &last_push {
            let seen = Seen {
                stamps: scan.stamps.clone(),
                began: scan.began,
            };
            last_push.save(tree.id, tree.size, index, &seen);
        }
    };
    match existing {
        Some(Existing {
            tree,
            before: Some(before),
        }) if is_unchanged => {
            if let Some(ttl) = args.keep.ttl {
                cloud.expire(name, ttl).await?;
            }
            if !is_sure || before.seen.is_none() {
                remember(tree, &before.index);
            }
            pushed.id = Some(tree.id);
        }
        _ => {
            let transfer = Transfer::new(context.output, Some(pushed.size_bytes));
            let upload = Upload {
                cloud: &cloud,
                scan: &scan,
                changes: &changes,
                transfer: &transfer,
                output: context.output,
            };
            let (index, finished) = unless_interrupted(KEPT, upload.run(name, &args)).await?;
            remember(
                NamedTree {
                    id: finished.id,
                    size: finished.size_bytes,
                },
                &index,
            );
            pushed.has_made(&finished);
        }
    }
    let elapsed = started.elapsed();
    pushed.duration_ms = elapsed.as_millis() as u64;
    context
        .output
        .confirm(&pushed, || summary(&pushed, &args.folder, elapsed))
}

impl<'a> Pushed<'a> {
    /// A tree that is unchanged.
    fn of(name: &'a str, scan: &Scan) -> Self {
        let size_bytes = scan.entries.iter().map(Entry::size).sum();
        let files = scan
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, Kind::File { .. }));
        let skipped = scan
            .skipped
            .iter()
            .map(|skipped| skipped.path.to_string_lossy().into_owned());
        Self {
            name,
            id: None,
            unchanged: true,
            files: files.count() as u64,
            size_bytes,
            sent_bytes: 0,
            known_bytes: size_bytes,
            stored_bytes: None,
            duration_ms: 0,
            skipped: skipped.collect(),
        }
    }

    /// It was not, and this became of it.
    fn has_made(&mut self, finished: &StreamFinished) {
        self.id = Some(finished.id);
        self.unchanged = false;
        self.sent_bytes = finished.size_bytes.saturating_sub(finished.known_bytes);
        self.known_bytes = finished.known_bytes;
        self.stored_bytes = Some(finished.stored_bytes);
    }
}

/// What has the name.
struct Existing {
    tree: NamedTree,
    /// What is known of it, where it is a tree.
    before: Option<Before>,
}

/// What has the name now, and what is known of it. Where that cannot be read, everything is new.
async fn existing(
    cloud: &MemCloud,
    name: &str,
    last_push: Option<&LastPush>,
    context: &Context,
) -> Outcome<Option<Existing>> {
    let Some(tree) = NamedTree::find(cloud, name).await? else {
        return Ok(None);
    };
    if let Some(before) = last_push.and_then(|last_push| last_push.load(tree.id, tree.size)) {
        return Ok(Some(Existing {
            tree,
            before: Some(before),
        }));
    }
    let before = match tree.index(cloud).await {
        Ok(Ok(index)) => Some(Before { index, seen: None }),
        // It is replaced, as by `set`.
        Ok(Err(_)) => None,
        Err(failure) => {
            let name = printable(name);
            context.output.note(&format!(
                "everything is read, for what '{name}' has now cannot be: {failure}"
            ));
            None
        }
    };
    Ok(Some(Existing { tree, before }))
}

/// Reads what only seems to be as it was. Where something is not, it is new.
async fn is_confirmed(scan: &Arc<Scan>, changes: &mut Changes) -> Outcome<bool> {
    let scan = Arc::clone(scan);
    let mut taken = std::mem::take(changes);
    let confirmed = blocking(move || {
        let is_confirmed = source::confirm(&scan, &mut taken)?;
        Ok((is_confirmed, taken))
    });
    let (is_confirmed, taken) = confirmed.await?;
    *changes = taken;
    Ok(is_confirmed)
}

fn note_skipped(scan: &Scan, context: &Context) {
    for skipped in scan.skipped.iter().take(SKIPPED_NAMED_MAX) {
        context.output.note(&format!(
            "left out: {} is {}",
            quoted(&skipped.path),
            skipped.what
        ));
    }
    if let Some(more @ 1..) = scan.skipped.len().checked_sub(SKIPPED_NAMED_MAX) {
        context
            .output
            .note(&format!("left out: {more} more sockets, pipes or devices"));
    }
}

fn summary(pushed: &Pushed<'_>, folder: &Path, elapsed: Duration) -> String {
    let files = match pushed.files {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    let (name, size) = (printable(pushed.name), show_size(pushed.size_bytes));
    let seconds = elapsed.as_secs_f64();
    if pushed.unchanged {
        let folder = folder.to_string_lossy();
        return format!(
            "Nothing to push: '{name}' is as '{}' ({files}, {size}; {seconds:.1} s)",
            printable(&folder)
        );
    }
    format!(
        "Pushed '{name}': {files}, {size} in {seconds:.1} s; sent {}, known before {}",
        show_size(pushed.sent_bytes),
        show_size(pushed.known_bytes)
    )
}
