//! The folder of a node: `~/.memcloud`, or `$MEMCLOUD_HOME`.
//!
//! One node per folder: `memnode.pid` is locked while the node runs. Files are replaced atomically, so that a reader
//! and a crash see the old or the new one, never a half. See [`crate::identity`] and [`crate::trust`] for what lies here.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::platform;

/// The folder's name in the user's home.
pub const DEFAULT_DIR_NAME: &str = ".memcloud";

/// The longest file that is read whole in bytes. The trust file of 1,024 devices has about 300 KiB.
pub const FILE_SIZE_MAX: u64 = 4 * 1024 * 1024;

/// Why the folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The user has no home folder and none was named.
    #[error("this user has no home folder: name a folder for the node with --home or MEMCLOUD_HOME")]
    NoUserHome,
    /// Another node runs in this folder.
    #[error(
        "a node already runs in {} (PID {}): stop it with `memcli node stop`, or give this one another folder with --home",
        home.display(),
        pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
    )]
    AlreadyRunning {
        /// The folder.
        home: PathBuf,
        /// The process that runs there, where it could be read.
        pid: Option<u32>,
    },
    /// The system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder is open to other users.
    #[error("{} is not safe to use: {reason}", path.display())]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A file is longer than any that the node wrote.
    #[error("{} has {size_bytes} bytes, more than the {FILE_SIZE_MAX} that such a file may have: move it away", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
}

impl HomeError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| HomeError::Io { action, path, source }
    }
}

/// The folder of a node. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Opens a folder, and creates it with mode 0700 where it is not there.
    ///
    /// # Errors
    /// `Io` where it cannot be created or is no folder, `Unsafe` where other users may write to it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, HomeError> {
        let path = path.into();
        platform::create_private_dir(&path).map_err(HomeError::io("create the folder", &path))?;
        // A relative path would mean another folder after a change of directory.
        let path = std::path::absolute(&path).map_err(HomeError::io("find", &path))?;
        let metadata = std::fs::metadata(&path).map_err(HomeError::io("read", &path))?;
        platform::check_unwritable_by_others(&path, &metadata).map_err(|reason| HomeError::Unsafe {
            path: path.clone(),
            reason,
        })?;
        Ok(Self { path })
    }

    /// The folder that is used where nobody names one: `.memcloud` in the user's home.
    ///
    /// # Errors
    /// `NoUserHome`.
    pub fn default_path() -> Result<PathBuf, HomeError> {
        std::env::home_dir()
            .filter(|home| home.is_absolute())
            .map(|home| home.join(DEFAULT_DIR_NAME))
            .ok_or(HomeError::NoUserHome)
    }

    /// The folder itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `identity.key`.
    pub fn identity_file(&self) -> PathBuf {
        self.path.join("identity.key")
    }

    /// `trusted_devices.json`.
    pub fn trust_file(&self) -> PathBuf {
        self.path.join("trusted_devices.json")
    }

    /// `token`.
    pub fn token_file(&self) -> PathBuf {
        self.path.join("token")
    }

    /// `memnode.pid`.
    pub fn pid_file(&self) -> PathBuf {
        self.path.join("memnode.pid")
    }

    /// `memnode.log`.
    pub fn log_file(&self) -> PathBuf {
        self.path.join("memnode.log")
    }

    /// Takes the folder for this process, until the lock is dropped, and writes the process id into `memnode.pid`.
    ///
    /// # Errors
    /// `AlreadyRunning` where another process has it, `Io` where the file cannot be written.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.pid_file();
        loop {
            let mut file = platform::private_file()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(HomeError::io("open", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let pid = read_pid(&mut file);
                    return Err(HomeError::AlreadyRunning {
                        home: self.path.clone(),
                        pid,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(HomeError::io("lock", &path)(source)),
            }
            // The node before us may have removed the file between our open and our lock: then this lock guards
            // a file that nobody else can find, and the next round makes a new one.
            if !platform::is_same_file(&file, &path).unwrap_or(false) {
                continue;
            }
            write_pid(&mut file).map_err(HomeError::io("write", &path))?;
            return Ok(HomeLock {
                file: Some(file),
                path,
            });
        }
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Proof that this process alone runs in a [`Home`]. Dropped, it removes `memnode.pid`.
#[derive(Debug)]
pub struct HomeLock {
    file: Option<File>,
    path: PathBuf,
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // Removed before the lock goes, so that it is ours that is removed. Windows removes no open file.
        if cfg!(windows) {
            self.file = None;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the pid file was not removed");
        }
    }
}

/// Reads a file of at most [`FILE_SIZE_MAX`] bytes, or `None` where there is none. `check` looks at owner and mode.
///
/// # Errors
/// `Io`, `TooLarge`, and `Unsafe` with what `check` says.
pub(crate) fn read_checked(
    path: &Path,
    check: impl FnOnce(&Path, &std::fs::Metadata) -> Result<(), String>,
) -> Result<Option<Vec<u8>>, HomeError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HomeError::io("read", path)(error)),
    };
    let metadata = file.metadata().map_err(HomeError::io("read", path))?;
    check(path, &metadata).map_err(|reason| HomeError::Unsafe {
        path: path.to_owned(),
        reason,
    })?;
    if metadata.len() > FILE_SIZE_MAX {
        return Err(HomeError::TooLarge {
            path: path.to_owned(),
            size_bytes: metadata.len(),
        });
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(FILE_SIZE_MAX)
        .read_to_end(&mut bytes)
        .map_err(HomeError::io("read", path))?;
    Ok(Some(bytes))
}

