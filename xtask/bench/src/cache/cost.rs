//! What a victim costs, with few blocks and with many, by one thread and by several.
//!
//! A full store takes in a value and evicts another one for it. Beside it, the same store with room takes in a value and one is
//! removed by its id: the same work without the choice. Caches of the processor make both slower where values are many, so
//! that it is their ratio that must not grow. Values are read in between, so that the policy has something to weigh. The time is
//! that of the processors, in which other programs of this machine do not count.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Barrier;

use anyhow::Result;
use memproto::BlockId;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use xtask::interrupt;

use super::store::{Charges, StoreCache};
use crate::figures::median;
use crate::random::Random;

/// How many blocks lie in the store.
const BLOCKS: [u64; 3] = [10_000, 100_000, 1_000_000];

/// How many threads take turns with it.
const THREADS: [u64; 2] = [1, 4];

/// How many blocks are taken in while the clock runs, by all threads together.
const INSERTS: u64 = 200_000;

/// The size of a block in bytes: small, so that its bytes cost little beside its entry.
const SIZE: u32 = 64;

/// How often each is measured; the table has the medians.
const RUNS: usize = 5;

/// The cost is flat when the ratio to a removal grows at most so many times from the fewest blocks to the most. A policy that looks at
/// all blocks makes it a hundred.
const FLAT_MAX: f64 = 2.0;

/// What came out with so many blocks and threads.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    blocks: u64,
    threads: u64,
    /// Nanoseconds of a processor for a block taken in and one evicted; `None` where the store evicts nothing.
    evict_ns: Option<f64>,
    /// The same for a block taken in and one removed by its id.
    remove_ns: f64,
}

impl Cost {
    /// How many times a removal an eviction costs.
    fn ratio(&self) -> Option<f64> {
        Some(self.evict_ns? / self.remove_ns)
    }
}

/// How room is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Evict,
    Remove,
}

/// Measures all sizes of store.
pub(super) fn measure(quick: bool) -> Result<Vec<Cost>> {
    let sizes = if quick { &BLOCKS[..2] } else { &BLOCKS[..] };
    let mut costs = Vec::new();
    for threads in THREADS {
        for &blocks in sizes {
            eprintln!("{blocks} blocks, {threads} threads");
            let mut evict = Vec::new();
            let mut remove = Vec::new();
            for _ in 0..RUNS {
                interrupt::check()?;
                evict.extend(run(blocks, threads, INSERTS, Way::Evict));
                remove.extend(run(blocks, threads, INSERTS, Way::Remove));
            }
            costs.push(Cost {
                blocks,
                threads,
                evict_ns: median(&evict),
                remove_ns: median(&remove).unwrap_or(f64::NAN),
            });
        }
    }
    Ok(costs)
}

/// Nanoseconds of a processor for each block that goes; `None` where none goes.
fn run(blocks: u64, threads: u64, inserts: u64, way: Way) -> Option<f64> {
    let full = blocks * u64::from(Charges::new().of(SIZE));
    let store = StoreCache::new(match way {
        Way::Evict => full,
        Way::Remove => full * 2,
    });
    let (own, inserts) = (blocks / threads, inserts / threads);
    let barrier = Barrier::new(threads as usize + 1);
    let (before, nanos) = std::thread::scope(|scope| {
        let (store, barrier) = (&store, &barrier);
        let spawn = |thread| {
            scope.spawn(move || {
                let mut worker = Worker::new(store.share(), thread);
                for _ in 0..own {
                    worker.insert();
                }
                // Once when all have filled, once when the clock runs.
                barrier.wait();
                barrier.wait();
                let start = thread_nanos();
                for _ in 0..inserts {
                    worker.insert();
                    worker.read(own);
                    if way == Way::Remove {
                        worker.remove_oldest();
                    }
                }
                thread_nanos() - start
            })
        };
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        barrier.wait();
        let before = store.evictions();
        barrier.wait();
        let nanos = workers
            .into_iter()
            .map(|worker| worker.join().expect("the store does not panic"));
        (before, nanos.sum::<u64>())
    });
    let gone = match way {
        Way::Evict => store.evictions() - before,
        Way::Remove => inserts * threads,
    };
    (gone > 0).then(|| nanos as f64 / gone as f64)
}

