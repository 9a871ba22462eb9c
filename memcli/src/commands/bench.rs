//! `bench`: what is measured in which order, the room for it, and what is left behind: nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memproto::control::NodeStatus;
use memproto::local::{BATCH_KEYS_MAX, INLINE_MAX};
use memsdk::{BlockId, MemCloud};
use serde::Serialize;

use crate::bench::plan::{Plan, Size};
use crate::bench::{self, Control, KeySpace, Load, Operation, Pick, Tally};
use crate::cli::BenchArgs;
use crate::commands::stats::show_time;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::interrupt::Signals;
use crate::output::printable;
use crate::size::{show_rate, show_size};
use crate::table;

/// What all keys of all runs begin with.
const KEY_PREFIX: &str = "memcli-bench:";

/// How many runs can be under way at the same time, or have been killed without deleting their keys.
const RUNS_MAX: u32 = 100;

/// Requests in flight while keys are prepared: enough to keep a node busy with one connection.
const FILL_PIPELINE: usize = 16;

/// What `bench --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    node: &'a NodeStatus,
    clients: usize,
    threads: usize,
    pipeline: usize,
    batch: usize,
    results: Vec<Measured>,
}

/// The figures of one operation with one size.
#[derive(Serialize)]
struct Measured {
    operation: &'static str,
    size_bytes: u64,
    keyspace: u64,
    requests: u64,
    elapsed_ns: u64,
    requests_per_second: f64,
    /// Bytes of values, both ways.
    bytes_per_second: u64,
    p50_ns: u64,
    p99_ns: u64,
    p99_9_ns: u64,
    max_ns: u64,
}

/// Measures the node.
pub(super) async fn bench(args: BenchArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    let node = cloud.status().await?;
    let prefix = choose_prefix(&cloud, context).await?;
    let plan = Plan::new(args, prefix, &node)?;
    let signals = Signals::watch()?;
    let mut run = Run {
        cloud,
        socket: context.socket()?,
        signals,
        keys: 0,
        keys_are_whole: false,
        ids: Vec::new(),
    };
    let outcome = run.all(&plan, context).await;
    let cleaned = run.clean(&plan).await;
    let results = match outcome {
        // What is left behind is the more important news.
        Err(Failure::Interrupted(_)) if cleaned.is_err() => return cleaned,
        outcome => outcome?,
    };
    cleaned?;
    let report = Report {
        node: &node,
        clients: plan.clients,
        threads: plan.threads,
        pipeline: plan.pipeline,
        batch: plan.batch,
        results,
    };
    context.output.show(&report, || show(&report))
}

/// Finds a prefix under which no key lies. The same ones are used by run after run, because a node remembers what was
/// deleted for a while: other keys each time would add up. Two runs that begin in the same instant may take the same one; they then fail, and say
/// that somebody else writes there.
async fn choose_prefix(cloud: &MemCloud, context: &Context) -> Outcome<String> {
    for run in 0..RUNS_MAX {
        let prefix = format!("{KEY_PREFIX}{run:02}:");
        if cloud.keys(&format!("{prefix}*")).await?.is_empty() {
            return Ok(prefix);
        }
        context.output.note(&format!(
            "there are keys that begin with {prefix}: another benchmark runs, or one was killed and left them"
        ));
    }
    Err(Failure::Other(format!(
        "there are keys of {RUNS_MAX} benchmarks that were killed: delete those that begin with {KEY_PREFIX}"
    )))
}

/// What a run has and what it made so far.
struct Run {
    cloud: MemCloud,
    socket: PathBuf,
    signals: Signals,
    /// The keys with a number below this may be there.
    keys: u64,
    /// Whether all of them are.
    keys_are_whole: bool,
    /// The blocks that may be there.
    ids: Vec<BlockId>,
}

impl Run {
    /// Measures all of it.
    async fn all(&mut self, plan: &Plan, context: &Context) -> Outcome<Vec<Measured>> {
        let mut results = Vec::new();
        for size in &plan.sizes {
            for &operation in &plan.operations {
                if context.output.is_interactive() {
                    let size = show_size(size.value.len() as u64);
                    context
                        .output
                        .progress_line(&format!("measuring {} of {size}", operation.as_str()));
                }
                results.push(self.measure(plan, operation, size).await?);
            }
            // Values of another size are set anew.
            self.clean(plan).await?;
        }
        Ok(results)
    }

    async fn measure(&mut self, plan: &Plan, operation: Operation, size: &Size) -> Outcome<Measured> {
        let mut load = plan.load(operation, size);
        match operation {
            Operation::Del => {
                load.keys.count = size.del_keys;
                load.pick = Pick::EachOnce;
                load.requests_max = size.del_keys;
                self.fill_keys(plan, size, size.del_keys).await?;
                self.keys_are_whole = false;
            }
            Operation::Load => {
                self.fill_blocks(plan, size).await?;
                load.ids.clone_from(&self.ids);
            }
            Operation::Store => {}
            Operation::Set | Operation::Get | Operation::Mset | Operation::Mget => {
                self.fill_keys(plan, size, size.keyspace).await?;
            }
        }
        let tally = self.run(load).await?;
        if operation == Operation::Del && tally.requests() == size.del_keys {
            self.keys = 0;
        }
        if operation == Operation::Store {
            free(&self.cloud, &mut self.ids).await?;
        }
        Ok(measured(operation, plan, size, &tally))
    }

