//! A program that writes streams on its machine, and reads and frees those of others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memnode::body::Body;
use memnode::service::Stored;
use memproto::error::ErrorCode;
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::stream::{Compress, StreamOptions, StreamPlacement, StreamStatus};
use memproto::{BlockClass, BlockId, Ttl};

use super::asking::{self, Asked, on};
use super::content::{Content, Part, SOURCES};
use super::record::{Stream, StreamAction, StreamOutcome};
use crate::history::ProcessName;
use crate::node::{Process, name_of};
use crate::random::Random;
use crate::world::{Phase, World};

/// The longest piece in which a body comes.
pub const PIECE_LEN_MAX: usize = STREAM_CHUNK_SIZE;

/// How many streams a program writes at a time.
const OPEN_MAX: usize = 3;

/// How many bytes a stream has at most: a run is to stay quick.
const STREAM_LEN_MAX: u64 = 7 * STREAM_CHUNK_SIZE as u64;

/// The lengths of parts, beside a whole chunk.
const PART_LENS: [usize; 4] = [1, 900, 40_000, 200_000];

/// How many hashes a program asks for at once.
const KNOWN_MAX: usize = 3;

/// Of how many of the last streams it reads one.
const LAST: usize = 6;

/// The pause before it asks for the next thing, at most, in milliseconds.
const THINK_MS_MAX: u64 = 120;

/// A stream that a program writes.
struct Own {
    /// Its place in the history.
    stream: usize,
    id: BlockId,
    generation: u64,
    /// How many of its bytes are placed.
    placed: u64,
}

/// See the module.
pub struct Writer {
    world: Arc<World>,
    machine: usize,
    index: usize,
    random: Random,
    own: Vec<Own>,
}

impl Writer {
    /// One of the writers of a run.
    pub fn new(world: &Arc<World>, machine: usize, index: usize) -> Self {
        Self {
            machine,
            index,
            random: Random::new(world.plan.seed, "writer", index as u64),
            own: Vec::new(),
            world: Arc::clone(world),
        }
    }

    /// Writes, reads and frees until the run is over.
    pub async fn run(mut self) {
        while *self.world.phase.borrow() != Phase::Over {
            tokio::time::sleep(Duration::from_millis(self.random.between(1..=THINK_MS_MAX))).await;
            let Some(process) = self.world.process(self.machine) else {
                continue;
            };
            self.own.retain(|own| own.generation == process.generation);
            if self.world.may_begin() {
                self.ask(&process).await;
            }
        }
    }

    async fn ask(&mut self, process: &Process) {
        let own = (!self.own.is_empty()).then(|| self.random.index(self.own.len()));
        match (self.random.index(100), own) {
            (0..12, _) | (12..60, None) if self.own.len() < OPEN_MAX => self.open(process).await,
            (0..45, Some(own)) => self.write(process, own).await,
            (45..52, Some(own)) => self.write_known(process, own).await,
            (52..55, Some(own)) => self.look(process, own).await,
            (55..68, Some(own)) => self.finish(process, own).await,
            (..94, _) => self.read(process).await,
            _ => self.free(process).await,
        }
    }

    fn name(&self, process: &Process) -> ProcessName {
        ProcessName {
            machine: self.machine,
            generation: process.generation,
        }
    }

    async fn open(&mut self, process: &Process) {
        let (options, reach) = self.options();
        let opened = on(process, process.service.stream_open(options.clone())).await;
        let Some(Ok(opened)) = opened else {
            self.world
                .note(Some(self.machine), format_args!("opens no stream: {opened:?}"));
            return;
        };
        let mut history = self.world.history();
        let stream = history.streams.len();
        drop(history);
        let at = self.world.note(
            Some(self.machine),
            format_args!("opens stream {stream}: {options:?}"),
        );
        history = self.world.history();
        history.streams.push(Stream {
            id: opened.id,
            writer: self.name(process),
            key: options.key,
            ttl_ms: options.ttl.map(Ttl::as_millis),
            is_pinned: options.class == BlockClass::Pinned,
            is_plain: options.compress == Compress::Never,
            reach,
            content: Content::default(),
            opened: at,
        });
        drop(history);
        self.own.push(Own {
            stream,
            id: opened.id,
            generation: process.generation,
            placed: 0,
        });
    }

