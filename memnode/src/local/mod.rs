//! The local API over the native protocol: programs of this host's owner, through a Unix socket.
//!
//! The [`Listener`] accepts connections and proves whose they are; a `Session` decodes requests, calls the
//! [`Backend`] and encodes what it returns. Neither decides anything about data. The protocol is specified in
//! `docs/protocol/local.md` and its codecs lie in [`memproto::local`].
//!
//! Read `workers` for the threads on which connections are served, `session` for how one task serves a connection, `outgoing` and `incoming` for bodies under credit.

mod backend;
mod incoming;
#[cfg(unix)]
mod listener;
mod operations;
mod outgoing;
mod session;
#[cfg(unix)]
mod socket;
#[cfg(unix)]
mod workers;

pub use backend::Backend;
#[cfg(unix)]
pub use listener::{CONNECTIONS_MAX_DEFAULT, ConnectionGauge, Listener, LocalConfig};
#[cfg(unix)]
pub use workers::Workers;

#[cfg(test)]
mod tests;
