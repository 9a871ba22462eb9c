//! The manifest of a stream: which chunks it has, in order, and where each lies.
//!
//! Nodes give each other **pages** of it, so that a reader can begin with the first chunks of a stream of any size, and begin anywhere:
//!
//! ```text
//!  u64 size | u8 whole | u64 offset | u16 holders | holders x 16 byte node id | u32 chunks
//!  | chunks x (u64 id, u32 length, u32 stored, u16 holder, u8 codec, 32 byte hash)
//! ```
//! All numbers are little-endian. `size` is that of the stream as far as it can be read; `whole` is 1 where nothing is added to it any
//! more, else 0. `offset` says which byte of the stream is the first one of the page's first chunk. `holder` counts into the list of holders.

use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::id::{BlockId, NodeId};
use crate::limits::{OBJECT_SIZE_MAX, STREAM_CHUNK_SIZE};
use crate::stream::{ChunkHash, Codec};

/// Bytes of one chunk in the encoded form.
pub const CHUNK_REF_LEN: usize = 8 + 4 + 4 + 2 + 1 + ChunkHash::LEN;

/// Bytes of a node id.
const NODE_ID_LEN: usize = size_of::<NodeId>();

/// The most nodes over which one stream lies: far more than a LAN has.
pub const HOLDERS_MAX: usize = 4_096;

/// The most chunks of one page: 4 GiB of a stream in about 200 KiB, little enough for the first byte to come soon.
pub const PAGE_CHUNKS_MAX: usize = 4_096;

/// The most bytes of an encoded page.
pub const PAGE_LEN_MAX: usize =
    8 + 1 + 8 + 2 + HOLDERS_MAX * NODE_ID_LEN + 4 + PAGE_CHUNKS_MAX * CHUNK_REF_LEN;

/// Between how many chunks a manifest knows by heart where in the stream it is: a look at random passes over half as many.
const MARK_EVERY: usize = 1_024;

/// One chunk of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkRef {
    /// The block.
    pub id: BlockId,
    /// The length of its bytes, 1 to [`STREAM_CHUNK_SIZE`].
    pub length: u32,
    /// The length of what is stored of it, 1 to [`STREAM_CHUNK_SIZE`]; that of its bytes where they are stored as they are.
    pub stored: u32,
    /// Index into the holders.
    pub holder: u16,
    /// How it is stored.
    pub codec: Codec,
    /// The hash of its bytes.
    pub hash: ChunkHash,
}

/// One chunk with the node that holds it, whatever list of holders it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlacedChunk {
    /// The block.
    pub id: BlockId,
    /// The node that holds it.
    pub holder: NodeId,
    /// See [`ChunkRef::length`].
    pub length: u32,
    /// See [`ChunkRef::stored`].
    pub stored: u32,
    /// See [`ChunkRef::codec`].
    pub codec: Codec,
    /// See [`ChunkRef::hash`].
    pub hash: ChunkHash,
}

impl PlacedChunk {
    /// A chunk that is stored as it is.
    pub const fn raw(id: BlockId, holder: NodeId, length: u32, hash: ChunkHash) -> Self {
        Self {
            id,
            holder,
            length,
            stored: length,
            codec: Codec::Raw,
            hash,
        }
    }
}

/// What a stream consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    size: u64,
    holders: Vec<NodeId>,
    chunks: Vec<ChunkRef>,
    /// Where every [`MARK_EVERY`]th chunk begins.
    marks: Vec<u64>,
}

impl Manifest {
    /// The manifest of an empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// The size of the chunks' bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The chunks in order.
    pub fn chunks(&self) -> &[ChunkRef] {
        &self.chunks
    }

    /// The nodes over which the stream lies.
    pub fn holders(&self) -> &[NodeId] {
        &self.holders
    }

    /// The node that holds a chunk of this manifest.
    pub fn holder(&self, chunk: &ChunkRef) -> NodeId {
        self.holders[usize::from(chunk.holder)]
    }

    /// The same without nodes that hold no chunk any more, because it was [replaced](Self::replace).
    pub fn tidied(self) -> Self {
        let mut is_holder = vec![false; self.holders.len()];
        for chunk in &self.chunks {
            is_holder[usize::from(chunk.holder)] = true;
        }
        if !is_holder.contains(&false) {
            return self;
        }
        let mut tidied = Self::new();
        for index in 0..self.chunks.len() {
            tidied
                .push(self.placed(index))
                .expect("it has no more nodes and bytes than this one");
        }
        tidied
    }

