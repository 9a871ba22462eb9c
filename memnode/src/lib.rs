//! The MemCloud daemon as a library. The binary `memnode` is a thin `main` around it.
//!
//! Read [`service`] for what a node does, [`body`] for how bytes pass through it, [`store`] for where they lie, and
//! [`peer`] for the links to other nodes, [`config`] for all that can be set.

mod args;
pub mod body;
pub mod config;
pub mod discovery;
pub mod hex;
pub mod home;
pub mod identity;
pub mod peer;
pub mod platform;
pub mod service;
pub mod size;
pub mod store;
pub mod trust;
