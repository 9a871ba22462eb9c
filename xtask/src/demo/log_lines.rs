//! Log lines as a web service writes them: the same for a seed, with changing fields, as fast as a disk takes them.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

const LEVELS: [&str; 8] = ["INFO", "INFO", "INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"];
const METHODS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
const PATHS: [&str; 8] = [
    "orders", "carts", "users", "sessions", "items", "search", "prices", "stock",
];
const STATUSES: [&str; 8] = ["200", "200", "200", "201", "204", "304", "404", "500"];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15",
    "curl/8.14.1",
    "okhttp/5.1.0",
];

/// Lines are collected up to this many bytes before they are hashed and written.
const BATCH: usize = 1024 * 1024;

/// An endless log.
#[derive(Clone, Debug)]
pub struct LogLines {
    random: u64,
    millis: u64,
}

impl LogLines {
    /// The log of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: seed,
            millis: 0,
        }
    }

    /// Appends the next line.
    pub fn push_line(&mut self, out: &mut Vec<u8>) {
        let (a, b) = (self.next_random(), self.next_random());
        self.millis += a & 0x1f;
        let secs = self.millis / 1000;
        out.extend_from_slice(b"2026-11-22T");
        push_digits(out, secs / 3600 % 24, 2);
        out.push(b':');
        push_digits(out, secs / 60 % 60, 2);
        out.push(b':');
        push_digits(out, secs % 60, 2);
        out.push(b'.');
        push_digits(out, self.millis % 1000, 3);
        out.extend_from_slice(b"Z ");
        out.extend_from_slice(pick(&LEVELS, a >> 8));
        out.extend_from_slice(b" host=web-");
        push_digits(out, (a >> 16) % 24, 2);
        out.extend_from_slice(b" method=");
        out.extend_from_slice(pick(&METHODS, a >> 24));
        out.extend_from_slice(b" path=/api/v1/");
        out.extend_from_slice(pick(&PATHS, a >> 32));
        out.push(b'/');
        push_digits(out, (a >> 36) % 1_000_000, 6);
        out.extend_from_slice(b" status=");
        out.extend_from_slice(pick(&STATUSES, a >> 60));
        out.extend_from_slice(b" bytes=");
        push_digits(out, b % 100_000, 5);
        out.extend_from_slice(b" took_us=");
        push_digits(out, (b >> 20) % 1_000_000, 6);
        out.extend_from_slice(b" request=");
        push_hex(out, b ^ a.rotate_left(32));
        out.extend_from_slice(b" agent=\"");
        out.extend_from_slice(pick(&AGENTS, b >> 62));
        out.extend_from_slice(b"\"\n");
    }

    /// SplitMix64 (Steele, Lea and Flood 2014): tiny, fast, and the same everywhere.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What [`write_file`] wrote.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Number of lines; the last one may be cut.
    pub lines: u64,
    /// BLAKE3 of the file.
    pub hash: blake3::Hash,
}

/// Writes exactly `size` bytes of the log of a seed to a new file.
///
/// # Errors
/// When the file cannot be written, or the chore is interrupted.
pub fn write_file(path: &Path, size: u64, seed: u64) -> Result<Written> {
    let write = || -> Result<Written> {
        let mut file = File::create_new(path)?;
        let mut log = LogLines::new(seed);
        let mut hasher = blake3::Hasher::new();
        let mut batch = Vec::with_capacity(BATCH + 1024);
        let (mut left, mut lines) = (size, 0);
        while left > 0 {
            crate::interrupt::check()?;
            while batch.len() < BATCH && (batch.len() as u64) < left {
                log.push_line(&mut batch);
                lines += 1;
            }
            batch.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            hasher.update(&batch);
            file.write_all(&batch)?;
            left -= batch.len() as u64;
            batch.clear();
        }
        Ok(Written {
            lines,
            hash: hasher.finalize(),
        })
    };
    write().with_context(|| format!("cannot write {} bytes to {}", size, path.display()))
}

fn pick<'a>(words: &[&'a str], random: u64) -> &'a [u8] {
    words[random as usize % words.len()].as_bytes()
}

fn push_digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn push_hex(out: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for shift in (0..16).rev() {
        out.push(DIGITS[(value >> (shift * 4)) as usize & 15]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_differ_and_come_again_for_the_same_seed() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let (mut log, mut again) = (LogLines::new(7), LogLines::new(7));
        for _ in 0..1000 {
            log.push_line(&mut one);
            again.push_line(&mut other);
        }
        assert_eq!(one, other);
        let text = String::from_utf8(one).unwrap();
        let lines: std::collections::HashSet<_> = text.lines().collect();
        assert_eq!(lines.len(), 1000);
        assert!(
            text.lines()
                .all(|line| line.starts_with("2026-11-22T") && line.contains(" status="))
        );
    }

    #[test]
    fn a_file_has_the_size_and_hash_that_are_told() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, 1000, BATCH as u64 + 3] {
            let path = dir.path().join(size.to_string());
            let written = write_file(&path, size, 1).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, size);
            assert_eq!(blake3::hash(&bytes), written.hash);
        }
    }
}
