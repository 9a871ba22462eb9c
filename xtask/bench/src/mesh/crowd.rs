//! What the number of connected peers costs.

use std::time::{Duration, Instant};

use anyhow::Result;
use xtask::interrupt;

use super::Setting;
use super::marks::{Kind, Line, Mark};
use super::others::Others;
use crate::asker::{Asker, Sample};
use crate::client::Request;
use crate::scene::{Scene, program};

/// How many times as long a hit may take with the most peers as with the fewest.
const FLAT: f64 = 1.2;

/// How much longer than a round trip of the wire a miss may take, in microseconds.
const MISS_US_MAX: f64 = 1_000.0;

/// Hits with as many peers as each of these, from the fewest to the most. Each number has a node of its own that asks; they share the
/// peers, and the keys lie on the first of those.
pub(super) fn hits(setting: &Setting, crowds: [usize; 3]) -> Result<Vec<Line>> {
    let peers_max = crowds[crowds.len() - 1];
    let scene = Scene::of_strangers(&setting.programs, crowds.len() + peers_max)?;
    let (askers, peers) = scene.lab.hosts().split_at(crowds.len());
    for (asker, &crowd) in askers.iter().zip(&crowds) {
        for peer in &peers[..crowd] {
            scene.befriend(asker, peer)?;
        }
    }
    Asker::start(program(&peers[0])?, Request::Set, 0)?;
    let runs = setting.take_turns(&[0, 1, 2], |asker: usize| {
        Asker::reading(program(&askers[asker])?, 0)?.one_at_a_time(setting.time)
    })?;
    let mut fewest = None;
    let mut lines = Vec::new();
    for (samples, crowd) in runs.iter().zip(crowds) {
        let what = format!("GET 1 KiB with {crowd} peers, p50 us");
        let mut line = Line::own(what, 1, samples.iter().map(|sample| sample.p50).collect());
        if fewest.is_some() {
            line = line.mark(Mark::AtMostOwn(FLAT, fewest, "its own with the fewest"));
        } else {
            fewest = line.figure(Kind::MemCloud);
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Reads of keys that are nowhere, each another one, with so many peers.
pub(super) fn misses(setting: &Setting, crowd: usize) -> Result<Vec<Line>> {
    const KINDS: [Kind; 2] = [Kind::Echo, Kind::MemCloud];
    let scene = Scene::of_strangers(&setting.programs, 1 + crowd)?;
    let (asker, peers) = (&scene.lab.hosts()[0], &scene.lab.hosts()[1..]);
    for peer in peers {
        scene.befriend(asker, peer)?;
    }
    let others = Others::start(&KINDS, asker, &peers[0])?;
    let mut number = 0..;
    let runs = setting.alternate(&KINDS, |kind| match kind {
        Kind::MemCloud => miss_for(&scene, &mut number, setting.time),
        _ => Asker::start(others.connect(kind)?, Request::Get, 0)?.one_at_a_time(setting.time),
    })?;
    let line = |what: &str, figure: fn(&Sample) -> f64| {
        let what = format!("GET of a key that is nowhere, {crowd} peers, {what}");
        Line::of(what, 1, &runs, figure)
    };
    Ok(vec![
        line("p50 us", |sample| sample.p50).mark(Mark::Above(MISS_US_MAX, Kind::Echo)),
        line("p99 us", |sample| sample.p99),
    ])
}

fn miss_for(scene: &Scene, numbers: &mut impl Iterator<Item = u64>, time: Duration) -> Result<Sample> {
    let mut client = program(&scene.lab.hosts()[0])?;
    let start = Instant::now();
    let mut nanos = Vec::with_capacity(1 << 20);
    for number in numbers {
        let key = format!("nowhere:{number:010}");
        let before = Instant::now();
        client.miss(&key)?;
        nanos.push(before.elapsed().as_nanos() as u64);
        if start.elapsed() >= time || interrupt::is_caught() {
            break;
        }
    }
    interrupt::check()?;
    nanos.sort_unstable();
    Ok(Sample::of_times(&nanos))
}
