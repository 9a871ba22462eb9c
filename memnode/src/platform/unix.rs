//! Linux, macOS and the other Unixes.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;
#[cfg(target_os = "linux")]
use std::time::{Duration, UNIX_EPOCH};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::wake::Clocks;

/// The mode of a folder that only its owner may enter.
const PRIVATE_DIR_MODE: u32 = 0o700;
/// The mode of a file that only its owner may read.
const PRIVATE_FILE_MODE: u32 = 0o600;

/// Creates a folder, and those above it, that only its owner may enter. One that exists is left as it is.
///
/// # Errors
/// What the system says.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR_MODE)
        .create(path)
}

/// Options to create a file that only its owner may read and write.
pub fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(PRIVATE_FILE_MODE);
    options
}

/// Checks that only the owner of a file can read or write it.
///
/// # Errors
/// A sentence that says what is wrong and the command that mends it.
pub fn check_private(path: &Path, metadata: &Metadata) -> Result<(), String> {
    check_mode(
        path,
        metadata,
        0o077,
        PRIVATE_FILE_MODE,
        "other users of this host may read or write it",
    )
}

/// Checks that nobody but the owner can write a file or folder, which must belong to this user or to root.
///
/// # Errors
/// A sentence that says what is wrong and the command that mends it.
pub fn check_unwritable_by_others(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let mode = if metadata.is_dir() {
        PRIVATE_DIR_MODE
    } else {
        PRIVATE_FILE_MODE
    };
    check_mode(
        path,
        metadata,
        0o022,
        mode,
        "other users of this host may write to it",
    )
}

/// Checks that a file cannot be written by everybody. Its group may: where each user has a group of their own, editors
/// make files so.
///
/// # Errors
/// A sentence that says what is wrong and the command that mends it.
pub fn check_unwritable_by_anybody(path: &Path, metadata: &Metadata) -> Result<(), String> {
    check_mode(
        path,
        metadata,
        0o002,
        PRIVATE_FILE_MODE,
        "every user of this host may write to it",
    )
}

fn check_mode(
    path: &Path,
    metadata: &Metadata,
    forbidden: u32,
    wanted: u32,
    what: &str,
) -> Result<(), String> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(format!(
            "it belongs to user {}, and this is user {user}",
            metadata.uid()
        ));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(format!(
            "{what} (its mode is {mode:04o}): look whether somebody did, then run `chmod {wanted:o} {}`",
            path.display()
        ));
    }
    Ok(())
}

/// Whether the path still leads to this open file.
pub fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

/// Reads from a place in a file, wherever others read in it. `UnexpectedEof` where the file ends before.
pub fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Writes to a place in a file.
pub fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// Makes this process the leader of a session of its own: a Ctrl-C in the terminal that started it, and the end of that
/// terminal, no longer reach it.
///
/// # Errors
/// What the system says. A process that already leads a group of processes stays as it is, without an error.
pub fn detach() -> io::Result<()> {
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Raises the number of descriptors that this process may have open to the most that the system lets it have. Returns how
/// many that is, or `None` where there is no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    // macOS has a limit of its own below a maximum of "none": then what there was stays.
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// The signals that ask a process to stop: SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal was closed).
#[derive(Debug)]
pub struct StopSignals([Signal; 3]);

impl StopSignals {
    /// Takes the signals over from the system, which would end the process: from now on none is lost.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next one and returns its name.
    ///
    /// # Cancel safety
    /// None is lost.
    pub async fn next(&mut self) -> &'static str {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
        }
    }
}

/// See [`super::coarse_time`].
#[cfg(target_os = "linux")]
pub(super) fn coarse_time() -> SystemTime {
    use rustix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::RealtimeCoarse);
    match (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec)) {
        (Ok(secs), Ok(nanos)) => UNIX_EPOCH + Duration::new(secs, nanos),
        // Before 1970.
        _ => SystemTime::now(),
    }
}

/// See [`super::coarse_time`].
#[cfg(not(target_os = "linux"))]
pub(super) fn coarse_time() -> SystemTime {
    SystemTime::now()
}

/// See [`super::clocks`].
#[cfg(target_os = "linux")]
pub(super) fn clocks() -> Clocks {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let now = clock_gettime(clock);
        // Negative only before 1970.
        match (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec)) {
            (Ok(secs), Ok(nanos)) => Duration::new(secs, nanos),
            _ => Duration::ZERO,
        }
    };
    Clocks {
        awake: read(ClockId::Monotonic),
        with_sleep: Some(read(ClockId::Boottime)),
        wall: read(ClockId::Realtime),
    }
}

/// See [`super::clocks`].
#[cfg(not(target_os = "linux"))]
pub(super) fn clocks() -> Clocks {
    super::clocks_portable()
}

/// See [`super::resident_bytes`]. proc(5): the second figure of `/proc/self/statm` is the resident pages.
#[cfg(target_os = "linux")]
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// See [`super::resident_bytes`].
#[cfg(not(target_os = "linux"))]
pub(super) fn resident_bytes() -> Option<u64> {
    super::resident_bytes_portable()
}
