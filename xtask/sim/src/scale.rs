//! What a pool of many nodes costs each of them: connections, memory for what the others have, messages, and how fast it heals.
//!
//! The figures are those of virtual time and of the daemon's own accounts, the same on every machine.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use memnode::body::Body;
use memnode::service::PutOptions;
use memnode::store::Store;
use memproto::BlockClass;

use crate::network::{Delays, Traffic};
use crate::plan::{Plan, Setup};
use crate::trace::Trace;
use crate::world::World;

/// How many nodes there are in the rows of the table.
const NODES: [usize; 4] = [2, 8, 32, 64];

/// How long nothing and something is asked, in seconds.
const SPAN_S: u64 = 10;

/// How many new keys the programs of each node set in a second.
const SETS_PER_S: u64 = 10;

/// The length of a value.
const VALUE_LEN: usize = 100;

/// The digits of a key's name.
const KEY_LEN: usize = 24;

/// How long the two halves of the pool are apart: until every link between them was given up, and dialling became slower.
const PARTITION: Duration = Duration::from_secs(30);

/// Within what time they are together again, or the measurement has failed.
const HEAL_MAX: Duration = Duration::from_secs(120);

/// How often is looked whether all nodes are connected.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What one pool was measured to cost.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How many nodes.
    pub nodes: usize,
    /// From the start of all nodes until each is connected with each, in milliseconds.
    pub connected_ms: u64,
    /// What a node sends each second while nobody asks for anything.
    pub idle: PerSecond,
    /// What it sends each second while each sets `SETS_PER_S` keys.
    pub loaded: PerSecond,
    /// What a node's memory takes for all keys of the others, in bytes.
    pub directory_bytes: u64,
    /// The same for one key.
    pub directory_bytes_per_key: u64,
    /// From the end of a partition into halves until all are connected, in milliseconds.
    pub healed_ms: u64,
}

/// What one node sends in a second.
#[derive(Clone, Copy, Debug)]
pub struct PerSecond {
    /// Writes to a connection: about as many packets.
    pub writes: f64,
    /// Bytes.
    pub bytes: f64,
}

/// The table of all sizes, as Markdown.
///
/// # Errors
/// A fault of the simulation; nodes that do not connect.
pub fn table(seed: u64) -> Result<String> {
    let mut table = String::from(
        "| nodes | connections of each | all connected after | idle: messages/s, bytes/s | with load: messages/s, bytes/s | memory for \
         the keys of others | of that for one key | healed after |\n|---|---|---|---|---|---|---|---|\n",
    );
    for nodes in NODES {
        let row = measure(seed, nodes)?;
        writeln!(
            table,
            "| {} | {} | {} ms | {:.1}, {:.0} | {:.1}, {:.0} | {} KiB | {} B | {:.1} s |",
            row.nodes,
            row.nodes - 1,
            row.connected_ms,
            row.idle.writes,
            row.idle.bytes,
            row.loaded.writes,
            row.loaded.bytes,
            row.directory_bytes / 1024,
            row.directory_bytes_per_key,
            row.healed_ms as f64 / 1_000.0
        )?;
    }
    Ok(table)
}

/// Measures one pool.
///
/// # Errors
/// A fault of the simulation; nodes that do not connect.
pub fn measure(seed: u64, nodes: usize) -> Result<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("cannot make a runtime")?;
    let mut plan = Plan::of(&Setup::new(seed, nodes));
    plan.delays = Delays {
        base_ms: (1, 1),
        jitter_ms: 0,
        bytes_per_ms: None,
    };
    let (world, row) = runtime.block_on(async {
        let world = World::new(plan, Arc::new(Trace::new(false)));
        let row = measure_world(&world).await;
        (world, row)
    });
    drop(runtime);
    world.network.close();
    row
}

async fn measure_world(world: &Arc<World>) -> Result<Row> {
    let nodes = world.plan.nodes;
    for machine in 0..nodes {
        world.start(machine).await?;
    }
    let connected_ms = until_whole(world).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = world.network.traffic();
    tokio::time::sleep(Duration::from_secs(SPAN_S)).await;
    let idle = per_second(before, world.network.traffic(), nodes);
    let before = world.network.traffic();
    for at in 0..SPAN_S * SETS_PER_S {
        set_one_each(world, at).await?;
        tokio::time::sleep(Duration::from_millis(1_000 / SETS_PER_S)).await;
    }
    let loaded = per_second(before, world.network.traffic(), nodes);
    let own_keys = SPAN_S * SETS_PER_S;
    let others_keys = own_keys * (nodes as u64 - 1);
    let (_, process) = world.processes().swap_remove(0);
    let used_bytes = process.service.audited_store().usage().used_bytes;
    let own_bytes = own_keys * Store::cost_of_small(KEY_LEN, VALUE_LEN, BlockClass::Pinned, false);
    let directory_bytes = used_bytes.saturating_sub(own_bytes);
    ensure!(
        process.service.stats().keys == own_keys,
        "a node has not the keys that were set there"
    );
    Ok(Row {
        nodes,
        connected_ms,
        idle,
        loaded,
        directory_bytes,
        directory_bytes_per_key: directory_bytes / others_keys,
        healed_ms: part_and_heal(world).await?,
    })
}

/// Sets one more key at each node.
async fn set_one_each(world: &Arc<World>, at: u64) -> Result<()> {
    for (machine, process) in world.processes() {
        let key = format!("{machine:08}-{at:0width$}", width = KEY_LEN - 9);
        let value = Bytes::from(vec![b'.'; VALUE_LEN]);
        let options = PutOptions::default();
        if process.service.set_now(&key, &value, &options).is_none() {
            process.service.set(&key, Body::from(value), options).await?;
        }
    }
    Ok(())
}

async fn part_and_heal(world: &Arc<World>) -> Result<u64> {
    let nodes = world.plan.nodes;
    let pairs: Vec<(usize, usize)> = (0..nodes / 2)
        .flat_map(|one| (nodes / 2..nodes).map(move |other| (one, other)))
        .collect();
    for &(one, other) in &pairs {
        world.network.cut(one, other);
        world.network.cut(other, one);
    }
    tokio::time::sleep(PARTITION).await;
    for &(one, other) in &pairs {
        world.network.mend(one, other);
        world.network.mend(other, one);
    }
    until_whole(world).await
}

/// Waits until all are connected. Returns how long that took, in milliseconds.
async fn until_whole(world: &Arc<World>) -> Result<u64> {
    let from_ms = world.trace.now_ms();
    let whole = tokio::time::timeout(HEAL_MAX, async {
        while !world.is_whole() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    whole.await.context("not all nodes are connected")?;
    Ok(world.trace.now_ms() - from_ms)
}

fn per_second(before: Traffic, after: Traffic, nodes: usize) -> PerSecond {
    let share = (nodes as u64 * SPAN_S) as f64;
    PerSecond {
        writes: (after.writes - before.writes) as f64 / share,
        bytes: (after.bytes - before.bytes) as f64 / share,
    }
}
