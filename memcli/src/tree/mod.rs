//! Folders on their way into a stream and out of one. The layout of the stream is [`memproto::tree`].
//!
//! On the way in [`scan`] looks at a folder, [`exclude`] leaves things out, [`packing`] says which small files share a chunk, [`changes`] what is
//! new since the last push, which [`last_push`] remembers, and [`source`] reads the files. On the way out [`survey`] compares a tree with the
//! folder that it goes to, and [`target`] is that folder: everything is opened, made, replaced and removed by it, and it follows no link.
//! Nothing here speaks to a node; `commands::push` and `commands::pull` do.

pub(crate) mod changes;
pub(crate) mod exclude;
pub(crate) mod last_push;
pub(crate) mod packing;
pub(crate) mod restore;
pub(crate) mod scan;
pub(crate) mod source;
pub(crate) mod survey;
pub(crate) mod target;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use memproto::ChunkHash;

/// The hash of a chunk with these bytes.
pub(crate) fn hash_of(bytes: &[u8]) -> ChunkHash {
    ChunkHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// A path of a tree as one of the system.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A path for messages: `'src/main.rs'`.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
