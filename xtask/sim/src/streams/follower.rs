//! A program that follows streams while they grow, on any machine.

use std::sync::Arc;
use std::time::Duration;

use super::asking;
use crate::history::ProcessName;
use crate::random::Random;
use crate::world::{Phase, World};

/// How long it follows a stream at most, in milliseconds: some streams end before, some do not.
const PATIENCE_MS_MAX: u64 = 20_000;

/// The pause before it looks for the next one, at most.
const THINK_MS_MAX: u64 = 300;

/// Of how many of the last streams it takes one.
const LAST: usize = 4;

/// See the module.
pub struct Follower {
    world: Arc<World>,
    machine: usize,
    random: Random,
}

impl Follower {
    /// One of the followers of a run.
    pub fn new(world: &Arc<World>, machine: usize, index: usize) -> Self {
        Self {
            machine,
            random: Random::new(world.plan.seed, "follower", index as u64),
            world: Arc::clone(world),
        }
    }

    /// Follows until the run is over.
    pub async fn run(mut self) {
        while *self.world.phase.borrow() != Phase::Over {
            tokio::time::sleep(Duration::from_millis(self.random.between(1..=THINK_MS_MAX))).await;
            let streams = self.world.history().streams.len();
            let Some(process) = self.world.process(self.machine).filter(|_| streams > 0) else {
                continue;
            };
            let stream = streams - 1 - self.random.index(streams.min(LAST));
            let there = self.world.history().streams[stream].content.len();
            let from = match self.random.percent(60) {
                true => 0,
                false => self.random.between(0..=there),
            };
            if !self.world.may_begin() {
                continue;
            }
            let at = ProcessName {
                machine: self.machine,
                generation: process.generation,
            };
            let for_ms = self.random.between(50..=PATIENCE_MS_MAX);
            asking::follow(&self.world, at, &process, stream, from, for_ms).await;
        }
    }
}
