//! The folder that a tree is written to. Nothing is read, written or removed outside of it, whatever the tree says and whatever lies there.
//!
//! A folder below it is opened from the descriptor of the root on, and a symbolic link on the way is an error: by `openat2` with
//! `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS` where the system has that, else one name at a time with `O_NOFOLLOW`. All else is done in an
//! open folder to one name in it, which [`memproto::tree::codec`] checked, and never follows a link. So a link that came with the tree,
//! or that somebody puts there at any moment, leads nothing astray.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memproto::tree::{Entry, FileTime, MODE_MASK};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::exit::{Failure, Outcome, reason};
use crate::tree::scan::file_time;
use crate::tree::{as_path, quoted};

/// The most folders that are kept open. Trees are written in order, so that few are needed again later.
const OPEN_MAX: usize = 64;

/// How often a name for a new file is drawn before something must be wrong: a name is one of 2^64.
const DRAWS_MAX: usize = 8;

/// What files and folders may keep of their modes: neither setuid nor setgid nor sticky.
const KEPT_MODE: u16 = 0o777;

/// A folder that a tree is written to.
#[derive(Debug)]
pub(crate) struct Target {
    root: Arc<OwnedFd>,
    path: PathBuf,
    /// Whether the folder was not there before.
    is_new: bool,
    open: Mutex<HashMap<u32, Arc<OwnedFd>>>,
    has_openat2: AtomicBool,
}

/// What lies at a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) what: What,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its mode.
    pub(crate) mode: u16,
    /// When it was modified.
    pub(crate) modified: FileTime,
    /// How many names it has.
    pub(crate) links: u64,
}

/// What can lie at a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Folder,
    File,
    Link,
    /// A device, socket or pipe.
    Special,
}

impl Target {
    /// The folder at a path, which may be a link to it; `None` where there is nothing.
    ///
    /// # Errors
    /// Where it is no folder, or cannot be read.
    pub(crate) fn find(path: &Path) -> Outcome<Option<Self>> {
        match rustix::fs::open(path, FOLDER, Mode::empty()) {
            Ok(root) => Ok(Some(Self::new(root, path, false))),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => Err(Failure::Other(format!("{} is no folder", quoted(path)))),
            Err(error) => Err(Failure::reading(quoted(path), &error.into())),
        }
    }

    /// Makes the folder, and those that it lies in.
    pub(crate) fn make(path: &Path) -> Outcome<Self> {
        let made = std::fs::create_dir_all(path);
        made.map_err(|error| Failure::Other(format!("cannot make {}: {}", quoted(path), reason(&error))))?;
        match Self::find(path)? {
            Some(target) => Ok(Self {
                is_new: true,
                ..target
            }),
            None => Err(Failure::Other(format!("{} vanished", quoted(path)))),
        }
    }

    fn new(root: OwnedFd, path: &Path, is_new: bool) -> Self {
        Self {
            root: Arc::new(root),
            path: path.to_owned(),
            is_new,
            open: Mutex::default(),
            has_openat2: AtomicBool::new(cfg!(target_os = "linux")),
        }
    }

    /// Whether [`make`](Self::make) made it.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The path of an entry, for messages alone.
    pub(crate) fn path(&self, entries: &[Entry], place: u32) -> PathBuf {
        self.path
            .join(as_path(&memproto::tree::path(entries, place as usize)))
    }

    /// Opens a folder of the tree; the root is 0.
    pub(crate) fn folder(&self, entries: &[Entry], place: u32) -> io::Result<Arc<OwnedFd>> {
        if place == 0 {
            return Ok(Arc::clone(&self.root));
        }
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = lock().get(&place) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(self.open_below(&memproto::tree::path(entries, place as usize))?);
        let mut open = lock();
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(place, Arc::clone(&folder));
        Ok(folder)
    }