    /// The chunk at a place in the list, which must be there.
    pub fn placed(&self, index: usize) -> PlacedChunk {
        let chunk = self.chunks[index];
        PlacedChunk {
            id: chunk.id,
            holder: self.holder(&chunk),
            length: chunk.length,
            stored: chunk.stored,
            codec: chunk.codec,
            hash: chunk.hash,
        }
    }

    /// Appends a chunk.
    ///
    /// # Errors
    /// `TooLarge` where the stream would lie on more than [`HOLDERS_MAX`] nodes or pass [`OBJECT_SIZE_MAX`].
    pub fn push(&mut self, chunk: PlacedChunk) -> ApiResult<()> {
        let size = self.size + u64::from(chunk.length);
        if size > OBJECT_SIZE_MAX {
            return Err(ApiError::new(
                ErrorCode::TooLarge,
                format!("the stream has more than {OBJECT_SIZE_MAX} bytes: store it in parts"),
            ));
        }
        let holder = self.index_of(chunk.holder)?;
        if self.chunks.len().is_multiple_of(MARK_EVERY) {
            self.marks.push(self.size);
        }
        self.size = size;
        self.chunks.push(ChunkRef {
            id: chunk.id,
            length: chunk.length,
            stored: chunk.stored,
            holder,
            codec: chunk.codec,
            hash: chunk.hash,
        });
        Ok(())
    }

    /// Puts another chunk of the same bytes in the place of one, which must be there.
    ///
    /// # Errors
    /// `TooLarge` as for [`push`](Self::push).
    pub fn replace(&mut self, index: usize, chunk: PlacedChunk) -> ApiResult<()> {
        let holder = self.index_of(chunk.holder)?;
        let place = &mut self.chunks[index];
        debug_assert_eq!((place.length, place.hash), (chunk.length, chunk.hash));
        *place = ChunkRef {
            id: chunk.id,
            stored: chunk.stored,
            holder,
            codec: chunk.codec,
            ..*place
        };
        Ok(())
    }

    /// The place in the list of the chunk that has a byte, and where in the stream that chunk begins; behind the last byte, the number of chunks and the size.
    pub fn find(&self, byte: u64) -> (usize, u64) {
        let mark = self
            .marks
            .partition_point(|&begin| begin <= byte)
            .saturating_sub(1);
        let mut index = mark * MARK_EVERY;
        let mut begin = self.marks.get(mark).copied().unwrap_or(0);
        while let Some(chunk) = self.chunks.get(index) {
            let end = begin + u64::from(chunk.length);
            if byte < end {
                break;
            }
            (index, begin) = (index + 1, end);
        }
        (index, begin)
    }

    /// A page of it: the chunks from the one on that has a byte. `size` and `whole` are what is said of the stream.
    pub fn page(&self, byte: u64, size: u64, whole: bool) -> ManifestPage {
        let (index, offset) = self.find(byte);
        let end = self.chunks.len().min(index + PAGE_CHUNKS_MAX);
        ManifestPage {
            size,
            whole,
            offset,
            chunks: (index..end).map(|index| self.placed(index)).collect(),
        }
    }

    /// What it takes in memory, in bytes.
    pub fn memory_len(&self) -> usize {
        self.holders.len() * size_of::<NodeId>()
            + self.chunks.len() * size_of::<ChunkRef>()
            + self.marks.len() * size_of::<u64>()
    }

    fn index_of(&mut self, holder: NodeId) -> ApiResult<u16> {
        let index = match self.holders.iter().position(|&known| known == holder) {
            Some(index) => index,
            None if self.holders.len() == HOLDERS_MAX => {
                return Err(ApiError::new(
                    ErrorCode::TooLarge,
                    "the stream lies on too many nodes",
                ));
            }
            None => {
                self.holders.push(holder);
                self.holders.len() - 1
            }
        };
        Ok(index as u16)
    }
}

/// A part of a manifest, as a node gives it to another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestPage {
    /// The size of the stream in bytes, as far as it can be read.
    pub size: u64,
    /// Whether nothing is added to the stream any more.
    pub whole: bool,
    /// Where in the stream the first chunk of the page begins.
    pub offset: u64,
    /// The chunks, at most [`PAGE_CHUNKS_MAX`]. Where they end before the stream does, another page follows, or the node that writes the stream
    /// has the rest at hand.
    pub chunks: Vec<PlacedChunk>,
}

