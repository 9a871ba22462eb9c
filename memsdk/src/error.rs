//! What a call can fail with.

use std::io;
use std::path::{Path, PathBuf};

use memproto::local::{SYSTEM_GROUP, SYSTEM_SOCKET};
use memproto::{ApiError, ErrorCode};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens at the socket: the node of this host is not started.
    #[error("no MemCloud node answers at {}; start one with: memcli node start", socket.display())]
    NotRunning {
        /// The socket that was tried, or the address on TCP.
        socket: PathBuf,
    },
    /// The node at the socket is for others: another user's, or of the whole machine and for the members of a group.
    #[error("{}", not_allowed(socket))]
    NotAllowed {
        /// The socket that was tried.
        socket: PathBuf,
    },
    /// The node refused or failed the request. The message says what to do next.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The node did not answer, or the body made no progress, within the time of [`Builder::timeout`].
    ///
    /// [`Builder::timeout`]: crate::Builder::timeout
    #[error("the node did not answer in time")]
    Timeout,
    /// The connection ended before the answer: whether the node carried out the request is not known.
    /// The next call connects again.
    #[error("the connection to the node was lost before it answered")]
    ConnectionLost,
    /// The other side does not speak the protocol as specified.
    #[error("the node broke the protocol: {0}")]
    Protocol(String),
    /// There is no tokio runtime here, or none of its threads runs this.
    #[error(
        "memsdk::MemCloud needs a tokio runtime with I/O and time: call it inside one, or use memsdk::blocking, which needs none"
    )]
    NoRuntime,
    /// A call that blocks was made inside an asynchronous runtime, which it would hold up.
    #[error(
        "memsdk::blocking was called inside an asynchronous runtime, which it would hold up: use memsdk::MemCloud there, or \
         call it on a thread of its own"
    )]
    InsideRuntime,
    /// The socket could not be used, or the reader that a value came from failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A stable word for the kind of error: that of [`ErrorCode`] where the node answered, else `not_running`,
    /// `not_allowed`, `timeout`, `connection_lost`, `protocol`, `no_runtime`, `inside_runtime` or `io`.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NotRunning { .. } => "not_running",
            Error::NotAllowed { .. } => "not_allowed",
            Error::Api(error) => error.code.as_str(),
            Error::Timeout => ErrorCode::Timeout.as_str(),
            Error::ConnectionLost => "connection_lost",
            Error::Protocol(_) => "protocol",
            Error::NoRuntime => "no_runtime",
            Error::InsideRuntime => "inside_runtime",
            Error::Io(_) => "io",
        }
    }

    /// The node's code, where the node answered.
    pub fn api_code(&self) -> Option<ErrorCode> {
        match self {
            Error::Api(error) => Some(error.code),
            _ => None,
        }
    }
}

/// That a node is for others, and how one becomes one of them.
fn not_allowed(socket: &Path) -> String {
    let at = socket.display();
    if socket == Path::new(SYSTEM_SOCKET) {
        format!(
            "the node of this machine, at {at}, is for the members of the group '{SYSTEM_GROUP}': add this user with \
             `sudo usermod -aG {SYSTEM_GROUP} \"$USER\"`, then log in again"
        )
    } else {
        format!("the node at {at} is another user's, or of a group in which this user is not")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_use_the_machines_node_is_told_the_command_that_lets_them() {
        let error = |socket: &str| Error::NotAllowed {
            socket: socket.into(),
        };
        let text = error(SYSTEM_SOCKET).to_string();
        assert!(text.contains("sudo usermod -aG memcloud \"$USER\""), "{text}");
        let text = error("/home/ann/.memcloud/memnode.sock").to_string();
        assert!(
            text.contains("is another user's") && !text.contains("usermod"),
            "{text}"
        );
    }
}
