//! What a node holds and does, once a second.
//!
//! `cargo run -p memsdk --example watch_stats`

use std::time::Duration;

use memsdk::{MemCloud, Result};

/// One line about the node.
pub(crate) async fn line(cloud: &MemCloud) -> Result<String> {
    let stats = cloud.stats().await?;
    let per_second: u64 = stats
        .operations
        .iter()
        .map(|operation| operation.per_second)
        .sum();
    Ok(format!(
        "{} of {} MiB used, {} keys, {} hits, {} misses, {per_second} operations a second, {} peers",
        stats.used_bytes >> 20,
        stats.budget_bytes >> 20,
        stats.keys,
        stats.hits,
        stats.misses,
        stats.peers.len(),
    ))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cloud = MemCloud::connect().await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        println!("{}", line(&cloud).await?);
    }
}