impl ManifestPage {
    /// The encoded form, at most [`PAGE_LEN_MAX`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut holders: Vec<NodeId> = self.chunks.iter().map(|chunk| chunk.holder).collect();
        holders.sort_unstable();
        holders.dedup();
        let mut out = Vec::with_capacity(
            8 + 1 + 8 + 2 + holders.len() * NODE_ID_LEN + 4 + self.chunks.len() * CHUNK_REF_LEN,
        );
        out.extend_from_slice(&self.size.to_le_bytes());
        out.push(self.whole.into());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&(holders.len() as u16).to_le_bytes());
        for holder in &holders {
            out.extend_from_slice(holder.as_bytes());
        }
        out.extend_from_slice(&(self.chunks.len() as u32).to_le_bytes());
        for chunk in &self.chunks {
            let holder = holders
                .binary_search(&chunk.holder)
                .expect("it is made of these chunks");
            out.extend_from_slice(&chunk.id.as_u64().to_le_bytes());
            out.extend_from_slice(&chunk.length.to_le_bytes());
            out.extend_from_slice(&chunk.stored.to_le_bytes());
            out.extend_from_slice(&(holder as u16).to_le_bytes());
            out.push(chunk.codec.to_byte());
            out.extend_from_slice(chunk.hash.as_bytes());
        }
        out
    }

    /// Reads the encoded form. Allocates no more than a few times what the input has.
    ///
    /// # Errors
    /// `Corrupt` where anything is not as [`encode`](Self::encode) writes it.
    pub fn decode(input: &[u8]) -> ApiResult<Self> {
        decode(input).ok_or_else(|| ApiError::new(ErrorCode::Corrupt, "a peer sent a malformed manifest"))
    }
}

