//! Carries out what goes wrong, and ends it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use memproto::control::PeerUpdate;

use crate::history::Pause;
use crate::plan::Fault;
use crate::streams::asking::on;
use crate::world::World;

/// Has a fault happen after a while, and waits for its end. A fault of a process that another fault has ended does nothing.
///
/// # Errors
/// A process that does not start: a fault of the simulation.
pub async fn happen(world: Arc<World>, after_ms: u64, fault: Fault) -> Result<()> {
    sleep(after_ms).await;
    match fault {
        Fault::Partition { side, for_ms } => {
            world.note(None, format_args!("{side:?} are cut off for {for_ms} ms"));
            let others = (0..world.plan.nodes).filter(|machine| !side.contains(machine));
            let pairs: Vec<(usize, usize)> = others
                .flat_map(|other| side.iter().map(move |&one| (one, other)))
                .collect();
            for &(one, other) in &pairs {
                world.network.cut(one, other);
                world.network.cut(other, one);
            }
            sleep(for_ms).await;
            world.note(None, format_args!("{side:?} can be reached again"));
            for &(one, other) in &pairs {
                world.network.mend(one, other);
                world.network.mend(other, one);
            }
        }
        Fault::OneWay { from, to, for_ms } => {
            world.note(
                Some(from),
                format_args!("nothing reaches n{to} from here for {for_ms} ms"),
            );
            world.network.cut(from, to);
            sleep(for_ms).await;
            world.note(Some(from), format_args!("the way to n{to} is whole again"));
            world.network.mend(from, to);
        }
        Fault::Reset { a, b } => {
            world.note(Some(a), format_args!("the connections to n{b} break"));
            world.network.reset(a, b);
        }
        Fault::Refuse { machine, for_ms } => {
            world.note(Some(machine), format_args!("refuses connections for {for_ms} ms"));
            world.network.set_refusing(machine, true);
            sleep(for_ms).await;
            world.note(Some(machine), format_args!("accepts connections again"));
            world.network.set_refusing(machine, false);
        }
        Fault::Kill { machine, for_ms } => end(&world, machine, for_ms, false).await?,
        Fault::PowerLoss { machine, for_ms } => end(&world, machine, for_ms, true).await?,
        Fault::Restart { machine, for_ms } => {
            let Some(process) = world.take_process(machine, "is being stopped") else {
                return Ok(());
            };
            process.stop().await;
            sleep(for_ms).await;
            world.start(machine).await?;
        }
        Fault::Pause { machine, for_ms } => pause(&world, machine, for_ms).await,
        Fault::ClockJump { machine, by_ms } => {
            world.note(Some(machine), format_args!("the clock jumps by {by_ms} ms"));
            world.clocks[machine].jump(by_ms);
        }
        Fault::LowerGrant {
            machine,
            peer,
            to_bytes,
            for_ms,
        } => {
            grant(&world, machine, peer, to_bytes).await;
            sleep(for_ms).await;
            grant(&world, machine, peer, world.plan.resources().grant_bytes).await;
        }
    }
    Ok(())
}

async fn end(world: &Arc<World>, machine: usize, for_ms: u64, power_goes: bool) -> Result<()> {
    let how = match power_goes {
        true => "loses power",
        false => "is killed",
    };
    let Some(process) = world.take_process(machine, how) else {
        return Ok(());
    };
    process.host.kill();
    world.network.crash(machine, power_goes);
    sleep(for_ms).await;
    world.network.power_on(machine);
    world.start(machine).await
}

/// Has the process of a machine, where one runs, grant so much to the node of another one.
async fn grant(world: &Arc<World>, machine: usize, peer: usize, quota_bytes: u64) {
    let Some(process) = world.process(machine) else {
        return;
    };
    let id = world.devices[peer].id();
    let update = PeerUpdate {
        peer: id.to_string(),
        quota_bytes,
    };
    let updating = async {
        world.note(Some(machine), format_args!("grants n{peer} {quota_bytes} bytes"));
        let used = process.service.audited_store().grant_use(id).used_bytes;
        world.note_lowered((machine, process.generation, id), used);
        process.service.update_peer(update).await
    };
    if let Some(Err(error)) = on(&process, updating).await {
        world.note(Some(machine), format_args!("does not: {error}"));
    }
}

async fn pause(world: &Arc<World>, machine: usize, for_ms: u64) {
    let Some(process) = world.process(machine) else {
        return;
    };
    let from = world.note(Some(machine), format_args!("gets no turn for {for_ms} ms"));
    world.history().pauses.push(Pause {
        machine,
        length_ms: for_ms,
        from,
    });
    process.host.pause();
    sleep(for_ms).await;
    world.note(Some(machine), format_args!("gets its turn again"));
    process.host.resume();
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
