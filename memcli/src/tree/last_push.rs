//! What this machine remembers of a push, so that the next one of the same folder reads nothing that did not change and fetches nothing.
//!
//! One file for each folder and name, below `pushes` in the home. It is a cache: whatever is wrong with it, the push goes without.
//!
//! ```text
//! magic "MCPUSH\r\n" | version u32 | stream u64 | its size u64 | began i64, u32 | index length u64 | index
//! | for each entry of the index: changed i64, u32 | inode u64
//! | BLAKE3 hash of all that 32
//! ```

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use memproto::BlockId;
use memproto::tree::codec::{decode, encode};
use memproto::tree::{ENTRIES_MAX, FileTime, INDEX_LEN_MAX, Index};

use crate::tree::changes::{Before, Seen};
use crate::tree::hash_of;
use crate::tree::scan::Stamp;

const MAGIC: &[u8; 8] = b"MCPUSH\r\n";
const VERSION: u32 = 1;
const HEAD_LEN: usize = 8 + 4 + 8 + 8 + 12 + 8;
const STAMP_LEN: usize = 20;
const HASH_LEN: usize = 32;

/// The longest file that is read.
const FILE_LEN_MAX: u64 = INDEX_LEN_MAX + (ENTRIES_MAX * STAMP_LEN + HEAD_LEN + HASH_LEN) as u64;

/// How many pushes are remembered; those that are the longest ago go first.
const PUSHES_MAX: usize = 64;

/// The file that remembers the pushes of a folder under a name.
#[derive(Clone, Debug)]
pub(crate) struct LastPush {
    path: PathBuf,
}

impl LastPush {
    /// That of a folder, by its path without links, and a name.
    pub(crate) fn of(home: &Path, folder: &Path, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(folder.as_os_str().as_bytes());
        let hash = hasher.finalize();
        Self {
            path: home.join("pushes").join(&hash.to_hex()[..32]),
        }
    }

    /// What was pushed, if that is the stream with this id and size.
    pub(crate) fn load(&self, stream: BlockId, size: u64) -> Option<Before> {
        let mut bytes = Vec::new();
        let file = fs::File::open(&self.path).ok()?;
        file.take(FILE_LEN_MAX).read_to_end(&mut bytes).ok()?;
        read(&bytes, stream, size)
    }

    /// Remembers a push. Where that cannot be done the next one has more to do, and nothing else is lost.
    pub(crate) fn save(&self, stream: BlockId, size: u64, index: &Index, seen: &Seen) {
        // As said above.
        let _ = self.write(&write(stream, size, index, seen));
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => (),
        }
        let mut file = tempfile::Builder::new().prefix(".push-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(&self.path)?;
        forget_the_oldest(folder)
    }
}

fn forget_the_oldest(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort_unstable_by(|one, other| other.cmp(one));
    files
        .iter()
        .skip(PUSHES_MAX)
        .try_for_each(|(_, path)| fs::remove_file(path))
}

