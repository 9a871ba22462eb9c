//! Reading the files of a scan, and noticing when they are no longer what the scan saw.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memproto::ChunkHash;
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::tree::large_chunks;

use crate::exit::{Failure, Outcome};
use crate::tree::changes::{Changes, Known};
use crate::tree::scan::{Scan, modified, stamp};
use crate::tree::{hash_of, quoted};

/// Opens a file of a scan.
///
/// # Errors
/// Names a file that cannot be read, vanished, or is not what the scan saw.
pub(crate) fn open(scan: &Scan, place: u32) -> Outcome<File> {
    let path = scan.path(place);
    // What took its place meanwhile may be a link, or a pipe, at whose other end nobody writes.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(&path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::Other(format!(
            "{} vanished before it was read: push again once nothing changes there",
            quoted(&path)
        )),
        _ => Failure::reading(quoted(&path), &error),
    })?;
    check(scan, place, &file)?;
    Ok(file)
}

/// Checks that an open file is still what the scan saw: asked before and behind a read, nothing was written to it in between.
///
/// # Errors
/// Names the file.
pub(crate) fn check(scan: &Scan, place: u32, file: &File) -> Outcome {
    let path = scan.path(place);
    let metadata = file
        .metadata()
        .map_err(|error| Failure::reading(quoted(&path), &error))?;
    let entry = &scan.entries[place as usize];
    let is_same = metadata.is_file()
        && metadata.len() == entry.size()
        && modified(&metadata) == entry.modified
        && stamp(&metadata).inode == scan.stamps[place as usize].inode;
    if is_same { Ok(()) } else { Err(changed(&path)) }
}

/// Reads small files, one behind the other: a pack.
///
/// # Errors
/// As [`open`] and [`check`].
pub(crate) fn read_pack(scan: &Scan, files: &[u32]) -> Outcome<Vec<u8>> {
    let len: u64 = files
        .iter()
        .map(|place| scan.entries[*place as usize].size())
        .sum();
    let mut pack = vec![0; len as usize];
    let mut rest = &mut pack[..];
    for &place in files {
        let (bytes, behind) = rest.split_at_mut(scan.entries[place as usize].size() as usize);
        rest = behind;
        let mut file = open(scan, place)?;
        fill(scan, place, &mut file, bytes)?;
        check(scan, place, &file)?;
    }
    Ok(pack)
}

/// The hashes of the chunks of a large file.
///
/// # Errors
/// As [`open`] and [`check`].
pub(crate) fn hash_chunks(scan: &Scan, place: u32) -> Outcome<Vec<ChunkHash>> {
    let mut file = open(scan, place)?;
    let mut left = scan.entries[place as usize].size();
    let mut hashes = Vec::with_capacity(large_chunks(left) as usize);
    let mut chunk = vec![0; STREAM_CHUNK_SIZE];
    while left > 0 {
        let bytes = &mut chunk[..left.min(STREAM_CHUNK_SIZE as u64) as usize];
        fill(scan, place, &mut file, bytes)?;
        left -= bytes.len() as u64;
        hashes.push(hash_of(bytes));
    }
    check(scan, place, &file)?;
    Ok(hashes)
}

/// One chunk of a large file.
///
/// # Errors
/// As [`open`] and [`check`].
pub(crate) fn read_chunk(scan: &Scan, place: u32, number: usize) -> Outcome<Vec<u8>> {
    let mut file = open(scan, place)?;
    let start = (number * STREAM_CHUNK_SIZE) as u64;
    let left = scan.entries[place as usize].size().saturating_sub(start);
    let mut bytes = vec![0; left.min(STREAM_CHUNK_SIZE as u64) as usize];
    let sought = file.seek(SeekFrom::Start(start));
    sought.map_err(|error| Failure::reading(quoted(&scan.path(place)), &error))?;
    fill(scan, place, &mut file, &mut bytes)?;
    check(scan, place, &file)?;
    Ok(bytes)
}

/// Reads what seems to be as it was, and says whether all of it is. What is not is new from then on.
///
/// # Errors
/// As [`open`] and [`check`].
pub(crate) fn confirm(scan: &Scan, changes: &mut Changes) -> Outcome<bool> {
    let mut is_confirmed = true;
    for pack in &mut changes.packs {
        if let Known::Likely(hash) = pack.hash {
            let is_same = hash_of(&read_pack(scan, &pack.files)?) == hash;
            pack.hash = if is_same { Known::Same(hash) } else { Known::New };
            is_confirmed &= is_same;
        }
    }
    for file in &mut changes.large {
        if let Known::Likely(hashes) = &file.chunks {
            let found = hash_chunks(scan, file.place)?;
            let is_same = found == *hashes;
            file.chunks = if is_same { Known::Same(found) } else { Known::New };
            is_confirmed &= is_same;
        }
    }
    Ok(is_confirmed)
}

fn fill(scan: &Scan, place: u32, file: &mut File, bytes: &mut [u8]) -> Outcome {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(&scan.path(place)),
        _ => Failure::reading(quoted(&scan.path(place)), &error),
    })
}

/// What is said of a file that somebody writes to.
pub(crate) fn changed(path: &Path) -> Failure {
    Failure::Other(format!(
        "{} changed while it was read: push again once nothing writes to it",
        quoted(path)
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use memproto::tree::LARGE_FILE_SIZE;

    use super::*;
    use crate::tree::scan::tests::scan;

    fn message<T: std::fmt::Debug>(result: Outcome<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_pack_has_the_bytes_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "one").unwrap();
        fs::write(folder.path().join("b"), "two!").unwrap();
        let scan = scan(folder.path());
        assert_eq!(read_pack(&scan, &[1, 2]).unwrap(), b"onetwo!");
    }

    #[test]
    fn a_file_that_changed_shrank_or_vanished_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let scan = scan(folder.path());
        let mut file = open(&scan, 1).unwrap();

        // It shrinks while it is read.
        file.set_len(3).unwrap_err();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1)
            .unwrap();
        assert!(message(fill(&scan, 1, &mut file, &mut [0; 3])).contains("/a' changed while it was read"));
        // It grows, or another one is there.
        fs::write(&path, "other").unwrap();
        assert!(message(check(&scan, 1, &file)).contains("/a' changed while it was read"));
        fs::remove_file(&path).unwrap();
        assert!(message(read_pack(&scan, &[1])).contains("/a' vanished"));
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(message(read_pack(&scan, &[1])).starts_with("cannot read '"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(message(read_pack(&scan, &[1])).contains("changed while it was read"));
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let scan = scan(folder.path());
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(message(open(&scan, 1)).contains("changed while it was read"));
    }

    #[test]
    fn the_chunks_of_a_large_file_are_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let bytes = vec![7; LARGE_FILE_SIZE as usize * 2 + 5];
        fs::write(&path, &bytes).unwrap();
        let scan = scan(folder.path());
        let expected: Vec<_> = bytes.chunks(STREAM_CHUNK_SIZE).map(hash_of).collect();
        assert_eq!(hash_chunks(&scan, 1).unwrap(), expected);
        assert_eq!(hash_of(&read_chunk(&scan, 1, 2).unwrap()), expected[2]);
        // A write is noticed.
        let mut writer = fs::File::options().append(true).open(&path).unwrap();
        writer.write_all(b"more").unwrap();
        assert!(message(hash_chunks(&scan, 1)).contains("/large' changed while it was read"));
        assert!(message(read_chunk(&scan, 1, 0)).contains("/large' changed while it was read"));
    }
}
