//! Many calls in flight on one connection, and many keys in one request: what each saves.
//!
//! `cargo run -p memsdk --example pipelining`

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use memsdk::{Bytes, MemCloud, Result};

/// How many keys there are.
const KEYS: usize = 1_000;

/// The times of one read after another, of all at once, and of all in one request.
pub(crate) async fn compare(cloud: &MemCloud) -> Result<[Duration; 3]> {
    let keys: Vec<String> = (0..KEYS).map(|number| format!("pipelining:{number}")).collect();
    let pairs: Vec<(&str, Bytes)> = keys
        .iter()
        .map(|key| (key.as_str(), Bytes::from("value")))
        .collect();
    cloud.mset(&pairs).await?;

    let start = Instant::now();
    for key in &keys {
        cloud.get(key).await?;
    }
    let one_by_one = start.elapsed();

    // Calls that are made at the same time leave in one write, and their replies come back together.
    let start = Instant::now();
    try_join_all(keys.iter().map(|key| cloud.get(key))).await?;
    let at_once = start.elapsed();

    let start = Instant::now();
    cloud.mget(&keys).await?;
    let in_one_request = start.elapsed();

    cloud.mdel(&keys).await?;
    Ok([one_by_one, at_once, in_one_request])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cloud = MemCloud::connect().await?;
    let [one_by_one, at_once, in_one_request] = compare(&cloud).await?;
    println!("{KEYS} reads, one after another: {one_by_one:?}");
    println!("{KEYS} reads at once:            {at_once:?}");
    println!("{KEYS} reads in one request:     {in_one_request:?}");
    Ok(())
}
