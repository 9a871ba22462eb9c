//! `stats`.

use memproto::control::Stats;

use crate::commands::node::show_seconds;
use crate::context::Context;
use crate::exit::Outcome;
use crate::size::show_size;
use crate::table;

/// Shows what lies in the node and what it did.
pub(super) async fn stats(context: &Context) -> Outcome {
    let stats = context.connect().await?.stats().await?;
    context.output.show(&stats, || show_stats(&stats))
}

fn show_stats(stats: &Stats) -> String {
    let memory = table::fields([
        ("budget", show_size(stats.budget_bytes)),
        ("used", show_size(stats.used_bytes)),
        ("- pinned", show_size(stats.pinned_bytes)),
        ("- cache", show_size(stats.cache_bytes)),
        ("- of peers", show_size(stats.peers_used_bytes)),
        ("on peers", show_size(stats.remote_bytes)),
        ("resident", show_size(stats.resident_bytes)),
    ]);
    let contents = table::fields([
        ("blocks", stats.blocks.to_string()),
        ("keys", stats.keys.to_string()),
        ("streams", stats.streams.to_string()),
    ]);
    let requests = table::fields([
        ("hits", stats.hits.to_string()),
        ("misses", stats.misses.to_string()),
        ("writes", stats.writes.to_string()),
        ("errors", stats.errors.to_string()),
        ("connections", stats.local_connections.to_string()),
        ("running for", show_seconds(stats.uptime_secs)),
    ]);
    format!("Memory\n{memory}\nContents\n{contents}\nRequests\n{requests}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_read_as_three_lists() {
        let stats = Stats {
            budget_bytes: 4 << 30,
            used_bytes: 1 << 20,
            blocks: 3,
            ..Stats::default()
        };
        assert_eq!(
            show_stats(&stats),
            "\
Memory
  budget      4.0 GiB
  used        1.0 MiB
  - pinned    0 B
  - cache     0 B
  - of peers  0 B
  on peers    0 B
  resident    0 B
Contents
  blocks   3
  keys     0
  streams  0
Requests
  hits         0
  misses       0
  writes       0
  errors       0
  connections  0
  running for  0s"
        );
    }
}
