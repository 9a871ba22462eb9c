//! Groups of users, and those of the program at the other end of a Unix socket.
//!
//! `unsafe` stands here for one reason: the groups of a socket are asked for by a call of the C library.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{SO_PEERGROUPS, SOL_SOCKET, c_void, gid_t, socklen_t};
use nix::unistd::{Gid, Group};

/// How many groups there is room for at the first question: more than people are in.
const GROUPS_USUAL: usize = 64;

/// The most groups that Linux lets a process have (credentials(7), `NGROUPS_MAX`).
const GROUPS_MAX: usize = 65536;

/// The number of a group by its name or its number, or `None` where this machine has no such group.
///
/// # Errors
/// Where the system cannot look it up.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    let named = Group::from_name(name)?;
    let found = match (named, name.parse::<gid_t>()) {
        (None, Ok(number)) => Group::from_gid(Gid::from_raw(number))?,
        (named, _) => named,
    };
    Ok(found.map(|group| group.gid.as_raw()))
}

/// The groups in which the program at the other end of a Unix socket was when it connected, beside its first one (unix(7), `SO_PEERGROUPS`).
///
/// # Errors
/// What the system says.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let socket = socket.as_fd();
    let mut groups: Vec<gid_t> = vec![0; GROUPS_USUAL];
    loop {
        let mut bytes = size_of_val(groups.as_slice()) as socklen_t;
        // SAFETY: the descriptor is open as long as `socket` is borrowed. The system writes at most `bytes` bytes to where the numbers lie,
        // which is the length of their memory, and to `bytes` itself; any bytes are such numbers.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast::<c_void>(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        match io::Error::last_os_error() {
            // There are more; the system says how many.
            error if error.raw_os_error() == Some(libc::ERANGE) && groups.len() < count => {
                groups.resize(count.min(GROUPS_MAX), 0);
            }
            error => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn groups_have_names_and_numbers() {
        assert_eq!(group_id("root").unwrap(), Some(0));
        assert_eq!(group_id("0").unwrap(), Some(0));
        for missing in ["no-such-group", "4294967294", "-1", ""] {
            assert_eq!(group_id(missing).unwrap(), None, "{missing}");
        }
    }

    #[test]
    fn the_groups_of_the_other_end_are_those_of_its_process() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut groups = peer_groups(&here).unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(Gid::as_raw)
            .collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
    }
}
