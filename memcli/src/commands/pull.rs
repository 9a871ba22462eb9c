//! `pull`: a tree on its way into a folder.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::tree::{Index, Kind};
use memproto::{BlockId, ErrorCode};
use memsdk::{MemCloud, Object};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::PullArgs;
use crate::commands::batch::no_key;
use crate::commands::blocking;
use crate::commands::named_tree::{NamedTree, no_tree};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::unless_interrupted;
use crate::output::printable;
use crate::progress::Transfer;
use crate::size::show_size;
use crate::tree::restore::{Fetch, LargeFile, LargePart, Restore, Run};
use crate::tree::survey::Survey;
use crate::tree::target::Target;

/// What is said of a pull that Ctrl-C ended.
const KEPT: &str = "files that were fetched stay; another pull goes on from there";

/// How many bytes of small files are handed to the disk in one go, and how many times that may wait for it.
const BATCH_SIZE: usize = 256 * 1024;
const BATCHES_MAX: usize = 16;

/// How much of a large file is asked for in one call, for the bar to move, and how many calls there are at a time, so that the node always
/// has one.
const FILE_PART: u64 = 64 * STREAM_CHUNK_SIZE as u64;
const FILE_PARTS_MAX: usize = 2;

/// What `pull --json` prints.
#[derive(Serialize)]
struct Pulled<'a> {
    name: &'a str,
    id: BlockId,
    folder: &'a Path,
    files: u64,
    size_bytes: u64,
    /// How many files were written.
    written_files: u64,
    /// What had to be fetched for it.
    fetched_bytes: u64,
    /// How many files, links and folders were removed because the tree does not have them.
    removed: u64,
    duration_ms: u64,
}

/// Writes a tree to a folder.
pub(super) async fn pull(args: PullArgs, context: &Context) -> Outcome {
    let started = Instant::now();
    let name = memproto::key::check_key(args.name.as_bytes())?;
    let cloud = context.connect().await?;
    let tree = NamedTree::find(&cloud, name).await?.ok_or_else(|| no_key(name))?;
    let index = tree.index(&cloud).await?.map_err(|error| no_tree(name, &error))?;
    let mut pulled = Pulled {
        name,
        id: tree.id,
        folder: &args.folder,
        files: index
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, Kind::File { .. }))
            .count() as u64,
        size_bytes: index.data_len(),
        written_files: 0,
        fetched_bytes: 0,
        removed: 0,
        duration_ms: 0,
    };
    let (folder, delete) = (args.folder.clone(), args.delete);
    let (restore, fetch) = blocking(move || begin(&folder, index, delete)).await?;
    pulled.written_files = fetch.files();
    let transfer = Transfer::new(context.output, Some(fetch.bytes));
    let fetching = Fetching {
        cloud: &cloud,
        id: tree.id,
        transfer: &transfer,
    };
    let fetched = fetching.all(restore, fetch).await;
    let (restore, fetched_bytes) = fetched.map_err(|failure| replaced_meanwhile(name, failure))?;
    pulled.fetched_bytes = fetched_bytes;
    pulled.removed = blocking(move || restore.finish()).await? as u64;
    drop(transfer);
    let elapsed = started.elapsed();
    pulled.duration_ms = elapsed.as_millis() as u64;
    context.output.confirm(&pulled, || summary(&pulled, elapsed))
}

/// Looks at the folder, and makes it ready for what is fetched. Nothing is changed where something is in the way.
fn begin(folder: &Path, index: Index, delete: bool) -> Outcome<(Restore, Fetch)> {
    let found = Target::find(folder)?;
    let survey = Survey::of(found.as_ref(), &index, delete)?;
    if !delete {
        survey.check(folder, &index.entries)?;
    }
    let target = found.map_or_else(|| Target::make(folder), Ok)?;
    let mut restore = Restore::begin(target, index, survey)?;
    let fetch = restore.plan()?;
    Ok((restore, fetch))
}

/// The bytes of a tree on their way into files.
struct Fetching<'a> {
    cloud: &'a MemCloud,
    id: BlockId,
    transfer: &'a Transfer,
}

