//! Which small files share a chunk.
//!
//! The same for equal folders on every machine: only names and sizes decide. And local: a file that comes, goes or grows moves the ends of
//! the chunks around it, not of all behind it, because an end is where a name says so and not where so many bytes are full.

use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::tree::{Entry, small_files};

/// The bytes that a pack has at least, unless the next file does not fit or there is none: below, the record of a chunk costs more than
/// sending a few unchanged neighbours again.
const PACK_SIZE_MIN: u64 = 128 * 1024;

/// Behind [`PACK_SIZE_MIN`] each byte of a file ends the pack in front of it with a chance of one in so many. The mean pack has 384 KiB, and
/// 3 % end because they are full, where nothing makes two trees agree.
const PACK_SIZE_SPREAD: u64 = 256 * 1024;

/// How many of the small files, those of [`small_files`], are in each pack.
pub(crate) fn packs(entries: &[Entry]) -> Vec<u32> {
    let mut packs = Vec::new();
    let (mut files, mut len) = (0, 0);
    for place in small_files(entries) {
        let entry = &entries[place as usize];
        let is_full = len + entry.size() > STREAM_CHUNK_SIZE as u64;
        if files > 0 && (is_full || (len >= PACK_SIZE_MIN && begins_a_pack(entry))) {
            packs.push(files);
            (files, len) = (0, 0);
        }
        files += 1;
        len += entry.size();
    }
    if files > 0 {
        packs.push(files);
    }
    packs
}

/// Whether the name and size of a file say that a pack ends in front of it.
fn begins_a_pack(entry: &Entry) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&entry.name);
    hasher.update(&entry.size().to_le_bytes());
    let hash = hasher.finalize();
    let mut number = [0; 8];
    number.copy_from_slice(&hash.as_bytes()[..8]);
    // Evenly from 0 to PACK_SIZE_SPREAD - 1.
    let drawn = (u128::from(u64::from_le_bytes(number)) * u128::from(PACK_SIZE_SPREAD)) >> 64;
    drawn < u128::from(entry.size())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use memproto::tree::{FileTime, Kind};

    use super::*;

    fn tree(sizes: impl Iterator<Item = (usize, u64)>) -> Vec<Entry> {
        let entry = |name: String, kind| Entry {
            parent: 0,
            name: name.into_bytes().into(),
            mode: 0,
            modified: FileTime::default(),
            kind,
        };
        let files = sizes.map(|(number, size)| entry(format!("file-{number:05}"), Kind::File { size }));
        std::iter::once(entry(String::new(), Kind::Folder))
            .chain(files)
            .collect()
    }

    /// Sizes that look like those of a source tree, the same in each run.
    fn size(number: usize) -> u64 {
        (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50
    }

    /// The packs as the names and sizes in them.
    fn contents(entries: &[Entry]) -> HashSet<Vec<(Vec<u8>, u64)>> {
        let mut files = small_files(entries).map(|place| &entries[place as usize]);
        let mut take = |count: &u32| {
            let files = files.by_ref().take(*count as usize);
            files.map(|entry| (entry.name.to_vec(), entry.size())).collect()
        };
        packs(entries).iter().map(&mut take).collect()
    }

    #[test]
    fn packs_have_all_files_and_at_most_a_chunk() {
        let entries = tree((0..10_000).map(|number| (number, size(number))));
        let packs = contents(&entries);
        let files: usize = packs.iter().map(Vec::len).sum();
        assert_eq!(files, small_files(&entries).count());
        let lens: Vec<u64> = packs
            .iter()
            .map(|pack| pack.iter().map(|(_, size)| size).sum())
            .collect();
        assert!(lens.iter().all(|len| *len <= STREAM_CHUNK_SIZE as u64));
        let mean = lens.iter().sum::<u64>() / lens.len() as u64;
        assert!((300 << 10..500 << 10).contains(&mean), "{mean}");
    }

    #[test]
    fn a_new_file_moves_the_ends_around_it_alone() {
        let before = contents(&tree((0..10_000).map(|number| (number, size(number)))));
        for place in [0, 1, 4_999, 9_999] {
            let without = (0..10_000).filter(|number| *number != place);
            let after = contents(&tree(without.map(|number| (number, size(number)))));
            assert!(before.difference(&after).count() <= 4, "{place}");
            let larger = (0..10_000).map(|number| (number, size(number) + u64::from(number == place)));
            let after = contents(&tree(larger));
            assert!(before.difference(&after).count() <= 4, "{place}");
        }
    }

    #[test]
    fn empty_and_large_files_are_in_no_pack() {
        let chunk = STREAM_CHUNK_SIZE as u64;
        assert!(packs(&tree([(0, 0), (1, chunk), (2, chunk + 1)].into_iter())).is_empty());
        assert_eq!(
            packs(&tree([(0, chunk - 1), (1, 1), (2, 0), (3, 1)].into_iter())),
            [2, 1]
        );
    }
}