    fn open_below(&self, relative: &[u8]) -> io::Result<OwnedFd> {
        if self.has_openat2.load(Ordering::Relaxed) {
            match open_beneath(&self.root, relative) {
                // A system that is older, or does not let us; a path that is too long in one piece.
                Err(error @ (Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::NAMETOOLONG)) => {
                    if matches!(error, Errno::NOSYS | Errno::PERM) {
                        self.has_openat2.store(false, Ordering::Relaxed);
                    }
                }
                opened => return Ok(opened?),
            }
        }
        open_by_names(&self.root, relative)
    }
}

/// How folders are opened: as folders, and not by way of a link that has their name.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

#[cfg(target_os = "linux")]
fn open_beneath(root: &OwnedFd, relative: &[u8]) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, relative, FOLDER | OFlags::NOFOLLOW, Mode::empty(), resolve)
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_: &OwnedFd, _: &[u8]) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

fn open_by_names(root: &OwnedFd, relative: &[u8]) -> io::Result<OwnedFd> {
    let mut folder = root.try_clone()?;
    for name in relative.split(|byte| *byte == b'/') {
        folder = rustix::fs::openat(&folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(folder)
}

/// What lies at a name in a folder; `None` where there is nothing.
pub(crate) fn look(folder: &OwnedFd, name: &[u8]) -> io::Result<Option<Found>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(found(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an open file or folder is.
pub(crate) fn look_at(file: &impl std::os::fd::AsFd) -> io::Result<Found> {
    Ok(found(&rustix::fs::fstat(file)?))
}

#[allow(
    clippy::unnecessary_cast,
    reason = "the types of the fields differ between systems"
)]
fn found(stat: &Stat) -> Found {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => What::Folder,
        FileType::RegularFile => What::File,
        FileType::Symlink => What::Link,
        _ => What::Special,
    };
    Found {
        what,
        size: stat.st_size as u64,
        mode: stat.st_mode as u16 & MODE_MASK,
        modified: file_time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        links: stat.st_nlink as u64,
    }
}

/// The mode that an entry gets.
pub(crate) fn kept_mode(entry: &Entry) -> u16 {
    entry.mode & KEPT_MODE
}

/// Opens a regular file for reading; `None` where there is none.
pub(crate) fn open_file(folder: &OwnedFd, name: &[u8]) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok((look_at(&file)?.what == What::File).then_some(file))
}

/// Where a link points to.
pub(crate) fn read_link(folder: &OwnedFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes())
}

/// The names in a folder, but `.` and `..`.
pub(crate) fn list(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&name[..], b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes a folder that only its owner can look into, until its mode is set.
pub(crate) fn make_folder(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(folder, name, Mode::RWXU)?)
}

/// Gives an open file or folder its mode and time.
pub(crate) fn set_attributes(file: &impl std::os::fd::AsFd, mode: u16, modified: FileTime) -> io::Result<()> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode.into()))?;
    Ok(rustix::fs::futimens(file, &times(modified))?)
}

/// Gives an open folder its mode.
pub(crate) fn set_mode(file: &impl std::os::fd::AsFd, mode: u16) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode.into()))?)
}

fn times(modified: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: modified.seconds,
            tv_nsec: modified.nanos.into(),
        },
    }
}

