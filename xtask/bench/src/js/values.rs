//! Values under keys, beside clients of Redis that ask the same of a Redis on a Unix socket.

use anyhow::{Context, Result};
use serde::Deserialize;
use xtask::size::MIB;

use super::marks::{Kind, Line, Mark};
use super::{Setting, packages, programs};
use crate::line::Column as _;
use crate::servers::{self, Servers};

/// What serves, each on a Unix socket.
pub(super) const SERVERS: [servers::Kind; 2] = [servers::Kind::Redis, servers::Kind::MemCloud];

/// How many times the requests of either other client.
const SMALL_MIN: f64 = 1.2;

/// How many times the bytes of ioredis.
const LARGE_MIN: f64 = 2.0;

/// The size of a large value.
const LARGE_LEN: u64 = 64 * MIB;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Set,
    Get,
}

impl Request {
    fn as_str(self) -> &'static str {
        match self {
            Request::Set => "set",
            Request::Get => "get",
        }
    }
}

/// What a program prints: how many requests were answered in a second.
#[derive(Deserialize)]
struct Rate {
    rate: f64,
}

/// Values of 1 KiB, so many requests in flight.
pub(super) fn small(setting: &Setting, request: Request, in_flight: u32) -> Result<Vec<Line>> {
    let clients = [Kind::Ioredis, Kind::NodeRedis, Kind::MemCloud];
    let arguments = [request.as_str(), &in_flight.to_string()];
    let runs = measure(setting, &clients, "small.mjs", &arguments)?;
    let how = match in_flight {
        1 => "one after another".to_owned(),
        _ => format!("{in_flight} in flight"),
    };
    let what = format!("{} 1 KiB, {how}, thousand/s", request.as_str());
    let line = Line::of(what, 1, &runs, |rate| rate / 1_000.0)
        .mark(Mark::AtLeast(SMALL_MIN, Kind::Ioredis))
        .mark(Mark::AtLeast(SMALL_MIN, Kind::NodeRedis));
    Ok(vec![line])
}

/// Reading a value that is large.
pub(super) fn large(setting: &Setting) -> Result<Vec<Line>> {
    let len = LARGE_LEN / setting.part;
    let clients = [Kind::Ioredis, Kind::NodeRedis, Kind::MemCloud];
    let runs = measure(setting, &clients, "large.mjs", &[&len.to_string()])?;
    let what = format!("get {}, MB/s", xtask::size::exact(len));
    let line = Line::of(what, 0, &runs, |rate| rate * len as f64 / 1e6)
        .mark(Mark::AtLeast(LARGE_MIN, Kind::Ioredis));
    Ok(vec![line])
}

/// Lets clients take turns. Returns the rates of each.
fn measure(setting: &Setting, clients: &[Kind], program: &str, arguments: &[&str]) -> Result<Vec<Vec<f64>>> {
    let servers = setting.start_servers(&SERVERS)?;
    setting.alternate(clients, |client| {
        let (name, server) = match client {
            Kind::Ioredis => ("ioredis", servers::Kind::Redis),
            Kind::NodeRedis => ("redis", servers::Kind::Redis),
            Kind::Memcli | Kind::MemCloud => ("memcloud", servers::Kind::MemCloud),
        };
        let socket = socket_of(&servers, server)?;
        let time = setting.time.as_millis().to_string();
        let args = [&[name, &socket, &time], arguments].concat();
        let rate: Rate = programs::run(&packages::program(program), args)
            .with_context(|| format!("{} with {}", program, client.name()))?;
        Ok(rate.rate)
    })
}

fn socket_of(servers: &Servers, kind: servers::Kind) -> Result<String> {
    let server = servers.all().iter().find(|server| server.kind == kind);
    let socket = server.context("it was started")?.socket();
    let socket = socket
        .to_str()
        .context("the temporary folder has a name in UTF-8")?;
    Ok(socket.to_owned())
}
