//! Asking a node about a stream, and noting question and answer in the history and the trace.

use std::sync::{Arc, Mutex};

use memnode::body::Body;
use memnode::service::{ByteRange, Loaded, Service};
use memnode::surroundings::Surroundings;
use memproto::BlockId;
use memproto::error::{ApiError, ApiResult, ErrorCode};

use super::record::{StreamAction, StreamOperation, StreamOutcome};
use crate::history::ProcessName;
use crate::node::Process;
use crate::world::World;

/// What a reader got so far.
#[derive(Clone, Copy, Default, Debug)]
struct Got {
    bytes: u64,
    wrong_at: Option<u64>,
}

/// Runs something as a program of a machine; `None` where its process is killed first.
pub(crate) async fn on<T>(process: &Process, work: impl Future<Output = T>) -> Option<T> {
    let surroundings = Surroundings::simulated(Arc::clone(&process.host) as _);
    tokio::select! {
        biased;
        done = surroundings.task(work) => Some(done),
        () = process.host.killed() => None,
    }
}

/// An operation that has begun.
pub(crate) struct Asked<'a> {
    world: &'a Arc<World>,
    number: usize,
}

impl<'a> Asked<'a> {
    /// Notes the question.
    pub(crate) fn begin(world: &'a Arc<World>, at: ProcessName, stream: usize, action: StreamAction) -> Self {
        let number = world.history().stream_operations.len();
        let began = world.note(
            Some(at.machine),
            format_args!("s{number} {action:?} stream {stream}"),
        );
        world.history().stream_operations.push(StreamOperation {
            at,
            stream,
            action,
            began,
            ended: None,
            outcome: StreamOutcome::Pending,
            bytes: 0,
            wrong_at: None,
        });
        Self { world, number }
    }

    /// Notes the answer.
    pub(crate) fn end(self, outcome: StreamOutcome) {
        self.end_having_got(outcome, Got::default());
    }

    fn end_having_got(self, outcome: StreamOutcome, got: Got) {
        let machine = self.world.history().stream_operations[self.number].at.machine;
        let number = self.number;
        let ended = self.world.note(
            Some(machine),
            format_args!(
                "s{number} {outcome:?} with {} bytes, wrong at {:?}",
                got.bytes, got.wrong_at
            ),
        );
        let mut history = self.world.history();
        let operation = &mut history.stream_operations[number];
        operation.outcome = outcome;
        operation.ended = Some(ended);
        (operation.bytes, operation.wrong_at) = (got.bytes, got.wrong_at);
    }
}

/// Reads a stream, and notes what came of it.
pub(crate) async fn read(
    world: &Arc<World>,
    at: ProcessName,
    process: &Process,
    stream: usize,
    action: StreamAction,
) {
    let asked = Asked::begin(world, at, stream, action);
    let got = Arc::new(Mutex::new(Got::default()));
    let (id, key) = {
        let history = world.history();
        (history.streams[stream].id, history.streams[stream].key.clone())
    };
    let reading = reading(world, &process.service, stream, (id, key), action, &got);
    let outcome = match on(process, reading).await {
        Some(Ok(size)) => StreamOutcome::Read { size },
        Some(Err(error)) => failed(world, at, &error),
        None => StreamOutcome::Cut,
    };
    let got = *got.lock().expect("no code panics while it holds what was read");
    asked.end_having_got(outcome, got);
}

/// Follows a stream for at most so long.
pub(crate) async fn follow(
    world: &Arc<World>,
    at: ProcessName,
    process: &Process,
    stream: usize,
    from: u64,
    for_ms: u64,
) {
    let action = StreamAction::Follow { from };
    let asked = Asked::begin(world, at, stream, action);
    let got = Arc::new(Mutex::new(Got::default()));
    let id = world.history().streams[stream].id;
    let reading = reading(world, &process.service, stream, (id, None), action, &got);
    let patience = std::time::Duration::from_millis(for_ms);
    let outcome = match tokio::time::timeout(patience, on(process, reading)).await {
        Ok(Some(Ok(size))) => StreamOutcome::Read { size },
        Ok(Some(Err(error))) => failed(world, at, &error),
        Ok(None) => StreamOutcome::Cut,
        Err(_) => StreamOutcome::GivenUp,
    };
    let got = *got.lock().expect("no code panics while it holds what was read");
    asked.end_having_got(outcome, got);
}

/// A failure, whose message the trace keeps.
pub(crate) fn failed(world: &World, at: ProcessName, error: &ApiError) -> StreamOutcome {
    world.note(Some(at.machine), format_args!("{error}"));
    StreamOutcome::Failed(error.code)
}

/// Returns how large the stream was.
async fn reading(
    world: &Arc<World>,
    service: &Arc<Service>,
    stream: usize,
    (id, key): (BlockId, Option<String>),
    action: StreamAction,
    got: &Mutex<Got>,
) -> ApiResult<Option<u64>> {
    let (from, loaded) = match action {
        StreamAction::Read { from, length } => {
            let range = ByteRange { offset: from, length };
            (from, service.load(id, range).await?)
        }
        StreamAction::Follow { from } => {
            let range = ByteRange {
                offset: from,
                length: u64::MAX,
            };
            (from, service.stream_follow(id, range).await?)
        }
        _ => {
            let key = key.expect("only a stream with a key is read by it");
            let found = service.get(&key, ByteRange::ALL, false).await?;
            let absent = || ApiError::new(ErrorCode::NotFound, "no such key");
            (0, found.ok_or_else(absent)?)
        }
    };
    let Loaded { size, mut body, .. } = loaded;
    let length = body.size();
    take_in(world, stream, from, &mut body, got).await?;
    let bytes = got
        .lock()
        .expect("no code panics while it holds what was read")
        .bytes;
    if length.is_some_and(|length| length != bytes) {
        // A body that ends early without an error would be taken for whole.
        return Err(ApiError::new(
            ErrorCode::Internal,
            "the body has another length than was said",
        ));
    }
    Ok(length.is_some().then_some(size))
}

async fn take_in(
    world: &Arc<World>,
    stream: usize,
    from: u64,
    body: &mut Body,
    got: &Mutex<Got>,
) -> ApiResult<()> {
    while let Some(piece) = body.next().await {
        let piece = piece?;
        let mut got = got.lock().expect("no code panics while it holds what was read");
        let wrong_at = world.history().streams[stream]
            .content
            .first_wrong(from + got.bytes, &piece);
        got.wrong_at = got.wrong_at.or(wrong_at);
        got.bytes += piece.len() as u64;
    }
    Ok(())
}
