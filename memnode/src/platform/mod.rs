//! What differs between operating systems: file modes, figures of memory, memory files, the terminal.
//!
//! The rest of the daemon names no operating system. Each has one file here with the same functions.

use std::time::SystemTime;

use crate::wake::Clocks;

#[cfg(target_os = "linux")]
mod given;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc;
#[cfg(target_os = "linux")]
mod groups;
#[cfg(target_os = "linux")]
mod memfd;
mod memory;
#[cfg(target_os = "linux")]
mod named;
#[cfg(not(target_os = "linux"))]
mod no_groups;
#[cfg(not(target_os = "linux"))]
mod no_memfd;
#[cfg(target_os = "linux")]
mod tcp;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use memfd as memory_file;
#[cfg(not(target_os = "linux"))]
use no_memfd as memory_file;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

#[cfg(target_os = "linux")]
pub use given::given_file;
#[cfg(target_os = "linux")]
pub use groups::{group_id, peer_groups};
pub use memory::{discard, populate};
pub use memory_file::{Descriptor, DescriptorRef, Memfd, mappings_max};
#[cfg(target_os = "linux")]
pub use named::Program;
#[cfg(not(target_os = "linux"))]
pub use no_groups::{group_id, peer_groups};
#[cfg(not(target_os = "linux"))]
pub use no_memfd::{Program, given_file};
pub use system::{
    StopSignals, check_private, check_unwritable_by_anybody, check_unwritable_by_others, create_private_dir,
    detach, is_same_file, private_file, raise_descriptor_limit, read_exact_at, write_all_at,
};

/// What a file that a program gives must be opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To be read.
    Read,
    /// To be written, each byte at its place.
    Write,
}

/// The name of this host without its domain, or `None` where the system has none.
pub fn host_name() -> Option<String> {
    let name = sysinfo::System::host_name().ok()?;
    name.split('.')
        .next()
        .map(str::to_owned)
        .filter(|label| !label.is_empty())
}

/// The RAM of this machine in bytes, or `None` where the system does not tell.
pub fn total_memory_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.total_memory()).filter(|&bytes| bytes > 0)
}

/// The RAM at which the system ends this process, in bytes: the least of the limits of its control group and those above it, such as
/// a container's or that of a unit of systemd. `None` where there is none, as on systems other than Linux.
pub fn memory_ceiling_bytes() -> Option<u64> {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate};
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = sysinfo::System::new().ok()?;
    let itself = ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(itself, false, ProcessRefreshKind::nothing());
    let limits = system.process(pid)?.cgroup_limits()?;
    // No limit is written by some kernels as 0.
    Some(limits.total_memory).filter(|&limit| limit > 0)
}

/// Makes the memory of freed blocks go back to the system at once. To be called once, before threads are started.
///
/// Only glibc needs it: musl, macOS and Windows give back large allocations anyway.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::return_freed_memory();
}

/// Whether somebody looks at a TCP connection again and again, so that nobody needs to be told of the few bytes that arrive. Whoever waits for
/// the socket is then told of `many` bytes and of its end alone, and once nobody looks any more at once of what is there.
///
/// Elsewhere than on Linux it does nothing: who waits is told for nothing.
#[cfg(unix)]
pub fn set_looked_at(socket: impl std::os::fd::AsFd, looked_at: bool, many: i32) {
    #[cfg(target_os = "linux")]
    // Where it is refused, who waits is told for nothing as well.
    let _ = tcp::tell_of_arrivals_from(socket, if looked_at { many } else { 1 });
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, looked_at, many);
}

/// Lets a TCP socket hold only about so many bytes that it has not sent yet, so that what is said next is not stuck behind a full buffer of
/// bulk. Elsewhere than on Linux it does nothing.
#[cfg(unix)]
pub fn limit_unsent(socket: impl std::os::fd::AsFd, bytes: i32) {
    #[cfg(target_os = "linux")]
    // Where it is refused the socket holds what the system gives every one.
    let _ = tcp::limit_unsent(socket, bytes);
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, bytes);
}

/// The time of day, up to some milliseconds late: on Linux as of the last tick of its clock, which costs a fifth of reading the clock itself
/// (5 ns instead of 25).
pub fn coarse_time() -> SystemTime {
    system::coarse_time()
}

/// The clocks by which sleep is noticed.
pub fn clocks() -> Clocks {
    system::clocks()
}

/// The monotonic clock and the wall clock of the standard library, for systems whose monotonic clock stops in sleep and
/// which have no other one.
#[cfg(not(target_os = "linux"))]
fn clocks_portable() -> Clocks {
    use std::sync::OnceLock;
    use std::time::{Instant, UNIX_EPOCH};
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    Clocks {
        awake: BEGIN.get_or_init(Instant::now).elapsed(),
        with_sleep: None,
        wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}

/// The resident memory of this process in bytes as the system counts it, or `None` where it does not tell.
pub fn resident_bytes() -> Option<u64> {
    system::resident_bytes()
}

/// The resident memory of this process by way of `sysinfo`: the portable way, some hundred microseconds.
#[cfg(not(target_os = "linux"))]
fn resident_bytes_portable() -> Option<u64> {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate};
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        false,
        ProcessRefreshKind::nothing().with_memory(),
    );
    system.process(pid).map(sysinfo::Process::memory)
}

#[cfg(test)]
mod tests {
    #[test]
    fn figures_of_memory_are_plausible() {
        let resident = super::resident_bytes().unwrap();
        assert!(resident > 100 * 1024, "{resident}");
        assert!(super::total_memory_bytes().unwrap() > resident);
    }
}
