//! Replays what fuzzing found worth keeping as ordinary tests.
//!
//! A part of the test code of each crate that has fuzz targets, which names this file with `#[path]`. So the corpus is
//! checked wherever the tests run, without a fuzzer and on the stable toolchain.

use std::fs;
use std::path::{Path, PathBuf};

/// Inputs up to this many bytes are also replayed cut off behind each of their bytes: where a decoder that trusts a length
/// goes wrong. For longer ones that would take more time than it is worth.
const CUT_MAX: usize = 256;

/// Runs a target's body over each file of its corpus, and over the beginnings of the short ones.
pub(crate) fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.sort();
    for file in files {
        // The last line that a failing test shows names the input.
        println!("{}", file.display());
        let input = fs::read(&file).unwrap();
        body(&input);
        if input.len() <= CUT_MAX {
            (0..input.len()).for_each(|end| body(&input[..end]));
        }
    }
}
