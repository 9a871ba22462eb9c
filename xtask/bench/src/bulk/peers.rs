//! A file to two peers at once, beside one of them.

use anyhow::Result;
use xtask::lab::LabHost;
use xtask::size::MIB;

use super::marks::{Kind, Line, Mark};
use super::{Setting, show};
use crate::commands;
use crate::files::{Files, check_and_remove};
use crate::scene::{Scene, node_memory};
use crate::turns;

/// The rate of each peer's wire. That of the host which sends is not limited.
const MEGABITS: u32 = 1_000;

/// How much is sent: ten seconds of one wire.
const LEN: u64 = 1 << 30;

/// How many times as fast as one peer two are to be.
const TIMES_MIN: f64 = 1.9;

/// Measures both ways.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let size = (LEN / setting.part).max(MIB);
    let files = Files::create(2 * size)?;
    let file = files.random("source", size)?;
    let copy = files.path("copy");
    let scene = Scene::of_friends(&setting.programs, 3, node_memory(size))?;
    let [a, b, c] = scene.lab.all();
    for host in [b, c] {
        scene.lab.limit_rate(host, MEGABITS)?;
    }
    let crowds: [&[&LabHost]; 2] = [&[b], &[b, c]];
    let runs = turns::take_turns(setting.runs, &crowds, |crowd| {
        let names: Vec<_> = crowd.iter().map(|host| host.name()).collect();
        let (id, there) = commands::stream(a, &file, &names)?;
        let back = commands::load(a, id, &copy)?;
        commands::free(a, id)?;
        check_and_remove(&file, &copy)?;
        Ok([there, back].map(|took| size as f64 / 1e6 / took.as_secs_f64()))
    })?;
    let mut lines = Vec::new();
    for (way, name) in ["there", "back"].into_iter().enumerate() {
        let line = |peers: usize| {
            let what = format!(
                "{} {name}, {peers} peers with {MEGABITS} Mbit/s each, MB/s",
                show(size)
            );
            Line::own(what, 0, runs[peers - 1].iter().map(|rates| rates[way]).collect())
        };
        let one = line(1);
        let mark = Mark::AtLeastOwn(TIMES_MIN, one.figure(Kind::MemCloud), "one peer");
        lines.extend([one, line(2).mark(mark)]);
    }
    Ok(lines)
}
