//! A program on a machine: asks its node for one thing after the other.

use std::sync::Arc;
use std::time::Duration;

use memproto::Placement;

use crate::asking::ask;
use crate::history::{Action, Outcome};
use crate::node::name_of;
use crate::plan::Plan;
use crate::question::Question;
use crate::random::Random;
use crate::world::{Phase, World};

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
pub fn key_name(plan: &Plan, at: usize) -> String {
    match at.checked_sub(plan.keys) {
        Some(strict) => format!("strict{strict}"),
        None => format!("key{at}"),
    }
}
