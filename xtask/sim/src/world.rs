//! What the parts of a run share: machines and their processes, the network, the trace, the history.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use memproto::NodeId;
use tokio::sync::watch;

use crate::history::{At, History, ProcessName};
use crate::host::{Host, WallClock};
use crate::network::Network;
use crate::node::{Device, Process};
use crate::plan::Plan;
use crate::random::Random;
use crate::trace::Trace;

/// How eagerly programs ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// One question after the other: nothing is wrong, and every answer is checked to the letter.
    Calm,
    /// Now and then: something is wrong, or was until a moment ago.
    Faults,
    /// Not at all.
    Over,
}

/// The account of a peer on a machine, in one of its processes.
pub type Account = (usize, u64, NodeId);

/// See the module.
pub struct World {
    /// What was drawn for this run.
    pub plan: Plan,
    /// What happens.
    pub trace: Arc<Trace>,
    /// The network.
    pub network: Arc<Network>,
    /// Who the nodes are.
    pub devices: Vec<Device>,
    /// The clocks of the machines.
    pub clocks: Vec<Arc<WallClock>>,
    processes: Mutex<Vec<Option<Arc<Process>>>>,
    generations: Mutex<Vec<u64>>,
    history: Mutex<History>,
    /// What a peer used on a machine, in one of its processes, when its grant was lowered there.
    used_when_lowered: Mutex<BTreeMap<Account, u64>>,
    /// How many operations programs may still begin.
    operations_left: AtomicUsize,
    /// How eagerly programs ask; also changes when a process comes or goes.
    pub phase: watch::Sender<Phase>,
}

impl World {
    /// The world of a plan, with nothing running.
    pub fn new(plan: Plan, trace: Arc<Trace>) -> Arc<Self> {
        let (seed, nodes) = (plan.seed, plan.nodes);
        let random = Random::new(seed, "network", 0);
        let network = Network::new(nodes, plan.delays.clone(), random, Arc::clone(&trace));
        let clocks = plan.clocks_wrong_by_ms.iter().map(|&ms| WallClock::new(ms));
        Arc::new(Self {
            network,
            devices: (0..nodes)
                .map(|machine| Device::of_machine(seed, machine))
                .collect(),
            clocks: clocks.collect(),
            processes: Mutex::new(vec![None; nodes]),
            generations: Mutex::new(vec![0; nodes]),
            used_when_lowered: Mutex::default(),
            history: Mutex::new(History {
                known_after_ms: plan.known_after_ms(),
                has_room: plan.streams.as_ref().is_none_or(|streams| streams.has_room),
                abandoned_grace_ms: plan.resources().abandoned_grace.as_millis() as u64,
                ..History::default()
            }),
            operations_left: AtomicUsize::new(plan.operations_max),
            phase: watch::Sender::new(Phase::Faults),
            plan,
            trace,
        })
    }

    /// This moment.
    pub fn now(&self) -> At {
        At {
            number: self.trace.next_number(),
            ms: self.trace.now_ms(),
        }
    }

    /// Notes something for the reader of the trace.
    pub fn note(&self, machine: Option<usize>, what: fmt::Arguments<'_>) -> At {
        At {
            number: self.trace.note(machine, what),
            ms: self.trace.now_ms(),
        }
    }

    /// The process that runs on a machine.
    pub fn process(&self, machine: usize) -> Option<Arc<Process>> {
        lock(&self.processes)[machine].clone()
    }

    /// All processes that run.
    pub fn processes(&self) -> Vec<(usize, Arc<Process>)> {
        let processes = lock(&self.processes);
        let running = processes.iter().enumerate();
        running
            .filter_map(|(machine, process)| Some((machine, Arc::clone(process.as_ref()?))))
            .collect()
    }

    /// Starts the next process of a machine.
    ///
    /// # Errors
    /// A fault of the simulation.
    pub async fn start(&self, machine: usize) -> anyhow::Result<()> {
        let generation = {
            let mut generations = lock(&self.generations);
            let generation = generations[machine];
            generations[machine] += 1;
            generation
        };
        let stream = (machine as u64) << 32 | generation;
        let host = Host::new(
            machine,
            generation,
            Arc::clone(&self.network),
            Arc::clone(&self.clocks[machine]),
            Random::new(self.plan.seed, "host", stream),
        );
        let mut random = Random::new(self.plan.seed, "process", stream);
        let process =
            Process::start(&self.devices, machine, generation, host, &mut random, &self.plan).await?;
        self.note(Some(machine), format_args!("starts as process {generation}"));
        lock(&self.processes)[machine] = Some(Arc::new(process));
        self.phase.send_modify(|_| ());
        Ok(())
    }

    /// Takes the process of a machine out of the world, for its end.
    pub fn take_process(&self, machine: usize, how: &str) -> Option<Arc<Process>> {
        let process = lock(&self.processes)[machine].take()?;
        let at = self.note(Some(machine), format_args!("{how}"));
        let name = ProcessName {
            machine,
            generation: process.generation,
        };
        self.history().ends.push((name, at));
        Some(process)
    }

    /// Whether every process runs and is connected to every other.
    pub fn is_whole(&self) -> bool {
        let running = self.processes();
        running.len() == self.plan.nodes
            && running
                .iter()
                .all(|(_, process)| process.service.peers().connected().len() == self.plan.nodes - 1)
    }

    /// The machine of a node.
    pub fn machine_of(&self, id: NodeId) -> Option<usize> {
        self.devices.iter().position(|device| device.id() == id)
    }

    /// Notes what a peer uses when its grant is lowered.
    pub fn note_lowered(&self, account: Account, used_bytes: u64) {
        self.history().has_lowered_grants = true;
        let mut lowered = lock(&self.used_when_lowered);
        let noted = lowered.entry(account).or_default();
        *noted = used_bytes.max(*noted);
    }

    /// The most that a peer used when its grant was lowered.
    pub fn used_when_lowered(&self, account: Account) -> u64 {
        lock(&self.used_when_lowered).get(&account).copied().unwrap_or(0)
    }

    /// Whether a program may begin one more operation.
    pub fn may_begin(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        self.operations_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// What was asked and answered.
    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no code panics while it holds a part of the world")
}
