//! Windows.
//!
//! Files below the user's profile inherit an access list that lets in the user, the administrators and the system, so
//! there are no modes to set or to check: what lies there is as private as the profile.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

use tokio::signal::windows::{self, CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown};

/// Creates a folder and those above it. One that exists is left as it is.
///
/// # Errors
/// What the system says.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Options to create a file that is as private as its folder.
pub fn private_file() -> OpenOptions {
    OpenOptions::new()
}

/// Checks nothing: the access list of the profile decides.
///
/// # Errors
/// None.
pub fn check_private(_path: &Path, _metadata: &Metadata) -> Result<(), String> {
    Ok(())
}

/// Checks nothing: the access list of the profile decides.
///
/// # Errors
/// None.
pub fn check_unwritable_by_others(_path: &Path, _metadata: &Metadata) -> Result<(), String> {
    Ok(())
}

/// Checks nothing: the access list of the profile decides.
///
/// # Errors
/// None.
pub fn check_unwritable_by_anybody(_path: &Path, _metadata: &Metadata) -> Result<(), String> {
    Ok(())
}

/// Whether the path still leads to this open file. An open file cannot be replaced here.
pub fn is_same_file(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Reads from a place in a file. `UnexpectedEof` where the file ends before.
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes to a place in a file.
pub fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Does nothing: who starts the node in the background does so with `DETACHED_PROCESS`.
///
/// # Errors
/// None.
pub fn detach() -> io::Result<()> {
    Ok(())
}

/// Raises the number of descriptors that this process may have open: there is no such limit here.
pub fn raise_descriptor_limit() -> Option<u64> {
    None
}

/// What asks a process to stop: Ctrl-C, Ctrl-Break, the end of its console, of the session, of the system.
#[derive(Debug)]
pub struct StopSignals {
    ctrl_c: CtrlC,
    ctrl_break: CtrlBreak,
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
}

impl StopSignals {
    /// Takes the signals over from the system, which would end the process: from now on none is lost.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            ctrl_c: windows::ctrl_c()?,
            ctrl_break: windows::ctrl_break()?,
            close: windows::ctrl_close()?,
            logoff: windows::ctrl_logoff()?,
            shutdown: windows::ctrl_shutdown()?,
        })
    }

    /// Waits for the next one and returns its name.
    ///
    /// # Cancel safety
    /// None is lost.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.ctrl_c.recv() => "Ctrl-C",
            _ = self.ctrl_break.recv() => "Ctrl-Break",
            _ = self.close.recv() => "the end of the console",
            _ = self.logoff.recv() => "the end of the session",
            _ = self.shutdown.recv() => "the end of the system",
        }
    }
}

/// See [`super::coarse_time`].
pub(super) fn coarse_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// See [`super::clocks`].
pub(super) fn clocks() -> crate::wake::Clocks {
    super::clocks_portable()
}

/// See [`super::resident_bytes`].
pub(super) fn resident_bytes() -> Option<u64> {
    super::resident_bytes_portable()
}
