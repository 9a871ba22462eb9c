//! A program on a machine: asks its node for one thing after the other, and notes what it was answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use memnode::body::Body;
use memnode::service::{ByteRange, Loaded, PutOptions, Service, Stored};
use memnode::store::{KeyRecord, KeyValue, Place};
use memnode::surroundings::Surroundings;
use memproto::error::ApiResult;
use memproto::version::VERSION_COUNTER_BITS;
use memproto::{ErrorCode, Placement, Ttl, Version};

use crate::history::{Action, Operation, Outcome, ProcessName};
use crate::node::{Process, name_of};
use crate::random::Random;
use crate::world::{Phase, World};

/// The prefix of a value, before the number of the operation that wrote it.
const VALUE_PREFIX: &str = "v";

/// How many keys a batch sets at most.
const BATCH_MAX: usize = 3;

/// How many lengths of a value there are to choose from: next to its entry, and outside of the pages.
const VALUE_LENS: [usize; 4] = [0, 100, 3_000, 40_000];

/// The pause before the next question, at most, while nothing is wrong. Often there is none.
const THINK_CALM_MS_MAX: u64 = 60;

/// The same while something is.
const THINK_FAULTS_MS_MAX: u64 = 900;

/// See the module.
pub struct Program {
    world: Arc<World>,
    machine: usize,
    random: Random,
}

/// Something that a program asks for, before it has a place in the history.
struct Question {
    actions: Vec<Action>,
    strict: bool,
    placement: Placement,
    len: usize,
}

impl Program {
    /// One of the programs of a machine.
    pub fn new(world: &Arc<World>, machine: usize, index: usize) -> Self {
        let stream = (machine as u64) << 32 | index as u64;
        Self {
            machine,
            random: Random::new(world.plan.seed, "program", stream),
            world: Arc::clone(world),
        }
    }

    /// Asks until the run is over.
    pub async fn run(mut self) {
        loop {
            let phase = *self.world.phase.borrow();
            if phase == Phase::Over {
                return;
            }
            self.think(phase).await;
            let Some(process) = self.world.process(self.machine) else {
                continue;
            };
            if *self.world.phase.borrow() != Phase::Over && self.world.may_begin() {
                let question = self.question();
                ask(&self.world, self.machine, &process, question).await;
            }
        }
    }

    async fn think(&mut self, phase: Phase) {
        let think_ms = match phase {
            Phase::Calm if self.random.percent(50) => self.random.between(0..=3),
            Phase::Calm => self.random.between(0..=THINK_CALM_MS_MAX),
            Phase::Faults | Phase::Over => self.random.between(0..=THINK_FAULTS_MS_MAX),
        };
        // Without a step of the clock a program whose node answers at once would never let the others have their turn.
        tokio::time::sleep(Duration::from_millis(think_ms.max(1))).await;
    }

    fn question(&mut self) -> Question {
        let plan = &self.world.plan;
        let (keys, strict_keys) = (plan.keys, plan.strict_keys);
        let at = self.random.index(keys + strict_keys);
        let strict = at >= keys;
        let key = key_name(plan, at);
        let mut question = Question {
            actions: Vec::new(),
            strict,
            placement: Placement::Auto,
            len: *self.random.pick(&VALUE_LENS),
        };
        match self.random.index(100) {
            0..42 => question.actions.push(Action::Get { key }),
            42..72 => {
                question.placement = self.placement();
                let ttl_ms = self.ttl_ms(strict);
                question.actions.push(Action::Set { key, ttl_ms });
            }
            72..77 => {
                question.strict = false;
                question.actions = self.batch();
            }
            77..90 => question.actions.push(Action::Del { key }),
            90..94 => {
                question.strict = false;
                question.placement = self.placement();
                question.actions.push(Action::Store);
            }
            other => {
                question.strict = false;
                let stored = self.stored_block();
                question.actions.push(match stored {
                    Some(stored_by) if other < 98 => Action::Load { stored_by },
                    Some(stored_by) => Action::Free { stored_by },
                    None => return self.question(),
                });
            }
        }
        question
    }

    /// Different keys, none of them strict: a batch that names a key twice sets it once.
    fn batch(&mut self) -> Vec<Action> {
        let keys = self.world.plan.keys;
        let first = self.random.index(keys);
        let count = (1 + self.random.index(BATCH_MAX)).min(keys);
        let keys = (0..count).map(|next| key_name(&self.world.plan, (first + next) % keys));
        keys.map(|key| Action::Set { key, ttl_ms: None }).collect()
    }