/// Makes a link, in the place of a file or link that is there.
pub(crate) fn put_link(folder: &OwnedFd, name: &[u8], target: &[u8], modified: FileTime) -> io::Result<()> {
    let temporary = draw(|temporary| rustix::fs::symlinkat(target, folder, temporary))?.1;
    let put = rustix::fs::utimensat(
        folder,
        &temporary[..],
        &times(modified),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .and_then(|()| rustix::fs::renameat(folder, &temporary[..], folder, name));
    if put.is_err() {
        // The first error is the one to tell.
        let _ = rustix::fs::unlinkat(folder, &temporary[..], AtFlags::empty());
    }
    Ok(put?)
}

/// Removes what lies at a name, and of a folder all that is in it. Where there is nothing that is no error.
pub(crate) fn remove(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let is_folder = match look(folder, name)? {
        None => return Ok(()),
        Some(found) => found.what == What::Folder,
    };
    if is_folder {
        let inner = rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        let mode = look_at(&inner)?.mode;
        if mode & 0o700 != 0o700 {
            set_mode(&inner, mode | 0o700)?;
        }
        for name in list(&inner)? {
            remove(&inner, &name)?;
        }
    }
    let flags = if is_folder {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    match rustix::fs::unlinkat(folder, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Does something with a name that nothing has yet.
fn draw<T>(mut make: impl FnMut(&[u8]) -> Result<T, Errno>) -> io::Result<(T, Vec<u8>)> {
    for number in 0..DRAWS_MAX {
        // Each state has keys of its own, drawn by the system.
        let name = format!(".memcli-{:016x}.part", RandomState::new().hash_one(number)).into_bytes();
        match make(&name) {
            Err(Errno::EXIST) => (),
            Ok(made) => return Ok((made, name)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A file that appears under its name only when it is whole.
#[derive(Debug)]
pub(crate) struct NewFile {
    folder: Arc<OwnedFd>,
    /// Its name until then; `None` once it is in its place.
    temporary: Option<Vec<u8>>,
    /// Whether it stays where it is when it is dropped, so that a later pull goes on with it.
    is_kept: bool,
    file: File,
}

impl NewFile {
    /// A new empty file.
    pub(crate) fn create(folder: Arc<OwnedFd>) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let (file, name) = draw(|name| rustix::fs::openat(&folder, name, flags, mode))?;
        Ok(Self {
            folder,
            temporary: Some(name),
            is_kept: false,
            file: file.into(),
        })
    }

    /// A file that stays when it is not finished, under this name, and is gone on with under it. Where another pull writes to it, or
    /// what has the name is not what one left, it is a new one that does not stay.
    pub(crate) fn resume(folder: Arc<OwnedFd>, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let Ok(file) = rustix::fs::openat(&folder, name, flags, mode) else {
            return Self::create(folder);
        };
        let stat = rustix::fs::fstat(&file)?;
        // A second name of it would lead the writes to another place.
        let is_ours = found(&stat).what == What::File
            && found(&stat).links == 1
            && stat.st_uid == rustix::process::geteuid().as_raw();
        if !is_ours || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Self::create(folder);
        }
        Ok(Self {
            folder,
            temporary: Some(name.to_vec()),
            is_kept: true,
            file: file.into(),
        })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it its mode and time and puts it in its place, instead of a file or link that is there.
    pub(crate) fn finish(mut self, name: &[u8], mode: u16, modified: FileTime) -> io::Result<()> {
        set_attributes(&self.file, mode, modified)?;
        if let Some(temporary) = &self.temporary {
            rustix::fs::renameat(&self.folder, &temporary[..], &self.folder, name)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take().filter(|_| !self.is_kept) {
            // Whatever made the write fail is told; a file that stays behind is one that a person can remove.
            let _ = rustix::fs::unlinkat(&self.folder, &temporary[..], AtFlags::empty());
        }
    }
}

/// Lets the system copy bytes from one file to the same place in another. Where the file system can, both share them on the disk.
pub(crate) fn copy_range(from: &File, to: &File, range: std::ops::Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        match copy_by_system(from, to, at, range.end - at) {
            Some(copied) => at += copied?,
            None => return copy_by_hand(from, to, at..range.end),
        }
    }
    Ok(())
}

/// `copy_file_range` clones where the file system can (btrfs, XFS, bcachefs), and else copies within the system. `None` where it does neither.
#[cfg(target_os = "linux")]
fn copy_by_system(from: &File, to: &File, at: u64, len: u64) -> Option<io::Result<u64>> {
    let (mut read_at, mut write_at) = (at, at);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), len) {
        Ok(0) | Err(Errno::INVAL | Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM) => None,
        copied => Some(copied.map(|copied| copied as u64).map_err(io::Error::from)),
    }
}

#[cfg(not(target_os = "linux"))]
fn copy_by_system(_: &File, _: &File, _: u64, _: u64) -> Option<io::Result<u64>> {
    None
}

fn copy_by_hand(from: &File, to: &File, range: std::ops::Range<u64>) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut piece = vec![0; 256 * 1024];
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(piece.len() as u64) as usize;
        from.read_exact_at(&mut piece[..len], at)?;
        to.write_all_at(&piece[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
