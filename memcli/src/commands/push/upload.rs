//! What a push sends: the bytes of the files, pack by pack and file by file, then the index.

use std::mem;
use std::sync::Arc;

use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::stream::{KnownChunk, StreamFinished};
use memproto::tree::{Index, Pack, codec};
use memproto::{ChunkHash, ErrorCode};
use memsdk::{MemCloud, StreamWriter};
use tokio::sync::mpsc;

use crate::cli::PushArgs;
use crate::commands::blocking;
use crate::commands::named_tree::trailer;
use crate::commands::stream::watch;
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::progress::Transfer;
use crate::tree::changes::{Changes, Known, LargePlan};
use crate::tree::scan::Scan;
use crate::tree::{hash_of, quoted, source};

/// How many packs are read ahead of the one that is being sent.
const PACKS_AHEAD: usize = 4;

/// How many chunks that should be known are asked for in one call.
const ASKED_MAX: usize = 4096;

/// A push under way.
pub(super) struct Upload<'a> {
    pub(super) cloud: &'a MemCloud,
    pub(super) scan: &'a Arc<Scan>,
    pub(super) changes: &'a Changes,
    pub(super) transfer: &'a Transfer,
    pub(super) output: Output,
}

/// Why a stream cannot be gone on with.
enum Stopped {
    /// A chunk that should be known is not, and others behind it have been appended already.
    Disorder,
    /// As for any command.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Stopped::Failed(error.into())
    }
}

impl Upload<'_> {
    /// Sends all of it, and puts the name to it.
    ///
    /// # Errors
    /// What the node says, and what [`source`] says of files.
    pub(super) async fn run(&self, name: &str, args: &PushArgs) -> Outcome<(Index, StreamFinished)> {
        match self.try_run(name, args, ASKED_MAX).await {
            // One by one they stay in order.
            Err(Stopped::Disorder) => match self.try_run(name, args, 1).await {
                Err(Stopped::Disorder) => {
                    Err(Failure::Other("the node appends chunks out of order".to_owned()))
                }
                Err(Stopped::Failed(failure)) => Err(failure),
                Ok(done) => Ok(done),
            },
            Err(Stopped::Failed(failure)) => Err(failure),
            Ok(done) => Ok(done),
        }
    }

    async fn try_run(
        &self,
        name: &str,
        args: &PushArgs,
        asked_max: usize,
    ) -> Result<(Index, StreamFinished), Stopped> {
        let builder = args.holders.apply(self.cloud.stream_writer());
        let builder = builder.key(name).ttl(args.keep.ttl).class(args.keep.mode.into());
        let mut sending = Sending {
            upload: self,
            writer: builder.await?,
            asked_max,
            waiting: Vec::new(),
            packs: Vec::new(),
            chunks: Vec::new(),
        };
        let id = sending.writer.id();
        let sent = tokio::select! {
            sent = sending.all() => sent,
            never = watch(self.cloud, id, self.transfer, self.output) => never.map_err(Stopped::Failed),
        };
        match sent {
            Err(Stopped::Disorder) => {
                drop(sending);
                self.cloud.free(id).await?;
                Err(Stopped::Disorder)
            }
            Err(failed) => Err(failed),
            Ok(()) => Ok(sending.finish().await?),
        }
    }
}

/// A chunk that need not be sent, if it is there.
struct Waiting {
    chunk: KnownChunk,
    origin: Origin,
}

/// Where the bytes of a chunk are, should they be needed.
#[derive(Clone, Copy)]
enum Origin {
    /// The pack of this number.
    Pack(usize),
    /// The chunk of this number of a large file, and its number among all chunks of large files.
    Large { place: u32, number: usize, index: usize },
}

/// The stream that is written.
struct Sending<'a> {
    upload: &'a Upload<'a>,
    writer: StreamWriter,
    asked_max: usize,
    waiting: Vec<Waiting>,
    packs: Vec<Pack>,
    chunks: Vec<ChunkHash>,
}

