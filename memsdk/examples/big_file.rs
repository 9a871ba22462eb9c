//! A file of any size into the memory of the pool and back, with a few MiB of this program's own.
//!
//! `cargo run -p memsdk --example big_file -- FILE COPY`

use std::error::Error;
use std::path::{Path, PathBuf};

use memsdk::{BlockId, MemCloud, Stored};
use tokio::fs::File;

/// Stores a file in chunks, on peers first.
pub(crate) async fn put(cloud: &MemCloud, path: &Path) -> Result<Stored, Box<dyn Error>> {
    let file = File::open(path).await?;
    let size = file.metadata().await?.len();
    // Where there is no room for all of it, that is known before the first byte is sent.
    Ok(cloud.stream(file).size(size).await?)
}

/// Writes an object into a file, piece by piece as it comes.
pub(crate) async fn get(cloud: &MemCloud, id: BlockId, path: &Path) -> Result<u64, Box<dyn Error>> {
    let mut object = cloud.open(id).await?;
    let mut file = File::create(path).await?;
    let copied = tokio::io::copy(&mut object, &mut file).await?;
    file.sync_all().await?;
    Ok(copied)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [file, copy] = &paths[..] else {
        return Err("name a file and where its copy is to go".into());
    };
    let cloud = MemCloud::connect().await?;
    let stored = put(&cloud, file).await?;
    println!("stream {} has {} bytes", stored.id, stored.size);
    let copied = get(&cloud, stored.id, copy).await?;
    println!("{copied} bytes are in {}", copy.display());
    cloud.free(stored.id).await?;
    Ok(())
}
