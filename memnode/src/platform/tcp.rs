//! Settings of TCP sockets that Linux has and that rustix does not know.
//!
//! `unsafe` stands here for one reason: they are set by a call of the C library.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{IPPROTO_TCP, SO_RCVLOWAT, SOL_SOCKET, TCP_NOTSENT_LOWAT, c_int, c_void, socklen_t};

/// Tells who waits for the socket of what arrives only once so many bytes are there, or at its end. Reads get what is there all the same. A
/// smaller number takes effect at once: who waits is told of what has arrived meanwhile (tcp(7), `SO_RCVLOWAT`).
pub(super) fn tell_of_arrivals_from(socket: impl AsFd, bytes: i32) -> io::Result<()> {
    set(socket, SOL_SOCKET, SO_RCVLOWAT, bytes)
}

/// Lets the socket take at most about so many bytes that it has not sent yet. What is under way counts in addition
/// (tcp(7), `TCP_NOTSENT_LOWAT`).
pub(super) fn limit_unsent(socket: impl AsFd, bytes: i32) -> io::Result<()> {
    set(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes)
}

fn set(socket: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let value_at: *const c_int = &raw const value;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the system reads an int from where one lies.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value_at.cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(socket: &TcpStream) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    #[test]
    fn few_bytes_are_not_told_of_until_they_are_wanted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let there = listener.accept().unwrap().0;
        tell_of_arrivals_from(&there, 1000).unwrap();
        here.write_all(&[1; 100]).unwrap();
        // They are there when a read finds them.
        there.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(there.peek(&mut [0]).unwrap(), 1);
        assert!(!is_readable(&there));
        tell_of_arrivals_from(&there, 1).unwrap();
        assert!(is_readable(&there));
    }

    #[test]
    fn the_limit_of_what_waits_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        limit_unsent(&here, 128 * 1024).unwrap();
    }
}
