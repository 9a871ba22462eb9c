//! The native protocol between a program and the `memnode` of its own host. Specified in `docs/protocol/local.md`.

mod path;

pub use path::socket_path;
