//! Seeds that are run at each change, and what the simulation must be for them to mean anything: the same each time, and able to find a fault.

use std::num::NonZeroUsize;

use xtask_sim::checker::Rule;
use xtask_sim::defect::Defect;
use xtask_sim::plan::Setup;
use xtask_sim::run::run;
use xtask_sim::seeds::{self, Sum};

/// How many nodes there are.
const NODES: usize = 5;

/// How many seeds a defect may hide from.
const SEEDS_FOR_DEFECT: u64 = 20;

/// Runs the first seeds, none of which may break a rule.
#[track_caller]
fn keep_all(count: usize, streams: bool) -> Sum {
    let setup = Setup {
        streams,
        ..Setup::new(1, NODES)
    };
    let threads = const { NonZeroUsize::new(2).expect("two are more than none") };
    let sum = seeds::run_all(count, &setup, threads, 5).expect("the simulation itself runs");
    for failed in &sum.failed {
        let kind = if streams { " --streams" } else { "" };
        eprintln!(
            "seed {}: cargo xtask sim --seed {}{kind}",
            failed.setup.seed, failed.setup.seed
        );
        for violation in &failed.violations {
            eprintln!("  {violation}");
        }
    }
    assert!(sum.failed.is_empty(), "seeds that break a rule are told above");
    sum
}

#[test]
fn fifty_seeds_keep_what_nodes_promise() {
    let sum = keep_all(50, false);
    assert!(sum.operations > 10_000 && sum.episodes > 30, "{sum:?}");
}

#[test]
fn twenty_seeds_keep_what_nodes_promise_of_streams() {
    let sum = keep_all(20, true);
    assert!(sum.episodes > 10, "{sum:?}");
    let streams = sum.streams;
    assert!(streams.finished > 200 && streams.broken_off > 20, "{streams}");
    assert!(streams.read > 500 && streams.followed > 100, "{streams}");
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    let mut hashes = Vec::new();
    for seed in 1..=6 {
        let setup = Setup {
            streams: seed % 2 == 0,
            ..Setup::new(seed, NODES)
        };
        let first = run(&setup, false).unwrap();
        // Another thread has other random numbers of its own, which hash maps would draw from.
        let again = std::thread::spawn(move || run(&setup, true).unwrap())
            .join()
            .unwrap();
        assert_eq!(first.trace_hash, again.trace_hash, "seed {seed}");
        assert_eq!(
            (first.operations, first.virtual_ms),
            (again.operations, again.virtual_ms)
        );
        assert!(!hashes.contains(&first.trace_hash), "seeds differ");
        hashes.push(first.trace_hash);
    }
}

/// Runs seeds until one breaks the rule.
#[track_caller]
fn is_found(defect: Defect, streams: bool, rule: Rule) {
    let found = (1..=SEEDS_FOR_DEFECT).any(|seed| {
        let setup = Setup {
            defect: Some(defect),
            streams,
            ..Setup::new(seed, NODES)
        };
        let report = run(&setup, false).expect("the simulation itself runs");
        report.violations.iter().any(|violation| violation.rule == rule)
    });
    assert!(
        found,
        "{SEEDS_FOR_DEFECT} seeds do not find that a node {defect:?}, by {rule:?}"
    );
}

#[test]
fn a_node_that_keeps_old_values_is_found() {
    is_found(Defect::KeepsOldValues, false, Rule::Stale);
}

#[test]
fn a_node_that_ignores_announcements_is_found() {
    is_found(Defect::IgnoresAnnouncements, false, Rule::Stale);
}

#[test]
fn a_node_that_keeps_freed_blocks_is_found() {
    is_found(Defect::KeepsFreedBlocks, false, Rule::Accounts);
}

#[test]
fn a_node_that_keeps_freed_chunks_is_found() {
    is_found(Defect::KeepsFreedBlocks, true, Rule::Leak);
}
