//! The Rust client of MemCloud.
