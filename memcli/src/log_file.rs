//! Reading the end of a log, and what is written to it from then on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How much to read at once on the way back from the end.
const STEP: u64 = 64 * 1024;

/// The last `count` lines of a file, from `from` on, and where the file ended.
///
/// Reads no more of the file than it needs.
pub(crate) fn last_lines(file: &mut File, count: usize, from: u64) -> io::Result<(String, u64)> {
    let end = file.seek(SeekFrom::End(0))?;
    // The file was replaced by a shorter one: all of it is new.
    let from = if from > end { 0 } else { from };
    let (mut start, mut tail) = (end, Vec::new());
    while start > from && lines_in(&tail) < count {
        let step = STEP.min(start - from);
        start -= step;
        let mut piece = vec![0; step as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut piece)?;
        piece.append(&mut tail);
        tail = piece;
    }
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().collect();
    let kept = &lines[lines.len().saturating_sub(count)..];
    Ok((kept.iter().flat_map(|line| [line, "\n"]).collect(), end))
}

/// Whole lines in a piece of text; where it does not begin with a line's begin, the first one is not whole.
fn lines_in(text: &[u8]) -> usize {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    body.iter().filter(|&&byte| byte == b'\n').count()
}

/// A log that is followed across its rotations.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    file: File,
    at: u64,
}

impl Follower {
    /// Follows a file that is open already, from `at` on.
    pub(crate) fn new(path: &Path, file: File, at: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            at,
        }
    }

    /// What was written since the last call: whole lines, or nothing.
    pub(crate) fn next_lines(&mut self) -> io::Result<String> {
        let mut new = self.read_on()?;
        if self.was_replaced()? {
            // What was still written to the old file between the two looks comes first.
            new.push_str(&self.read_on()?);
            self.file = File::open(&self.path)?;
            self.at = 0;
            new.push_str(&self.read_on()?);
        }
        Ok(new)
    }

    fn read_on(&mut self) -> io::Result<String> {
        let length = self.file.metadata()?.len();
        // The file was cut: it begins anew.
        self.at = if length < self.at { 0 } else { self.at };
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut new = Vec::new();
        (&mut self.file).take(length - self.at).read_to_end(&mut new)?;
        let whole = new
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |last| last + 1);
        self.at += whole as u64;
        Ok(String::from_utf8_lossy(&new[..whole]).into_owned())
    }

    /// Whether another file has the path by now. While there is none, the old one is still the log.
    fn was_replaced(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(theirs) => Ok((theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn tail(text: &str, count: usize, from: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, text).unwrap();
        last_lines(&mut File::open(&path).unwrap(), count, from)
            .unwrap()
            .0
    }

    #[test]
    fn the_last_lines_are_found_however_long_the_file() {
        assert_eq!(tail("", 3, 0), "");
        assert_eq!(tail("a\nb\nc\n", 2, 0), "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2, 0), "b\nc\n");
        assert_eq!(tail("a\nb\nc\n", 9, 0), "a\nb\nc\n");
        assert_eq!(tail("a\nb\nc\n", 9, 2), "b\nc\n");
        assert_eq!(tail("a\n", 9, 50), "a\n");
        assert_eq!(tail("a\nb\n", 0, 0), "");
        let long: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
        assert_eq!(tail(&long, 2, 0), "line 99998\nline 99999\n");
        let all = tail(&long, 100_000, 0);
        assert_eq!(all.len(), long.len());
    }

    #[test]
    fn a_follower_sees_whole_lines_across_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = File::create(&path).unwrap();
        let mut follower = Follower::new(&path, File::open(&path).unwrap(), 0);
        assert_eq!(follower.next_lines().unwrap(), "");
        log.write_all(b"one\ntw").unwrap();
        assert_eq!(follower.next_lines().unwrap(), "one\n");
        log.write_all(b"o\n").unwrap();
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        assert_eq!(follower.next_lines().unwrap(), "two\n");
        log.write_all(b"three\n").unwrap();
        fs::write(&path, "four\n").unwrap();
        assert_eq!(follower.next_lines().unwrap(), "three\nfour\n");
    }
}
