//! Tests with several hosts: real programs in network namespaces, each host with its own address and home.
//!
//! They need root, `ip`, `tc` and `nft`, so they are ignored unless asked for: `cargo xtask test` builds the programs and
//! asks where it can. By hand, after `cargo build --workspace`:
//! `cargo test -p xtask --test hosts -- --ignored --test-threads 1 [NAME]`.

mod avahi;
mod bulk;
mod consent;
mod crash;
mod data;
mod discovery;
mod doctor;
mod hostile;
mod interfaces;
mod links;
mod mesh;
mod network;
mod pair;
mod rate;
mod room;
mod scene;
mod start;
mod stream;
