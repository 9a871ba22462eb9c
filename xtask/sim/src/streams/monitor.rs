//! A look at each node every now and then: no grant and no budget is passed, and no more is held of streams under way than may be.

use std::sync::Arc;
use std::time::Duration;

use memnode::service::StreamAudit;

use super::writer::PIECE_LEN_MAX;
use crate::checker::Violation;
use crate::world::{Phase, World};

/// How often.
const EVERY: Duration = Duration::from_millis(20);

/// Looks until the run is over. Returns what must not be.
pub async fn watch(world: Arc<World>) -> Vec<Violation> {
    let mut violations = Vec::new();
    while *world.phase.borrow() != Phase::Over {
        tokio::time::sleep(EVERY).await;
        look(&world, &mut violations);
    }
    violations.truncate(3);
    violations
}

/// By how much records may pass a budget: manifests, the entries of what lies elsewhere and moments are charged whether there is room or not, since nobody could act
/// upon a refusal. Far less than a chunk, so that data that passes it is seen.
const RECORDS_MAX: u64 = 64 * 1024;

fn look(world: &World, violations: &mut Vec<Violation>) {
    for (machine, process) in world.processes() {
        let store = process.service.audited_store();
        let usage = store.usage();
        let mut say = |what: String| violations.push(Violation::room(format!("n{machine} {what}")));
        if usage.used_bytes > usage.budget_bytes + RECORDS_MAX {
            say(format!(
                "uses {} of {} bytes",
                usage.used_bytes, usage.budget_bytes
            ));
        }
        let audit = process.service.audit_streams();
        if audit.under_way > StreamAudit::UNDER_WAY_MAX {
            say(format!("has {} chunks under way", audit.under_way));
        }
        let held_max = StreamAudit::held_bytes_max(audit.open, PIECE_LEN_MAX as u64);
        if audit.held_bytes > held_max {
            say(format!(
                "holds {} bytes of streams, {held_max} are allowed",
                audit.held_bytes
            ));
        }
        for device in &world.devices {
            let lent = store.grant_use(device.id());
            // What was pinned stays where a grant is lowered, and no more comes.
            let when_lowered = world.used_when_lowered((machine, process.generation, device.id()));
            if lent.used_bytes > lent.quota_bytes.max(when_lowered) {
                say(format!(
                    "lets {} use {} of {} bytes",
                    device.id().short(),
                    lent.used_bytes,
                    lent.quota_bytes
                ));
            }
        }
    }
}