impl Fetching<'_> {
    /// Fetches all of it; returns how many bytes that were.
    async fn all(&self, restore: Restore, fetch: Fetch) -> Outcome<(Restore, u64)> {
        let mut fetched = fetch.runs.iter().map(|run| run.range.end - run.range.start).sum();
        let mut restore = self.small(restore, fetch.runs).await?;
        let large = unless_interrupted(KEPT, async {
            for file in fetch.large {
                let bytes;
                (restore, bytes) = self.large(restore, file).await?;
                fetched += bytes;
            }
            Ok(restore)
        });
        Ok((large.await?, fetched))
    }

    /// Fetches small files, which another thread writes.
    async fn small(&self, restore: Restore, runs: Vec<Run>) -> Outcome<Restore> {
        if runs.is_empty() {
            return Ok(restore);
        }
        let (sender, mut receiver) = mpsc::channel::<Vec<(u32, Bytes)>>(BATCHES_MAX);
        let writing = tokio::spawn(blocking(move || {
            while let Some(files) = receiver.blocking_recv() {
                files
                    .iter()
                    .try_for_each(|(place, bytes)| restore.write_small(*place, bytes))?;
            }
            Ok(restore)
        }));
        let read = unless_interrupted(KEPT, self.runs(runs, sender)).await;
        // Whatever happened, no file is left half written.
        let written = writing
            .await
            .map_err(|error| Failure::Other(format!("a task failed: {error}")))?;
        let restore = written?;
        read.map(|()| restore)
    }

    async fn runs(&self, runs: Vec<Run>, sender: mpsc::Sender<Vec<(u32, Bytes)>>) -> Outcome {
        for run in runs {
            let Range { start, end } = run.range;
            let object = self.cloud.open_range(self.id, start, end - start).await?;
            let mut reader = Reader {
                object,
                at: start,
                piece: Bytes::new(),
            };
            let (mut batch, mut batch_size) = (Vec::new(), 0);
            for (place, range) in run.files {
                let moved = range.end - reader.at;
                let bytes = reader.take(range).await?;
                self.transfer.advance(moved);
                batch_size += bytes.len();
                batch.push((place, bytes));
                if batch_size >= BATCH_SIZE {
                    batch_size = 0;
                    if sender.send(std::mem::take(&mut batch)).await.is_err() {
                        // The writer has failed, and says why.
                        return Ok(());
                    }
                }
            }
            if sender.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Fetches what of a large file is not here; returns how many bytes that were.
    async fn large(&self, restore: Restore, file: LargeFile) -> Outcome<(Restore, u64)> {
        let begun = blocking(move || {
            let mut restore = restore;
            let part = restore.begin_large(&file)?;
            Ok((restore, file, part))
        });
        let (restore, file, part) = begun.await?;
        let size = restore.index().entries[file.place as usize].size();
        let Some(part) = part else {
            self.transfer.advance(size);
            return Ok((restore, 0));
        };
        let missing: u64 = part.missing.iter().map(|range| range.end - range.start).sum();
        self.transfer.advance(size - missing);
        self.ranges(&file, &part).await?;
        blocking(move || {
            restore.finish_large(&file, part)?;
            Ok((restore, missing))
        })
        .await
    }

    async fn ranges(&self, file: &LargeFile, part: &LargePart) -> Outcome {
        let to = part
            .file()
            .try_clone()
            .map_err(|error| Failure::writing("a file", &error))?;
        let to = Arc::new(to);
        let mut calls = JoinSet::new();
        for range in part.missing.iter().flat_map(parts) {
            if calls.len() == FILE_PARTS_MAX {
                self.one_of(&mut calls).await?;
            }
            let (cloud, id, to, offset) = (self.cloud.clone(), self.id, Arc::clone(&to), file.offset);
            calls.spawn(async move {
                let from = offset + range.start..offset + range.end;
                let written = cloud.load_into(id, from, &to, range.start).await?;
                if written == range.end - range.start {
                    Ok(written)
                } else {
                    Err(ended_early())
                }
            });
        }
        while !calls.is_empty() {
            self.one_of(&mut calls).await?;
        }
        Ok(())
    }

    async fn one_of(&self, calls: &mut JoinSet<Outcome<u64>>) -> Outcome {
        if let Some(done) = calls.join_next().await {
            let written = done.map_err(|error| Failure::Other(format!("a task failed: {error}")))??;
            self.transfer.advance(written);
        }
        Ok(())
    }
}

/// A range in pieces.
fn parts(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start, end } = *range;
    (start..end)
        .step_by(FILE_PART as usize)
        .map(move |at| at..end.min(at + FILE_PART))
}

/// Takes ranges, in order, out of an object that comes in pieces.
struct Reader {
    object: Object,
    /// Where in the stream the rest of the piece begins.
    at: u64,
    piece: Bytes,
}

impl Reader {
    async fn take(&mut self, range: Range<u64>) -> Outcome<Bytes> {
        self.skip(range.start - self.at).await?;
        let len = (range.end - range.start) as usize;
        self.at = range.end;
        if self.piece.len() >= len {
            return Ok(self.piece.split_to(len));
        }
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            if self.piece.is_empty() {
                self.next().await?;
            }
            let wanted = (len - bytes.len()).min(self.piece.len());
            bytes.extend_from_slice(&self.piece.split_to(wanted));
        }
        Ok(bytes.freeze())
    }

    async fn skip(&mut self, mut len: u64) -> Outcome {
        while len > 0 {
            if self.piece.is_empty() {
                self.next().await?;
            }
            let skipped = len.min(self.piece.len() as u64);
            let _ = self.piece.split_to(skipped as usize);
            len -= skipped;
        }
        Ok(())
    }

    async fn next(&mut self) -> Outcome {
        self.piece = self.object.next().await?.ok_or_else(ended_early)?;
        Ok(())
    }
}

fn ended_early() -> Failure {
    Failure::Other("the tree ends too early: push it again".to_owned())
}

/// What it means that a tree vanishes while it is pulled.
fn replaced_meanwhile(name: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Api(error) if error.code == ErrorCode::NotFound => Failure::api(
            ErrorCode::NotFound,
            format!(
                "'{}' was replaced or deleted while it was pulled: pull again",
                printable(name)
            ),
        ),
        other => other,
    }
}

fn summary(pulled: &Pulled<'_>, elapsed: Duration) -> String {
    let files = match pulled.files {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    let removed = match pulled.removed {
        0 => String::new(),
        removed => format!(", {removed} removed"),
    };
    format!(
        "Pulled '{}' into '{}': {files}, {} in {:.1} s; {} written, {} fetched{removed}",
        printable(pulled.name),
        printable(&pulled.folder.to_string_lossy()),
        show_size(pulled.size_bytes),
        elapsed.as_secs_f64(),
        pulled.written_files,
        show_size(pulled.fetched_bytes),
    )
}
