//! The manifest of a stream: which chunks it has, in order, and where each lies.
//!
//! ```text
//! u64 size | u16 holders | holders x 16 byte node id | u32 chunks | chunks x (u64 id, u32 length, u16 holder)
//! ```
//! All numbers are little-endian; `holder` counts into the list of holders.

use crate::error::{ApiError, ApiResult, ErrorCode};
use crate::id::{BlockId, NodeId};
use crate::limits::{OBJECT_SIZE_MAX, STREAM_CHUNK_SIZE};

/// Bytes of one chunk in the encoded form.
pub const CHUNK_REF_LEN: usize = 14;

/// The most nodes over which one stream lies: far more than a LAN has.
pub const HOLDERS_MAX: usize = 4_096;

/// One chunk of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkRef {
    /// The block.
    pub id: BlockId,
    /// Its length in bytes, 1 to [`STREAM_CHUNK_SIZE`].
    pub length: u32,
    /// Index into [`Manifest::holders`].
    pub holder: u16,
}

/// What a stream consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    size: u64,
    holders: Vec<NodeId>,
    chunks: Vec<ChunkRef>,
}

impl Manifest {
    /// The manifest of an empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// The size of the stream in bytes.
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

    /// Appends a chunk.
    ///
    /// # Errors
    /// `TooLarge` where the stream would lie on more than [`HOLDERS_MAX`] nodes or pass [`OBJECT_SIZE_MAX`].
    pub fn push(&mut self, id: BlockId, length: u32, holder: NodeId) -> ApiResult<()> {
        let size = self.size + u64::from(length);
        if size > OBJECT_SIZE_MAX {
            return Err(ApiError::new(
                ErrorCode::TooLarge,
                format!("the stream has more than {OBJECT_SIZE_MAX} bytes: store it in parts"),
            ));
        }
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
        self.size = size;
        self.chunks.push(ChunkRef {
            id,
            length,
            holder: index as u16,
        });
        Ok(())
    }

    /// The length of the encoded form in bytes.
    pub fn encoded_len(&self) -> usize {
        8 + 2 + self.holders.len() * 16 + 4 + self.chunks.len() * CHUNK_REF_LEN
    }

    /// The encoded form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&(self.holders.len() as u16).to_le_bytes());
        for holder in &self.holders {
            out.extend_from_slice(holder.as_bytes());
        }
        out.extend_from_slice(&(self.chunks.len() as u32).to_le_bytes());
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.id.as_u64().to_le_bytes());
            out.extend_from_slice(&chunk.length.to_le_bytes());
            out.extend_from_slice(&chunk.holder.to_le_bytes());
        }
        out
    }

    /// Reads the encoded form. Allocates no more than the input is long.
    ///
    /// # Errors
    /// `Corrupt` where anything is not as [`encode`](Self::encode) writes it.
    pub fn decode(input: &[u8]) -> ApiResult<Self> {
        decode(input).ok_or_else(|| ApiError::new(ErrorCode::Corrupt, "a peer sent a malformed manifest"))
    }
}

fn decode(mut input: &[u8]) -> Option<Manifest> {
    let size = u64::from_le_bytes(take(&mut input)?);
    let holder_count = usize::from(u16::from_le_bytes(take(&mut input)?));
    if holder_count > HOLDERS_MAX || holder_count * 16 > input.len() {
        return None;
    }
    let mut holders = Vec::with_capacity(holder_count);
    for _ in 0..holder_count {
        holders.push(NodeId::from_bytes(take(&mut input)?));
    }
    let chunk_count = u32::from_le_bytes(take(&mut input)?) as usize;
    if chunk_count.checked_mul(CHUNK_REF_LEN)? != input.len() {
        return None;
    }
    let mut chunks = Vec::with_capacity(chunk_count);
    let mut sum = 0_u64;
    for _ in 0..chunk_count {
        let id = BlockId::new(u64::from_le_bytes(take(&mut input)?))?;
        let length = u32::from_le_bytes(take(&mut input)?);
        let holder = u16::from_le_bytes(take(&mut input)?);
        if length == 0 || length as usize > STREAM_CHUNK_SIZE || usize::from(holder) >= holder_count {
            return None;
        }
        sum += u64::from(length);
        chunks.push(ChunkRef { id, length, holder });
    }
    (sum == size).then_some(Manifest {
        size,
        holders,
        chunks,
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

    fn sample() -> Manifest {
        let mut manifest = Manifest::new();
        let (a, b) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        for (i, holder) in [a, b, a, a].into_iter().enumerate() {
            manifest
                .push(BlockId::new(i as u64 + 1).unwrap(), 10 + i as u32, holder)
                .unwrap();
        }
        manifest
    }

    #[test]
    fn a_manifest_survives_its_encoding() {
        for manifest in [Manifest::new(), sample()] {
            assert_eq!(manifest.encode().len(), manifest.encoded_len());
            assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        }
        assert_eq!(sample().holders().len(), 2);
        assert_eq!(sample().size(), 46);
    }

    #[test]
    fn truncated_and_extended_manifests_are_refused() {
        let encoded = sample().encode();
        for length in 0..encoded.len() {
            assert!(Manifest::decode(&encoded[..length]).is_err(), "{length}");
        }
        assert!(Manifest::decode(&[&encoded[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_size_that_is_not_the_sum_of_the_chunks_is_refused() {
        let mut encoded = sample().encode();
        encoded[0] += 1;
        assert!(Manifest::decode(&encoded).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::decode(&bytes);
        }
    }
}
