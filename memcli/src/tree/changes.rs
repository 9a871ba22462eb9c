//! What of a folder is new since it was pushed last, told without reading a file.
//!
//! A file is the same where its path, size and the time when it was modified are. Where the last push was made by this machine, also what the
//! system alone can set has to agree, [`Stamp`], and the file must not be so new that a later write would not show in its times.

use std::collections::HashMap;

use memproto::ChunkHash;
use memproto::tree::{Entry, FileTime, Index, large_chunks, large_files, small_files};

use crate::tree::packing;
use crate::tree::scan::{Scan, Stamp};

/// A file that was changed less than this before the last push looked at it may have been changed again without another time: clocks of file
/// systems go in steps of up to 10 ms, and hosts of network file systems disagree a little.
const TIME_STEP_NANOS: i128 = 50_000_000;

/// What was pushed before.
#[derive(Debug)]
pub(crate) struct Before {
    /// Its index.
    pub(crate) index: Index,
    /// What this machine saw, where it made that push.
    pub(crate) seen: Option<Seen>,
}

/// What this machine saw when it pushed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// One for each entry of the index.
    pub(crate) stamps: Vec<Stamp>,
    /// When it began to look.
    pub(crate) began: FileTime,
}

/// Whether something has to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known<T> {
    /// It has to be read: it is new.
    New,
    /// It seems to be as it was, but has to be read to be sure.
    Likely(T),
    /// It is as it was.
    Same(T),
}

impl<T> Known<T> {
    fn doubt(&mut self) {
        *self = match std::mem::replace(self, Known::New) {
            Known::Same(known) => Known::Likely(known),
            other => other,
        };
    }
}

/// A pack of the new tree.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct PackPlan {
    /// The places of its files.
    pub(crate) files: Vec<u32>,
    /// Its bytes.
    pub(crate) len: u32,
    /// Its hash.
    pub(crate) hash: Known<ChunkHash>,
}

/// A large file of the new tree.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct LargePlan {
    /// Its place.
    pub(crate) place: u32,
    /// Its chunks.
    pub(crate) chunks: Known<Vec<ChunkHash>>,
}

/// What there is to do for a push.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    /// The packs, in the order of the stream.
    pub(crate) packs: Vec<PackPlan>,
    /// The large files, in the order of the stream.
    pub(crate) large: Vec<LargePlan>,
    /// Whether names, modes, times and sizes are all as they were.
    pub(crate) are_entries_same: bool,
}

impl Changes {
    /// Compares a folder with what was pushed before, if anything was.
    pub(crate) fn of(scan: &Scan, before: Option<&Before>) -> Self {
        let Some(before) = before else {
            return Self::between(scan, |_| Known::New, None);
        };
        let matches = matches(&scan.entries, &before.index.entries);
        let compare = |place: u32| compare(scan, before, place, matches[place as usize]);
        Self::between(scan, compare, Some(before))
    }

    fn between(scan: &Scan, compare: impl Fn(u32) -> Known<u32>, before: Option<&Before>) -> Self {
        let empty = Index::default();
        let old = before.map_or(&empty, |before| &before.index);
        let old_packs = OldPacks::of(old);
        let mut small = small_files(&scan.entries);
        let packs = packing::packs(&scan.entries).into_iter().map(|count| {
            let files: Vec<u32> = small.by_ref().take(count as usize).collect();
            let len: u64 = files
                .iter()
                .map(|place| scan.entries[*place as usize].size())
                .sum();
            let hash = old_packs.hash(files.iter().map(|place| compare(*place)));
            PackPlan {
                files,
                len: len as u32,
                hash,
            }
        });
        let packs = packs.collect();
        let old_large = old_chunks(old);
        let large = large_files(&scan.entries).map(|place| {
            let chunks_of = |old: u32| old_large.get(&old).copied().unwrap_or_default().to_vec();
            let chunks = match compare(place) {
                Known::New => Known::New,
                Known::Likely(old) => Known::Likely(chunks_of(old)),
                Known::Same(old) => Known::Same(chunks_of(old)),
            };
            LargePlan { place, chunks }
        });
        Self {
            large: large.collect(),
            packs,
            are_entries_same: before.is_some_and(|before| before.index.entries == scan.entries),
        }
    }

