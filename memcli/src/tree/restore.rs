//! A tree on its way into a folder: what has to be fetched, and what is done with it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memproto::ChunkHash;
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::tree::{Entry, Index, Kind, LARGE_FILE_SIZE, large_chunks, large_files, small_files};

use crate::exit::{Failure, Outcome, reason};
use crate::tree::survey::{State, Survey};
use crate::tree::target::{self, NewFile, Target, kept_mode};
use crate::tree::{hash_of, quoted};

/// The most bytes of small files that are read in one go: enough that the node has several chunks on their way.
const RUN_SIZE_MAX: u64 = 64 * 1024 * 1024;

/// A tree and the folder that it goes to.
#[derive(Debug)]
pub(crate) struct Restore {
    target: Target,
    index: Index,
    states: Vec<State>,
    extras: Vec<(u32, Vec<u8>)>,
}

/// What is to be fetched.
#[derive(Debug, Default)]
pub(crate) struct Fetch {
    /// Small files.
    pub(crate) runs: Vec<Run>,
    /// Large files.
    pub(crate) large: Vec<LargeFile>,
    /// How many bytes that are at most: of large files some may be there.
    pub(crate) bytes: u64,
    /// How many empty files were missing.
    empty: u64,
}

impl Fetch {
    /// How many files are not there as they should be.
    pub(crate) fn files(&self) -> u64 {
        let small: usize = self.runs.iter().map(|run| run.files.len()).sum();
        self.empty + (small + self.large.len()) as u64
    }
}

/// Small files that stand close to each other in the stream.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// Where they stand.
    pub(crate) range: Range<u64>,
    /// Place and range within the stream of each that is wanted, in order.
    pub(crate) files: Vec<(u32, Range<u64>)>,
}

/// A large file that is not there as it should be.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct LargeFile {
    /// Its place.
    pub(crate) place: u32,
    /// Where it stands in the stream.
    pub(crate) offset: u64,
    /// Its hashes in [`Index::chunks`].
    chunks: Range<usize>,
    /// Another large file of the tree that has the same bytes and comes before it.
    twin: Option<u32>,
}

/// A large file that is being written.
#[derive(Debug)]
pub(crate) struct LargePart {
    file: NewFile,
    /// What of it has to be fetched, in order.
    pub(crate) missing: Vec<Range<u64>>,
}

impl LargePart {
    /// The file to write to.
    pub(crate) fn file(&self) -> &File {
        self.file.file()
    }
}

impl Restore {
    /// Makes room for a tree: removes what is in the way, and makes the folders. Whoever did not allow that has
    /// [checked](Survey::check) before that nothing is.
    ///
    /// # Errors
    /// Names what cannot be done.
    pub(crate) fn begin(target: Target, index: Index, survey: Survey) -> Outcome<Self> {
        let Survey {
            states,
            conflicts,
            extras,
            locked,
        } = survey;
        let restore = Self {
            target,
            index,
            states,
            extras,
        };
        for place in locked {
            let unlocked = restore.folder(place).and_then(|folder| {
                let mode = target::look_at(&folder)?.mode;
                target::set_mode(&folder, mode | 0o700)
            });
            unlocked.map_err(|error| restore.failed("change", place, &error))?;
        }
        for conflict in conflicts {
            let removed = restore.in_folder_of(conflict.place, target::remove);
            removed.map_err(|error| restore.failed("remove", conflict.place, &error))?;
        }
        for (place, entry) in (0..).zip(&restore.index.entries).skip(1) {
            if entry.is_folder() && restore.states[place as usize] == State::Missing {
                let made = restore.in_folder_of(place, target::make_folder);
                made.map_err(|error| restore.failed("make", place, &error))?;
            }
        }
        Ok(restore)
    }

    /// The tree.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Looks for bytes that are there already under another time, writes the empty files, and says what is left to be fetched.
    ///
    /// # Errors
    /// Names a file that cannot be written.
    pub(crate) fn plan(&mut self) -> Outcome<Fetch> {
        let mut fetch = Fetch::default();
        for (place, entry) in (0..).zip(&self.index.entries) {
            let is_empty = matches!(entry.kind, Kind::File { size: 0 });
            if is_empty && !matches!(self.states[place as usize], State::Same | State::Attributes) {
                self.write_small(place, &[])?;
                fetch.empty += 1;
            }
        }
        let offset = self.plan_small(&mut fetch);
        self.plan_large(offset, &mut fetch);
        Ok(fetch)
    }

