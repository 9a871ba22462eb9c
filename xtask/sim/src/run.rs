//! One run: the nodes start, programs ask, faults come and go, and at the end everybody is asked what there is.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::checker::{self, Violation};
use crate::finale::{self, Finale};
use crate::history::Calm;
use crate::network::Traffic;
use crate::plan::{Episode, Plan, Setup};
use crate::program::Program;
use crate::streams::follower::Follower;
use crate::streams::sum::StreamsSum;
use crate::streams::writer::Writer;
use crate::streams::{self, monitor};
use crate::trace::Trace;
use crate::world::{Phase, World};
use crate::{asking, faults, program};

/// Within what virtual time all nodes are connected again after the last fault, in milliseconds: a silent link is given up after 10 s, and the
/// pause before the next attempt to dial grows to 30 s.
const HEAL_MS_MAX: u64 = 75_000;

/// How often is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long after nodes have connected they have told each other what they missed, beside some round trips.
const SETTLE_MS: u64 = 300;

/// How many of the longest delays that takes: the greeting, and a page of keys in each direction, one after the other.
const SETTLE_DELAYS: u64 = 12;

/// The calm time at the end of a run, in milliseconds.
const LAST_CALM_MS: u64 = 600;

/// How long after the last question the nodes are looked over: what is freed elsewhere later, and what times out, is through by then.
const QUIESCENCE_MS: u64 = 15_000;

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub setup: Setup,
    /// What must not be. Empty is good.
    pub violations: Vec<Violation>,
    /// The hash of all that happened.
    pub trace_hash: String,
    /// The trace, where it was asked for.
    pub lines: Vec<String>,
    /// How many operations programs asked for.
    pub operations: usize,
    /// What came of streams.
    pub streams: StreamsSum,
    /// How many episodes of faults there were.
    pub episodes: usize,
    /// The longest time from the end of the last fault of an episode until all were connected, in milliseconds.
    pub heal_ms_max: u64,
    /// How much virtual time it took, in milliseconds.
    pub virtual_ms: u64,
    /// What crossed the network.
    pub traffic: Traffic,
}

/// Runs a seed, and keeps the lines of its trace where that is wanted.
///
/// # Errors
/// A fault of the simulation itself, not of what it looks at.
pub fn run(setup: &Setup, keeps_lines: bool) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("cannot make a runtime")?;
    let plan = Plan::of(setup);
    note_panics();
    let panics_before = panics();
    let (world, ran) = runtime.block_on(async {
        let world = World::new(plan, Arc::new(Trace::new(keeps_lines)));
        let ran = run_world(&world).await;
        (world, ran)
    });
    let ran = ran?;
    let history = std::mem::take(&mut *world.history());
    let mut violations = checker::check(&history, &ran.finale);
    violations.extend(ran.violations);
    // What the nodes assert of themselves is a rule as well.
    violations.extend(
        panics()
            .into_iter()
            .skip(panics_before.len())
            .map(Violation::panicked),
    );
    let report = Report {
        setup: *setup,
        violations,
        trace_hash: world.trace.hash(),
        lines: world.trace.take_lines(),
        operations: history.operations.len() + history.stream_operations.len(),
        streams: streams::sum::of(&history),
        episodes: world.plan.episodes.len(),
        heal_ms_max: ran.heal_ms_max,
        virtual_ms: ran.virtual_ms,
        traffic: world.network.traffic(),
    };
    // Tasks of processes that were killed are there until now; they must find the world still whole.
    drop(runtime);
    world.network.close();
    Ok(report)
}

/// What the run itself saw.
struct Ran {
    finale: Finale,
    violations: Vec<Violation>,
    heal_ms_max: u64,
    virtual_ms: u64,
}

