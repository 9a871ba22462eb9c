//! A cache in front of something slow: look there first, and put there what had to be made.
//!
//! `cargo run -p memsdk --example cache_aside`

use std::time::Duration;

use memsdk::{BlockClass, Bytes, MemCloud, Result};

/// How long a report is good for.
pub(crate) const FRESH: Duration = Duration::from_secs(60);

/// The report of a month, from the cache where it is there.
pub(crate) async fn report(cloud: &MemCloud, month: &str) -> Result<Bytes> {
    let key = format!("report:{month}");
    if let Some(report) = cloud.get(&key).await? {
        return Ok(report);
    }
    let report = compute(month).await;
    // It can be made again, so it may go where others need the room.
    cloud
        .set(key, report.clone())
        .ttl(FRESH)
        .class(BlockClass::Cache)
        .await?;
    Ok(report)
}

/// What takes long.
async fn compute(month: &str) -> Bytes {
    tokio::time::sleep(Duration::from_millis(500)).await;
    Bytes::from(format!("all the figures of {month}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cloud = MemCloud::connect().await?;
    for _ in 0..2 {
        let start = std::time::Instant::now();
        let report = report(&cloud, "2026-11").await?;
        println!("{} bytes in {:?}", report.len(), start.elapsed());
    }
    Ok(())
}
