//! The bytes of an index and of the trailer behind it.
//!
//! ```text
//! stream   := data | index | trailer
//! trailer  := magic "MCTREE\r\n" | version u32 | index length u64 | the first 4 bytes of the BLAKE3 hash of the index
//! index    := entries | root | entry ...           entries: how many there are, the root included
//!             packs | (files | hash 32) ...        packs: how many there are
//!             hash 32 ...                          those of the large files, up to the end
//! root     := mode | modified
//! entry    := kind + 4 x up | name length | name | mode | modified | (size | target length, target | nothing)
//! modified := seconds, zigzag, less those of the entry before | nanoseconds
//! ```
//!
//! Numbers without a width are LEB128: seven bits a byte, the lowest first, the highest bit says that another byte follows; as short
//! as can be. `kind` is 0 for a folder, 1 for a file, 2 for a link. `up` is how many folders end before the entry: 0 for the first entry of a
//! folder and for what stands beside its predecessor, where that is no folder.

use thiserror::Error;

use super::{
    DEPTH_MAX, ENTRIES_MAX, Entry, FileTime, INDEX_LEN_MAX, Index, Kind, LINK_LEN_MAX, MODE_MASK, Pack,
    is_name, large_chunks, large_files, small_files,
};
use crate::limits::{OBJECT_SIZE_MAX, STREAM_CHUNK_SIZE};
use crate::stream::ChunkHash;

/// The length of a [`Trailer`] in bytes.
pub const TRAILER_LEN: usize = 24;

/// What a trailer begins with: a name, and the line end that a transfer of text would change.
const MAGIC: [u8; 8] = *b"MCTREE\r\n";

/// The version of this layout.
const VERSION: u32 = 1;

const FOLDER: u64 = 0;
const FILE: u64 = 1;
const LINK: u64 = 2;

/// Why bytes are no tree.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TreeError {
    /// The stream was not made by a push.
    #[error("it is no tree: it was stored by another command than push")]
    NoTree,
    /// It is of a later version.
    #[error("it is a tree of version {0}, this program knows version {VERSION}: update it")]
    Version(u32),
    /// What a length says is not there.
    #[error("the index of the tree ends too early")]
    Truncated,
    /// Something that no push writes.
    #[error("the index of the tree is not valid: {0}")]
    Invalid(&'static str),
}

/// The last bytes of a tree's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// The length of the index in front of it, at most [`INDEX_LEN_MAX`].
    pub index_len: u64,
    /// The first bytes of the index's BLAKE3 hash: whether an index that is known already is this one.
    pub check: [u8; 4],
}

impl Trailer {
    /// Its bytes.
    pub fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut bytes = [0; TRAILER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.index_len.to_le_bytes());
        bytes[20..].copy_from_slice(&self.check);
        bytes
    }

    /// Reads it from the last bytes of a stream of this size.
    ///
    /// # Errors
    /// `NoTree` where they are something else, `Version`, and `Invalid` where the index cannot be so long.
    pub fn decode(stream_len: u64, end: &[u8]) -> Result<Self, TreeError> {
        let (_, bytes) = end.split_last_chunk::<TRAILER_LEN>().ok_or(TreeError::NoTree)?;
        let (magic, rest) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(TreeError::NoTree);
        }
        let mut rest = Bytes(rest);
        match u32::from_le_bytes(rest.array()?) {
            VERSION => (),
            version => return Err(TreeError::Version(version)),
        }
        let index_len = u64::from_le_bytes(rest.array()?);
        if index_len > INDEX_LEN_MAX || index_len > stream_len.saturating_sub(TRAILER_LEN as u64) {
            return Err(TreeError::Invalid("it is longer than it can be"));
        }
        Ok(Self {
            index_len,
            check: rest.array()?,
        })
    }
}

