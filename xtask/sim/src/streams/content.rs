//! The bytes of streams: parts of a few sources that are the same in every run, so that streams have chunks in common.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use memproto::ChunkHash;
use memproto::limits::STREAM_CHUNK_SIZE;
use memproto::stream::KnownChunk;

use crate::random::Random;

/// How many sources there are. The first one shrinks when it is compressed, the others do not.
pub const SOURCES: usize = 4;

/// How long each of them is: a part of a whole chunk may begin anywhere in the first half.
const SOURCE_LEN: usize = 2 * STREAM_CHUNK_SIZE;

/// After how many bytes the first source repeats itself.
const PERIOD: usize = 4_099;

/// A part of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which source.
    pub source: usize,
    /// Where it begins there, at most [`STREAM_CHUNK_SIZE`].
    pub skip: usize,
    /// How many bytes, 1 to [`STREAM_CHUNK_SIZE`].
    pub len: usize,
}

impl Part {
    /// Its bytes.
    pub fn bytes(self) -> Bytes {
        sources()[self.source].slice(self.skip..self.skip + self.len)
    }

    /// What a program says of it that has its hash alone.
    pub fn known(self) -> KnownChunk {
        KnownChunk {
            hash: ChunkHash::from_bytes(*blake3::hash(&self.bytes()).as_bytes()),
            length: self.len as u32,
        }
    }
}

/// Parts, one behind the other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    parts: Vec<Part>,
}

impl Content {
    /// Adds a part at the end.
    pub fn push(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len as u64).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The part that begins at a byte, where one does.
    pub fn part_at(&self, at: u64) -> Option<Part> {
        let mut begin = 0;
        for part in &self.parts {
            if begin == at {
                return Some(*part);
            }
            begin += part.len as u64;
        }
        None
    }

    /// A range of the bytes, which must lie within them.
    pub fn bytes(&self, range: Range<u64>) -> Vec<Bytes> {
        let (mut begin, mut bytes) = (0, Vec::new());
        for part in &self.parts {
            let end = begin + part.len as u64;
            let (from, to) = (range.start.max(begin), range.end.min(end));
            if from < to {
                bytes.push(part.bytes().slice((from - begin) as usize..(to - begin) as usize));
            }
            begin = end;
        }
        bytes
    }

    /// The place of the first byte that is another one than it was handed over, in bytes that begin at `offset`.
    pub fn first_wrong(&self, offset: u64, read: &[u8]) -> Option<u64> {
        let mut at = 0;
        for right in self.bytes(offset..offset + read.len() as u64) {
            let there = &read[at..at + right.len()];
            if there != right {
                let within = there.iter().zip(&right).position(|(there, right)| there != right);
                return Some(offset + (at + within.unwrap_or(0)) as u64);
            }
            at += right.len();
        }
        (at < read.len()).then_some(offset + at as u64)
    }
}

fn sources() -> &'static [Bytes; SOURCES] {
    static SOURCES_MADE: OnceLock<[Bytes; SOURCES]> = OnceLock::new();
    SOURCES_MADE.get_or_init(|| {
        std::array::from_fn(|source| {
            let mut random = Random::new(0, "source", source as u64);
            let mut bytes = vec![0; SOURCE_LEN];
            if source > 0 {
                random.fill(&mut bytes);
            } else {
                let (first, rest) = bytes.split_at_mut(PERIOD);
                random.fill(first);
                for again in rest.chunks_mut(PERIOD) {
                    again.copy_from_slice(&first[..again.len()]);
                }
            }
            bytes.into()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_byte_is_found_wherever_it_is() {
        let mut content = Content::default();
        for (source, skip, len) in [(0, 5, 10), (1, 0, 7), (2, 1_000, 20)] {
            content.push(Part { source, skip, len });
        }
        assert_eq!(content.len(), 37);
        let all = content.bytes(0..37).concat();
        assert_eq!(content.first_wrong(0, &all), None);
        assert_eq!(content.first_wrong(8, &all[8..20]), None);
        for at in 0..37 {
            let mut wrong = all.clone();
            wrong[at] ^= 1;
            assert_eq!(content.first_wrong(0, &wrong), Some(at as u64));
        }
        assert_eq!(content.first_wrong(30, &all[..8]), Some(30));
        let longer = [&all[..], b"x"].concat();
        assert_eq!(content.first_wrong(0, &longer), Some(37));
        assert_eq!(content.part_at(10).map(|part| part.len), Some(7));
        assert_eq!(content.part_at(11), None);
    }
}