    /// Plans the small files; returns where the large ones begin.
    fn plan_small(&mut self, fetch: &mut Fetch) -> u64 {
        let mut offset = 0;
        let mut small = small_files(&self.index.entries);
        let mut packs = Vec::new();
        for pack in &self.index.packs {
            let files: Vec<(u32, Range<u64>)> = small
                .by_ref()
                .take(pack.files as usize)
                .map(|place| {
                    let start = offset;
                    offset += self.index.entries[place as usize].size();
                    (place, start..offset)
                })
                .collect();
            packs.push((pack.hash, files));
        }
        drop(small);
        for (hash, mut files) in packs {
            if files
                .iter()
                .all(|(place, _)| self.states[*place as usize] == State::Same)
            {
                continue;
            }
            if self.is_there(&files, hash) {
                for (place, _) in &files {
                    let state = &mut self.states[*place as usize];
                    if *state != State::Same {
                        *state = State::Attributes;
                    }
                }
                continue;
            }
            files.retain(|(place, _)| {
                !matches!(self.states[*place as usize], State::Same | State::Attributes)
            });
            let (Some((_, first)), Some((_, last))) = (files.first(), files.last()) else {
                continue;
            };
            let range = first.start..last.end;
            match fetch.runs.last_mut() {
                Some(run) if run.range.end == range.start && range.end - run.range.start <= RUN_SIZE_MAX => {
                    run.range.end = range.end;
                    run.files.extend(files);
                }
                _ => fetch.runs.push(Run { range, files }),
            }
        }
        fetch.bytes += fetch
            .runs
            .iter()
            .map(|run| run.range.end - run.range.start)
            .sum::<u64>();
        offset
    }

