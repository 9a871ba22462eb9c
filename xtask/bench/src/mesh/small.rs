//! Values of 1 KiB on another host: one at a time, and many in flight.

use anyhow::{Context, Result};
use memproto::Placement;

use super::Setting;
use super::marks::{Kind, Line, Mark};
use super::others::Others;
use crate::asker::{Asker, Sample};
use crate::client::Request;
use crate::scene::{Scene, program};

/// Beside what one request at a time is measured.
const ONE_AT_A_TIME: [Kind; 3] = [Kind::Echo, Kind::Redis, Kind::MemCloud];

/// Beside what many in flight are measured.
const IN_FLIGHT: [Kind; 4] = [Kind::Echo, Kind::Redis, Kind::RedisInTls, Kind::MemCloud];

/// How many times as long as an echo a request to a peer may take: there are two more processes on its way.
const ECHOES_MAX: f64 = 2.5;

/// How much of what Redis makes through a tunnel a node is to make.
const OF_REDIS_MIN: f64 = 0.6;

/// Reads what a program of the other host has set there.
pub(super) fn get(setting: &Setting) -> Result<Vec<Line>> {
    one_at_a_time(setting, Request::Get)
}

/// Sets what is to lie on the other host.
pub(super) fn set(setting: &Setting) -> Result<Vec<Line>> {
    one_at_a_time(setting, Request::Set)
}

fn one_at_a_time(setting: &Setting, request: Request) -> Result<Vec<Line>> {
    let runs = measure(setting, &ONE_AT_A_TIME, request, |asker| {
        asker.one_at_a_time(setting.time)
    })?;
    let what = match request {
        Request::Set => "SET 1 KiB",
        Request::Get => "GET 1 KiB",
    };
    let line = |what: String, figure: fn(&Sample) -> f64| Line::of(what, 1, &runs, figure);
    Ok(vec![
        line(format!("{what}, p50 us"), |sample| sample.p50).mark(Mark::AtMost(ECHOES_MAX, Kind::Echo)),
        line(format!("{what}, p99 us"), |sample| sample.p99),
        line(format!("{what}, p99.9 us"), |sample| sample.p999),
    ])
}

/// Reads with so many requests in flight on one connection.
pub(super) fn get_in_flight(setting: &Setting, depth: usize) -> Result<Vec<Line>> {
    let runs = measure(setting, &IN_FLIGHT, Request::Get, |asker| {
        asker.in_flight(depth, setting.time)
    })?;
    let what = format!("GET 1 KiB, {depth} in flight, thousand/s");
    let line = Line::of(what, 0, &runs, |sample| sample.rate / 1_000.0);
    Ok(vec![line.mark(Mark::AtLeast(OF_REDIS_MIN, Kind::RedisInTls))])
}

fn measure(
    setting: &Setting,
    kinds: &[Kind],
    request: Request,
    run: impl Fn(&mut Asker) -> Result<Sample>,
) -> Result<Vec<Vec<Sample>>> {
    let scene = Scene::of_two_friends(&setting.programs)?;
    let [a, b] = scene.lab.all();
    let others = Others::start(kinds, a, b)?;
    if request == Request::Get {
        Asker::start(program(b)?, Request::Set, 0)?;
    }
    setting.alternate(kinds, |kind| {
        let client = others.connect(kind)?;
        let asker = match (kind, request) {
            (Kind::MemCloud, Request::Get) => Asker::reading(client, 0),
            (Kind::MemCloud, Request::Set) => {
                let there = Placement::Peer(b.name().to_owned());
                Asker::placing(client, request, 0, &there)
            }
            _ => Asker::start(client, request, 0),
        };
        let sample = asker.and_then(|mut asker| run(&mut asker));
        sample.with_context(|| format!("{kind:?} with {request:?}"))
    })
}