impl Sending<'_> {
    async fn all(&mut self) -> Result<(), Stopped> {
        self.packs().await?;
        for large in &self.upload.changes.large {
            self.large(large).await?;
        }
        self.settle().await
    }

    async fn packs(&mut self) -> Result<(), Stopped> {
        let changes = self.upload.changes;
        let to_read: Vec<Vec<u32>> = changes
            .packs
            .iter()
            .filter(|pack| !matches!(pack.hash, Known::Same(_)))
            .map(|pack| pack.files.clone())
            .collect();
        let mut read = read_ahead(Arc::clone(self.upload.scan), to_read);
        for (number, plan) in changes.packs.iter().enumerate() {
            let files = plan.files.len() as u32;
            if let Known::Same(hash) = plan.hash {
                self.packs.push(Pack { files, hash });
                let chunk = KnownChunk {
                    hash,
                    length: plan.len,
                };
                self.wait(chunk, Origin::Pack(number)).await?;
                continue;
            }
            self.settle().await?;
            let ended = || Failure::Other("a task failed while it read files".to_owned());
            let (bytes, hash) = read.recv().await.ok_or_else(ended)??;
            self.packs.push(Pack { files, hash });
            self.send(bytes).await?;
        }
        Ok(())
    }

    async fn large(&mut self, large: &LargePlan) -> Result<(), Stopped> {
        let place = large.place;
        let size = self.upload.scan.entries[place as usize].size();
        let Known::Same(hashes) = &large.chunks else {
            self.settle().await?;
            return self.file(place, size).await;
        };
        for (number, &hash) in hashes.iter().enumerate() {
            let left = size - (number * STREAM_CHUNK_SIZE) as u64;
            let length = left.min(STREAM_CHUNK_SIZE as u64) as u32;
            let index = self.chunks.len();
            self.chunks.push(hash);
            self.wait(
                KnownChunk { hash, length },
                Origin::Large { place, number, index },
            )
            .await?;
        }
        Ok(())
    }

    /// Passes a large file, and hashes it meanwhile: the node does not tell what it found.
    async fn file(&mut self, place: u32, size: u64) -> Result<(), Stopped> {
        let scan = self.upload.scan;
        let hashes = tokio::task::spawn_blocking({
            let scan = Arc::clone(scan);
            move || source::hash_chunks(&scan, place)
        });
        let file = source::open(scan, place)?;
        let again = file
            .try_clone()
            .map_err(|error| Failure::reading(quoted(&scan.path(place)), &error))?;
        if let Err(error) = self.writer.write_file(again, 0..size).await {
            // Whoever changed it is the reason, whatever the node made of it.
            source::check(scan, place, &file)?;
            return Err(Stopped::Failed(about(&quoted(&scan.path(place)), error.into())));
        }
        let hashes = hashes
            .await
            .map_err(|error| Failure::Other(format!("a task failed: {error}")))??;
        // Read twice: what the hashes are of must be what was sent.
        source::check(scan, place, &file)?;
        self.chunks.extend(hashes);
        Ok(())
    }

    /// Appends a chunk that should be known, later and together with others.
    async fn wait(&mut self, chunk: KnownChunk, origin: Origin) -> Result<(), Stopped> {
        self.waiting.push(Waiting { chunk, origin });
        if self.waiting.len() >= self.asked_max {
            self.settle().await?;
        }
        Ok(())
    }

    /// Appends the chunks that wait. Those that are not known any more are read and sent.
    async fn settle(&mut self) -> Result<(), Stopped> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = mem::take(&mut self.waiting);
        let chunks: Vec<KnownChunk> = waiting.iter().map(|waiting| waiting.chunk).collect();
        let known = self.writer.known(&chunks).await?;
        let first = known.iter().position(|known| !known).unwrap_or(known.len());
        if known[first..].contains(&true) {
            return Err(Stopped::Disorder);
        }
        for waiting in &waiting[first..] {
            let (bytes, hash) = self.read(waiting.origin).await?;
            match waiting.origin {
                Origin::Pack(number) => self.packs[number].hash = hash,
                Origin::Large { index, .. } => self.chunks[index] = hash,
            }
            self.send(bytes).await?;
        }
        Ok(())
    }

    async fn read(&self, origin: Origin) -> Outcome<(Vec<u8>, ChunkHash)> {
        let scan = Arc::clone(self.upload.scan);
        let files = match origin {
            Origin::Pack(number) => self.upload.changes.packs[number].files.clone(),
            Origin::Large { .. } => Vec::new(),
        };
        blocking(move || {
            let bytes = match origin {
                Origin::Pack(_) => source::read_pack(&scan, &files)?,
                Origin::Large { place, number, .. } => source::read_chunk(&scan, place, number)?,
            };
            let hash = hash_of(&bytes);
            Ok((bytes, hash))
        })
        .await
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Stopped> {
        self.writer.write_bytes(bytes).await?;
        Ok(())
    }

    /// Appends the index and ends the stream.
    async fn finish(mut self) -> Result<(Index, StreamFinished), Failure> {
        let index = Index {
            entries: self.upload.scan.entries.clone(),
            packs: self.packs,
            chunks: self.chunks,
        };
        let mut bytes = codec::encode(&index);
        if bytes.len() as u64 > memproto::tree::INDEX_LEN_MAX {
            return Err(Failure::api(
                ErrorCode::TooLarge,
                "the list of all names and chunks is too long for a tree: push its parts one by one",
            ));
        }
        let end = trailer(&bytes);
        bytes.extend_from_slice(&end);
        self.writer.write_bytes(bytes).await?;
        let finished = self.writer.finish().await?;
        Ok((index, finished))
    }
}

/// Reads packs in their order on a thread of its own.
fn read_ahead(scan: Arc<Scan>, packs: Vec<Vec<u32>>) -> mpsc::Receiver<Outcome<(Vec<u8>, ChunkHash)>> {
    let (sender, receiver) = mpsc::channel(PACKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        for files in packs {
            let read = source::read_pack(&scan, &files).map(|bytes| {
                let hash = hash_of(&bytes);
                (bytes, hash)
            });
            let has_failed = read.is_err();
            if sender.blocking_send(read).is_err() || has_failed {
                return;
            }
        }
    });
    receiver
}

/// A failure, with what it is about in front.
fn about(what: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Api(error) => Failure::api(error.code, format!("{what}: {}", error.message)),
        other => other,
    }
}