    fn placement(&mut self) -> Placement {
        if !self.random.percent(self.world.plan.placed_percent) {
            return Placement::Auto;
        }
        match self.random.percent(50) {
            true => Placement::Remote,
            false => {
                let nodes = self.world.plan.nodes;
                let other = (self.machine + 1 + self.random.index(nodes - 1)) % nodes;
                Placement::Peer(name_of(other))
            }
        }
    }

    fn ttl_ms(&mut self, strict: bool) -> Option<u64> {
        let expires = !strict && self.random.percent(self.world.plan.ttl_percent);
        expires.then(|| self.random.between(30..=3_000))
    }

    fn stored_block(&mut self) -> Option<usize> {
        /// The last blocks are asked for, so that some of them are still there.
        const LAST: usize = 6;
        let history = self.world.history();
        let stored = history.operations.iter().enumerate().rev();
        let stored = stored.filter(|(_, operation)| matches!(operation.outcome, Outcome::Stored(_)));
        let last: Vec<usize> = stored.map(|(number, _)| number).take(LAST).collect();
        drop(history);
        (!last.is_empty()).then(|| *self.random.pick(&last))
    }
}

/// The name of the `at`th key; the strict ones come last.
pub fn key_name(plan: &crate::plan::Plan, at: usize) -> String {
    match at.checked_sub(plan.keys) {
        Some(strict) => format!("strict{strict}"),
        None => format!("key{at}"),
    }
}

/// Reads a key at a node, as a program of its machine.
pub async fn read(world: &Arc<World>, machine: usize, process: &Arc<Process>, key: String, strict: bool) {
    let question = Question {
        actions: vec![Action::Get { key }],
        strict,
        placement: Placement::Auto,
        len: 0,
    };
    ask(world, machine, process, question).await;
}

/// Asks, and notes question and answer.
async fn ask(world: &Arc<World>, machine: usize, process: &Arc<Process>, question: Question) {
    let at = ProcessName {
        machine,
        generation: process.generation,
    };
    let first = begin(world, at, &question);
    let service = Arc::clone(&process.service);
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let answer = answer(Arc::clone(world), Arc::clone(&service), first, &question);
    let watched = watching(service, keys_written(&question), Arc::clone(&seen), answer);
    let surroundings = Surroundings::simulated(Arc::clone(&process.host) as _);
    let outcomes = tokio::select! {
        biased;
        outcomes = surroundings.task(watched) => outcomes,
        () = process.host.killed() => vec![Outcome::Cut; question.actions.len()],
    };
    let seen = std::mem::take(&mut *seen.lock().expect("no code panics while it holds what was seen"));
    end(world, process, first, &outcomes, &seen);
}

fn begin(world: &Arc<World>, at: ProcessName, question: &Question) -> usize {
    let mut history = world.history();
    let first = history.operations.len();
    for (offset, action) in question.actions.iter().enumerate() {
        let number = first + offset;
        let strict = if question.strict { " strictly" } else { "" };
        let began = world.note(
            Some(at.machine),
            format_args!("#{number} {}{strict}", told(action, &question.placement)),
        );
        history.operations.push(Operation {
            at,
            action: action.clone(),
            strict: question.strict,
            began,
            ended: None,
            outcome: Outcome::Pending,
            version: None,
            placed_on: None,
        });
    }
    first
}

fn told(action: &Action, placement: &Placement) -> String {
    let placed = match placement {
        Placement::Auto => String::new(),
        Placement::Local => " here".to_owned(),
        Placement::Remote => " on a peer".to_owned(),
        Placement::Peer(name) => format!(" on {name}"),
    };
    match action {
        Action::Set { key, ttl_ms: None } => format!("set {key}{placed}"),
        Action::Set {
            key,
            ttl_ms: Some(ms),
        } => format!("set {key}{placed} for {ms} ms"),
        Action::Del { key } => format!("del {key}"),
        Action::Get { key } => format!("get {key}"),
        Action::Store => format!("store{placed}"),
        Action::Load { stored_by } => format!("load #{stored_by}"),
        Action::Free { stored_by } => format!("free #{stored_by}"),
    }
}

