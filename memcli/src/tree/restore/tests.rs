//! A tree comes out as it went in, only what is not there is fetched, and nothing else is touched.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use memproto::tree::{FileTime, Pack};

use super::*;
use crate::tree::changes::Changes;
use crate::tree::scan::tests::scan;
use crate::tree::source;

/// A pushed folder: its index and the bytes of its files, as a stream has them.
struct Pushed {
    index: Index,
    data: Vec<u8>,
}

impl Pushed {
    fn of(root: &Path) -> Self {
        let scan = scan(root);
        let changes = Changes::of(&scan, None);
        let mut data = Vec::new();
        let mut packs = Vec::new();
        for pack in &changes.packs {
            let bytes = source::read_pack(&scan, &pack.files).unwrap();
            packs.push(Pack {
                files: pack.files.len() as u32,
                hash: hash_of(&bytes),
            });
            data.extend(bytes);
        }
        let mut chunks = Vec::new();
        for large in &changes.large {
            let bytes = fs::read(scan.path(large.place)).unwrap();
            chunks.extend(bytes.chunks(STREAM_CHUNK_SIZE).map(hash_of));
            data.extend(bytes);
        }
        Self {
            index: Index {
                entries: scan.entries,
                packs,
                chunks,
            },
            data,
        }
    }

    /// Pulls it into a folder; returns how many bytes were taken from the data.
    fn pull(&self, to: &Path, delete: bool) -> u64 {
        self.try_pull(to, delete, u64::MAX).unwrap()
    }

    /// As [`pull`](Self::pull), and ends as if interrupted once so many bytes of large files were written.
    fn try_pull(&self, to: &Path, delete: bool, mut budget: u64) -> Outcome<u64> {
        let found = Target::find(to)?;
        let survey = Survey::of(found.as_ref(), &self.index, delete)?;
        if !delete {
            survey.check(to, &self.index.entries)?;
        }
        let target = found.map_or_else(|| Target::make(to), Ok)?;
        let mut restore = Restore::begin(target, self.index.clone(), survey)?;
        let fetch = restore.plan()?;
        let mut taken = 0;
        let bytes = |range: &Range<u64>| &self.data[range.start as usize..range.end as usize];
        for run in &fetch.runs {
            taken += run.range.end - run.range.start;
            run.files
                .iter()
                .try_for_each(|(place, range)| restore.write_small(*place, bytes(range)))?;
        }
        for large in &fetch.large {
            let Some(part) = restore.begin_large(large)? else {
                continue;
            };
            for range in &part.missing {
                if range.end - range.start > budget {
                    return Err(Failure::Other("interrupted".to_owned()));
                }
                budget -= range.end - range.start;
                taken += range.end - range.start;
                let from = large.offset + range.start..large.offset + range.end;
                part.file().write_all_at(bytes(&from), range.start).unwrap();
            }
            restore.finish_large(large, part)?;
        }
        restore.finish()?;
        Ok(taken)
    }
}

/// What one can see of a folder: names, modes, times, bytes and links.
fn picture(root: &Path) -> Vec<(PathBuf, u32, FileTime, Vec<u8>)> {
    let scan = scan(root);
    let entries = scan.entries.iter().zip(0..).skip(1).map(|(entry, place)| {
        let path = scan.path(place);
        let bytes = match &entry.kind {
            Kind::Folder => b"a folder".to_vec(),
            Kind::File { .. } => fs::read(&path).unwrap(),
            Kind::Link { target } => target.to_vec(),
        };
        let below = path.strip_prefix(root).unwrap().to_owned();
        (below, u32::from(entry.mode), entry.modified, bytes)
    });
    entries.collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn touch(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 123_456_789);
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Distinct bytes for each chunk.
fn large(seed: u8, chunks: usize) -> Vec<u8> {
    let mut bytes = vec![seed; chunks * STREAM_CHUNK_SIZE + 17];
    bytes
        .chunks_mut(STREAM_CHUNK_SIZE)
        .zip(0..)
        .for_each(|(chunk, number)| chunk[0] = number);
    bytes
}

/// A folder with one of everything, and an empty one beside it.
fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let (from, to) = (temporary.path().join("from"), temporary.path().join("to"));
    fs::create_dir_all(from.join("a/b/empty")).unwrap();
    fs::create_dir(from.join("locked")).unwrap();
    for number in 0..100 {
        fs::write(from.join(format!("a/{number:02}")), vec![number as u8; 12_000]).unwrap();
    }
    fs::write(from.join("a/b/nothing"), "").unwrap();
    fs::write(from.join("locked/file"), "secret").unwrap();
    fs::write(from.join(crate::tree::as_path(b"odd \xff\n")), "odd").unwrap();
    fs::write(from.join("large"), large(1, 3)).unwrap();
    fs::write(from.join("large.copy"), large(1, 3)).unwrap();
    symlink("../../etc", from.join("a/link")).unwrap();
    symlink("/nowhere", from.join("dangling")).unwrap();
    set_mode(&from.join("a/00"), 0o751);
    touch(&from.join("a/01"), 1_000_000_000);
    touch(&from.join("a/b/empty"), 900_000_000);
    set_mode(&from.join("locked/file"), 0o400);
    touch(&from.join("locked"), 800_000_000);
    set_mode(&from.join("locked"), 0o550);
    (temporary, from, to)
}