fn write(stream: BlockId, size: u64, index: &Index, seen: &Seen) -> Vec<u8> {
    let index = encode(index);
    let mut out = Vec::with_capacity(HEAD_LEN + index.len() + seen.stamps.len() * STAMP_LEN + HASH_LEN);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&stream.as_u64().to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    put_time(&mut out, seen.began);
    out.extend_from_slice(&(index.len() as u64).to_le_bytes());
    out.extend_from_slice(&index);
    for stamp in &seen.stamps {
        put_time(&mut out, stamp.changed);
        out.extend_from_slice(&stamp.inode.to_le_bytes());
    }
    let hash = hash_of(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

fn read(bytes: &[u8], stream: BlockId, size: u64) -> Option<Before> {
    let (bytes, hash) = bytes.split_last_chunk::<HASH_LEN>()?;
    let mut fields = Fields(bytes);
    let is_meant = fields.take(8)? == MAGIC
        && fields.u32()? == VERSION
        && fields.u64()? == stream.as_u64()
        && fields.u64()? == size
        && hash_of(bytes).as_bytes() == hash;
    if !is_meant {
        return None;
    }
    let began = fields.time()?;
    let index_len = usize::try_from(fields.u64()?).ok()?;
    let index = decode(fields.take(index_len)?).ok()?;
    let mut stamps = Vec::new();
    while !fields.0.is_empty() {
        stamps.push(Stamp {
            changed: fields.time()?,
            inode: fields.u64()?,
        });
    }
    (stamps.len() == index.entries.len()).then_some(Before {
        index,
        seen: Some(Seen { stamps, began }),
    })
}

fn put_time(out: &mut Vec<u8>, time: FileTime) {
    out.extend_from_slice(&time.seconds.to_le_bytes());
    out.extend_from_slice(&time.nanos.to_le_bytes());
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Option<FileTime> {
        Some(FileTime {
            seconds: self.array().map(i64::from_le_bytes)?,
            nanos: self.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use memproto::tree::{Entry, Kind};

    use super::*;

    fn sample() -> (Index, Seen) {
        let time = FileTime {
            seconds: -5,
            nanos: 7,
        };
        let entry = |name: &[u8], kind| Entry {
            parent: 0,
            name: name.into(),
            mode: 0o755,
            modified: time,
            kind,
        };
        let index = Index {
            entries: vec![entry(b"", Kind::Folder), entry(b"a", Kind::File { size: 0 })],
            ..Index::default()
        };
        let stamps = vec![
            Stamp {
                changed: time,
                inode: 1,
            },
            Stamp {
                changed: time,
                inode: u64::MAX,
            },
        ];
        (
            index,
            Seen {
                stamps,
                began: FileTime {
                    seconds: 1 << 40,
                    nanos: 1,
                },
            },
        )
    }

    fn id(number: u64) -> BlockId {
        BlockId::new(number).unwrap()
    }

    #[test]
    fn what_was_pushed_is_remembered_for_its_stream_alone() {
        let home = tempfile::tempdir().unwrap();
        let push = LastPush::of(home.path(), Path::new("/src"), "name");
        assert!(push.load(id(7), 100).is_none());
        let (index, seen) = sample();
        push.save(id(7), 100, &index, &seen);
        let before = push.load(id(7), 100).unwrap();
        assert_eq!((before.index, before.seen), (index, Some(seen)));
        assert!(push.load(id(8), 100).is_none() && push.load(id(7), 101).is_none());
        for (folder, name) in [("/srcs", "name"), ("/src", "names"), ("/", "srcname")] {
            assert!(
                LastPush::of(home.path(), Path::new(folder), name)
                    .load(id(7), 100)
                    .is_none()
            );
        }
    }

    #[test]
    fn a_damaged_file_is_no_push() {
        let (index, seen) = sample();
        let bytes = write(id(7), 100, &index, &seen);
        assert!(read(&bytes, id(7), 100).is_some());
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], id(7), 100).is_none(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(read(&bytes, id(7), 100).is_none(), "{at}");
        }
        // One that was made to look right has as many stamps as entries.
        let fewer = Seen {
            stamps: seen.stamps[..1].to_vec(),
            ..seen
        };
        assert!(read(&write(id(7), 100, &index, &fewer), id(7), 100).is_none());
    }

    #[test]
    fn a_home_that_cannot_be_written_is_no_error() {
        let (index, seen) = sample();
        let push = LastPush::of(Path::new("/proc/none"), Path::new("/src"), "name");
        push.save(id(7), 100, &index, &seen);
        assert!(push.load(id(7), 100).is_none());
    }

    #[test]
    fn so_many_pushes_are_remembered_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        let (index, seen) = sample();
        for number in 0..PUSHES_MAX + 5 {
            let name = number.to_string();
            LastPush::of(home.path(), Path::new("/src"), &name).save(id(7), 100, &index, &seen);
        }
        assert_eq!(
            fs::read_dir(home.path().join("pushes")).unwrap().count(),
            PUSHES_MAX
        );
    }
}