    /// How a stream is to be kept, and on which machines it may lie.
    fn options(&mut self) -> (StreamOptions, Option<Vec<usize>>) {
        let (nodes, machine) = (self.world.plan.nodes, self.machine);
        let others: Vec<usize> = (0..nodes).filter(|&other| other != machine).collect();
        let (placement, reach) = match self.random.index(10) {
            0..4 => (StreamPlacement::Auto, None),
            4..6 => (StreamPlacement::Remote, Some(others)),
            6..7 => (StreamPlacement::Local, Some(vec![machine])),
            _ => {
                let first = self.random.index(others.len());
                let mut named = vec![others[first]];
                if self.random.percent(50) {
                    named.push(others[(first + 1) % others.len()]);
                }
                let names = named.iter().map(|&other| name_of(other)).collect();
                (StreamPlacement::Peers(names), Some(named))
            }
        };
        let key = self
            .random
            .percent(40)
            .then(|| format!("stream{}-{}", self.index, self.random.bits()));
        let ttl_ms = self.random.percent(15).then(|| self.random.between(200..=8_000));
        let options = StreamOptions {
            live: key.is_some() && self.random.percent(50),
            key,
            ttl: ttl_ms.and_then(|ms| Ttl::from_millis(ms).ok()),
            class: match self.random.percent(85) {
                true => BlockClass::Pinned,
                false => BlockClass::Cache,
            },
            placement,
            compress: *self
                .random
                .pick(&[Compress::Never, Compress::Auto, Compress::Always]),
        };
        (options, reach)
    }

    fn part(&mut self) -> Part {
        let len = match self.random.percent(45) {
            true => STREAM_CHUNK_SIZE,
            false => *self.random.pick(&PART_LENS),
        };
        Part {
            source: self.random.index(SOURCES),
            // Mostly one that others have as well.
            skip: match self.random.percent(70) {
                true => 0,
                false => self.random.between(0..=STREAM_CHUNK_SIZE as u64) as usize,
            },
            len,
        }
    }

    /// Hands over what was broken off before, and more.
    fn hand_over(&mut self, own: usize) -> Vec<Bytes> {
        let (stream, placed) = (self.own[own].stream, self.own[own].placed);
        let parts: Vec<Part> = (0..=self.random.index(3)).map(|_| self.part()).collect();
        let mut history = self.world.history();
        let content = &mut history.streams[stream].content;
        for part in parts {
            if content.len() + part.len as u64 <= STREAM_LEN_MAX {
                content.push(part);
            }
        }
        content.bytes(placed..content.len())
    }

    async fn write(&mut self, process: &Process, own: usize) {
        let pieces = self.hand_over(own);
        let (stream, id) = (self.own[own].stream, self.own[own].id);
        let patience = match self.random.percent(self.streams_plan().break_off_percent) {
            true => Duration::from_millis(self.random.between(0..=400)),
            false => Duration::MAX,
        };
        // Slower than the links now and then, so that there is a tail to be read.
        let pause_ms = *self.random.pick(&[0, 0, 5, 60]);
        let asked = Asked::begin(&self.world, self.name(process), stream, StreamAction::Write);
        let (sender, body) = Body::channel(None, |_| {});
        let writing = async {
            let sending = async move {
                for piece in pieces {
                    if pause_ms > 0 {
                        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    }
                    sender.send(piece);
                }
                sender.finish();
            };
            tokio::join!(process.service.stream_write(id, body), sending).0
        };
        let written = match patience {
            Duration::MAX => Ok(on(process, writing).await),
            _ => tokio::time::timeout(patience, on(process, writing)).await,
        };
        match written {
            Ok(None) => asked.end(StreamOutcome::Cut),
            Ok(Some(written)) => {
                asked.end(match &written {
                    Ok(stored) => done(stored.size),
                    Err(error) => asking::failed(&self.world, self.name(process), error),
                });
                match written {
                    Ok(Stored { size, .. }) => self.own[own].placed = size,
                    Err(_) => self.look(process, own).await,
                }
            }
            Err(_) => {
                asked.end(StreamOutcome::GivenUp);
                self.look(process, own).await;
            }
        }
    }

    /// Appends by their hashes those chunks that come next, as far as they are known.
    async fn write_known(&mut self, process: &Process, own: usize) {
        let (stream, id, placed) = (self.own[own].stream, self.own[own].id, self.own[own].placed);
        let next = match self.random.percent(50) {
            true => self.hand_over(own),
            false => Vec::new(),
        };
        drop(next);
        let parts: Vec<Part> = {
            let history = self.world.history();
            let content = &history.streams[stream].content;
            let mut at = placed;
            std::iter::from_fn(|| {
                let part = content.part_at(at)?;
                at += part.len as u64;
                Some(part)
            })
            .take(KNOWN_MAX)
            .collect()
        };
        // One at a time: the node appends those that it finds, and a gap would make another content.
        for part in parts {
            let asked = Asked::begin(&self.world, self.name(process), stream, StreamAction::Known);
            let known = on(process, process.service.stream_known(id, vec![part.known()])).await;
            let outcome = match &known {
                None => StreamOutcome::Cut,
                Some(Err(error)) => asking::failed(&self.world, self.name(process), error),
                Some(Ok(known)) => {
                    self.own[own].placed += if known == &[true] { part.len as u64 } else { 0 };
                    done(self.own[own].placed)
                }
            };
            asked.end(outcome);
            if !matches!(known, Some(Ok(known)) if known == [true]) {
                return;
            }
        }
    }

