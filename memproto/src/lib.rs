//! What crosses a wire in MemCloud, and nothing else.
//!
//! Types, limits, error codes, codecs and protocol state machines. Nothing here opens a socket, spawns a task,
//! reads a clock or draws a random number: time and random bytes are arguments, bytes and events are results.
//!
//! - [`local`]: the native protocol between a program and the `memnode` of its own host (`docs/protocol/local.md`).
//! - `peer`: the encrypted protocol between two nodes (`docs/protocol/peer.md`), behind the feature of this name.
//! - [`control`]: the JSON bodies of control operations, which are also what `memcli --json` prints.
//!
//! Read [`id`] and [`error`] first, then [`local`].

pub mod class;
pub mod control;
pub mod error;
pub mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod id;
pub mod key;
pub mod limits;
pub mod listing;
pub mod local;
pub mod pattern;
#[cfg(feature = "peer")]
pub mod peer;
pub mod placement;
pub mod stream;
pub mod tree;
pub mod ttl;
pub mod version;

pub use class::BlockClass;
pub use error::{ApiError, ErrorCode};
pub use id::{BlockId, NodeId};
pub use placement::Placement;
pub use stream::ChunkHash;
pub use ttl::{LifetimeChange, Ttl, ValueName};
pub use version::Version;