async fn run_world(world: &Arc<World>) -> Result<Ran> {
    let mut ran = Ran {
        finale: Finale::default(),
        violations: Vec::new(),
        heal_ms_max: 0,
        virtual_ms: 0,
    };
    for machine in 0..world.plan.nodes {
        world.start(machine).await?;
    }
    let mut programs = JoinSet::new();
    for (index, &machine) in world.plan.programs.iter().enumerate() {
        programs.spawn(Program::new(world, machine, index).run());
    }
    let mut monitor = None;
    if let Some(streams) = &world.plan.streams {
        for (index, &machine) in streams.writers.iter().enumerate() {
            programs.spawn(Writer::new(world, machine, index).run());
        }
        for (index, &machine) in streams.followers.iter().enumerate() {
            programs.spawn(Follower::new(world, machine, index).run());
        }
        monitor = Some(tokio::spawn(monitor::watch(Arc::clone(world))));
    }
    let mut whole = heal(world, &mut ran).await;
    for episode in &world.plan.episodes {
        if !whole {
            break;
        }
        be_calm(world, episode.calm_ms, &mut ran).await;
        suffer(world, episode).await?;
        whole = heal(world, &mut ran).await;
    }
    if whole {
        be_calm(world, LAST_CALM_MS, &mut ran).await;
    }
    world.phase.send_replace(Phase::Over);
    // Every question has its bound, and the longest pause is shorter than this.
    let ended = tokio::time::timeout(Duration::from_millis(HEAL_MS_MAX), async {
        while programs.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        ran.violations
            .push(Violation::unended("programs still wait for an answer".to_owned()));
    }
    if let Some(monitor) = monitor {
        ran.violations.extend(monitor.await?);
    }
    if whole && world.plan.streams.is_some() {
        streams::finale::free_all(world).await;
        let left = catch_unwind(AssertUnwindSafe(|| streams::finale::look(world)));
        ran.violations.extend(left.unwrap_or_default());
    }
    if whole {
        tokio::time::sleep(Duration::from_millis(QUIESCENCE_MS)).await;
        let from = world.now();
        // Before anybody reads, for a read lets a node know of a key that it was not told of.
        let lists = finale::list(world).await;
        read_everything(world).await;
        let to = world.now();
        world.history().calms.push(Calm { from, to });
        match catch_unwind(AssertUnwindSafe(|| finale::look(world, lists))) {
            Ok(finale) => ran.finale = finale,
            // It was noted where it happened.
            Err(_) => ran.finale = Finale::default(),
        }
    }
    ran.virtual_ms = world.trace.now_ms();
    Ok(ran)
}

/// A calm time, and whether all links held in it.
async fn be_calm(world: &Arc<World>, for_ms: u64, ran: &mut Ran) {
    let settle_ms = SETTLE_MS + SETTLE_DELAYS * world.plan.delays.max_ms();
    tokio::time::sleep(Duration::from_millis(settle_ms)).await;
    let from = world.note(None, format_args!("nothing is wrong"));
    world.phase.send_replace(Phase::Calm);
    tokio::time::sleep(Duration::from_millis(for_ms)).await;
    world.phase.send_replace(Phase::Faults);
    let to = world.note(None, format_args!("the calm ends"));
    world.history().calms.push(Calm { from, to });
    if !world.is_whole() {
        ran.violations.push(Violation::link_lost(from, to));
    }
}

async fn suffer(world: &Arc<World>, episode: &Episode) -> Result<()> {
    let faults = episode.faults.iter().cloned();
    let happening = faults.map(|(after_ms, fault)| faults::happen(Arc::clone(world), after_ms, fault));
    join_all(happening).await.into_iter().collect()
}

/// Waits until all are connected. False where that does not come about.
async fn heal(world: &Arc<World>, ran: &mut Ran) -> bool {
    let from_ms = world.trace.now_ms();
    loop {
        let took_ms = world.trace.now_ms() - from_ms;
        if world.is_whole() {
            ran.heal_ms_max = ran.heal_ms_max.max(took_ms);
            return true;
        }
        if took_ms > HEAL_MS_MAX {
            ran.violations.push(Violation::unhealed(took_ms));
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Has each node asked for each key.
async fn read_everything(world: &Arc<World>) {
    let keys = world.plan.keys + world.plan.strict_keys;
    let mut reads = JoinSet::new();
    for (machine, process) in world.processes() {
        for at in 0..keys {
            let (world, process) = (Arc::clone(world), Arc::clone(&process));
            let key = program::key_name(&world.plan, at);
            reads.spawn(async move {
                let strict = at >= world.plan.keys;
                asking::read(&world, machine, &process, key, strict).await;
            });
        }
    }
    while reads.join_next().await.is_some() {}
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Has every panic of this thread noted, for tasks swallow theirs.
fn note_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

fn panics() -> Vec<String> {
    PANICS.with_borrow(Clone::clone)
}
