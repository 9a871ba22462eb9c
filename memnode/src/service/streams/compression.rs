//! Whether a chunk is worth compressing, and its two forms.
//!
//! Zstandard (RFC 8878) at its level 1. A chunk is compressed where a small sample of it shrinks, and, unless a program wants it always, while the
//! links are what the stream waits for: then the processor has time, and what is saved on the wire is won. Where links are faster than the stream is
//! read, compression would only cost time, and chunks go as they are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use memproto::error::{ApiError, ApiResult, ErrorCode};
use memproto::stream::{Codec, Compress};

use super::cutting::len_of;
use crate::chunk;

/// The fastest of the levels that look for matches everywhere: 400 to 500 MB/s of log lines here, to a fifth of their length and less.
const LEVEL: i32 = 1;

/// A compressed chunk is kept as such where it has at most this part of its length, in sixteenths: below, what it saves is less than
/// what it costs to undo.
const WORTH_SIXTEENTHS: usize = 14;

/// How much of a chunk is looked at to tell whether it shrinks, in this many windows over its length.
const SAMPLE_WINDOWS: usize = 3;
const SAMPLE_WINDOW: usize = 4 * 1024;

/// After so many chunks in a row that do not shrink only every [`LOOK_SELDOM`]th is looked at: a sample costs 1 % of sending a chunk.
const STUBBORN_AFTER: u32 = 4;
const LOOK_SELDOM: u32 = 16;

/// What one stream knows of how its bytes shrink.
#[derive(Debug)]
pub(super) struct Compression {
    mode: Compress,
    /// Chunks in a row that did not shrink.
    stubborn: AtomicU32,
}

impl Compression {
    pub(super) fn new(mode: Compress) -> Self {
        Self {
            mode,
            stubborn: AtomicU32::new(0),
        }
    }

    /// Whether to try the next chunk. `links_are_busy` says whether the stream waits for the links.
    pub(super) fn is_worth_a_look(&self, links_are_busy: bool) -> bool {
        match self.mode {
            Compress::Never => false,
            Compress::Always => true,
            Compress::Auto if !links_are_busy => false,
            Compress::Auto => {
                let stubborn = self.stubborn.load(Ordering::Relaxed);
                if stubborn > STUBBORN_AFTER && !stubborn.is_multiple_of(LOOK_SELDOM) {
                    self.stubborn.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
                true
            }
        }
    }

    /// Notes whether a chunk shrank.
    pub(super) fn note(&self, shrank: bool) {
        if shrank {
            self.stubborn.store(0, Ordering::Relaxed);
        } else {
            self.stubborn.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The compressed form of a chunk; `None` where it is not worth it. Half a millisecond of work or more.
pub(super) fn compressed(pieces: &VecDeque<Bytes>) -> Option<Bytes> {
    let gathered;
    let bytes = match (pieces.front(), pieces.len()) {
        (Some(only), 1) => only,
        _ => {
            gathered = Bytes::from(gather(pieces));
            &gathered
        }
    };
    let worth = |bytes: &[u8], compressed: usize| compressed * 16 <= bytes.len() * WORTH_SIXTEENTHS;
    let sample = sample(bytes);
    if !worth(&sample, zstd::bulk::compress(&sample, LEVEL).ok()?.len()) {
        return None;
    }
    let compressed = zstd::bulk::compress(bytes, LEVEL).ok()?;
    worth(bytes, compressed.len()).then(|| compressed.into())
}

/// The bytes of a chunk of `length` bytes from the form in which it is stored.
///
/// # Errors
/// `Corrupt` where that is not what it claims to be.
pub(super) fn restored(stored: VecDeque<Bytes>, codec: Codec, length: u32) -> ApiResult<VecDeque<Bytes>> {
    let bytes = match codec {
        Codec::Raw => stored,
        Codec::Zstd => {
            let bytes = chunk::unpack(&gather(&stored).into(), codec, length)
                .ok_or_else(|| ApiError::new(ErrorCode::Corrupt, "a compressed chunk cannot be restored"))?;
            VecDeque::from([bytes])
        }
    };
    match len_of(&bytes) == u64::from(length) {
        true => Ok(bytes),
        false => Err(ApiError::new(
            ErrorCode::Corrupt,
            "a chunk has another length than it should",
        )),
    }
}

fn gather(pieces: &VecDeque<Bytes>) -> Vec<u8> {
    let mut all = Vec::with_capacity(len_of(pieces) as usize);
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    all
}

/// Parts of the bytes from all over them.
fn sample(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() <= SAMPLE_WINDOWS * SAMPLE_WINDOW {
        return bytes.to_vec();
    }
    let step = (bytes.len() - SAMPLE_WINDOW) / (SAMPLE_WINDOWS - 1);
    let windows = (0..SAMPLE_WINDOWS).map(|window| &bytes[window * step..][..SAMPLE_WINDOW]);
    windows.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(of: &[&[u8]]) -> VecDeque<Bytes> {
        of.iter().map(|piece| Bytes::copy_from_slice(piece)).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut output = blake3::Hasher::new().finalize_xof();
        let mut noise = vec![0; len];
        output.fill(&mut noise);
        noise
    }

    #[test]
    fn what_shrinks_is_compressed_and_comes_back() {
        let lines = "GET /index.html 200 1234\n".repeat(10_000);
        let (front, back) = lines.as_bytes().split_at(100_001);
        let stored = compressed(&pieces(&[front, back])).unwrap();
        assert!(stored.len() * 10 < lines.len());
        let restored = restored(
            pieces(&[&stored[..10], &stored[10..]]),
            Codec::Zstd,
            lines.len() as u32,
        )
        .unwrap();
        assert!(gather(&restored) == lines.as_bytes());
    }

    #[test]
    fn noise_stays_as_it_is() {
        let noise = noise(1 << 20);
        assert_eq!(compressed(&pieces(&[&noise])), None);
        let compression = Compression::new(Compress::Auto);
        let looks = (0..160).filter(|_| {
            let looks = compression.is_worth_a_look(true);
            if looks {
                compression.note(false);
            }
            looks
        });
        assert!(looks.count() < 20);
        compression.note(true);
        assert!(compression.is_worth_a_look(true) && !compression.is_worth_a_look(false));
        assert!(!Compression::new(Compress::Never).is_worth_a_look(true));
    }

    #[test]
    fn what_was_falsified_is_refused() {
        let lines = "GET /index.html 200 1234\n".repeat(1_000);
        let stored = compressed(&pieces(&[lines.as_bytes()])).unwrap();
        let length = lines.len() as u32;
        for (stored, codec, length) in [
            (&stored[..], Codec::Zstd, length - 1),
            (&stored[..], Codec::Zstd, length + 1),
            (&stored[..stored.len() - 1], Codec::Zstd, length),
            (&stored[..], Codec::Raw, length),
            (&noise(100), Codec::Zstd, length),
            (b"", Codec::Zstd, length),
        ] {
            let error = restored(pieces(&[stored]), codec, length).unwrap_err();
            assert_eq!(error.code, ErrorCode::Corrupt);
        }
    }
}
