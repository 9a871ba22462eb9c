//! How soon a node is seen by another one that nobody told of it.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memproto::control::PeerInfo;
use memproto::local::Op;
use rustix::process::Signal;
use xtask::lab::{Lab, LabHost};
use xtask::process::Running;
use xtask::wait;

use super::Setting;
use super::marks::{Line, Mark};
use crate::client::Client;
use crate::scene::program;

/// How long a node may take to be seen, in seconds.
const SEEN_SECS_MAX: f64 = 2.0;

/// How long to wait for that at the most, and for a node to be forgotten that said goodbye.
const SEEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the list of peers is looked at: short beside a tenth of a second, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long a node may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a node again and again, each time as a new one, and looks when the list of the other one has it.
pub(super) fn measure(setting: &Setting) -> Result<Vec<Line>> {
    let lab = Lab::create(2, &setting.programs)?;
    let [a, b] = lab.all();
    let node = a.start_node(["--port", "8080"])?;
    let mut observer = program(a)?;
    let mut seen = Vec::new();
    for _ in 0..setting.runs {
        seen.push(time_one(b, &mut observer)?);
        forget(b, &mut observer)?;
    }
    drop(node);
    let line = Line::own("start of a node to its place in another one's list, s", 2, seen);
    Ok(vec![line.mark(Mark::Below(SEEN_SECS_MAX))])
}

fn time_one(host: &LabHost, observer: &mut Client) -> Result<f64> {
    let log = File::create(host.home_dir().join("memnode.stderr"))?;
    let mut command = host.memnode_command(["--port", "8080", "--name", host.name()]);
    command.stdout(log.try_clone()?).stderr(log);
    let start = Instant::now();
    let node = Running::start_with_own_output(&mut command)?;
    wait::until_polled("a node to be seen", SEEN_TIMEOUT, LOOK_EVERY, || {
        Ok::<_, anyhow::Error>(lists(observer, host.name())?.then_some(()))
    })
    .with_context(|| fs::read_to_string(host.home_dir().join("memnode.stderr")).unwrap_or_default())?;
    let took = start.elapsed().as_secs_f64();
    node.signal(Signal::TERM)?;
    node.wait(STOP_TIMEOUT)?.ok()?;
    Ok(took)
}

/// Waits until a node that has stopped is listed no more, and gives its host a new identity.
fn forget(host: &LabHost, observer: &mut Client) -> Result<()> {
    wait::until("a node to be forgotten", SEEN_TIMEOUT, || {
        Ok::<_, anyhow::Error>((!lists(observer, host.name())?).then_some(()))
    })?;
    fs::remove_dir_all(host.memcloud_dir()).context("the node left no folder")
}

fn lists(observer: &mut Client, name: &str) -> Result<bool> {
    let peers: Vec<PeerInfo> = observer.control(Op::Peers)?;
    Ok(peers.iter().any(|peer| peer.name == name))
}