    /// Whether the files of a pack lie there with just its bytes, whatever their times say, and may stay.
    fn is_there(&self, files: &[(u32, Range<u64>)], hash: ChunkHash) -> bool {
        let may_be = files
            .iter()
            .all(|(place, range)| match self.states[*place as usize] {
                State::Same | State::Attributes => true,
                State::Candidate { size, is_alone } => is_alone && size == range.end - range.start,
                State::Missing => false,
            });
        if !may_be {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        for (place, range) in files {
            let read = self.open(*place).and_then(|file| {
                let mut bytes = Vec::new();
                match file {
                    Some(file) => file.take(range.end - range.start + 1).read_to_end(&mut bytes),
                    None => Ok(0),
                }
                .map(|_| bytes)
            });
            // What cannot be read is fetched.
            match read {
                Ok(bytes) => hasher.update(&bytes),
                Err(_) => return false,
            };
        }
        ChunkHash::from_bytes(*hasher.finalize().as_bytes()) == hash
    }

    fn plan_large(&mut self, mut offset: u64, fetch: &mut Fetch) {
        let mut first = 0;
        let mut twins: HashMap<(u64, &[ChunkHash]), u32> = HashMap::new();
        for place in large_files(&self.index.entries) {
            let size = self.index.entries[place as usize].size();
            let chunks = first..first + large_chunks(size) as usize;
            first = chunks.end;
            let start = offset;
            offset += size;
            let twin = *twins
                .entry((size, &self.index.chunks[chunks.clone()]))
                .or_insert(place);
            if matches!(self.states[place as usize], State::Same | State::Attributes) {
                continue;
            }
            let twin = (twin != place).then_some(twin);
            fetch.bytes += size;
            fetch.large.push(LargeFile {
                place,
                offset: start,
                chunks,
                twin,
            });
        }
    }

    /// Writes a small file.
    ///
    /// # Errors
    /// Names it.
    pub(crate) fn write_small(&self, place: u32, bytes: &[u8]) -> Outcome {
        let entry = &self.index.entries[place as usize];
        let write = || {
            let mut file = NewFile::create(self.folder(entry.parent)?)?;
            file.write(bytes)?;
            file.finish(&entry.name, kept_mode(entry), entry.modified)
        };
        write().map_err(|error| self.failed("write", place, &error))
    }

    /// Begins to write a large file: with what an interrupted pull left of it, what the file of its name has, or what its twin has. `None` where
    /// the file of its name has all its bytes, and only its mode and time have to be set.
    ///
    /// # Errors
    /// Names it.
    pub(crate) fn begin_large(&mut self, large: &LargeFile) -> Outcome<Option<LargePart>> {
        let begun = self.try_begin_large(large);
        let begun = begun.map_err(|error| self.failed("write", large.place, &error))?;
        if begun.is_none() {
            self.states[large.place as usize] = State::Attributes;
        }
        Ok(begun)
    }

    fn try_begin_large(&self, large: &LargeFile) -> io::Result<Option<LargePart>> {
        let entry = &self.index.entries[large.place as usize];
        let size = entry.size();
        let hashes = &self.index.chunks[large.chunks.clone()];
        let there = match self.states[large.place as usize] {
            // What cannot be read is not there.
            State::Candidate { .. } => self.open(large.place).unwrap_or(None),
            _ => None,
        };
        let in_there = there.as_ref().map(|file| equal_chunks(file, size, hashes));
        if let (
            Some(in_there),
            State::Candidate {
                size: old_size,
                is_alone: true,
            },
        ) = (&in_there, self.states[large.place as usize])
            && old_size == size
            && in_there.iter().all(|is_equal| *is_equal)
        {
            return Ok(None);
        }
        let file = NewFile::resume(self.folder(entry.parent)?, &part_name(entry, hashes))?;
        let len = target::look_at(file.file())?.size;
        let mut have = match len {
            0 => vec![false; hashes.len()],
            _ => equal_chunks(file.file(), size, hashes),
        };
        // One that is longer was another file's.
        file.file().set_len(size)?;
        if let (Some(there), Some(in_there)) = (&there, in_there) {
            copy_chunks(there, file.file(), size, &in_there, &mut have)?;
        }
        if let Some(twin) = large.twin
            && let Some(twin) = self.open(twin)?
            && have.contains(&false)
        {
            let in_twin = equal_chunks(&twin, size, hashes);
            copy_chunks(&twin, file.file(), size, &in_twin, &mut have)?;
        }
        let missing = ranges(&have, false)
            .map(|chunks| bytes_of(&chunks, size))
            .collect();
        Ok(Some(LargePart { file, missing }))
    }

    /// Puts a large file in its place, once its missing ranges were written.
    ///
    /// # Errors
    /// Names it.
    pub(crate) fn finish_large(&self, large: &LargeFile, part: LargePart) -> Outcome {
        let entry = &self.index.entries[large.place as usize];
        let finished = part.file.finish(&entry.name, kept_mode(entry), entry.modified);
        finished.map_err(|error| self.failed("write", large.place, &error))
    }

    /// What is left once all files are there: links, modes and times, and removing what is not in the tree. Returns how many things were
    /// removed.
    ///
    /// # Errors
    /// Names what cannot be done.
    pub(crate) fn finish(&self) -> Outcome<usize> {
        for (place, entry) in (0..).zip(&self.index.entries) {
            let done = match (&entry.kind, self.states[place as usize]) {
                (Kind::Link { target }, State::Missing) => {
                    let put = |folder: &OwnedFd, name: &[u8]| {
                        target::put_link(folder, name, target, entry.modified)
                    };
                    self.in_folder_of(place, put)
                }
                (Kind::File { .. }, State::Attributes) => self.set_file_attributes(place),
                _ => Ok(()),
            };
            done.map_err(|error| self.failed("write", place, &error))?;
        }
        for (folder, name) in &self.extras {
            let removed = self
                .folder(*folder)
                .and_then(|folder| target::remove(&folder, name));
            removed.map_err(|error| {
                let path = self
                    .target
                    .path(&self.index.entries, *folder)
                    .join(crate::tree::as_path(name));
                Failure::Other(format!("cannot remove {}: {}", quoted(&path), reason(&error)))
            })?;
        }
        // Whatever is made in a folder changes its time, and a folder may not be writable in the end: what lies in it comes first.
        for (place, entry) in (0..self.index.entries.len() as u32)
            .zip(&self.index.entries)
            .rev()
        {
            let is_meant = entry.is_folder() && (place > 0 || self.target.is_new());
            if is_meant {
                let set = self.set_folder_attributes(place, entry);
                set.map_err(|error| self.failed("set the mode and time of", place, &error))?;
            }
        }
        Ok(self.extras.len())
    }

    fn set_file_attributes(&self, place: u32) -> io::Result<()> {
        let entry = &self.index.entries[place as usize];
        let Some(file) = self.open(place)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // Somebody may have given it a second name since it was looked at.
        if target::look_at(&file)?.links > 1 {
            return Err(io::Error::other("it has another name now: pull again"));
        }
        target::set_attributes(&file, kept_mode(entry), entry.modified)
    }

    fn set_folder_attributes(&self, place: u32, entry: &Entry) -> io::Result<()> {
        let folder = self.folder(place)?;
        let found = target::look_at(&folder)?;
        if (found.mode, found.modified) == (kept_mode(entry), entry.modified) {
            return Ok(());
        }
        target::set_attributes(&folder, kept_mode(entry), entry.modified)
    }

    fn folder(&self, place: u32) -> io::Result<Arc<OwnedFd>> {
        self.target.folder(&self.index.entries, place)
    }

    fn open(&self, place: u32) -> io::Result<Option<File>> {
        self.in_folder_of(place, target::open_file)
    }

    fn in_folder_of<T>(
        &self,
        place: u32,
        act: impl FnOnce(&OwnedFd, &[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let entry = &self.index.entries[place as usize];
        let folder = self.folder(entry.parent)?;
        act(&folder, &entry.name)
    }

    fn failed(&self, what: &str, place: u32, error: &io::Error) -> Failure {
        let path = self.target.path(&self.index.entries, place);
        Failure::Other(format!("cannot {what} {}: {}", quoted(&path), reason(error)))
    }
}

/// The name of an unfinished large file: the same for each pull of the same bytes under the same name.
fn part_name(entry: &Entry, hashes: &[ChunkHash]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&entry.name);
    hasher.update(&entry.size().to_le_bytes());
    hashes.iter().for_each(|hash| _ = hasher.update(hash.as_bytes()));
    format!(".memcli-{}.part", &hasher.finalize().to_hex()[..16]).into_bytes()
}

/// Which chunks of a large file lie at their place in this one.
fn equal_chunks(file: &File, size: u64, hashes: &[ChunkHash]) -> Vec<bool> {
    let mut chunk = vec![0; STREAM_CHUNK_SIZE];
    let mut is_equal = |(number, hash): (usize, &ChunkHash)| {
        let range = bytes_of(&(number..number + 1), size);
        let bytes = &mut chunk[..(range.end - range.start) as usize];
        // What cannot be read is fetched.
        file.read_exact_at(bytes, range.start).is_ok() && hash_of(bytes) == *hash
    };
    hashes.iter().enumerate().map(&mut is_equal).collect()
}

/// Copies the chunks that are in one file and not in the other yet.
fn copy_chunks(from: &File, to: &File, size: u64, in_from: &[bool], have: &mut [bool]) -> io::Result<()> {
    let wanted: Vec<bool> = in_from
        .iter()
        .zip(&*have)
        .map(|(there, have)| *there && !have)
        .collect();
    for chunks in ranges(&wanted, true) {
        target::copy_range(from, to, bytes_of(&chunks, size))?;
        have[chunks].fill(true);
    }
    Ok(())
}

/// The longest runs of one value.
fn ranges(flags: &[bool], value: bool) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + flags[at..].iter().position(|flag| *flag == value)?;
        let len = flags[start..].iter().take_while(|flag| **flag == value).count();
        at = start + len;
        Some(start..at)
    })
}

/// The bytes of chunks of a large file.
fn bytes_of(chunks: &Range<usize>, size: u64) -> Range<u64> {
    let at = |chunk: usize| (chunk as u64 * LARGE_FILE_SIZE).min(size);
    at(chunks.start)..at(chunks.end)
}

#[cfg(test)]
mod tests;
