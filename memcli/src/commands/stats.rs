//! `stats`.

use memproto::control::{GrantUse, Stats};

use crate::cli::StatsArgs;
use crate::commands::node::show_seconds;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::printable;
use crate::screen::follow;
use crate::size::{show_size, show_use};
use crate::table;

/// Shows what lies in the node and what it did.
pub(super) async fn stats(args: StatsArgs, context: &Context) -> Outcome {
    let cloud = context.connect().await?;
    if args.follow {
        return follow(
            context.output,
            args.interval,
            async || cloud.stats().await,
            show_briefly,
            show_stats,
        )
        .await;
    }
    let stats = cloud.stats().await?;
    context.output.show(&stats, || show_stats(&stats))
}

/// What fits a screen of 24 lines with all operations and a few peers.
fn show_briefly(stats: &Stats) -> String {
    let head = table::fields([
        ("running for", show_seconds(stats.uptime_secs)),
        (
            "memory",
            format!(
                "{} of {} used, {} resident",
                show_size(stats.used_bytes),
                show_size(stats.budget_bytes),
                show_size(stats.resident_bytes)
            ),
        ),
        (
            "of it",
            format!(
                "{} pinned, {} cache, {} of peers",
                show_size(stats.pinned_bytes),
                show_size(stats.cache_bytes),
                show_size(stats.peers_used_bytes)
            ),
        ),
        ("mapped", show_mapped(stats)),
        ("on peers", show_size(stats.remote_bytes)),
        (
            "holds",
            format!(
                "{} blocks, {} keys, {} streams, {} evicted",
                stats.blocks, stats.keys, stats.streams, stats.evictions
            ),
        ),
        (
            "answered",
            format!(
                "{} hits, {} misses, {} writes, {} errors",
                stats.hits, stats.misses, stats.writes, stats.errors
            ),
        ),
        ("connections", stats.local_connections.to_string()),
    ]);
    let tables = [show_operations(stats), show_peers(stats)];
    let parts = std::iter::once(head).chain(tables.into_iter().flatten());
    parts.collect::<Vec<_>>().join("\n\n")
}

/// How many there are, and what their bytes take where that is less: equal chunks count once, and some are compressed.
fn show_streams(stats: &Stats) -> String {
    let (bytes, stored) = (stats.chunk_bytes, stats.chunk_stored_bytes);
    if stored >= bytes {
        return stats.streams.to_string();
    }
    format!(
        "{} ({} in {})",
        stats.streams,
        show_size(bytes),
        show_size(stored)
    )
}

fn show_stats(stats: &Stats) -> String {
    let memory = table::fields([
        ("budget", show_size(stats.budget_bytes)),
        ("used", show_size(stats.used_bytes)),
        ("- pinned", show_size(stats.pinned_bytes)),
        ("- cache", show_size(stats.cache_bytes)),
        ("- of peers", show_size(stats.peers_used_bytes)),
        ("mapped", show_mapped(stats)),
        ("on peers", show_size(stats.remote_bytes)),
        ("resident", show_size(stats.resident_bytes)),
    ]);
    let contents = table::fields([
        ("blocks", stats.blocks.to_string()),
        ("keys", stats.keys.to_string()),
        ("streams", show_streams(stats)),
    ]);
    let requests = table::fields([
        ("hits", stats.hits.to_string()),
        ("misses", stats.misses.to_string()),
        ("writes", stats.writes.to_string()),
        ("errors", stats.errors.to_string()),
        ("evictions", stats.evictions.to_string()),
        ("connections", stats.local_connections.to_string()),
        ("running for", show_seconds(stats.uptime_secs)),
    ]);
    let mut text = format!("Memory\n{memory}\nContents\n{contents}\nRequests\n{requests}");
    for table in [show_operations(stats), show_peers(stats)].into_iter().flatten() {
        text.push('\n');
        text.push_str(&table);
    }
    text
}

/// What programs have mapped, and what of it is used although it was freed.
fn show_mapped(stats: &Stats) -> String {
    let mapped = show_size(stats.mapped_bytes);
    match stats.mapped_freed_bytes {
        0 => mapped,
        freed => format!("{mapped}, {} of it freed", show_size(freed)),
    }
}