/// The bytes of an index.
///
/// # Panics
/// Where an entry's parent does not stand before it: whoever makes an index puts its entries into tree order.
pub fn encode(index: &Index) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(index.entries.len() * 40 + (index.packs.len() + index.chunks.len()) * 36);
    put_number(&mut out, index.entries.len() as u64);
    let mut open: Vec<u32> = Vec::new();
    let mut seconds = 0;
    for (place, entry) in (0..).zip(&index.entries) {
        let Entry {
            parent,
            name,
            mode,
            modified,
            kind,
        } = entry;
        if place > 0 {
            let level = open.iter().rposition(|folder| folder == parent);
            let level = level.expect("entries stand in tree order") + 1;
            let up = (open.len() - level) as u64;
            open.truncate(level);
            put_number(&mut out, up * 4 + number_of(kind));
            put_bytes(&mut out, name);
        }
        if entry.is_folder() {
            open.push(place);
        }
        put_number(&mut out, u64::from(*mode));
        put_number(&mut out, zigzag(modified.seconds.wrapping_sub(seconds)));
        put_number(&mut out, u64::from(modified.nanos));
        seconds = modified.seconds;
        match kind {
            Kind::Folder => (),
            Kind::File { size } => put_number(&mut out, *size),
            Kind::Link { target } => put_bytes(&mut out, target),
        }
    }
    put_number(&mut out, index.packs.len() as u64);
    for pack in &index.packs {
        put_number(&mut out, u64::from(pack.files));
        out.extend_from_slice(pack.hash.as_bytes());
    }
    for hash in &index.chunks {
        out.extend_from_slice(hash.as_bytes());
    }
    out
}

/// Reads an index. What it takes is in proportion to the bytes that are there, whatever they say.
///
/// # Errors
/// `Truncated` and `Invalid`.
pub fn decode(bytes: &[u8]) -> Result<Index, TreeError> {
    let mut bytes = Bytes(bytes);
    let entries = decode_entries(&mut bytes)?;
    let packs = decode_packs(&mut bytes, &entries)?;
    let chunks: u64 = large_files(&entries)
        .map(|place| large_chunks(entries[place as usize].size()))
        .sum();
    let hashes = bytes.rest();
    let (hashes, []) = hashes.as_chunks::<{ ChunkHash::LEN }>() else {
        return Err(TreeError::Invalid("it does not end with a hash"));
    };
    if hashes.len() as u64 != chunks {
        return Err(TreeError::Invalid("there is not one hash for each chunk"));
    }
    let chunks = hashes.iter().map(|hash| ChunkHash::from_bytes(*hash)).collect();
    Ok(Index {
        entries,
        packs,
        chunks,
    })
}

/// A folder whose entries are being read.
struct Open {
    place: u32,
    /// The place of the entry that was read last of it.
    last: Option<u32>,
}

fn decode_entries(bytes: &mut Bytes<'_>) -> Result<Vec<Entry>, TreeError> {
    let count = bytes.number()?;
    if count == 0 || count > ENTRIES_MAX as u64 {
        return Err(TreeError::Invalid("it has no entries, or too many"));
    }
    let mut entries: Vec<Entry> = Vec::new();
    let (mode, modified) = decode_attributes(bytes, 0)?;
    entries.push(Entry {
        parent: 0,
        name: Box::default(),
        mode,
        modified,
        kind: Kind::Folder,
    });
    let mut open = vec![Open { place: 0, last: None }];
    let mut data_len = 0_u64;
    for place in 1..count as u32 {
        let head = bytes.number()?;
        let up = usize::try_from(head / 4).unwrap_or(usize::MAX);
        if up >= open.len() {
            return Err(TreeError::Invalid("an entry lies above the root"));
        }
        open.truncate(open.len() - up);
        let folder = open.last_mut().expect("fewer folders end than are open");
        let name = bytes.prefixed()?;
        if !is_name(name) {
            return Err(TreeError::Invalid(
                "a name is empty, too long, '.' or '..', or has a '/' or a 0 in it",
            ));
        }
        if folder
            .last
            .is_some_and(|last| *entries[last as usize].name >= *name)
        {
            return Err(TreeError::Invalid(
                "the names of a folder are not in order, or there is one twice",
            ));
        }
        folder.last = Some(place);
        let parent = folder.place;
        let before = entries.last().map_or(0, |entry| entry.modified.seconds);
        let (mode, modified) = decode_attributes(bytes, before)?;
        let kind = match head % 4 {
            FOLDER if open.len() > DEPTH_MAX => return Err(TreeError::Invalid("folders lie too deep")),
            FOLDER => {
                open.push(Open { place, last: None });
                Kind::Folder
            }
            FILE => Kind::File {
                size: bytes.number()?,
            },
            LINK => Kind::Link {
                target: decode_target(bytes)?.into(),
            },
            _ => return Err(TreeError::Invalid("an entry is of no known kind")),
        };
        let entry = Entry {
            parent,
            name: name.into(),
            mode,
            modified,
            kind,
        };
        data_len = data_len
            .checked_add(entry.size())
            .filter(|len| *len <= OBJECT_SIZE_MAX)
            .ok_or(TreeError::Invalid("its files are larger than a stream can be"))?;
        entries.push(entry);
    }
    Ok(entries)
}

