//! What is sent: files in memory (tmpfs), and a tree of small ones.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xtask::interrupt;

use crate::access_log::AccessLog;
use crate::random::{Random, pattern};

/// Where files lie in memory.
const TMPFS: &str = "/dev/shm";

/// How much is written or compared at a time.
const STEP: usize = 1 << 20;

/// Files in memory that go with this.
#[derive(Debug)]
pub(crate) struct Files {
    dir: TempDir,
}

impl Files {
    /// A folder for files of so many bytes in all.
    ///
    /// # Errors
    /// When there is no tmpfs, or it has not that much room.
    pub(crate) fn create(needed: u64) -> Result<Self> {
        let stat = rustix::fs::statvfs(TMPFS).with_context(|| format!("{TMPFS} is missing"))?;
        let free = stat.f_bavail * stat.f_frsize;
        ensure!(
            free >= needed,
            "{TMPFS} has {free} bytes left, and {needed} are needed: name a smaller --size-mib"
        );
        let dir = tempfile::Builder::new()
            .prefix("memcloud-bench-")
            .tempdir_in(TMPFS)?;
        Ok(Self { dir })
    }

    /// Where a file or folder of this name lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a file of bytes that do not compress, in which no two MiB are alike.
    pub(crate) fn random(&self, name: &str, size: u64) -> Result<PathBuf> {
        let bytes = pattern(STEP);
        let mut step = 0_u64;
        self.fill(name, size, |out| {
            out.extend_from_slice(&bytes);
            // Another counter in each 64 bytes: nothing that a match of a compressor is long enough to gain from, and no chunk comes twice.
            for (index, line) in out.chunks_exact_mut(64).enumerate() {
                let number = Random::new(step << 32 | index as u64).bits();
                for (byte, mask) in line.iter_mut().zip(number.to_le_bytes().iter().cycle()) {
                    *byte ^= mask;
                }
            }
            step += 1;
        })
    }

    /// Makes a file of lines of an access log.
    pub(crate) fn access_log(&self, name: &str, size: u64) -> Result<PathBuf> {
        let mut log = AccessLog::new(1);
        self.fill(name, size, |out| {
            while out.len() < STEP {
                log.push_line(out);
            }
        })
    }

    fn fill(&self, name: &str, size: u64, mut more: impl FnMut(&mut Vec<u8>)) -> Result<PathBuf> {
        let path = self.path(name);
        let mut file = File::create(&path)?;
        let mut out = Vec::with_capacity(2 * STEP);
        let mut left = size;
        while left > 0 {
            interrupt::check()?;
            out.clear();
            more(&mut out);
            let len = left.min(out.len() as u64);
            file.write_all(&out[..len as usize])?;
            left -= len;
        }
        Ok(path)
    }

    /// Makes a tree of so many files in folders of a hundred, of sizes as sources and artifacts have them: 200 B to 64 KiB, each power of two as likely.
    pub(crate) fn tree(&self, name: &str, count: u64) -> Result<PathBuf> {
        let root = self.path(name);
        let mut random = Random::new(2);
        let bytes = pattern(STEP);
        for number in 0..count {
            let folder = root.join(format!("part-{:02}/module-{:03}", number / 1_000, number / 100));
            if number % 100 == 0 {
                interrupt::check()?;
                fs::create_dir_all(&folder)?;
            }
            let len = random.log_uniform(200, 64 << 10) as usize;
            let from = random.below((bytes.len() - len) as u64) as usize;
            let mut file = BufWriter::new(File::create(folder.join(format!("file-{number:05}.bin")))?);
            // No two are alike.
            file.write_all(&number.to_le_bytes())?;
            file.write_all(&bytes[from..from + len])?;
            file.flush()?;
        }
        Ok(root)
    }
}

/// Makes sure that two files have the same bytes, and removes the second.
///
/// # Errors
/// When they have not, or cannot be read.
pub(crate) fn check_and_remove(source: &Path, copy: &Path) -> Result<()> {
    ensure!(
        fs::metadata(source)?.len() == fs::metadata(copy)?.len(),
        "{} has another length than {}",
        copy.display(),
        source.display()
    );
    let (mut one, mut other) = (File::open(source)?, File::open(copy)?);
    let (mut ours, mut theirs) = (vec![0; STEP], vec![0; STEP]);
    loop {
        let read = one.read(&mut ours)?;
        if read == 0 {
            break;
        }
        other.read_exact(&mut theirs[..read])?;
        ensure!(
            ours[..read] == theirs[..read],
            "{} has other bytes than {}",
            copy.display(),
            source.display()
        );
    }
    Ok(fs::remove_file(copy)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_file_has_its_length_and_no_mib_twice() {
        let files = Files::create(0).unwrap();
        let size = 3 * STEP as u64 + 17;
        let path = files.random("random", size).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert_ne!(bytes[..STEP], bytes[STEP..2 * STEP]);
        assert_ne!(bytes[STEP..2 * STEP], bytes[2 * STEP..3 * STEP]);
        let copy = files.path("copy");
        fs::write(&copy, &bytes).unwrap();
        check_and_remove(&path, &copy).unwrap();
        assert!(!copy.exists());
        fs::write(&copy, &bytes[1..]).unwrap();
        assert!(check_and_remove(&path, &copy).is_err());
    }

    #[test]
    fn a_tree_has_its_files() {
        let files = Files::create(0).unwrap();
        let root = files.tree("tree", 250).unwrap();
        let modules: Vec<_> = fs::read_dir(root.join("part-00"))
            .unwrap()
            .map(|module| fs::read_dir(module.unwrap().path()).unwrap().count())
            .collect();
        assert_eq!((modules.len(), modules.iter().sum::<usize>()), (3, 250));
    }
}
