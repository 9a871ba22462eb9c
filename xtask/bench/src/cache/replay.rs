//! Hit ratios of all caches with all traces.

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;
use xtask::interrupt;

use super::fifo::Fifo;
use super::lru::Lru;
use super::policy::{Object, Policy};
use super::store::{Charges, StoreCache};
use super::trace::{self, Trace};

/// How many objects most of the traces have: a hundredth of them leaves each of the store's shards, of which there are at most 64, 150 values.
const OBJECTS: u64 = 1_000_000;

/// What came out of a trace with one capacity.
#[derive(Debug, Serialize)]
pub(super) struct Replay {
    trace: String,
    /// The capacity as a part of the bytes of all objects that are asked for again, with their keys and the cost of their entries.
    capacity: f64,
    capacity_bytes: u64,
    fifo: Hits,
    lru: Hits,
    memcloud: Hits,
}

/// What part of the requests, and of their bytes, was there.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct Hits {
    objects: f64,
    bytes: f64,
    /// Objects that were not let in.
    refused: u64,
}

/// Replays all traces.
pub(super) fn all(quick: bool) -> Result<Vec<Replay>> {
    let objects = if quick { OBJECTS / 20 } else { OBJECTS };
    let mut replays = Vec::new();
    let mut charges = Charges::new();
    for make in trace::ALL {
        let mut trace = make(objects);
        trace.charge(|size| charges.of(size));
        let bytes = core_bytes(&trace);
        for &capacity in trace.capacities {
            interrupt::check()?;
            let capacity_bytes = (bytes as f64 * capacity) as u64;
            eprintln!("{}, {:.1} % of the bytes", trace.name, capacity * 100.0);
            replays.push(Replay {
                trace: trace.name.clone(),
                capacity,
                capacity_bytes,
                fifo: replay(&trace, Fifo::new(capacity_bytes)),
                lru: replay(&trace, Lru::new(capacity_bytes)),
                memcloud: replay(&trace, StoreCache::new(capacity_bytes)),
            });
        }
    }
    Ok(replays)
}

/// What all objects of a trace that are asked for again take together.
fn core_bytes(trace: &Trace) -> u64 {
    let core = trace.requests.iter().filter(|object| object.id < trace.core);
    let objects: HashMap<u64, Object> = core.map(|object| (object.id, *object)).collect();
    objects
        .into_values()
        .map(|object| u64::from(object.charged))
        .sum()
}

/// Asks for all, and puts in what is missing.
fn replay(trace: &Trace, mut policy: impl Policy) -> Hits {
    let (mut hits, mut hit_bytes, mut all_bytes, mut refused) = (0_u64, 0, 0, 0);
    for &object in &trace.requests {
        all_bytes += u64::from(object.size);
        if policy.get(object) {
            hits += 1;
            hit_bytes += u64::from(object.size);
        } else if !policy.put(object) {
            refused += 1;
        }
    }
    Hits {
        objects: hits as f64 / trace.requests.len() as f64,
        bytes: hit_bytes as f64 / all_bytes as f64,
        refused,
    }
}

/// The table in Markdown, in percent.
pub(super) fn render(replays: &[Replay]) -> String {
    let mut out = String::from(
        "| trace | capacity | FIFO | LRU | MemCloud | MemCloud to LRU, points | bytes: FIFO | LRU | MemCloud |\n|---|",
    );
    out.push_str(&"---:|".repeat(8));
    out.push('\n');
    for replay in replays {
        let Replay {
            fifo, lru, memcloud, ..
        } = replay;
        let _ = writeln!(
            out,
            "| {} | {:.1} % | {:.1} | {:.1} | {:.1} | {:+.1} | {:.1} | {:.1} | {:.1} |",
            replay.trace,
            replay.capacity * 100.0,
            fifo.objects * 100.0,
            lru.objects * 100.0,
            memcloud.objects * 100.0,
            (memcloud.objects - lru.objects) * 100.0,
            fifo.bytes * 100.0,
            lru.bytes * 100.0,
            memcloud.bytes * 100.0,
        );
    }
    let refused: u64 = replays.iter().map(|replay| replay.memcloud.refused).sum();
    if refused > 0 {
        let _ = writeln!(
            out,
            "\nMemCloud did not let {refused} objects in, instead of making room for them."
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::thousand;
    use super::*;

    #[test]
    fn hits_are_counted_by_objects_and_by_bytes() {
        let mut large = thousand(9);
        large.size *= 2;
        large.charged *= 2;
        let trace = Trace {
            name: "a trace".into(),
            requests: vec![thousand(1), thousand(1), large, large, thousand(1), thousand(2)],
            core: 2,
            capacities: &[1.0],
        };
        let hits = replay(&trace, Lru::new(10_000));
        assert_eq!((hits.objects, hits.bytes, hits.refused), (0.5, 0.5, 0));
        // The large one goes in nowhere.
        let hits = replay(&trace, Fifo::new(1500));
        assert_eq!((hits.objects, hits.refused), (2.0 / 6.0, 2));
        assert_eq!(core_bytes(&trace), 1000);
    }

    #[test]
    fn a_table_has_a_line_for_each_replay() {
        let hits = |objects| Hits {
            objects,
            bytes: 0.25,
            refused: 0,
        };
        let replay = Replay {
            trace: "Zipf".into(),
            capacity: 0.1,
            capacity_bytes: 1000,
            fifo: hits(0.4),
            lru: hits(0.5),
            memcloud: hits(0.625),
        };
        let text = render(&[replay]);
        let line = "| Zipf | 10.0 % | 40.0 | 50.0 | 62.5 | +12.5 | 25.0 | 25.0 | 25.0 |\n";
        assert!(text.ends_with(line), "{text}");
    }
}