fn end(
    world: &Arc<World>,
    process: &Process,
    first: usize,
    outcomes: &[Outcome],
    seen: &BTreeMap<String, KeyRecord>,
) {
    let machine = world.history().operations[first].at.machine;
    for (offset, &outcome) in outcomes.iter().enumerate() {
        let number = first + offset;
        let key = world.history().operations[number].key().map(str::to_owned);
        let record = key.and_then(|key| seen.get(&key).copied());
        let version = record.map(|record| record.version);
        let placed_on = record.and_then(|record| placed_on(world, process, record.value));
        let shown = version.map_or_else(String::new, |version| {
            format!(" in version {}", shown(world, version))
        });
        let ended = world.note(Some(machine), format_args!("#{number} {outcome:?}{shown}"));
        remark_on_records(world, number);
        let mut history = world.history();
        let operation = &mut history.operations[number];
        operation.outcome = outcome;
        operation.version = version;
        operation.placed_on = placed_on;
        operation.ended = (outcome != Outcome::Cut).then_some(ended);
    }
}

/// Tells the reader of a trace what each node knows of the key of an operation.
fn remark_on_records(world: &World, number: usize) {
    let key = world.history().operations[number].key().map(str::to_owned);
    let Some(key) = key.filter(|_| world.trace.keeps_lines()) else {
        return;
    };
    let mut records = String::new();
    for (machine, process) in world.processes() {
        let record = process.service.audited_store().key(&key);
        let what = record.map_or_else(
            || "-".to_owned(),
            |record| {
                let state = match record.value {
                    KeyValue::Ours(_) => "has",
                    KeyValue::Theirs => "notes",
                    KeyValue::Deleted => "deleted",
                };
                format!("{state} {}", shown(world, record.version))
            },
        );
        records.push_str(&format!(" n{machine} {what};"));
    }
    world.trace.remark(format_args!("{key}:{records}"));
}

/// A version: the last digits of its milliseconds, its count, its writer.
fn shown(world: &World, version: Version) -> String {
    let (ms, count) = (
        version.time >> VERSION_COUNTER_BITS,
        version.time & ((1 << VERSION_COUNTER_BITS) - 1),
    );
    let writer = world
        .machine_of(version.node)
        .map_or_else(|| "?".to_owned(), |machine| format!("n{machine}"));
    format!("{}.{count}@{writer}", ms % 1_000_000)
}

fn placed_on(world: &World, process: &Process, value: KeyValue) -> Option<usize> {
    let KeyValue::Ours(id) = value else { return None };
    match process.service.audited_store().object(id)?.place {
        Place::At(holder) => world.machine_of(holder),
        Place::Here | Place::Stream(_) => None,
    }
}

fn keys_written(question: &Question) -> Vec<String> {
    let written = question.actions.iter().filter_map(|action| match action {
        Action::Set { key, .. } | Action::Del { key } => Some(key.clone()),
        _ => None,
    });
    written.collect()
}

/// Runs something that writes keys, and looks after each of its steps which of their records it made: all nodes run in one thread, so that
/// what a step changed was changed by it.
async fn watching<F: Future>(
    service: Arc<Service>,
    keys: Vec<String>,
    seen: Arc<Mutex<BTreeMap<String, KeyRecord>>>,
    work: F,
) -> F::Output {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let store = service.audited_store();
        let before: Vec<Option<KeyRecord>> = keys.iter().map(|key| store.key(key)).collect();
        let polled = work.as_mut().poll(context);
        for (key, before) in keys.iter().zip(before) {
            if let Some(after) = store.key(key)
                && Some(after) != before
                && after.value != KeyValue::Theirs
            {
                seen.lock()
                    .expect("no code panics while it holds what was seen")
                    .insert(key.clone(), after);
            }
        }
        polled
    })
    .await
}

