//! JSON lines: one request object a line, one reply object a line, for programs that have a socket and JSON and no more.
//!
//! `request` reads a line into an operation, with its `arguments`, `operation` calls the [`Backend`](super::Backend) for it, and `session`
//! moves lines. None of them decides anything about data. Specified in `docs/protocol/local.md`, "JSON lines".

mod arguments;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod operation;
mod request;
mod session;

pub(super) use session::{JsonSession, error_line};

/// The longest line of a request in bytes: a value of [`VALUE_MAX`] as base64 has two thirds of it, and text may have escapes.
pub(super) const LINE_MAX: usize = 2 * 1024 * 1024;

/// The longest first line in bytes: a token has 64. It is what a stranger makes the node hold.
pub(super) const FIRST_LINE_MAX: usize = 1024;

/// The longest value in bytes, both ways. JSON costs several copies of it; the native protocol moves any size with one.
pub(super) const VALUE_MAX: u64 = 1024 * 1024;

/// The most requests of one connection that are worked on at a time; the next line is read when one is answered.
pub(super) const IN_FLIGHT_MAX: usize = 64;

/// The most bytes that the requests of one connection may make the node hold at a time, by the same rule: a request
/// counts with its line, one that reads with [`VALUE_MAX`] more.
pub(super) const HELD_MAX: usize = 16 * 1024 * 1024;

/// No line is taken while this many bytes of replies wait to be read by the program.
pub(super) const OUTPUT_MAX: usize = 512 * 1024;
