//! `cargo xtask bench`: what MemCloud costs and gives, measured on this machine.
//!
//! - [`local`]: a node on its own host beside Redis and memcached, over Unix sockets, against the marks.
//! - [`mesh`]: a node and its peers on other hosts, in network namespaces, beside Redis over the network, against the marks.
//! - [`bulk`]: gigabytes into another host's memory and back, beside a bare connection, OpenSSL, `scp` and `rsync`, against the marks.
//! - [`js`]: the npm package beside clients of Redis, and beside `memcli`, against the marks.
//! - [`cache`]: how well the store chooses what to evict, beside LRU and FIFO, and what a victim costs.
//! - [`memory`]: how much memory a node really takes for its budget, after churn, and what it gives back.
//!
//! They share:
//! - `servers`: installs, starts and ends what is measured.
//! - `client`: one blocking client for all protocols, so that the servers are compared and not their clients.
//! - `asker`: small requests, one at a time or many at once, and what they take.
//! - `echo`: the servers that do nothing but answer, which is what a round trip costs at the least.
//! - `scene`: hosts with nodes that agreed. `commands`: the command line of one. `certificate`: what servers need that encrypt.
//! - `figures`: medians and quantiles. `line`, `judgement`, `table`: figures beside their marks.
//! - `random`: numbers that are the same in each run. `files`: what is sent. `access_log`: lines that compress.
//!
//! It is a program of its own, not a part of `xtask`, because it is built like what it measures: with the optimisation that ships.
//! Nothing is left running. Results go to stdout, progress to stderr.

mod access_log;
mod asker;
mod bulk;
mod cache;
mod certificate;
mod client;
mod commands;
mod cpus;
mod echo;
mod figures;
mod files;
mod js;
mod judgement;
mod line;
mod local;
mod marks;
mod memory;
mod mesh;
mod random;
mod report;
mod scene;
mod servers;
mod table;
mod turns;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use xtask::interrupt;

/// Measures MemCloud
#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
enum Chore {
    /// A node beside Redis, memcached and bare echo servers, all on Unix sockets of this machine
    Local(local::Args),
    /// Nodes on several hosts of this machine, beside a bare echo and Redis over the same network (root)
    Mesh(mesh::Args),
    /// Large files to the memory of another host and back, beside a bare connection, OpenSSL, scp and rsync (root)
    Bulk(bulk::Args),
    /// The npm package beside ioredis, node-redis and `memcli` (root)
    Js(js::Args),
    /// What the store evicts, beside LRU and FIFO, and what a victim costs
    Cache(cache::Args),
    /// The memory that a node takes for its budget, under churn, and gives back
    Memory(memory::Args),
    /// Serve as a bare echo server until killed: a part of `local` and `mesh`
    #[command(hide = true)]
    Echo(echo::Args),
}

fn main() -> ExitCode {
    match run(&Chore::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> Result<()> {
    if let Chore::Echo(args) = chore {
        // It ends as a server ends: at once, when it is killed.
        return echo::run(args);
    }
    interrupt::catch()?;
    match chore {
        Chore::Local(args) => local::run(args),
        Chore::Mesh(args) => mesh::run(args),
        Chore::Bulk(args) => bulk::run(args),
        Chore::Js(args) => js::run(args),
        Chore::Cache(args) => cache::run(args),
        Chore::Memory(args) => memory::run(args),
        Chore::Echo(_) => unreachable!("it returned above"),
    }
}
