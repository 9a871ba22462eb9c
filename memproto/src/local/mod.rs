//! The native protocol between a program and the `memnode` of its own host. Specified in `docs/protocol/local.md`.
//!
//! A connection is a preface and then frames both ways. [`Input`] cuts what arrives into frames, [`Output`] collects what is
//! to be written; [`request`] and [`reply`] read and write what stands behind the headers,
//! and [`attached`] tells which frame a descriptor belongs to. Control operations carry the JSON
//! of [`crate::control`]. Nothing here decides what a request does.

pub mod attached;
pub mod batch;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod input;
pub mod keys;
pub mod limits;
pub mod output;
mod path;
mod read;
pub mod reply;
pub mod request;
pub mod streams;

#[cfg(test)]
mod vectors;

pub use frame::{FLAG_MORE, FrameError, FrameHeader, HEADER_LEN, Op};
pub use input::Input;
pub use limits::*;

pub use crate::flow::{DATA_COST_MIN, data_cost};
pub use output::Output;
pub use path::{SYSTEM_GROUP, SYSTEM_SOCKET, client_socket_path, socket_path};
