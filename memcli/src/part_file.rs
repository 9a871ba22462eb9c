//! A large object on its way into a file: beside the file, under a name that tells which object it is of, so that a load that was broken
//! off goes on where it was.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use memsdk::{BlockId, MemCloud};

use crate::exit::{Failure, Outcome, reason};
use crate::output::printable;
use crate::progress::Transfer;
use crate::size::show_size;

/// From which size on an object is loaded in parts: half a second at 1 Gbit/s. Less is quicker loaded again.
const WORTH: u64 = 64 * 1024 * 1024;

/// How much is asked for in one go. The node writes it in any order, so that only whole steps count as there.
const STEP: u64 = 64 * 1024 * 1024;

/// How many steps are under way, so that the node has the next one to do when one ends.
const UNDER_WAY: usize = 2;

/// The block that a system counts a file's memory in (POSIX, `st_blocks` as all of them have it).
const STAT_BLOCK: u64 = 512;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct PartFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    id: BlockId,
    part: Range<u64>,
    /// How many bytes are there from the beginning on.
    done: u64,
}

impl PartFile {
    /// Whether an object of this size is loaded in parts into what has this name: a new file, or one that can be replaced.
    pub(crate) fn is_worth(size: u64, path: &Path) -> bool {
        size >= WORTH && fs::metadata(path).map_or(true, |metadata| metadata.is_file())
    }

    /// Opens what is there of an object's range, or begins it.
    pub(crate) fn open(path: &Path, id: BlockId, part: &Range<u64>) -> Outcome<Self> {
        // The file behind a symbolic link is meant, not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let part_path = part_path(&target, id, part);
        let failed = |error: &io::Error| Failure::writing(&format!("'{}'", part_path.display()), error);
        if let Ok(metadata) = fs::metadata(&target) {
            // Whoever may not write the file may not replace it either.
            let file = File::options()
                .write(true)
                .open(&target)
                .map_err(|error| failed(&error))?;
            drop((file, metadata));
        }
        let file = File::options()
            .write(true)
            .read(true)
            .create(true)
            .truncate(false)
            .open(&part_path)
            .map_err(|error| failed(&error))?;
        let len = file.metadata().map_err(|error| failed(&error))?.len();
        let done = surely_done(len);
        Ok(Self {
            file,
            path: part_path,
            target,
            id,
            part: part.clone(),
            done,
        })
    }

    /// How many bytes were there when it was opened, or are now.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Fetches what is missing.
    ///
    /// # Errors
    /// What the node says, and what the disk does.
    pub(crate) async fn fill(&mut self, cloud: &MemCloud, transfer: &Transfer) -> Outcome {
        let Self {
            file, part, id, done, ..
        } = self;
        let (file, id, start, size) = (&*file, *id, part.start, part.end - part.start);
        let mut next = *done;
        let mut under_way = FuturesOrdered::new();
        loop {
            while under_way.len() < UNDER_WAY && next < size {
                let (at, length) = (next, STEP.min(size - next));
                next += length;
                let range = start + at..start + at + length;
                under_way.push_back(async move {
                    let loaded = cloud.load_into(id, range, file, at).await;
                    loaded.map(|_| length)
                });
            }
            tokio::select! {
                step = under_way.next() => match step {
                    Some(length) => *done += length?,
                    None => break,
                },
                () = tokio::time::sleep(crate::progress::LOOK) => {
                    let there = file.metadata().map_or(0, |metadata| metadata.blocks() * STAT_BLOCK);
                    transfer.set(there.clamp(*done, size), "");
                }
            }
        }
        transfer.set(size, "");
        drop(under_way);
        file.set_len(size)
            .map_err(|error| Failure::writing(&self.shown(), &error))
    }

    /// Puts the file in its place.
    pub(crate) fn persist(self) -> Outcome {
        let failed = |error| Failure::writing(&format!("'{}'", self.target.display()), &error);
        if let Ok(metadata) = fs::metadata(&self.target) {
            self.file
                .set_permissions(metadata.permissions())
                .map_err(failed)?;
        }
        fs::rename(&self.path, &self.target).map_err(failed)
    }

    /// The failure, with what is kept and how to go on. Where nothing came nothing is kept.
    pub(crate) fn keep(self, failure: Failure) -> Failure {
        if self.done == 0 {
            // What cannot be removed is written over the next time.
            let _ = fs::remove_file(&self.path);
            return match failure {
                Failure::Interrupted(how) => {
                    Failure::Interrupted(format!("{how}: '{}' was not written", self.target.display()))
                }
                failure => failure,
            };
        }
        // As long as what a program leaves behind that was ended in the middle of the steps that follow.
        let kept = match self.file.set_len(self.done + UNDER_WAY as u64 * STEP) {
            Ok(()) => format!(
                "{} are in {}: the same command fetches the rest",
                show_size(self.done),
                self.shown()
            ),
            Err(error) => format!("{} cannot be kept: {}", self.shown(), reason(&error)),
        };
        match failure {
            Failure::Interrupted(how) => Failure::Interrupted(format!("{how}: {kept}")),
            Failure::Api(error) => Failure::api(
                error.code,
                format!("{}. {kept}", error.message.trim_end_matches('.')),
            ),
            failure => failure,
        }
    }

    fn shown(&self) -> String {
        format!("'{}'", printable(&self.path.to_string_lossy()))
    }
}

/// Where the parts of an object's range lie that go into a file: beside it, hidden.
fn part_path(target: &Path, id: BlockId, part: &Range<u64>) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".memcli-{id}-{}-{}.part", part.start, part.end));
    target.with_file_name(name)
}

/// How many bytes of a file that was left behind are surely there. The steps under way when it was left may have holes, and they
/// are the last ones that reach into the file.
fn surely_done(len: u64) -> u64 {
    len.div_ceil(STEP).saturating_sub(UNDER_WAY as u64) * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> PartFile {
        PartFile::open(path, BlockId::new(7).expect("it is one"), &(0..1 << 40))
            .expect("the folder can be written")
    }

    #[test]
    fn what_was_kept_is_gone_on_with() {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let path = folder.path().join("model.bin");
        for done in [STEP, 5 * STEP] {
            let mut file = open(&path);
            file.done = done;
            let told = file
                .keep(Failure::Interrupted("interrupted".to_owned()))
                .to_string();
            assert!(told.contains("the same command fetches the rest"), "{told}");
            assert_eq!(open(&path).done(), done);
        }
        assert!(!path.exists());
    }

    #[test]
    fn what_was_under_way_does_not_count() {
        for (len, steps) in [
            (0, 0),
            (1, 0),
            (STEP, 0),
            (STEP + 1, 0),
            (2 * STEP, 0),
            (2 * STEP + 1, 1),
            (9 * STEP, 7),
        ] {
            assert_eq!(surely_done(len), steps * STEP, "{len}");
        }
    }

    #[test]
    fn where_nothing_came_nothing_is_left_behind() {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let failure = open(&folder.path().join("out")).keep(Failure::ConnectionLost);
        assert!(matches!(failure, Failure::ConnectionLost));
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