/// The node's answer to a question.
fn answer(
    world: Arc<World>,
    service: Arc<Service>,
    first: usize,
    question: &Question,
) -> impl Future<Output = Vec<Outcome>> + Send + use<> {
    let Question {
        actions,
        strict,
        placement,
        len,
    } = question;
    let (actions, strict, len) = (actions.clone(), *strict, *len);
    let placement = placement.clone();
    async move {
        if actions.len() > 1 {
            let pairs = actions
                .iter()
                .enumerate()
                .filter_map(|(offset, action)| match action {
                    Action::Set { key, .. } => Some((key.clone(), value_of(first + offset, len))),
                    _ => None,
                });
            let answers = service
                .mset(pairs.collect(), options(None, placement, strict))
                .await;
            return answers
                .into_iter()
                .map(|answer| outcome(answer, |()| Outcome::Done))
                .collect();
        }
        let answered = match &actions[0] {
            Action::Set { key, ttl_ms } => {
                let options = options(*ttl_ms, placement, strict);
                let stored = set(&service, key, value_of(first, len), options).await;
                outcome(stored, |_| Outcome::Done)
            }
            Action::Del { key } => outcome(del(&service, key, strict).await, |was_there| match was_there {
                true => Outcome::Deleted,
                false => Outcome::Nothing,
            }),
            Action::Get { key } => outcome(get(&service, key, strict).await, |found| {
                found.map_or(Outcome::Nothing, |value| Outcome::Found(writer_of(&value)))
            }),
            Action::Store => {
                let stored = service.store(value_of(first, len).into(), options(None, placement, false));
                outcome(stored.await, |stored: Stored| Outcome::Stored(stored.id))
            }
            Action::Load { stored_by } => match block_of(&world, *stored_by) {
                Some(id) => match service.load(id, ByteRange::ALL).await {
                    Ok(loaded) => outcome(bytes_of(loaded).await, |value| Outcome::Found(writer_of(&value))),
                    Err(error) if error.code == ErrorCode::NotFound => Outcome::Nothing,
                    Err(error) => Outcome::Failed(error.code),
                },
                None => Outcome::Nothing,
            },
            Action::Free { stored_by } => match block_of(&world, *stored_by) {
                Some(id) => match service.free(vec![id]).await {
                    // Somebody else freed it first.
                    Err(error) if error.code == ErrorCode::NotFound => Outcome::Nothing,
                    freed => outcome(freed, |_| Outcome::Done),
                },
                None => Outcome::Nothing,
            },
        };
        vec![answered]
    }
    .boxed()
}

fn outcome<T>(answer: ApiResult<T>, done: impl FnOnce(T) -> Outcome) -> Outcome {
    answer.map_or_else(|error| Outcome::Failed(error.code), done)
}

/// What a `set` asks for, strict or not.
fn options(ttl_ms: Option<u64>, placement: Placement, strict: bool) -> PutOptions {
    PutOptions {
        strict,
        ttl: ttl_ms.and_then(|ms| Ttl::from_millis(ms).ok()),
        placement,
        ..PutOptions::default()
    }
}

/// As the local API does: at once where the node can, else waiting for it.
async fn set(service: &Service, key: &str, value: Bytes, options: PutOptions) -> ApiResult<Stored> {
    match service.set_now(key, &value, &options) {
        Some(stored) => stored,
        None => service.set(key, Body::from(value), options).await,
    }
}

async fn del(service: &Service, key: &str, strict: bool) -> ApiResult<bool> {
    service.del(key, strict).await
}

async fn get(service: &Service, key: &str, strict: bool) -> ApiResult<Option<Bytes>> {
    let at_once = (!strict).then(|| {
        service.get_now(key, ByteRange::ALL, |found| {
            found.map(|found| found.map(Loaded::from))
        })
    });
    let found = match at_once.flatten() {
        Some(found) => found?,
        None => service.get(key, ByteRange::ALL, strict).await?,
    };
    match found {
        Some(loaded) => bytes_of(loaded).await.map(Some),
        None => Ok(None),
    }
}

async fn bytes_of(loaded: Loaded) -> ApiResult<Bytes> {
    let size = loaded.size;
    loaded.body.collect(size).await
}

fn block_of(world: &World, stored_by: usize) -> Option<memproto::BlockId> {
    match world.history().operations[stored_by].outcome {
        Outcome::Stored(id) => Some(id),
        _ => None,
    }
}

/// The value that names an operation, filled up to a length.
fn value_of(number: usize, len: usize) -> Bytes {
    let mut value = format!("{VALUE_PREFIX}{number}:");
    while value.len() < len {
        value.push('.');
    }
    value.into()
}

/// Which operation wrote a value; a number that no operation has where it is none of ours.
fn writer_of(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).ok();
    let number = text.and_then(|text| text.strip_prefix(VALUE_PREFIX)?.split_once(':')?.0.parse().ok());
    number.unwrap_or(usize::MAX)
}
