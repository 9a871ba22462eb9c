//! Systems that do not tell in which groups the program at the other end of a socket is: no group is ever let in.

use std::io;

/// # Errors
/// `Unsupported`.
pub fn group_id(_name: &str) -> io::Result<Option<u32>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "only on Linux does the system tell in which groups a program is",
    ))
}

/// # Errors
/// `Unsupported`.
pub fn peer_groups<S>(_socket: S) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}