    /// Sees that the keys with a number below this are there.
    async fn fill_keys(&mut self, plan: &Plan, size: &Size, count: u64) -> Outcome {
        if self.keys == count && self.keys_are_whole {
            return Ok(());
        }
        // Other keys than these would take room that nobody counted on.
        self.clean(plan).await?;
        let mut load = filling(plan.load(Operation::Set, size), count);
        load.keys.count = count;
        self.run(load).await?;
        self.keys_are_whole = true;
        Ok(())
    }

    /// Sees that there are as many blocks as keys.
    async fn fill_blocks(&mut self, plan: &Plan, size: &Size) -> Outcome {
        if self.ids.is_empty() {
            let load = filling(plan.load(Operation::Store, size), size.keyspace);
            self.run(load).await?;
        }
        Ok(())
    }

    /// Puts a load on the node, and notes what it makes. A signal ends it.
    async fn run(&mut self, load: Load) -> Outcome<Tally> {
        let control = Arc::new(Control::default());
        let sets_keys = load.operation == Operation::Set && load.pick == Pick::EachOnce;
        let keys = load.keys.count;
        let running = {
            let (control, socket) = (Arc::clone(&control), self.socket.clone());
            tokio::task::spawn_blocking(move || bench::run(&socket, &load, &control))
        };
        tokio::pin!(running);
        let (joined, signal) = tokio::select! {
            joined = &mut running => (joined, None),
            signal = self.signals.next() => {
                control.stop();
                (running.await, Some(signal))
            }
        };
        if sets_keys {
            self.keys = self.keys.max(control.begun().min(keys));
        }
        let mut tally =
            joined.map_err(|_| Failure::Other("a thread of the benchmark failed".to_owned()))??;
        self.ids.append(&mut tally.ids);
        if let Some(signal) = signal {
            return Err(Failure::Interrupted(format!(
                "{signal}: what the benchmark had stored is deleted"
            )));
        }
        match tally.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(tally),
        }
    }

    /// Deletes and frees what was made. A second signal ends this, too.
    async fn clean(&mut self, plan: &Plan) -> Outcome {
        let Self {
            cloud,
            signals,
            keys,
            ids,
            ..
        } = self;
        let cleaning = async {
            free(cloud, ids).await?;
            delete(cloud, &plan.prefix, keys).await
        };
        tokio::select! {
            cleaned = cleaning => cleaned,
            signal = signals.next() => Err(Failure::Interrupted(format!(
                "{signal}: keys that begin with {} may be left; look with: memcli keys '{}*'",
                plan.prefix, plan.prefix
            ))),
        }
    }
}

async fn free(cloud: &MemCloud, ids: &mut Vec<BlockId>) -> Outcome {
    cloud.free_all(ids).await?;
    ids.clear();
    Ok(())
}

async fn delete(cloud: &MemCloud, prefix: &str, keys: &mut u64) -> Outcome {
    let space = KeySpace {
        prefix: prefix.to_owned(),
        count: *keys,
    };
    // From the end, so that what is left is known at each step.
    while *keys > 0 {
        let first = keys.saturating_sub(BATCH_KEYS_MAX as u64);
        let batch: Vec<String> = (first..*keys).map(|number| space.key(number)).collect();
        cloud.mdel(&batch).await?;
        *keys = first;
    }
    Ok(())
}

/// A load that makes `count` things, as fast as one thing after another can be made on one connection.
fn filling(load: Load, count: u64) -> Load {
    let depth = if load.value.len() > INLINE_MAX {
        1
    } else {
        FILL_PIPELINE
    };
    Load {
        pick: Pick::EachOnce,
        requests_max: count,
        duration: None,
        clients: 1,
        pipeline: depth,
        ..load
    }
}

fn measured(operation: Operation, plan: &Plan, size: &Size, tally: &Tally) -> Measured {
    let secs = tally.elapsed.as_secs_f64().max(1e-9);
    let per_second = tally.requests() as f64 / secs;
    let value_bytes = match operation {
        Operation::Del => 0,
        operation if operation.is_batch() => size.value.len() * plan.batch,
        _ => size.value.len(),
    };
    let quantile = |part| tally.times_ns.value_at_quantile(part);
    Measured {
        operation: operation.as_str(),
        size_bytes: size.value.len() as u64,
        keyspace: if operation == Operation::Del {
            size.del_keys
        } else {
            size.keyspace
        },
        requests: tally.requests(),
        elapsed_ns: u64::try_from(tally.elapsed.as_nanos()).unwrap_or(u64::MAX),
        requests_per_second: per_second,
        bytes_per_second: (per_second * value_bytes as f64) as u64,
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
        p99_9_ns: quantile(0.999),
        max_ns: tally.times_ns.max(),
    }
}

fn show(report: &Report<'_>) -> String {
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let head = format!(
        "Node '{}' ({}): {} on {}, {} in flight on each",
        printable(&report.node.name),
        printable(&report.node.version),
        plural(report.clients, "connection"),
        plural(report.threads, "thread"),
        plural(report.pipeline, "request"),
    );
    let rows = report.results.iter().map(|result| {
        [
            result.operation.to_owned(),
            show_size(result.size_bytes),
            format!("{:.0}", result.requests_per_second),
            show_time(result.p50_ns),
            show_time(result.p99_ns),
            show_time(result.p99_9_ns),
            show_time(result.max_ns),
            match result.bytes_per_second {
                0 => "-".to_owned(),
                bytes => show_rate(bytes, Duration::from_secs(1)),
            },
        ]
    });
    let header = [
        "OPERATION",
        "SIZE",
        "PER SECOND",
        "P50",
        "P99",
        "P99.9",
        "MAX",
        "VALUES",
    ];
    format!("{head}\n{}", table::table(header, rows.collect(), table::width()))
}
