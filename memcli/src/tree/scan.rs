//! A look at a folder: all that is in it, without reading a file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use memproto::limits::OBJECT_SIZE_MAX;
use memproto::tree::{DEPTH_MAX, ENTRIES_MAX, Entry, FileTime, Kind, LINK_LEN_MAX, MODE_MASK, is_name};

use crate::exit::{Failure, Outcome};
use crate::tree::exclude::Exclude;
use crate::tree::quoted;

/// What is in a folder.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The folder.
    pub(crate) root: PathBuf,
    /// What is in it, in tree order.
    pub(crate) entries: Vec<Entry>,
    /// What else tells whether a file is still the same: one for each entry.
    pub(crate) stamps: Vec<Stamp>,
    /// What can be in no tree.
    pub(crate) skipped: Vec<Skipped>,
    /// When the look began, by the clock of this machine.
    pub(crate) began: FileTime,
}

/// What this machine knows of a file beyond its size and the time when it was modified, which any program can set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stamp {
    /// When anything of it was changed, its bytes, name, mode or times. Only the system sets this.
    pub(crate) changed: FileTime,
    /// The number of the file within its file system.
    pub(crate) inode: u64,
}

/// What was left out because no tree can have it.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// Its path.
    pub(crate) path: PathBuf,
    /// What it is: "a socket".
    pub(crate) what: &'static str,
}

impl Scan {
    /// Looks at a folder. Links in it are taken as they are and not followed; the folder itself may be named by one.
    ///
    /// What vanishes before it was looked at is not there. What is excluded is not looked at.
    ///
    /// # Errors
    /// Names what is no folder or cannot be read, and what is more or larger than a tree can be.
    pub(crate) fn of(root: &Path, exclude: &Exclude) -> Outcome<Self> {
        let began = now();
        let metadata = fs::metadata(root).map_err(|error| Failure::reading(quoted(root), &error))?;
        if !metadata.is_dir() {
            return Err(Failure::Other(format!("{} is no folder", quoted(root))));
        }
        let mut scan = Self {
            root: root.to_owned(),
            entries: Vec::new(),
            stamps: Vec::new(),
            skipped: Vec::new(),
            began,
        };
        let mut walk = Walk {
            scan: &mut scan,
            exclude,
            relative: PathBuf::new(),
            data_len: 0,
        };
        walk.push(0, Box::default(), Kind::Folder, &metadata)?;
        walk.folder(0, 0)?;
        Ok(scan)
    }

    /// The path of an entry, for the system.
    pub(crate) fn path(&self, place: u32) -> PathBuf {
        let relative = memproto::tree::path(&self.entries, place as usize);
        self.root.join(crate::tree::as_path(&relative))
    }
}

/// The time of a file.
pub(crate) fn modified(metadata: &Metadata) -> FileTime {
    file_time(metadata.mtime(), metadata.mtime_nsec())
}

/// What else is known of a file.
pub(crate) fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        changed: file_time(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
    }
}

/// A time as the system tells it. A file system that is damaged may tell of more nanoseconds than a second has.
pub(crate) fn file_time(seconds: i64, nanos: i64) -> FileTime {
    FileTime {
        seconds,
        nanos: nanos.clamp(0, 999_999_999) as u32,
    }
}

fn now() -> FileTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    FileTime {
        seconds: since.as_secs() as i64,
        nanos: since.subsec_nanos(),
    }
}

/// A scan under way.
struct Walk<'a> {
    scan: &'a mut Scan,
    exclude: &'a Exclude,
    /// The folder that is being looked at, from the root on.
    relative: PathBuf,
    data_len: u64,
}

