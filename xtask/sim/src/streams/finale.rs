//! What is left once every stream was freed, everybody is connected and all that was owed was told.

use std::sync::Arc;
use std::time::Duration;

use memnode::service::StreamAudit;

use super::asking::on;
use crate::checker::Violation;
use crate::history::ProcessName;
use crate::world::World;

/// How long after that the nodes are looked over: what is freed elsewhere later, and what times out, is through by then.
const QUIESCENCE: Duration = Duration::from_secs(30);

/// Has the process that writes each stream free it, where that still runs.
pub async fn free_all(world: &Arc<World>) {
    let streams: Vec<_> = {
        let history = world.history();
        let streams = history.streams.iter();
        streams.map(|stream| (stream.writer, stream.id)).collect()
    };
    for (machine, process) in world.processes() {
        let name = ProcessName {
            machine,
            generation: process.generation,
        };
        for (_, id) in streams.iter().filter(|(writer, _)| *writer == name) {
            // Most are free already.
            let _ = on(&process, process.service.free(vec![*id])).await;
        }
    }
    let plan = world.plan.streams.as_ref();
    let grace = plan.map_or(Duration::ZERO, |plan| plan.resources.abandoned_grace);
    tokio::time::sleep(grace + QUIESCENCE).await;
}

/// What is left that nobody has.
///
/// # Panics
/// Where the parts of a node's store contradict each other.
pub fn look(world: &World) -> Vec<Violation> {
    let mut left = Vec::new();
    for (machine, process) in world.processes() {
        let streams = process.service.audit_streams();
        if streams != StreamAudit::default() {
            left.push(format!("n{machine} has {streams:?}"));
        }
        let store = process.service.audited_store();
        let (audit, usage) = (store.audit(), store.usage());
        if audit.chunks + usage.streams + usage.blocks + usage.shared_bytes + usage.remote_bytes > 0 {
            left.push(format!("n{machine} has {} chunks and {usage:?}", audit.chunks));
        }
        let owned: u64 = audit.owners.values().sum();
        if usage.used_bytes != owned + audit.note_bytes {
            left.push(format!(
                "n{machine} uses {} bytes, its entries {owned}, its notes {}",
                usage.used_bytes, audit.note_bytes
            ));
        }
        for device in &world.devices {
            let lent = store.grant_use(device.id());
            if lent.used_bytes > 0 {
                left.push(format!(
                    "n{machine} charges {} with {lent:?}",
                    device.id().short()
                ));
            }
        }
    }
    left.into_iter().map(Violation::leaked).collect()
}
