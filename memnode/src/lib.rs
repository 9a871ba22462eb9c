//! The MemCloud daemon as a library. The binary `memnode` is a thin `main` around it.
//!
//! Read [`service`] for what a node does, [`body`] for how bytes pass through it, [`value`] and [`store`] for where they lie,
//! [`peer`] for other nodes, [`config`] for all that can be set, and [`node`] for how the parts fit together.

mod args;
pub mod body;
pub mod budget;
pub mod buffer;
pub mod chunk;
pub mod config;
pub mod counters;
pub mod discovery;
pub mod doctor;
pub mod expiry;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod hex;
pub mod home;
pub mod identity;
pub mod ids;
pub mod interfaces;
pub mod local;
pub mod logging;
pub mod memory_file;
pub mod node;
pub mod notify;
mod patience;
pub mod peer;
pub mod placement;
pub mod platform;
pub mod service;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
pub mod size;
pub mod span;
pub mod store;
pub mod supervisor;
pub mod surroundings;
pub mod timings;
pub mod token;
pub mod trust;
pub mod value;
pub mod wake;
