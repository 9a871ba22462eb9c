//! Sessions over in-memory pipes, and the listener on real sockets, in front of a fake node.

mod fake;
mod growing;
mod json;
mod listener;
mod program;
mod session;
mod streams;
mod tcp;

/// What the fake node is written against; the client's tests name the same from outside.
mod node {
    pub(crate) use crate::body::Body;
    pub(crate) use crate::local::Backend;
    pub(crate) use crate::memory_file::MemoryFiles;
    pub(crate) use crate::service::{ByteRange, Here, Intake, Loaded, PutOptions, Stored, Written};
    pub(crate) use crate::timings::Timings;
}