/// A line for each operation that was asked for.
fn show_operations(stats: &Stats) -> Option<String> {
    let rows = stats.operations.iter().map(|operation| {
        [
            printable(&operation.operation).into_owned(),
            operation.count.to_string(),
            operation.per_second.to_string(),
            show_time(operation.p50_ns),
            show_time(operation.p99_ns),
            show_time(operation.p99_9_ns),
        ]
    });
    let header = ["OPERATION", "COUNT", "PER SECOND", "P50", "P99", "P99.9"];
    (!stats.operations.is_empty()).then(|| table::table(header, rows.collect(), table::width()))
}

/// A line for each connected peer.
fn show_peers(stats: &Stats) -> Option<String> {
    let used = |grant: Option<GrantUse>| {
        grant.map_or_else(
            || "-".to_owned(),
            |grant| show_use(grant.used_bytes, grant.quota_bytes),
        )
    };
    let rows = stats.peers.iter().map(|peer| {
        [
            printable(&peer.name).into_owned(),
            peer.round_trip_us
                .map_or_else(|| "-".to_owned(), |us| show_time(us * 1_000)),
            used(peer.lent),
            used(peer.borrowed),
            show_size(peer.sent_bytes),
            show_size(peer.received_bytes),
        ]
    });
    let header = ["PEER", "RTT", "LENT", "BORROWED", "SENT", "RECEIVED"];
    (!stats.peers.is_empty()).then(|| table::table(header, rows.collect(), table::width()))
}

/// A time with two or three digits that count.
pub(super) fn show_time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = usize::from(value < 99.95);
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use memproto::control::OperationStats;

    use super::*;

    #[test]
    fn stats_read_as_three_lists() {
        let stats = Stats {
            budget_bytes: 4 << 30,
            used_bytes: 1 << 20,
            blocks: 3,
            ..Stats::default()
        };
        let smaller = Stats {
            streams: 2,
            chunk_bytes: 3 << 30,
            chunk_stored_bytes: 1 << 30,
            ..Stats::default()
        };
        assert!(show_stats(&smaller).contains("  streams  2 (3.0 GiB in 1.0 GiB)\n"));
        assert_eq!(
            show_stats(&stats),
            "\
Memory
  budget      4.0 GiB
  used        1.0 MiB
  - pinned    0 B
  - cache     0 B
  - of peers  0 B
  mapped      0 B
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
  evictions    0
  connections  0
  running for  0s"
        );
    }

    #[test]
    fn operations_and_peers_are_tables_of_80_columns() {
        let operation = OperationStats {
            operation: "stream".to_owned(),
            count: 18_446_744_073_709_551_615,
            per_second: 4_000_000,
            p50_ns: 17_152,
            p99_ns: 999_999_999,
            p99_9_ns: 38_000_000_000,
        };
        let stats = Stats {
            operations: vec![operation],
            evictions: 7,
            ..Stats::default()
        };
        let text = show_stats(&stats);
        let (_, table) = text.split_once("running for  0s\n").unwrap();
        assert_eq!(
            table,
            "\
OPERATION  COUNT                 PER SECOND  P50      P99      P99.9
stream     18446744073709551615  4000000     17.2 us  1000 ms  38.0 s"
        );
        assert!(text.lines().all(|line| line.len() <= 80));
        let brief = show_briefly(&stats);
        assert!(brief.ends_with(table), "{brief}");
        assert!(brief.lines().all(|line| line.len() <= 80));
        assert_eq!(brief.lines().count(), 8 + 1 + 2);
        assert!(
            brief.contains("0 blocks, 0 keys, 0 streams, 7 evicted"),
            "{brief}"
        );
    }

    #[test]
    fn times_have_the_digits_that_count() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_024, "1.0 us"),
            (99_940, "99.9 us"),
            (99_960, "100 us"),
            (2_500_000, "2.5 ms"),
        ] {
            assert_eq!(show_time(ns), text);
        }
    }
}