/// What to do where a file is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Existing {
    /// Put the new one in its place.
    Replace,
    /// Fail with `AlreadyExists`.
    Keep,
}

/// Writes a file of mode 0600 whole: whoever opens the path sees the old bytes or the new ones, also after a crash.
///
/// # Errors
/// `Io`; the old file is as it was.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), HomeError> {
    let write = || -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        // tempfile creates with mode 0600 on Unix.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        match existing {
            Existing::Replace => file.persist(path)?,
            Existing::Keep => file.persist_noclobber(path)?,
        };
        // The new name is on disk only when the folder is. Folders cannot be opened on Windows.
        if cfg!(unix) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(HomeError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_node_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path().join("a/b")).unwrap();
        let lock = home.lock().unwrap();
        let error = home.lock().unwrap_err().to_string();
        assert!(
            error.contains(&format!("(PID {})", std::process::id())),
            "{error}"
        );
        assert!(
            error.contains("already runs in") && error.contains("memcli node stop"),
            "{error}"
        );
        drop(lock);
        assert!(!home.pid_file().exists());
        drop(home.lock().unwrap());
    }

    #[test]
    fn a_pid_file_that_a_killed_node_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        std::fs::write(home.pid_file(), "4000000 and more digits than the new one").unwrap();
        let _lock = home.lock().unwrap();
        let pid = std::fs::read_to_string(home.pid_file()).unwrap();
        assert_eq!(pid, format!("{}\n", std::process::id()));
    }

    #[test]
    fn threads_that_come_and_go_never_hold_the_folder_together() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let holders = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(lock) = home.lock() {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = Home::open(&path).unwrap_err().to_string();
            assert!(
                error.contains("cannot create the folder") && error.contains("file"),
                "{error}"
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        // Root may write everywhere but in the kernel's own file systems.
        let home = Home::open("/proc/self/fdinfo").unwrap();
        let error = home.lock().unwrap_err().to_string();
        assert!(
            error.contains("cannot open /proc/self/fdinfo/memnode.pid"),
            "{error}"
        );
        write_atomic(&home.trust_file(), b"", Existing::Replace).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Home::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("not safe") && error.contains("chmod 700"),
            "{error}"
        );
    }

    #[test]
    fn a_file_is_replaced_whole_or_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomic(&path, b"one", Existing::Keep).unwrap();
        write_atomic(&path, b"two", Existing::Keep).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write_atomic(&path, b"three", Existing::Replace).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(
            dir.path().read_dir().unwrap().count(),
            1,
            "nothing else is left behind"
        );
    }
}
