//! The local API: programs of this host's owner, through a Unix socket, and through TCP with the token.
//!
//! The [`Listener`] accepts connections on the Unix socket and proves whose they are; [`TcpApi`] accepts them on loopback
//! and lets in who sends the token. A `Session` (native protocol) or a `JsonSession` (JSON lines, TCP alone) decodes
//! requests, calls the [`Backend`] and encodes what it returns. None of them decides anything about data. The protocols
//! are specified in `docs/protocol/local.md` and the native codecs lie in [`memproto::local`].
//!
//! Read `workers` for the threads on which connections are served, `session` for how one task serves a connection,
//! `outgoing` and `incoming` for bodies under credit, `descriptors` for memory files, `streams` for streams that are written piece by piece and files of programs, `tcp` for what a stranger on TCP gets, `json` for the lines.

mod accept;
#[cfg(unix)]
mod audience;
mod backend;
mod batches;
mod descriptors;
mod gate;
mod incoming;
mod json;
#[cfg(unix)]
mod listener;
mod mapped;
mod operations;
mod outgoing;
mod receiving;
mod session;
#[cfg(unix)]
mod socket;
mod streams;
mod tcp;
mod wire;
#[cfg(unix)]
mod workers;

pub use crate::patience::LOOK_AGAIN_DEFAULT;
#[cfg(unix)]
pub use audience::UserGroup;
pub use backend::Backend;
#[cfg(unix)]
pub use listener::{CONNECTIONS_MAX_DEFAULT, ConnectionGauge, Listener, LocalConfig};
pub use tcp::{API_PORT_DEFAULT, ApiPort, TcpApi, TcpConfig};
#[cfg(unix)]
pub use workers::Workers;

#[cfg(any(test, fuzzing))]
pub(crate) use json::fuzzing;

#[cfg(test)]
mod tests;