#[test]
fn a_tree_comes_out_as_it_went_in_and_the_second_time_nothing_is_fetched() {
    let (_temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    // The copy of the large file is made here.
    let once = pushed.data.len() as u64 - (3 * LARGE_FILE_SIZE + 17);
    assert_eq!(pushed.pull(&to, false), once);
    assert_eq!(picture(&to), picture(&from));
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(time(&to), time(&from));
    let inode = fs::metadata(to.join("a/00")).unwrap().ino();
    assert_eq!(pushed.pull(&to, true), 0);
    assert_eq!(picture(&to), picture(&from));
    assert_eq!(fs::metadata(to.join("a/00")).unwrap().ino(), inode);
}

#[test]
fn special_bits_are_dropped() {
    let (_temporary, from, to) = folders();
    for (path, mode) in [("a/00", 0o4755), ("a/01", 0o2755), ("a/b", 0o1777)] {
        set_mode(&from.join(path), mode);
    }
    let pushed = Pushed::of(&from);
    for _ in 0..2 {
        pushed.pull(&to, false);
        for (path, mode) in [("a/00", 0o755), ("a/01", 0o755), ("a/b", 0o777)] {
            assert_eq!(
                fs::metadata(to.join(path)).unwrap().mode() & 0o7777,
                mode,
                "{path}"
            );
        }
    }
}

#[test]
fn other_files_stay_unless_they_are_to_go() {
    let (_temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    pushed.pull(&to, false);
    fs::create_dir(to.join("a/mine")).unwrap();
    fs::write(to.join("a/mine/file"), "mine").unwrap();
    fs::write(to.join("mine"), "mine").unwrap();
    set_mode(&to.join("locked"), 0o700);
    fs::write(to.join("locked/mine"), "mine").unwrap();
    set_mode(&to.join("locked"), 0o500);
    pushed.pull(&to, false);
    assert_eq!(fs::read(to.join("a/mine/file")).unwrap(), b"mine");
    assert_eq!(fs::read(to.join("locked/mine")).unwrap(), b"mine");
    assert_eq!(pushed.pull(&to, true), 0);
    assert_eq!(picture(&to), picture(&from));
}

#[test]
fn changed_files_are_fetched_with_their_neighbours_alone() {
    let (_temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    pushed.pull(&to, false);
    fs::write(to.join("a/50"), "changed").unwrap();
    fs::remove_file(to.join("a/52")).unwrap();
    fs::remove_file(to.join("a/link")).unwrap();
    symlink("elsewhere", to.join("a/link")).unwrap();
    set_mode(&to.join("a/70"), 0o600);
    assert_eq!(pushed.pull(&to, false), 3 * 12_000);
    assert_eq!(picture(&to), picture(&from));
}

#[test]
fn bytes_that_are_there_under_another_time_are_not_fetched() {
    let (_temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    pushed.pull(&to, false);
    let names = scan(&to);
    for (place, entry) in (0..).zip(&names.entries) {
        if matches!(entry.kind, Kind::File { .. }) {
            touch(&names.path(place), 77);
        }
    }
    assert_eq!(pushed.pull(&to, false), 0);
    assert_eq!(picture(&to), picture(&from));
}

#[test]
fn of_a_large_file_the_chunks_that_differ_are_fetched() {
    let (_temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    pushed.pull(&to, false);
    let file = File::options().write(true).open(to.join("large.copy")).unwrap();
    file.write_all_at(b"x", LARGE_FILE_SIZE).unwrap();
    // Its twin has that chunk.
    assert_eq!(pushed.pull(&to, false), 0);
    for name in ["large", "large.copy"] {
        let file = File::options().write(true).open(to.join(name)).unwrap();
        file.write_all_at(b"x", LARGE_FILE_SIZE).unwrap();
        file.set_len(3 * LARGE_FILE_SIZE + 16).unwrap();
    }
    assert_eq!(pushed.pull(&to, false), LARGE_FILE_SIZE + 17);
    assert_eq!(picture(&to), picture(&from));
}

#[test]
fn a_file_with_a_second_name_elsewhere_is_replaced_and_not_changed() {
    let (temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    pushed.pull(&to, false);
    let outside = temporary.path().join("outside");
    for (name, mode) in [("a/00", 0o600), ("large", 0o600)] {
        let _ = fs::remove_file(&outside);
        fs::hard_link(to.join(name), &outside).unwrap();
        set_mode(&outside, mode);
        touch(&outside, 55);
        pushed.pull(&to, false);
        let metadata = fs::metadata(&outside).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.mtime(), metadata.nlink()),
            (mode, 55, 1),
            "{name}"
        );
    }
    assert_eq!(picture(&to), picture(&from));
}

#[test]
fn an_interrupted_pull_leaves_no_half_file_and_the_next_one_goes_on() {
    let (_temporary, from, to) = folders();
    // Two holes, so that there are two ranges: the second one is not reached.
    let pushed = Pushed::of(&from);
    fs::create_dir(&to).unwrap();
    let mut old = large(1, 3);
    old[0] = 9;
    old[2 * STREAM_CHUNK_SIZE] = 9;
    fs::write(to.join("large"), &old).unwrap();
    pushed.try_pull(&to, false, LARGE_FILE_SIZE).unwrap_err();
    assert!(
        fs::read(to.join("large")).unwrap() == old,
        "the old file is whole"
    );
    // Gone on with, whatever became of the old file.
    fs::remove_file(to.join("large")).unwrap();
    assert_eq!(pushed.pull(&to, false), LARGE_FILE_SIZE);
    assert_eq!(picture(&to), picture(&from));
}

#[test]
fn what_is_in_the_way_stops_a_pull_before_it_changes_anything() {
    let (_temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    fs::create_dir_all(to.join("large/deep")).unwrap();
    symlink("/etc", to.join("a")).unwrap();
    let before = picture(&to);
    let error = pushed.try_pull(&to, false, u64::MAX).unwrap_err().to_string();
    assert!(
        error.contains("/to/a' is a symbolic link where the tree has a folder"),
        "{error}"
    );
    assert_eq!(picture(&to), before);
    pushed.pull(&to, true);
    assert_eq!(picture(&to), picture(&from));
}

#[test]
fn a_link_that_is_put_in_the_place_of_a_folder_meanwhile_leads_nowhere() {
    let (temporary, from, to) = folders();
    let pushed = Pushed::of(&from);
    let target = Target::make(&to).unwrap();
    let survey = Survey::of(None, &pushed.index, false).unwrap();
    let restore = Restore::begin(target, pushed.index.clone(), survey).unwrap();
    let outside = temporary.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::rename(to.join("locked"), to.join("moved")).unwrap();
    symlink(&outside, to.join("locked")).unwrap();
    // Another run, which has no folder open.
    let restore = Restore {
        target: Target::find(&to).unwrap().unwrap(),
        ..restore
    };
    let file = restore
        .index
        .entries
        .iter()
        .position(|entry| &*entry.name == b"file")
        .unwrap();
    restore.write_small(file as u32, b"secret").unwrap_err();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn the_folder_that_was_there_keeps_its_mode_and_time() {
    let (_temporary, from, to) = folders();
    fs::create_dir(&to).unwrap();
    set_mode(&to, 0o700);
    Pushed::of(&from).pull(&to, false);
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o700);
}