    /// Believes no size and no time: everything is read.
    pub(crate) fn doubt_all(&mut self) {
        for pack in &mut self.packs {
            pack.hash.doubt();
        }
        for file in &mut self.large {
            file.chunks.doubt();
        }
    }

    /// Whether nothing only seems to be as it was.
    pub(crate) fn are_sure(&self) -> bool {
        let is_likely = |pack: &PackPlan| matches!(pack.hash, Known::Likely(_));
        !self.packs.iter().any(is_likely)
            && !self
                .large
                .iter()
                .any(|file| matches!(file.chunks, Known::Likely(_)))
    }

    /// Whether the tree is what was pushed before, as far as can be told without reading.
    pub(crate) fn seem_none(&self) -> bool {
        self.are_entries_same
            && self.packs.iter().all(|pack| pack.hash != Known::New)
            && self.large.iter().all(|file| file.chunks != Known::New)
    }
}

/// For each entry the place that the entry of its path had before.
fn matches(new: &[Entry], old: &[Entry]) -> Vec<Option<u32>> {
    let by_name: HashMap<(u32, &[u8]), u32> = (0..)
        .zip(old)
        .skip(1)
        .map(|(place, entry)| ((entry.parent, &entry.name[..]), place))
        .collect();
    let mut places: Vec<Option<u32>> = Vec::with_capacity(new.len());
    for (place, entry) in new.iter().enumerate() {
        let old = match places.get(entry.parent as usize) {
            _ if place == 0 => (!old.is_empty()).then_some(0),
            Some(&Some(parent)) => by_name.get(&(parent, &entry.name[..])).copied(),
            _ => None,
        };
        places.push(old);
    }
    places
}

/// Whether a file is what it was at this place of the old tree.
fn compare(scan: &Scan, before: &Before, place: u32, old: Option<u32>) -> Known<u32> {
    let Some(old) = old else {
        return Known::New;
    };
    let (now, then) = (&scan.entries[place as usize], &before.index.entries[old as usize]);
    if now.kind != then.kind || now.modified != then.modified {
        return Known::New;
    }
    let Some(seen) = &before.seen else {
        return Known::Same(old);
    };
    let stamp = scan.stamps[place as usize];
    let is_sure = seen.stamps.get(old as usize) == Some(&stamp)
        && nanos(stamp.changed) + TIME_STEP_NANOS < nanos(seen.began);
    if is_sure {
        Known::Same(old)
    } else {
        Known::Likely(old)
    }
}

fn nanos(time: FileTime) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// The packs of the old tree.
struct OldPacks {
    /// For each small file, by its place: where it stands among them.
    ordinals: HashMap<u32, u32>,
    /// For each pack, by where its first file stands: how many it has, and its hash.
    packs: HashMap<u32, (u32, ChunkHash)>,
}

impl OldPacks {
    fn of(index: &Index) -> Self {
        let mut first = 0;
        let packs = index.packs.iter().map(|pack| {
            let entry = (first, (pack.files, pack.hash));
            first += pack.files;
            entry
        });
        Self {
            packs: packs.collect(),
            ordinals: small_files(&index.entries).zip(0..).collect(),
        }
    }

    /// The hash of the pack that has just these files.
    fn hash(&self, files: impl Iterator<Item = Known<u32>>) -> Known<ChunkHash> {
        let (mut first, mut count, mut is_sure) = (None, 0, true);
        for file in files {
            let old = match file {
                Known::New => return Known::New,
                Known::Likely(old) => {
                    is_sure = false;
                    old
                }
                Known::Same(old) => old,
            };
            let Some(&ordinal) = self.ordinals.get(&old) else {
                return Known::New;
            };
            let first = *first.get_or_insert(ordinal);
            if ordinal != first + count {
                return Known::New;
            }
            count += 1;
        }
        match first.and_then(|first| self.packs.get(&first)) {
            Some(&(files, hash)) if files == count && is_sure => Known::Same(hash),
            Some(&(files, hash)) if files == count => Known::Likely(hash),
            _ => Known::New,
        }
    }
}