fn decode_attributes(bytes: &mut Bytes<'_>, seconds_before: i64) -> Result<(u16, FileTime), TreeError> {
    let mode = u16::try_from(bytes.number()?)
        .ok()
        .filter(|mode| mode & !MODE_MASK == 0)
        .ok_or(TreeError::Invalid("a mode has unknown bits"))?;
    let seconds = unzigzag(bytes.number()?).wrapping_add(seconds_before);
    let nanos = u32::try_from(bytes.number()?)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .ok_or(TreeError::Invalid("a time has more than a second of nanoseconds"))?;
    Ok((mode, FileTime { seconds, nanos }))
}

fn decode_target<'a>(bytes: &mut Bytes<'a>) -> Result<&'a [u8], TreeError> {
    let target = bytes.prefixed()?;
    if target.is_empty() || target.len() > LINK_LEN_MAX || target.contains(&0) {
        return Err(TreeError::Invalid("a symbolic link points to what is no path"));
    }
    Ok(target)
}

fn decode_packs(bytes: &mut Bytes<'_>, entries: &[Entry]) -> Result<Vec<Pack>, TreeError> {
    let count = bytes.number()?;
    let mut files_left = small_files(entries);
    let mut packs = Vec::new();
    for _ in 0..count {
        let files = bytes.number()?;
        let hash = ChunkHash::from_bytes(bytes.array()?);
        let mut len = 0;
        for _ in 0..files {
            let place = files_left
                .next()
                .ok_or(TreeError::Invalid("a chunk has files that are not there"))?;
            len += entries[place as usize].size();
            if len > STREAM_CHUNK_SIZE as u64 {
                return Err(TreeError::Invalid(
                    "files share a chunk that they do not fit into",
                ));
            }
        }
        match u32::try_from(files) {
            Ok(files @ 1..) => packs.push(Pack { files, hash }),
            _ => return Err(TreeError::Invalid("a chunk belongs to no file")),
        }
    }
    if files_left.next().is_some() {
        return Err(TreeError::Invalid("a file is in no chunk"));
    }
    Ok(packs)
}

/// The number of a kind in the head of an entry.
fn number_of(kind: &Kind) -> u64 {
    match kind {
        Kind::Folder => FOLDER,
        Kind::File { .. } => FILE,
        Kind::Link { .. } => LINK,
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small numbers of either sign as small numbers: 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Takes fields off the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], TreeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TreeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TreeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn number(&mut self) -> Result<u64, TreeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.array::<1>()?[0];
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(TreeError::Invalid(
                    "a number is too large, or longer than it need be",
                ));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(TreeError::Invalid(
            "a number is too large, or longer than it need be",
        ))
    }

    /// Bytes with their length in front.
    fn prefixed(&mut self) -> Result<&'a [u8], TreeError> {
        let len = usize::try_from(self.number()?).map_err(|_| TreeError::Truncated)?;
        self.take(len)
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests;