impl Walk<'_> {
    /// Looks at what is in a folder, which has been pushed at this place.
    fn folder(&mut self, place: u32, depth: usize) -> Outcome {
        let path = self.scan.root.join(&self.relative);
        let failed = |error: &io::Error| Failure::reading(quoted(&path), error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&path).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            match entry.metadata() {
                Ok(metadata) => found.push((entry.file_name(), metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => return Err(Failure::reading(quoted(&entry.path()), &error)),
            }
        }
        found.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        for (name, metadata) in found {
            self.relative.push(&name);
            if !self.exclude.matches(&self.relative, metadata.is_dir()) {
                self.entry(place, name.into_vec().into(), &metadata, depth)?;
            }
            self.relative.pop();
        }
        Ok(())
    }

    /// Takes what is at `relative`, and what is in it.
    fn entry(&mut self, parent: u32, name: Box<[u8]>, metadata: &Metadata, depth: usize) -> Outcome {
        let path = self.scan.root.join(&self.relative);
        if !is_name(&name) {
            return Err(Failure::Other(format!(
                "the name of {} is too long for a tree",
                quoted(&path)
            )));
        }
        let file_type = metadata.file_type();
        if file_type.is_dir() {
            if depth == DEPTH_MAX {
                return Err(Failure::Other(format!(
                    "{} lies too deep: a tree has at most {DEPTH_MAX} folders in each other",
                    quoted(&path)
                )));
            }
            let place = self.push(parent, name, Kind::Folder, metadata)?;
            return self.folder(place, depth + 1);
        }
        let kind = if file_type.is_file() {
            self.data_len = self.data_len.saturating_add(metadata.len());
            if self.data_len > OBJECT_SIZE_MAX {
                return Err(Failure::Other(format!(
                    "{} does not fit: the files of a tree have at most {} in all",
                    quoted(&path),
                    crate::size::show_size(OBJECT_SIZE_MAX)
                )));
            }
            Kind::File { size: metadata.len() }
        } else if file_type.is_symlink() {
            let target = fs::read_link(&path).map_err(|error| Failure::reading(quoted(&path), &error))?;
            let target = target.into_os_string().into_vec();
            if target.is_empty() || target.len() > LINK_LEN_MAX {
                return Err(Failure::Other(format!(
                    "the link {} points to what is no path",
                    quoted(&path)
                )));
            }
            Kind::Link {
                target: target.into(),
            }
        } else {
            let what = match () {
                () if file_type.is_socket() => "a socket",
                () if file_type.is_fifo() => "a named pipe",
                () => "a device",
            };
            self.scan.skipped.push(Skipped { path, what });
            return Ok(());
        };
        self.push(parent, name, kind, metadata).map(drop)
    }

    fn push(&mut self, parent: u32, name: Box<[u8]>, kind: Kind, metadata: &Metadata) -> Outcome<u32> {
        let place = self.scan.entries.len();
        if place == ENTRIES_MAX {
            return Err(Failure::Other(format!(
                "{} has more than {ENTRIES_MAX} files and folders: push its parts one by one",
                quoted(&self.scan.root)
            )));
        }
        self.scan.entries.push(Entry {
            parent,
            name,
            mode: metadata.mode() as u16 & MODE_MASK,
            modified: modified(metadata),
            kind,
        });
        self.scan.stamps.push(stamp(metadata));
        Ok(place as u32)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use memproto::tree::Index;

    use super::*;

    /// Looks at a folder and leaves nothing out.
    pub(crate) fn scan(root: &Path) -> Scan {
        Scan::of(root, &Exclude::new(&[], &[]).unwrap()).unwrap()
    }

    fn paths(scan: &Scan) -> Vec<String> {
        let paths = (0..scan.entries.len()).map(|place| memproto::tree::path(&scan.entries, place));
        paths
            .map(|path| String::from_utf8_lossy(&path).into_owned())
            .collect()
    }

    #[test]
    fn entries_stand_in_tree_order_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        for (path, bytes) in [("a/b/c", "1"), ("a-", ""), ("a.txt", "22"), ("z", "333")] {
            fs::write(root.join(path), bytes).unwrap();
        }
        symlink("/etc", root.join("a/link")).unwrap();
        fs::hard_link(root.join("z"), root.join("y")).unwrap();
        let scan = scan(root);
        assert_eq!(
            paths(&scan),
            [
                "", "a", "a/b", "a/b/c", "a/link", "a-", "a.txt", "empty", "y", "z"
            ]
        );
        let link = Kind::Link {
            target: b"/etc"[..].into(),
        };
        assert_eq!(scan.entries[4].kind, link);
        assert_eq!(scan.entries[8].kind, Kind::File { size: 3 });
        assert_eq!(scan.path(3), root.join("a/b/c"));
        // The order is the one that an index must have.
        let index = Index {
            packs: vec![memproto::tree::Pack {
                files: 4,
                hash: crate::tree::hash_of(b""),
            }],
            entries: scan.entries,
            ..Index::default()
        };
        let bytes = memproto::tree::codec::encode(&index);
        assert_eq!(memproto::tree::codec::decode(&bytes), Ok(index));
    }

    #[test]
    fn modes_times_and_names_of_any_bytes_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(crate::tree::as_path(b"\xff \n"));
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
        let time = UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        let scan = scan(folder.path());
        let entry = &scan.entries[1];
        assert_eq!((&entry.name[..], entry.mode), (&b"\xff \n"[..], 0o4751));
        assert_eq!(
            entry.modified,
            FileTime {
                seconds: 1_000_000_000,
                nanos: 123_456_789
            }
        );
        assert!(scan.stamps[1].inode != 0 && scan.stamps[1].changed <= now());
    }

    #[test]
    fn sockets_and_pipes_are_left_out_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let scan = scan(folder.path());
        assert_eq!(scan.entries.len(), 1);
        let skipped: Vec<_> = scan
            .skipped
            .iter()
            .map(|skipped| (&*skipped.path, skipped.what))
            .collect();
        assert_eq!(
            skipped,
            [
                (&*folder.path().join("pipe"), "a named pipe"),
                (&*folder.path().join("socket"), "a socket")
            ]
        );
    }

    #[test]
    fn what_is_excluded_is_not_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("target/deep")).unwrap();
        fs::create_dir_all(folder.path().join("src/target")).unwrap();
        fs::write(folder.path().join("src/target/x.o"), "").unwrap();
        let exclude = Exclude::new(&[], &["/target".to_owned(), "*.o".to_owned()]).unwrap();
        let scan = Scan::of(folder.path(), &exclude).unwrap();
        assert_eq!(paths(&scan), ["", "src", "src/target"]);
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let exclude = Exclude::new(&[], &[]).unwrap();
        let error = Scan::of(&file, &exclude).unwrap_err().to_string();
        assert!(error.ends_with("/file' is no folder"), "{error}");
        let error = Scan::of(&folder.path().join("none"), &exclude)
            .unwrap_err()
            .to_string();
        assert!(error.contains("/none': No such file"), "{error}");
    }

    #[test]
    fn folders_that_lie_too_deep_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", DEPTH_MAX).collect();
        fs::create_dir_all(folder.path().join(&deep)).unwrap();
        assert_eq!(scan(folder.path()).entries.len(), DEPTH_MAX + 1);
        fs::create_dir(folder.path().join(&deep).join("e")).unwrap();
        let exclude = Exclude::new(&[], &[]).unwrap();
        let error = Scan::of(folder.path(), &exclude).unwrap_err().to_string();
        assert!(error.contains("/e' lies too deep"), "{error}");
    }
}