/// The chunks of each large file, by its place.
fn old_chunks(index: &Index) -> HashMap<u32, &[ChunkHash]> {
    let mut rest = &index.chunks[..];
    large_files(&index.entries)
        .map(|place| {
            let count = large_chunks(index.entries[place as usize].size()) as usize;
            let (chunks, behind) = rest.split_at(count.min(rest.len()));
            rest = behind;
            (place, chunks)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use memproto::limits::STREAM_CHUNK_SIZE;
    use memproto::tree::Pack;

    use super::*;
    use crate::tree::scan::tests::scan;
    use crate::tree::source;

    /// What a push of a folder makes and remembers, as if it had been made an hour after the folder.
    fn pushed(root: &Path) -> Before {
        let mut scan = scan(root);
        scan.began.seconds += 3600;
        let changes = Changes::of(&scan, None);
        let packs = changes.packs.iter().map(|pack| Pack {
            files: pack.files.len() as u32,
            hash: crate::tree::hash_of(&source::read_pack(&scan, &pack.files).unwrap()),
        });
        let packs = packs.collect();
        let mut chunks = Vec::new();
        for large in &changes.large {
            chunks.extend(source::hash_chunks(&scan, large.place).unwrap());
        }
        Before {
            seen: Some(Seen {
                stamps: scan.stamps,
                began: scan.began,
            }),
            index: Index {
                entries: scan.entries,
                packs,
                chunks,
            },
        }
    }

    /// A folder with 300 small files in about 12 packs and two large files.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..300 {
            let name = folder.path().join(format!("{number:03}"));
            fs::write(name, vec![number as u8; 10_000 + number]).unwrap();
        }
        fs::create_dir(folder.path().join("sub")).unwrap();
        for (name, chunks) in [("large", 2), ("sub/large", 3)] {
            let bytes = vec![name.len() as u8; chunks * STREAM_CHUNK_SIZE + 1];
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn new_packs(changes: &Changes) -> usize {
        changes
            .packs
            .iter()
            .filter(|pack| pack.hash == Known::New)
            .count()
    }

    #[test]
    fn the_first_time_everything_is_new() {
        let folder = folder();
        let changes = Changes::of(&scan(folder.path()), None);
        assert!(!changes.seem_none());
        assert_eq!(new_packs(&changes), changes.packs.len());
        assert!(changes.large.iter().all(|file| file.chunks == Known::New));
    }

    #[test]
    fn what_nobody_touched_is_the_same_down_to_every_hash() {
        let folder = folder();
        let before = pushed(folder.path());
        let changes = Changes::of(&scan(folder.path()), Some(&before));
        assert!(changes.seem_none());
        let hashes = changes.packs.iter().map(|pack| pack.hash);
        assert!(hashes.eq(before.index.packs.iter().map(|pack| Known::Same(pack.hash))));
        let chunks = changes.large.iter().map(|file| match &file.chunks {
            Known::Same(chunks) => chunks.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(chunks.collect::<Vec<_>>().concat(), before.index.chunks);
    }

    #[test]
    fn a_changed_file_costs_its_pack_and_a_changed_large_one_itself() {
        let folder = folder();
        let before = pushed(folder.path());
        fs::write(folder.path().join("100"), "other").unwrap();
        let changes = Changes::of(&scan(folder.path()), Some(&before));
        assert!(!changes.seem_none() && (1..=3).contains(&new_packs(&changes)));
        fs::write(folder.path().join("large"), vec![0; 2 * STREAM_CHUNK_SIZE]).unwrap();
        let changes = Changes::of(&scan(folder.path()), Some(&before));
        assert_eq!(changes.large[0].chunks, Known::New);
        assert!(matches!(&changes.large[1].chunks, Known::Same(chunks) if chunks.len() == 4));
    }

    #[test]
    fn a_new_folder_in_front_moves_nothing() {
        let folder = folder();
        let before = pushed(folder.path());
        fs::create_dir(folder.path().join("!first")).unwrap();
        fs::write(folder.path().join("!first/small"), "1").unwrap();
        let changes = Changes::of(&scan(folder.path()), Some(&before));
        assert!(!changes.are_entries_same && new_packs(&changes) <= 3);
        assert!(
            changes
                .large
                .iter()
                .all(|file| matches!(file.chunks, Known::Same(_)))
        );
    }

    #[test]
    fn a_mode_is_a_change_that_needs_no_bytes() {
        let folder = folder();
        let before = pushed(folder.path());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(folder.path().join("000"), mode).unwrap();
        let scan = scan(folder.path());
        let changes = Changes::of(&scan, Some(&before));
        assert!(!changes.seem_none());
        // The system says that something of it changed, so that it is read; whoever has only the index believes the times.
        assert!(matches!(changes.packs[0].hash, Known::Likely(_)));
        let elsewhere = Before { seen: None, ..before };
        assert!(matches!(
            Changes::of(&scan, Some(&elsewhere)).packs[0].hash,
            Known::Same(_)
        ));
    }

    #[test]
    fn a_change_that_hides_behind_its_time_is_suspected() {
        let folder = folder();
        let before = pushed(folder.path());
        // The same size and time of modification, which any program can set.
        let path = folder.path().join("large");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, vec![0; 2 * STREAM_CHUNK_SIZE + 1]).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let scan = scan(folder.path());
        let mut changes = Changes::of(&scan, Some(&before));
        assert!(changes.seem_none() && matches!(changes.large[0].chunks, Known::Likely(_)));

        // A file that was new when the last push began could have been changed behind it within one step of the clock.
        let mut before = before;
        let seen = before.seen.as_mut().unwrap();
        seen.began = scan.stamps.iter().map(|stamp| stamp.changed).max().unwrap();
        seen.stamps.clone_from(&scan.stamps);
        changes = Changes::of(&scan, Some(&before));
        assert!(matches!(changes.large[0].chunks, Known::Likely(_)));
        before.seen.as_mut().unwrap().began.seconds += 1;
        changes = Changes::of(&scan, Some(&before));
        assert!(matches!(changes.large[0].chunks, Known::Same(_)));
    }

    #[test]
    fn what_is_doubted_is_confirmed_by_reading() {
        let folder = folder();
        let before = pushed(folder.path());
        let scan = scan(folder.path());
        let mut changes = Changes::of(&scan, Some(&before));
        let same = Changes::of(&scan, Some(&before));
        changes.doubt_all();
        assert!(
            changes
                .packs
                .iter()
                .all(|pack| matches!(pack.hash, Known::Likely(_)))
        );
        assert!(source::confirm(&scan, &mut changes).unwrap());
        assert_eq!(changes, same);

        let mut other = pushed(folder.path());
        other.index.packs[3].hash = crate::tree::hash_of(b"other");
        other.index.chunks[1] = crate::tree::hash_of(b"other");
        let mut changes = Changes::of(&scan, Some(&other));
        changes.doubt_all();
        assert!(!source::confirm(&scan, &mut changes).unwrap());
        assert!(new_packs(&changes) == 1 && changes.packs[3].hash == Known::New);
        assert!(changes.large[0].chunks == Known::New && changes.large[1] == same.large[1]);
    }

    #[test]
    fn a_file_that_became_a_link_or_moved_is_new() {
        let folder = folder();
        let before = pushed(folder.path());
        fs::remove_file(folder.path().join("large")).unwrap();
        std::os::unix::fs::symlink("sub/large", folder.path().join("large")).unwrap();
        fs::rename(folder.path().join("sub"), folder.path().join("bus")).unwrap();
        let changes = Changes::of(&scan(folder.path()), Some(&before));
        assert_eq!(changes.large.len(), 1);
        assert_eq!(changes.large[0].chunks, Known::New);
    }
}