/// The time for which this thread has had a processor, in nanoseconds.
fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A thread's own blocks.
struct Worker {
    store: StoreCache,
    random: Random,
    /// The number of this thread's first key.
    first: u64,
    inserted: u64,
    /// What it put in and did not remove, where it is there still; the oldest in front.
    ids: VecDeque<BlockId>,
}

impl Worker {
    fn new(store: StoreCache, thread: u64) -> Self {
        Self {
            store,
            random: Random::new(thread),
            // Far more than a thread makes.
            first: thread << 40,
            inserted: 0,
            ids: VecDeque::new(),
        }
    }

    fn insert(&mut self) {
        let number = self.first + self.inserted;
        self.inserted += 1;
        self.ids.extend(self.store.insert(number, vec![0; SIZE as usize]));
    }

    /// Reads any of the last `own` blocks, where it is still there.
    fn read(&mut self, own: u64) {
        let back = self.random.below(own.min(self.inserted)) + 1;
        self.store.has(self.first + self.inserted - back);
    }

    fn remove_oldest(&mut self) {
        if let Some(id) = self.ids.pop_front() {
            self.store.remove(id);
        }
    }
}

/// The table in Markdown, and whether the cost is flat.
pub(super) fn render(costs: &[Cost]) -> String {
    let mut out = String::from(
        "| blocks | threads | insert and evict, ns | insert and remove, ns | ratio |\n|---:|---:|---:|---:|---:|\n",
    );
    for cost in costs {
        let _ = write!(out, "| {} | {} |", cost.blocks, cost.threads);
        let _ = match cost.evict_ns.zip(cost.ratio()) {
            Some((evict, ratio)) => writeln!(out, " {evict:.0} | {:.0} | {ratio:.2} |", cost.remove_ns),
            None => writeln!(out, " evicts nothing | {:.0} | |", cost.remove_ns),
        };
    }
    out.push('\n');
    for threads in THREADS {
        if let Some(growth) = growth(costs, threads) {
            let verdict = if growth <= FLAT_MAX { "flat" } else { "not flat" };
            let by = if threads == 1 {
                "one thread".into()
            } else {
                format!("{threads} threads")
            };
            let _ = writeln!(
                out,
                "By {by} the ratio grows {growth:.2} times from the fewest to the most blocks: {verdict} (at most {FLAT_MAX})."
            );
        }
    }
    out
}

/// How many times the ratio grows from the fewest to the most blocks.
fn growth(costs: &[Cost], threads: u64) -> Option<f64> {
    let mut of_threads = costs.iter().filter(|cost| cost.threads == threads);
    let first = of_threads.next()?;
    Some(of_threads.next_back()?.ratio()? / first.ratio()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_ratio() {
        let cost = |blocks, evict_ns, remove_ns| Cost {
            blocks,
            threads: 1,
            evict_ns,
            remove_ns,
        };
        // Ten times as slow, as is the removal.
        let flat = [
            cost(10, Some(30.0), 20.0),
            cost(100, Some(90.0), 50.0),
            cost(1000, Some(300.0), 200.0),
        ];
        assert_eq!(growth(&flat, 1), Some(1.0));
        assert_eq!(growth(&flat, 4), None);
        let steep = [cost(10, Some(30.0), 20.0), cost(1000, Some(3000.0), 20.0)];
        assert!(render(&steep).contains("100.00 times from the fewest to the most blocks: not flat"));
        let nothing = [cost(10, None, 20.0), cost(1000, None, 20.0)];
        assert!(render(&nothing).contains("| 10 | 1 | evicts nothing | 20 | |"));
    }

    #[test]
    fn blocks_that_are_removed_are_counted() {
        assert!(run(1000, 2, 2000, Way::Remove).unwrap() > 0.0);
    }
}
