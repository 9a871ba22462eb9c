//! Asking a node, and noting question and answer in the history and the trace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use memnode::service::Service;
use memnode::store::{KeyRecord, KeyValue, Place};
use memnode::surroundings::Surroundings;
use memproto::version::VERSION_COUNTER_BITS;
use memproto::{Placement, Version};

use crate::history::{Action, Operation, Outcome, ProcessName};
use crate::node::Process;
use crate::question::{Question, answer, told};
use crate::world::World;

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
pub(crate) async fn ask(world: &Arc<World>, machine: usize, process: &Arc<Process>, question: Question) {
    let at = ProcessName {
        machine,
        generation: process.generation,
    };
    let first = begin(world, at, &question);
    let service = Arc::clone(&process.service);
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let answer = answer(Arc::clone(world), Arc::clone(&service), first, &question);
    let watched = watching(service, question.keys_written(), Arc::clone(&seen), answer);
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
