//! The Rust client of MemCloud: one shared, ephemeral store made of the idle RAM of the machines on a LAN.
//!
//! A program talks to the `memnode` of its own host over a Unix socket, or over TCP with the node's token
//! ([`Builder::tcp`]); the node does the rest: it places blocks on peers that have room, finds what lies elsewhere, and never
//! gives memory to anybody whom its owner did not allow.
//!
//! ```no_run
//! use memsdk::{MemCloud, Placement};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cloud = MemCloud::connect().await?;
//!
//! // Keys.
//! cloud.set("greeting", "Hello from MemCloud!").await?;
//! let greeting = cloud.get("greeting").await?;
//! assert_eq!(greeting.as_deref(), Some(&b"Hello from MemCloud!"[..]));
//!
//! // A block on any peer, not in this host's memory.
//! let stored = cloud.store(vec![0; 1 << 20]).placement(Placement::Remote).await?;
//! println!("{} bytes lie in block {}", stored.size, stored.id);
//!
//! // A file larger than memory, in and out. Neither side holds more than a few MiB of it.
//! let model = tokio::fs::File::open("model.bin").await?;
//! let stream = cloud.stream(model).await?;
//! let mut object = cloud.open(stream.id).await?;
//! let mut copy = tokio::fs::File::create("copy.bin").await?;
//! tokio::io::copy(&mut object, &mut copy).await?;
//!
//! // A large value of this host without a copy: it is mapped, not read.
//! if let Some(weights) = cloud.get_mapped("weights").await? {
//!     println!("{} bytes, of which the first is {:?}", weights.len(), weights.first());
//! }
//!
//! // Many keys in one request.
//! cloud.mset(&[("a", "one".into()), ("b", "two".into())]).await?;
//! assert_eq!(cloud.mget(&["a", "c"]).await?, [Some("one".into()), None]);
//! assert_eq!(cloud.mdel(&["a", "b", "c"]).await?, 2);
//!
//! // The keys of the whole pool that match a glob.
//! for key in cloud.keys("user:*").await? {
//!     println!("{key}");
//! }
//!
//! // Many calls at once on one connection.
//! let (a, b) = tokio::join!(cloud.get("a"), cloud.get("b"));
//! # let _ = (a?, b?);
//! # Ok(())
//! # }
//! ```
//!
//! # What to rely on
//! - A [`MemCloud`] is cheap to clone; all clones share one connection, on which any number of calls are in flight.
//!   It needs a tokio runtime with I/O and time enabled, and lives as long as the runtime in which it was connected.
//! - **Deadlines.** A small call fails with [`Error::Timeout`] after the time of [`Builder::timeout`] (30 s unless said
//!   otherwise); a large value fails when nothing moved for that time.
//! - **Cancelling.** Dropping the future of a call, or an [`Object`], tells the node to stop working on it. Other calls
//!   on the connection do not notice. A write that is dropped may have happened or not.
//! - **Lost connections.** Calls in flight fail with [`Error::ConnectionLost`], or with the node's own word where it had one
//!   (`ShuttingDown`). The next call connects again; where nobody listens it fails with [`Error::NotRunning`]. Attempts that
//!   follow failed ones wait a little, up to half a second.
//! - **Mapped values.** What [`get_mapped`](MemCloud::get_mapped) returned stays as it is, whatever becomes of the key. It counts
//!   against the node's budget until it is dropped. Where memory cannot be shared (values below 1 MiB, on peers, streams, TCP,
//!   other systems than Linux) the same calls read the bytes.
//! - **Absence** is `None`. That a peer which holds the value is away is an error, `PeerUnreachable`.
//!
//! The protocol is specified in `docs/protocol/local.md` of the repository.

mod admission;
mod batches;
mod builder;
mod calls;
mod client;
mod connection;
mod error;
mod mapped;
#[cfg(target_os = "linux")]
mod memfd;
mod memory_file;
#[cfg(not(target_os = "linux"))]
mod no_memfd;
mod object;
mod put;
mod put_many;
mod put_mapped;
mod scan;
mod socket;
mod wire;

use std::path::PathBuf;

pub use builder::{Builder, DEFAULT_TIMEOUT};
pub use bytes::Bytes;
pub use client::MemCloud;
pub use error::{Error, Result};
pub use mapped::{Mapped, Opened};
pub use memory_file::MemoryFile;
pub use memproto::control;
pub use memproto::control::Freed;
pub use memproto::{ApiError, BlockClass, BlockId, ErrorCode, NodeId, Placement, ValueName};
pub use object::Object;
pub use put::{Put, PutStream, Stored};
pub use put_many::PutMany;
pub use put_mapped::PutMapped;
pub use scan::{Patterns, Scan};

/// How long a value lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// Until it is freed, or its node ends.
    Endless,
    /// This much longer.
    Left(std::time::Duration),
}

/// The node's socket as the environment says: `$MEMCLOUD_SOCKET`, else `$MEMCLOUD_HOME/memnode.sock`, else
/// `$XDG_RUNTIME_DIR/memcloud/memnode.sock`, else `~/.memcloud/memnode.sock`. `None` where none of them is set.
pub fn default_socket_path() -> Option<PathBuf> {
    memproto::local::socket_path(|name| std::env::var_os(name))
}