    /// Asks how far a stream has come; forgets one that is no more.
    async fn look(&mut self, process: &Process, own: usize) {
        let (stream, id) = (self.own[own].stream, self.own[own].id);
        let asked = Asked::begin(&self.world, self.name(process), stream, StreamAction::Status);
        let status = on(process, process.service.stream_status(id)).await;
        match status {
            None => asked.end(StreamOutcome::Cut),
            Some(Err(error)) => {
                asked.end(asking::failed(&self.world, self.name(process), &error));
                self.own.remove(own);
            }
            Some(Ok(status)) => {
                asked.end(StreamOutcome::Done {
                    size: status.placed_bytes,
                    known_bytes: status.known_bytes,
                    stored_bytes: status.stored_bytes,
                    is_out_of_reach: self.is_out_of_reach(stream, &status),
                });
                self.own[own].placed = status.placed_bytes;
            }
        }
    }

    fn is_out_of_reach(&self, stream: usize, status: &StreamStatus) -> bool {
        let history = self.world.history();
        let Some(reach) = &history.streams[stream].reach else {
            return false;
        };
        let mut machines = status
            .holders
            .iter()
            .map(|holder| self.world.machine_of(holder.id));
        machines.any(|machine| machine.is_none_or(|machine| !reach.contains(&machine)))
    }

    async fn finish(&mut self, process: &Process, own: usize) {
        let (stream, id) = (self.own[own].stream, self.own[own].id);
        let asked = Asked::begin(&self.world, self.name(process), stream, StreamAction::Finish);
        match on(process, process.service.stream_finish(id)).await {
            None => asked.end(StreamOutcome::Cut),
            Some(Ok(finished)) => {
                asked.end(StreamOutcome::Done {
                    size: finished.size_bytes,
                    known_bytes: finished.known_bytes,
                    stored_bytes: finished.stored_bytes,
                    is_out_of_reach: false,
                });
                self.own.remove(own);
            }
            Some(Err(error)) => {
                asked.end(asking::failed(&self.world, self.name(process), &error));
                if error.code == ErrorCode::NotFound {
                    self.own.remove(own);
                }
            }
        }
    }

    async fn read(&mut self, process: &Process) {
        let streams = self.world.history().streams.len();
        if streams == 0 {
            return;
        }
        let stream = streams - 1 - self.random.index(streams.min(LAST));
        let (has_key, len) = {
            let history = self.world.history();
            let stream = &history.streams[stream];
            (stream.key.is_some(), stream.content.len())
        };
        let action = match self.random.index(3) {
            0 if has_key => StreamAction::ReadKey,
            0 | 1 => StreamAction::Read {
                from: 0,
                length: u64::MAX,
            },
            _ => StreamAction::Read {
                from: self.random.between(0..=len),
                length: self.random.between(0..=len),
            },
        };
        asking::read(&self.world, self.name(process), process, stream, action).await;
    }

    async fn free(&mut self, process: &Process) {
        let streams = self.world.history().streams.len();
        if streams == 0 {
            return;
        }
        let stream = streams - 1 - self.random.index(streams.min(LAST));
        let id = self.world.history().streams[stream].id;
        let asked = Asked::begin(&self.world, self.name(process), stream, StreamAction::Free);
        asked.end(match on(process, process.service.free(vec![id])).await {
            None => StreamOutcome::Cut,
            Some(Ok(_)) => done(0),
            Some(Err(error)) => asking::failed(&self.world, self.name(process), &error),
        });
        self.own.retain(|own| own.stream != stream);
    }

    fn streams_plan(&self) -> &super::plan::StreamsPlan {
        let plan = self.world.plan.streams.as_ref();
        plan.expect("a writer runs where streams are planned")
    }
}

fn done(size: u64) -> StreamOutcome {
    StreamOutcome::Done {
        size,
        known_bytes: 0,
        stored_bytes: 0,
        is_out_of_reach: false,
    }
}
