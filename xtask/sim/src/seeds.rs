//! Many seeds, one after the other on each core, and what to do about one that fails.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use crate::plan::Setup;
use crate::run::{Report, run};
use crate::streams::sum::StreamsSum;

/// How often a shorter run is tried for a seed that fails.
const SHRINKING_STEPS_MAX: usize = 24;

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// How many ran.
    pub seeds: usize,
    /// How many operations programs asked for.
    pub operations: usize,
    /// What came of streams.
    pub streams: StreamsSum,
    /// How many episodes of faults there were.
    pub episodes: usize,
    /// How much virtual time they took, in milliseconds.
    pub virtual_ms: u64,
    /// The longest time that nodes took to find each other again, in milliseconds.
    pub heal_ms_max: u64,
    /// The runs that broke a rule, in the order of their seeds.
    pub failed: Vec<Report>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.operations += report.operations;
        self.streams.add(&report.streams);
        self.episodes += report.episodes;
        self.virtual_ms += report.virtual_ms;
        self.heal_ms_max = self.heal_ms_max.max(report.heal_ms_max);
        if !report.violations.is_empty() {
            self.failed.push(report);
        }
    }
}

/// Runs so many seeds, from that of a setup on, on so many threads. No more are begun once `failures_max` have failed.
///
/// # Errors
/// A fault of the simulation itself.
pub fn run_all(count: usize, setup: &Setup, threads: NonZeroUsize, failures_max: usize) -> Result<Sum> {
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Sum::default());
    let work = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || lock(&sum).failed.len() >= failures_max {
                return Ok(());
            }
            let setup = Setup {
                seed: setup.seed.wrapping_add(at as u64),
                ..*setup
            };
            let report = run(&setup, false)?;
            lock(&sum).add(report);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for other in others {
            result = result.and(other.join().expect("a run's panics stay in its tasks"));
        }
        result
    })?;
    let mut sum = sum.into_inner().expect("no code panics while it holds the sum");
    sum.failed.sort_by_key(|report| report.setup.seed);
    Ok(sum)
}

/// A shorter run that still breaks the rule that was broken first: with fewer episodes of faults, then with fewer operations.
///
/// # Errors
/// A fault of the simulation itself.
pub fn shrink(failed: &Report) -> Result<Setup> {
    let Some(rule) = failed.violations.first().map(|violation| violation.rule) else {
        return Ok(failed.setup);
    };
    let fails = |setup: &Setup| -> Result<bool> {
        let violations = run(setup, false)?.violations;
        Ok(violations.iter().any(|violation| violation.rule == rule))
    };
    let mut shortest = Setup {
        operations_max: failed.operations,
        episodes_max: failed.episodes,
        ..failed.setup
    };
    for episodes_max in 0..failed.episodes {
        let fewer = Setup {
            episodes_max,
            ..shortest
        };
        if fails(&fewer)? {
            shortest = fewer;
            break;
        }
    }
    // A run with fewer operations is not a part of one with more, for answers change what is asked: so the search may miss a shorter one.
    let (mut passes, mut steps) = (0, 0);
    while passes + 1 < shortest.operations_max && steps < SHRINKING_STEPS_MAX {
        let operations_max = passes + (shortest.operations_max - passes) / 2;
        let fewer = Setup {
            operations_max,
            ..shortest
        };
        match fails(&fewer)? {
            true => shortest = fewer,
            false => passes = operations_max,
        }
        steps += 1;
    }
    Ok(shortest)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds the sum")
}
