//! How the program ends: exit codes, and the failures behind them.

use std::fmt;
use std::io;

use memproto::{ApiError, ErrorCode};

/// The exit codes. [`crate::manual`] tells them to people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum ExitStatus {
    /// Done.
    Ok = 0,
    /// It failed for a reason that has no code of its own.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The node is not running, or went away in the middle.
    NotRunning = 3,
    /// No such key or block.
    NotFound = 4,
    /// Out of memory, or over a quota.
    NoRoom = 5,
    /// Denied, or consent is pending.
    Denied = 6,
    /// A deadline passed.
    Timeout = 7,
    /// A peer is unreachable, unknown or ambiguous.
    Peer = 8,
    /// Ctrl-C: 128 and the number of SIGINT, as shells count.
    Interrupted = 130,
}

impl ExitStatus {
    /// All of them, in the order of their codes.
    pub(crate) const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::NotRunning,
        Self::NotFound,
        Self::NoRoom,
        Self::Denied,
        Self::Timeout,
        Self::Peer,
        Self::Interrupted,
    ];

    /// What it says to whoever runs the program.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => "it failed for a reason that has no code of its own",
            Self::Usage => "wrong usage: an option, an argument, a size, an id",
            Self::NotRunning => "the node is not running, or went away in the middle",
            Self::NotFound => "no such key or block",
            Self::NoRoom => "out of memory, or over the quota that a peer granted",
            Self::Denied => "denied, or the other person has not agreed yet",
            Self::Timeout => "a deadline passed",
            Self::Peer => "a peer is unreachable, unknown, or its name is ambiguous",
            Self::Interrupted => "interrupted by Ctrl-C",
        }
    }
}

impl From<ErrorCode> for ExitStatus {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidArgument => ExitStatus::Usage,
            ErrorCode::NotFound => ExitStatus::NotFound,
            ErrorCode::OutOfMemory | ErrorCode::QuotaExceeded => ExitStatus::NoRoom,
            ErrorCode::Denied | ErrorCode::ConsentPending => ExitStatus::Denied,
            ErrorCode::Timeout => ExitStatus::Timeout,
            ErrorCode::PeerUnreachable | ErrorCode::UnknownPeer | ErrorCode::AmbiguousPeer => {
                ExitStatus::Peer
            }
            ErrorCode::ShuttingDown => ExitStatus::NotRunning,
            _ => ExitStatus::Failed,
        }
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node said no, or what memcli itself found has one of the codes of the wire.
    Api(ApiError),
    /// Nothing answers on the socket.
    NotRunning(String),
    /// The node went away in the middle.
    ConnectionLost,
    /// Wrong usage that clap cannot know of.
    Usage(String),
    /// Anything else, in a sentence.
    Other(String),
    /// Ctrl-C, with what that means for the command.
    Interrupted(String),
    /// Whoever read our output has read enough (`memcli keys | head -1`), which is no error.
    OutputClosed,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with one of the codes of the wire.
    pub(crate) fn api(code: ErrorCode, message: impl Into<String>) -> Self {
        Failure::Api(ApiError::new(code, message))
    }

    /// What could not be done with the output, told in full; a closed pipe is no error.
    pub(crate) fn writing(what: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Other(format!("cannot write {what}: {}", reason(error))),
        }
    }

    /// What could not be read.
    pub(crate) fn reading(what: impl fmt::Display, error: &io::Error) -> Self {
        Failure::Other(format!("cannot read {what}: {}", reason(error)))
    }

    /// The exit code.
    pub(crate) fn status(&self) -> ExitStatus {
        match self {
            Failure::Api(error) => error.code.into(),
            Failure::NotRunning(_) | Failure::ConnectionLost => ExitStatus::NotRunning,
            Failure::Usage(_) => ExitStatus::Usage,
            Failure::Other(_) => ExitStatus::Failed,
            Failure::Interrupted(_) => ExitStatus::Interrupted,
            Failure::OutputClosed => ExitStatus::Ok,
        }
    }

    /// The code in `--json`: that of the wire, or one of `not_running`, `connection_lost`, `usage`, `failed`,
    /// `interrupted`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Failure::Api(error) => error.code.as_str(),
            Failure::NotRunning(_) => "not_running",
            Failure::ConnectionLost => "connection_lost",
            Failure::Usage(_) => "usage",
            Failure::Other(_) => "failed",
            Failure::Interrupted(_) => "interrupted",
            Failure::OutputClosed => "output_closed",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Api(error) => f.write_str(&error.message),
            Failure::NotRunning(text)
            | Failure::Usage(text)
            | Failure::Other(text)
            | Failure::Interrupted(text) => f.write_str(text),
            Failure::ConnectionLost => f.write_str(
                "the node went away before it answered: whether the request was carried out is not known; \
                 see: memcli logs",
            ),
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Failure::Api(error)
    }
}

impl From<memsdk::Error> for Failure {
    fn from(error: memsdk::Error) -> Self {
        match error {
            memsdk::Error::Api(error) => Failure::Api(error),
            memsdk::Error::NotRunning { .. } => Failure::NotRunning(error.to_string()),
            memsdk::Error::NotAllowed { .. } => Failure::api(ErrorCode::Denied, error.to_string()),
            memsdk::Error::ConnectionLost => Failure::ConnectionLost,
            memsdk::Error::Timeout => Failure::api(ErrorCode::Timeout, error.to_string()),
            memsdk::Error::Io(error) => error.into(),
            other => Failure::Other(other.to_string()),
        }
    }
}

/// An error of a reader: what the node said, where it is one of the client library in disguise.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.downcast::<memsdk::Error>() {
            Ok(error) => error.into(),
            Err(error) => Failure::Other(reason(&error)),
        }
    }
}

/// The system's words for an error, without the `(os error 28)` that helps nobody.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_wire_become_the_documented_exit_codes() {
        for (code, status) in [
            (ErrorCode::NotFound, 4),
            (ErrorCode::OutOfMemory, 5),
            (ErrorCode::QuotaExceeded, 5),
            (ErrorCode::Denied, 6),
            (ErrorCode::ConsentPending, 6),
            (ErrorCode::Timeout, 7),
            (ErrorCode::PeerUnreachable, 8),
            (ErrorCode::UnknownPeer, 8),
            (ErrorCode::AmbiguousPeer, 8),
            (ErrorCode::TooLarge, 1),
        ] {
            assert_eq!(ExitStatus::from(code) as u8, status, "{code}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is_told_plainly() {
        let closed = Failure::writing("stdout", &io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.status(), ExitStatus::Ok);
        let full = Failure::writing("'out'", &io::Error::from_raw_os_error(28));
        assert_eq!(full.to_string(), "cannot write 'out': No space left on device");
    }
}
