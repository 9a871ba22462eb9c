//! Trees: folders with all that is in them, as one stream.
//!
//! The bytes of the files come first, then the **index**, which says what there is and where, then a [`Trailer`] that says where the
//! index begins. The layout is drawn in `docs/protocol/tree.md`; [`codec`] moves the bytes.
//!
//! Who reads an index may rely on what [`codec::decode`] checks: every name is one component that leads into its folder and nowhere else,
//! no two entries of a folder share a name, nothing lies in what is no folder, and every file has its bytes within the data.

pub mod codec;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use crate::limits::STREAM_CHUNK_SIZE;
use crate::stream::ChunkHash;

pub use codec::{TRAILER_LEN, Trailer, TreeError};

/// The size in bytes from which on a file is **large**: it has chunks of its own. Smaller ones share chunks.
pub const LARGE_FILE_SIZE: u64 = STREAM_CHUNK_SIZE as u64;

/// The most entries of a tree: four times what the largest source trees have. Decoded they take less than 500 MiB.
pub const ENTRIES_MAX: usize = 1 << 22;

/// The longest index in bytes: an entry takes 20 to 60, a chunk 32.
pub const INDEX_LEN_MAX: u64 = 256 << 20;

/// How deep folders may lie in each other, the root not counted. Readers may keep one open file for each level.
pub const DEPTH_MAX: usize = 256;

/// The longest name in bytes. Most file systems take 255.
pub const NAME_LEN_MAX: usize = 1024;

/// The longest target of a symbolic link in bytes: PATH_MAX of Linux without its final zero.
pub const LINK_LEN_MAX: usize = 4095;

/// The bits that a mode may have: permissions, setuid, setgid and sticky.
pub const MODE_MASK: u16 = 0o7777;

/// What is in a tree, and the hashes of the chunks that have its bytes.
///
/// The entries stand in **tree order**: the root first, each folder followed by all that is in it, and what is in one folder sorted by the
/// bytes of the names. The data of the stream are the bytes of all small files in this order, then those of all large ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The chunks that small files share, in the order of the stream.
    pub packs: Vec<Pack>,
    /// The chunks of the large files, one file behind the other: [`large_chunks`] of each.
    pub chunks: Vec<ChunkHash>,
}

/// A file, folder or symbolic link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The folder that it lies in: the place of that entry in the tree. The root has its own, 0.
    pub parent: u32,
    /// The name in that folder, any bytes but `/` and 0; never empty, `.` or `..`, except that the root's is empty.
    pub name: Box<[u8]>,
    /// The permission bits, see [`MODE_MASK`].
    pub mode: u16,
    /// When it was modified.
    pub modified: FileTime,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link.
    Link {
        /// Where it points to, byte for byte: 1 to [`LINK_LEN_MAX`] bytes without a 0.
        target: Box<[u8]>,
    },
}

/// A time of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct FileTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, below 10^9.
    pub nanos: u32,
}

/// A chunk that small files share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pack {
    /// How many small files that are not empty it has the bytes of, 1 at least.
    pub files: u32,
    /// The hash of its bytes.
    pub hash: ChunkHash,
}

impl Entry {
    /// The size in bytes of a file, 0 of anything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size } => size,
            Kind::Folder | Kind::Link { .. } => 0,
        }
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder)
    }
}

impl Index {
    /// The number of bytes of all files.
    pub fn data_len(&self) -> u64 {
        self.entries.iter().map(Entry::size).sum()
    }

    /// The path of an entry below the root, with `/` between names; empty for the root.
    pub fn path(&self, entry: usize) -> Vec<u8> {
        path(&self.entries, entry)
    }
}

/// The path of an entry below the root, with `/` between names; empty for the root.
pub fn path(entries: &[Entry], entry: usize) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = entry;
    while at != 0 {
        names.push(&entries[at].name[..]);
        at = entries[at].parent as usize;
    }
    names.reverse();
    names.join(&b'/')
}

/// The places in the tree of the small files that are not empty, in tree order: their bytes stand in this order in the packs.
pub fn small_files(entries: &[Entry]) -> impl Iterator<Item = u32> + '_ {
    places(entries, |size| (1..LARGE_FILE_SIZE).contains(&size))
}

/// The places in the tree of the large files, in tree order.
pub fn large_files(entries: &[Entry]) -> impl Iterator<Item = u32> + '_ {
    places(entries, |size| size >= LARGE_FILE_SIZE)
}

fn places(entries: &[Entry], is_meant: impl Fn(u64) -> bool) -> impl Iterator<Item = u32> {
    let numbered = (0_u32..).zip(entries);
    numbered.filter_map(move |(place, entry)| is_meant(entry.size()).then_some(place))
}

/// How many chunks a large file of this size has: all but the last have [`STREAM_CHUNK_SIZE`] bytes.
pub fn large_chunks(size: u64) -> u64 {
    size.div_ceil(LARGE_FILE_SIZE)
}

/// Whether a name may stand in a tree: one component of a path that leads into its folder.
pub fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_LEN_MAX
        && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}
