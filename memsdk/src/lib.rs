//! The Rust client of MemCloud: one shared, ephemeral store made of the idle RAM of the machines on a LAN.
//!
//! A program talks to the `memnode` of its own host over a Unix socket; the node does the rest.

#![forbid(unsafe_code)]

mod builder;
mod client;
mod connection;
mod error;
mod object;
mod put;
mod socket;

use std::path::PathBuf;

pub use builder::{Builder, DEFAULT_TIMEOUT};
pub use bytes::Bytes;
pub use client::MemCloud;
pub use error::{Error, Result};
pub use memproto::control;
pub use memproto::control::Freed;
pub use memproto::{ApiError, BlockClass, BlockId, ErrorCode, NodeId, Placement};
pub use object::Object;
pub use put::{Put, PutStream, Stored};

/// The node's socket as the environment says: `$MEMCLOUD_SOCKET`, else `$MEMCLOUD_HOME/memnode.sock`, else
/// `$XDG_RUNTIME_DIR/memcloud/memnode.sock`, else `~/.memcloud/memnode.sock`. `None` where none of them is set.
pub fn default_socket_path() -> Option<PathBuf> {
    memproto::local::socket_path(|name| std::env::var_os(name))
}
