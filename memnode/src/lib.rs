//! The MemCloud daemon as a library. The binary `memnode` is a thin `main` around it.
//!
//! Read [`service`] for what a node does, [`body`] for how bytes pass through it.

pub mod body;
pub mod local;
pub mod service;