fn decode(mut input: &[u8]) -> Option<ManifestPage> {
    let size = u64::from_le_bytes(take(&mut input)?);
    let whole = match take(&mut input)? {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    let offset = u64::from_le_bytes(take(&mut input)?);
    let holder_count = usize::from(u16::from_le_bytes(take(&mut input)?));
    if holder_count > HOLDERS_MAX || holder_count * NODE_ID_LEN > input.len() {
        return None;
    }
    let mut holders = Vec::with_capacity(holder_count);
    for _ in 0..holder_count {
        holders.push(NodeId::from_bytes(take(&mut input)?));
    }
    let chunk_count = u32::from_le_bytes(take(&mut input)?) as usize;
    if chunk_count > PAGE_CHUNKS_MAX || chunk_count * CHUNK_REF_LEN != input.len() {
        return None;
    }
    let mut chunks = Vec::with_capacity(chunk_count);
    let mut end = offset;
    for _ in 0..chunk_count {
        let chunk = decode_chunk(&mut input, &holders)?;
        end = end.checked_add(chunk.length.into())?;
        chunks.push(chunk);
    }
    (size <= OBJECT_SIZE_MAX && end <= size).then_some(ManifestPage {
        size,
        whole,
        offset,
        chunks,
    })
}

fn decode_chunk(input: &mut &[u8], holders: &[NodeId]) -> Option<PlacedChunk> {
    let id = BlockId::new(u64::from_le_bytes(take(input)?))?;
    let length = u32::from_le_bytes(take(input)?);
    let stored = u32::from_le_bytes(take(input)?);
    let holder = *holders.get(usize::from(u16::from_le_bytes(take(input)?)))?;
    let [codec] = take(input)?;
    let codec = Codec::from_byte(codec)?;
    let hash = ChunkHash::from_bytes(take(input)?);
    let is_length = |length: u32| length > 0 && length as usize <= STREAM_CHUNK_SIZE;
    let fits = is_length(length) && is_length(stored) && (codec != Codec::Raw || stored == length);
    fits.then_some(PlacedChunk {
        id,
        holder,
        length,
        stored,
        codec,
        hash,
    })
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(number: u64, holder: u8, length: u32) -> PlacedChunk {
        PlacedChunk {
            id: BlockId::new(number).unwrap(),
            holder: NodeId::from_bytes([holder; 16]),
            length,
            stored: length.div_ceil(2),
            codec: Codec::Zstd,
            hash: ChunkHash::from_bytes([number as u8; 32]),
        }
    }

    fn sample() -> Manifest {
        let mut manifest = Manifest::new();
        for (i, holder) in [1, 2, 1, 1].into_iter().enumerate() {
            manifest.push(chunk(i as u64 + 1, holder, 10 + i as u32)).unwrap();
        }
        manifest
    }

    #[test]
    fn a_page_survives_its_encoding() {
        for (manifest, byte) in [
            (Manifest::new(), 0),
            (sample(), 0),
            (sample(), 25),
            (sample(), 46),
        ] {
            let page = manifest.page(byte, manifest.size() + 7, false);
            let encoded = page.encode();
            assert!(encoded.len() <= PAGE_LEN_MAX);
            assert_eq!(ManifestPage::decode(&encoded).unwrap(), page);
        }
        assert_eq!(sample().holders().len(), 2);
        assert_eq!(sample().size(), 46);
    }

    #[test]
    fn a_page_begins_with_the_chunk_that_has_the_byte() {
        let manifest = sample();
        for (byte, offset, first) in [(0, 0, 1), (9, 0, 1), (10, 10, 2), (45, 33, 4)] {
            let page = manifest.page(byte, 46, true);
            assert_eq!(
                (page.offset, page.chunks[0].id.as_u64()),
                (offset, first),
                "{byte}"
            );
        }
        let behind = manifest.page(46, 46, true);
        assert_eq!((behind.offset, behind.chunks.len()), (46, 0));
    }

    #[test]
    fn a_byte_is_found_in_a_long_stream() {
        let mut manifest = Manifest::new();
        let lengths = |i: u64| 1 + (i % 7) as u32;
        let mut begins = Vec::new();
        for i in 0..3 * MARK_EVERY as u64 + 5 {
            begins.push(manifest.size());
            manifest.push(chunk(i + 1, 1, lengths(i))).unwrap();
        }
        for (index, &begin) in begins.iter().enumerate() {
            let last = begin + u64::from(lengths(index as u64)) - 1;
            assert_eq!(manifest.find(begin), (index, begin));
            assert_eq!(manifest.find(last), (index, begin));
        }
        assert_eq!(manifest.find(manifest.size()), (begins.len(), manifest.size()));
        assert_eq!(manifest.page(0, manifest.size(), true).chunks.len(), begins.len());
    }

    #[test]
    fn a_chunk_that_is_replaced_keeps_its_place() {
        let mut manifest = sample();
        let other = PlacedChunk {
            hash: manifest.placed(1).hash,
            ..chunk(99, 3, 11)
        };
        manifest.replace(1, other).unwrap();
        assert_eq!(manifest.placed(1), other);
        assert_eq!((manifest.size(), manifest.holders().len()), (46, 3));
        let tidied = manifest.clone().tidied();
        assert_eq!(tidied.holders().len(), 2, "the second node has none any more");
        assert!((0..4).all(|index| tidied.placed(index) == manifest.placed(index)));
        assert_eq!(tidied.clone().tidied(), tidied);
    }

    #[test]
    fn truncated_and_extended_pages_are_refused() {
        let encoded = sample().page(0, 46, true).encode();
        for length in 0..encoded.len() {
            assert!(ManifestPage::decode(&encoded[..length]).is_err(), "{length}");
        }
        assert!(ManifestPage::decode(&[&encoded[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_page_that_says_what_cannot_be_is_refused() {
        let page = sample().page(0, 46, true);
        let smaller = ManifestPage {
            size: 45,
            ..page.clone()
        };
        assert!(ManifestPage::decode(&smaller.encode()).is_err());
        let further = ManifestPage {
            offset: u64::MAX,
            ..page.clone()
        };
        assert!(ManifestPage::decode(&further.encode()).is_err());
        for change in [
            |chunk: &mut PlacedChunk| chunk.length = 0,
            |chunk: &mut PlacedChunk| chunk.stored = STREAM_CHUNK_SIZE as u32 + 1,
            |chunk: &mut PlacedChunk| chunk.codec = Codec::Raw,
        ] {
            let mut changed = page.clone();
            change(&mut changed.chunks[2]);
            assert!(ManifestPage::decode(&changed.encode()).is_err());
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ManifestPage::decode(&bytes);
        }
    }
}
