//! What a node remembers of the keys of its peers, and the memory that this takes.
//!
//! It is measured in this process, with the store and the allocator's settings of a node: over links the same notes would lie among buffers whose size
//! is another question.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use memnode::platform;
use memnode::store::{KeyNote, KeyWrite, Store, StoreConfig};
use memproto::{NodeId, Version};
use serde::Serialize;
use xtask::interrupt;

/// As many keys as are noted.
const NOTES: u64 = 1_000_000;

/// The nodes that answer for them.
const PEERS: u64 = 32;

/// The lengths of the keys in bytes.
const KEY_LENS: [usize; 2] = [16, 100];

/// The most bytes that a note may take: the mark.
const NOTE_BYTES_MAX: f64 = 32.0;

/// How many notes are written between two looks at whether the measurement was interrupted.
const NOTES_AT_ONCE: u64 = 10_000;

/// What notes of keys of one length take.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Noted {
    key_len: usize,
    notes: u64,
    peers: u64,
    /// What the store counts as used.
    used_bytes: u64,
    /// By how much the resident memory of the process has grown.
    resident_bytes: u64,
}

/// Notes keys of each length in a store of its own.
///
/// # Errors
/// Where a note is not kept, or the system does not tell the resident memory.
pub(super) fn measure(budget_bytes: u64) -> Result<Vec<Noted>> {
    platform::return_freed_memory();
    // All are kept until the end: memory that one gave back would serve the next, which would seem to take none.
    let mut stores = Vec::new();
    let mut measured = Vec::new();
    for key_len in KEY_LENS {
        let store = Store::new(StoreConfig {
            budget_bytes,
            node_id: node(0),
            first_block_id: 1,
        });
        let before = resident()?;
        for number in 0..NOTES {
            if number.is_multiple_of(NOTES_AT_ONCE) {
                interrupt::check()?;
            }
            let key = format!("{number:0key_len$}");
            let version = Version {
                time: number + 1,
                node: node(1 + number % PEERS),
            };
            let KeyWrite::Recorded { .. } = store.note(&key, version, KeyNote::Theirs) else {
                bail!("the store has no room for {NOTES} notes: give it a larger --memory");
            };
        }
        let noted = Noted {
            key_len,
            notes: NOTES,
            peers: PEERS,
            used_bytes: store.usage().used_bytes,
            resident_bytes: resident()?.saturating_sub(before),
        };
        eprintln!("{}", noted.line());
        measured.push(noted);
        stores.push(store);
    }
    Ok(measured)
}

/// The table in Markdown.
pub(super) fn render(measured: &[Noted]) -> String {
    let mut out = String::from(
        "| keys of peers that are remembered | key, bytes | used a key, bytes | resident a key, bytes | mark |\n|---:|---:|---:|---:|---|\n",
    );
    for noted in measured {
        let verdict = if noted.each(noted.resident_bytes) <= NOTE_BYTES_MAX {
            "reached"
        } else {
            "missed"
        };
        let _ = writeln!(
            out,
            "| {} of {} nodes | {} | {:.1} | {:.1} | at most {NOTE_BYTES_MAX}: {verdict} |",
            noted.notes,
            noted.peers,
            noted.key_len,
            noted.each(noted.used_bytes),
            noted.each(noted.resident_bytes),
        );
    }
    out
}

impl Noted {
    fn each(&self, bytes: u64) -> f64 {
        bytes as f64 / self.notes as f64
    }

    fn line(&self) -> String {
        format!(
            "{} notes of keys of {} bytes: {:.1} bytes used, {:.1} resident for each",
            self.notes,
            self.key_len,
            self.each(self.used_bytes),
            self.each(self.resident_bytes)
        )
    }
}

fn node(number: u64) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    NodeId::from_bytes(bytes)
}

fn resident() -> Result<u64> {
    platform::resident_bytes().context("the system does not tell how much memory is resident")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_judged_by_what_is_resident() {
        let noted = |resident_bytes| Noted {
            key_len: 16,
            notes: 1_000,
            peers: 32,
            used_bytes: 28_000,
            resident_bytes,
        };
        let text = render(&[noted(32_000), noted(32_100)]);
        assert!(
            text.contains("| 1000 of 32 nodes | 16 | 28.0 | 32.0 | at most 32: reached |\n"),
            "{text}"
        );
        assert!(text.contains("| 32.1 | at most 32: missed |\n"), "{text}");
    }
}
