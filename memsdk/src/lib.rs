//! The Rust client of MemCloud: one shared, ephemeral store made of the idle RAM of the machines on a LAN.
//!
//! A program talks to the `memnode` of its own host over a Unix socket, or over TCP with the node's token
//! ([`Builder::tcp`]); the node does the rest: it places blocks on peers that have room, finds what lies elsewhere, and never
//! gives memory to anybody whom its owner did not allow.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/example.rs"));
//! # fn main() { beside_a_node(async {
//! use memsdk::MemCloud;
//!
//! let cloud = MemCloud::connect().await?;
//!
//! cloud.set("greeting", "Hello from MemCloud!").await?;
//! let greeting = cloud.get("greeting").await?;
//! assert_eq!(greeting.as_deref(), Some(&b"Hello from MemCloud!"[..]));
//! # Ok(()) }) }
//! ```
//!
//! It needs a running node: `memcli node start`. Programs without a runtime use [`blocking`], which has the same methods.
//!
//! # A cache, and data that expires
//! Everything that goes in or out is [`Bytes`]: values are not copied on their way through this crate where that can be avoided.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/example.rs"));
//! # fn main() { beside_a_node(async {
//! use std::time::Duration;
//! use memsdk::{BlockClass, Lifetime, MemCloud};
//!
//! let cloud = MemCloud::connect().await?;
//! cloud.set("session:42", "...").ttl(Duration::from_secs(600)).await?;
//! cloud.set("thumbnail:42", vec![0; 4096]).class(BlockClass::Cache).await?;
//! assert!(matches!(cloud.ttl("session:42").await?, Some(Lifetime::Left(_))));
//! # Ok(()) }) }
//! ```
//!
//! # Many things at once
//! Calls that are made at the same time leave in one write, and [`mget`](MemCloud::mget), [`mset`](MemCloud::mset) and
//! [`mdel`](MemCloud::mdel) put many keys into one request.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/example.rs"));
//! # fn main() { beside_a_node(async {
//! # use memsdk::MemCloud;
//! # let cloud = MemCloud::connect().await?;
//! cloud.mset(&[("a", "one".into()), ("b", "two".into())]).await?;
//! assert_eq!(cloud.mget(&["a", "c"]).await?, [Some("one".into()), None]);
//!
//! // The keys of the whole pool that match a glob.
//! assert_eq!(cloud.keys("?").await?, ["a", "b"]);
//!
//! let (a, b) = tokio::join!(cloud.get("a"), cloud.get("b"));
//! assert_eq!((a?, b?), (Some("one".into()), Some("two".into())));
//!
//! assert_eq!(cloud.mdel(&["a", "b", "c"]).await?, 2);
//! # Ok(()) }) }
//! ```
//!
//! # Files larger than memory
//! What an [`AsyncRead`](tokio::io::AsyncRead) yields goes in as a stream, and comes out as one. Neither side holds more than a
//! few MiB of it.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/example.rs"));
//! # fn main() { beside_a_node(async {
//! # use memsdk::MemCloud;
//! # let folder = tempfile::tempdir()?;
//! # let (model, copy) = (folder.path().join("model.bin"), folder.path().join("copy.bin"));
//! # std::fs::write(&model, vec![7; 1 << 20])?;
//! # let cloud = MemCloud::connect().await?;
//! let model = tokio::fs::File::open(model).await?;
//! let stored = cloud.stream(model).await?;
//! let mut object = cloud.open(stored.id).await?;
//! let mut copy = tokio::fs::File::create(copy).await?;
//! assert_eq!(tokio::io::copy(&mut object, &mut copy).await?, stored.size);
//! # Ok(()) }) }
//! ```
//!
//! # Streams, piece by piece
//! A [`StreamWriter`] is an `AsyncWrite` whose stream can be read while it is written, from a file that the node reads itself, and by its name. It survives its
//! connection: [`resume_stream`](MemCloud::resume_stream) goes on where it broke off. A [`StreamReader`] reads at any place, with read-ahead and a bounded cache;
//! [`load_into`](MemCloud::load_into) lets the node fill a file.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/example.rs"));
//! # fn main() { beside_a_node(async {
//! # use memsdk::MemCloud;
//! use std::io::SeekFrom;
//! use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
//!
//! # let cloud = MemCloud::connect().await?;
//! let mut log = cloud.stream_writer().key("log").live(true).await?;
//! let mut follower = cloud.follow(log.id()).await?;
//! log.write_all(b"it begins, ").await?;
//! log.flush().await?;
//! assert_eq!(follower.next().await?.as_deref(), Some(&b"it begins, "[..]));
//!
//! log.write_bytes("and ends").await?;
//! let finished = log.finish().await?;
//! assert_eq!(finished.size_bytes, 19);
//!
//! let mut reader = cloud.reader(finished.id).await?;
//! reader.seek(SeekFrom::End(-4)).await?;
//! let mut end = String::new();
//! reader.read_to_string(&mut end).await?;
//! assert_eq!(end, "ends");
//! # Ok(()) }) }
//! ```
//!
//! # Large values without a copy
//! On Linux a value of 1 MiB or more lies in memory that can be shared. [`get_mapped`](MemCloud::get_mapped) maps it, which takes
//! some microseconds whatever its size, and [`set_mapped`](MemCloud::set_mapped) gives memory away that was filled in place.
//! Where memory cannot be shared (smaller values, what lies on peers, streams, TCP, other systems) the same calls move bytes; from 16 MiB on, on Linux, straight into the memory of one
//! mapping, several chunks at a time.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/example.rs"));
//! # fn main() { beside_a_node(async {
//! use memsdk::{MemCloud, MemoryFile};
//!
//! let cloud = MemCloud::connect().await?;
//! let mut weights = MemoryFile::create(4 << 20)?;
//! weights[..4].copy_from_slice(b"GGUF");
//! cloud.set_mapped("weights", weights).await?;
//!
//! let mapped = cloud.get_mapped("weights").await?.expect("it was set just now");
//! assert!(mapped.starts_with(b"GGUF") && mapped.len() == 4 << 20);
//! # Ok(()) }) }
//! ```
//!
//! The folder `examples` of the repository has whole programs: a cache in front of something slow, a big file, many calls in
//! flight, and statistics as they change.
//!
//! # What to rely on
//! - A [`MemCloud`] is cheap to clone; all clones share one connection, on which any number of calls are in flight.
//!   It needs a tokio runtime with I/O and time enabled ([`Error::NoRuntime`] elsewhere). When the runtime ends in which it was
//!   connected, its connection does, too.
//! - **Deadlines.** A small call fails with [`Error::Timeout`] after the time of [`Builder::timeout`] (30 s unless said
//!   otherwise); a large value fails when nothing moved for that time. What follows a stream waits for its writer as long as it likes.
//! - **Cancelling.** Dropping the future of a call, or an [`Object`], tells the node to stop working on it. Other calls
//!   on the connection do not notice. A write that is dropped may have happened or not.
//! - **Lost connections.** Calls in flight fail with [`Error::ConnectionLost`], or with the node's own word where it had one
//!   (`ShuttingDown`). The next call connects again; where nobody listens it fails with [`Error::NotRunning`]. Attempts that
//!   follow failed ones wait a little, up to half a second.
//! - **Mapped values.** What [`get_mapped`](MemCloud::get_mapped) returned stays as it is, whatever becomes of the key. It counts
//!   against the node's budget until it is dropped.
//! - **Absence** is `None`. That a peer which holds the value is away is an error, `PeerUnreachable`.
//! - **Panics**: none, whatever is passed in, whatever a node answers, and wherever a call is made.
//! - **Unsafe code** lies in one module, which maps memory files, with its proof beside it.
//!
//! # Features
//! `blocking` (on unless switched off): the module [`blocking`]. It takes no further crate.
//!
//! The protocol is specified in `docs/protocol/local.md` of the repository.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod batches;
#[cfg(feature = "blocking")]
#[cfg_attr(docsrs, doc(cfg(feature = "blocking")))]
pub mod blocking;
mod builder;
mod calls;
mod client;
mod connection;
mod error;
mod load_into;
mod mapped;
#[cfg(target_os = "linux")]
mod memfd;
mod memory_file;
#[cfg(not(target_os = "linux"))]
mod no_memfd;
mod object;
mod positioned;
mod put;
mod put_many;
mod put_mapped;
mod range;
mod scan;
mod send_stream;
mod slots;
mod socket;
mod stream_reader;
mod stream_writer;
mod upload;
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
pub use memproto::listing::{KeyDetails, ListedKey, MissingNode};
pub use memproto::stream::{ChunkHash, Compress, KnownChunk, StreamFinished, StreamHolder, StreamStatus};
pub use memproto::{ApiError, BlockClass, BlockId, ErrorCode, NodeId, Placement, ValueName};
pub use object::Object;
pub use put::{Put, PutStream, Stored};
pub use put_many::PutMany;
pub use put_mapped::PutMapped;
pub use scan::{Patterns, Scan};
pub use send_stream::SendStream;
pub use stream_reader::{
    CACHE_BYTES_DEFAULT, PIECE_SIZE, READ_AHEAD_DEFAULT, StreamReader, StreamReaderBuilder,
};
pub use stream_writer::{StreamWriter, StreamWriterBuilder};

/// How long a value lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// Until it is freed, or its node ends.
    Endless,
    /// This much longer.
    Left(std::time::Duration),
}

/// The node's socket as the environment says: `$MEMCLOUD_SOCKET`, else `$MEMCLOUD_HOME/memnode.sock`, else
/// `$XDG_RUNTIME_DIR/memcloud/memnode.sock`, else `~/.memcloud/memnode.sock`. Where it says neither of the first two, and this user has no socket
/// at the other two, it is that of the node of the whole machine, `/run/memcloud/memnode.sock`, if there is one. `None` where there is nothing of all that.
pub fn default_socket_path() -> Option<PathBuf> {
    memproto::local::client_socket_path(|name| std::env::var_os(name), std::path::Path::exists)
}

/// The examples of the README are those of a program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
