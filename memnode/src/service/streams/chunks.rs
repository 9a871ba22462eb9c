//! The chunks that this node has placed, for all of its streams: where the bytes of a hash lie, and how many places in streams they fill.
//!
//! What lies somewhere already is not sent again, be it because it comes twice in a stream, because another stream has it, or because
//! an earlier attempt was broken off. Chunks of class cache and such as expire are not shared: who holds them may drop them at any time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use memproto::peer::{Manifest, PlacedChunk};
use memproto::{BlockId, ChunkHash, NodeId};
use tokio_util::sync::CancellationToken;

use crate::service::lock;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::service) struct OwnChunks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_id: HashMap<BlockId, Entry>,
    by_hash: HashMap<ChunkHash, Known>,
    totals: Totals,
}

/// What the chunks have and take, each counted once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::service) struct Totals {
    /// Their bytes.
    pub(in crate::service) bytes: u64,
    /// What is stored of them, compressed as it is.
    pub(in crate::service) stored_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    chunk: PlacedChunk,
    /// How many places in streams it fills.
    uses: u32,
}

#[derive(Debug)]
enum Known {
    Placed(BlockId),
    /// It is being placed; the token is cancelled when that has come to an end.
    Pending(CancellationToken),
}

/// What came of asking for a chunk.
pub(super) enum Claim<'a> {
    /// It lies there, and has one use more now.
    Known(PlacedChunk),
    /// Somebody is placing it: ask again when this is cancelled.
    Pending(CancellationToken),
    /// Nobody has it: it is the asker's to place.
    New(Placing<'a>),
}

/// The right to place a chunk that others may wait for. Dropped, somebody else may.
pub(super) struct Placing<'a> {
    chunks: &'a OwnChunks,
    hash: ChunkHash,
    done: CancellationToken,
}

impl Placing<'_> {
    /// The chunk has its place, and one use.
    pub(super) fn done(self, chunk: PlacedChunk) {
        let mut state = lock(&self.chunks.state);
        state.add(chunk);
        state.by_hash.insert(self.hash, Known::Placed(chunk.id));
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.chunks.state);
        if matches!(state.by_hash.get(&self.hash), Some(Known::Pending(_))) {
            state.by_hash.remove(&self.hash);
        }
        drop(state);
        self.done.cancel();
    }
}

impl OwnChunks {
    /// Asks for a chunk by its hash. One that lies where `may_lie` says no is as one that nobody has, and is not shared.
    pub(super) fn claim(&self, hash: ChunkHash, may_lie: impl Fn(NodeId) -> bool) -> Option<Claim<'_>> {
        let mut state = lock(&self.state);
        match state.by_hash.get(&hash) {
            Some(Known::Pending(done)) => Some(Claim::Pending(done.clone())),
            Some(&Known::Placed(id)) => {
                let entry = state.by_id.get_mut(&id).expect("what has a hash has an entry");
                if !may_lie(entry.chunk.holder) {
                    return None;
                }
                entry.uses += 1;
                Some(Claim::Known(entry.chunk))
            }
            None => {
                let done = CancellationToken::new();
                state.by_hash.insert(hash, Known::Pending(done.clone()));
                Some(Claim::New(Placing {
                    chunks: self,
                    hash,
                    done,
                }))
            }
        }
    }

    /// Notes a chunk that nobody else is to use.
    pub(super) fn add_unshared(&self, chunk: PlacedChunk) {
        lock(&self.state).add(chunk);
    }

    /// A place in a stream no longer needs a chunk. Returns it where it was the last one: it is to be freed.
    pub(super) fn release(&self, id: BlockId) -> Option<PlacedChunk> {
        lock(&self.state).release(id)
    }

    /// A stream no longer needs its chunks. Returns which are to be freed, by the node that holds them.
    pub(in crate::service) fn release_all(&self, manifest: &Manifest) -> BTreeMap<NodeId, Vec<BlockId>> {
        let mut free: BTreeMap<NodeId, Vec<BlockId>> = BTreeMap::new();
        // A lock for each, so that a stream of a million chunks does not hold up the others.
        for chunk in manifest.chunks() {
            if let Some(chunk) = self.release(chunk.id) {
                free.entry(chunk.holder).or_default().push(chunk.id);
            }
        }
        free
    }

    /// The chunks of a stream whose time to live is that of the stream: those that no other one needs. From here on none is going to.
    pub(in crate::service) fn of_this_alone(&self, manifest: &Manifest) -> BTreeMap<NodeId, Vec<BlockId>> {
        let mut alone: BTreeMap<NodeId, Vec<BlockId>> = BTreeMap::new();
        let mut uses: HashMap<BlockId, u32> = HashMap::new();
        for chunk in manifest.chunks() {
            *uses.entry(chunk.id).or_default() += 1;
        }
        for chunk in manifest.chunks() {
            let Some(within) = uses.remove(&chunk.id) else {
                continue;
            };
            let mut state = lock(&self.state);
            let is_alone = state
                .by_id
                .get(&chunk.id)
                .is_some_and(|entry| entry.uses == within);
            if is_alone {
                state.unshare(chunk.id);
                alone.entry(manifest.holder(chunk)).or_default().push(chunk.id);
            }
        }
        alone
    }

    /// Its holder has a chunk no more: nobody is to count on it from here on.
    pub(super) fn forget(&self, id: BlockId) {
        lock(&self.state).unshare(id);
    }

    /// What all chunks have and take.
    pub(in crate::service) fn totals(&self) -> Totals {
        lock(&self.state).totals
    }

    /// How many chunks there are.
    #[cfg(test)]
    pub(in crate::service) fn len(&self) -> usize {
        lock(&self.state).by_id.len()
    }

    /// How many chunks there are, and how many hashes by which they are found, or waited for.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn lens(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.by_id.len(), state.by_hash.len())
    }
}

impl State {
    fn add(&mut self, chunk: PlacedChunk) {
        self.totals.bytes += u64::from(chunk.length);
        self.totals.stored_bytes += u64::from(chunk.stored);
        self.by_id.insert(chunk.id, Entry { chunk, uses: 1 });
    }

    fn release(&mut self, id: BlockId) -> Option<PlacedChunk> {
        let entry = self.by_id.get_mut(&id)?;
        entry.uses -= 1;
        if entry.uses > 0 {
            return None;
        }
        self.unshare(id);
        let chunk = self.by_id.remove(&id)?.chunk;
        self.totals.bytes -= u64::from(chunk.length);
        self.totals.stored_bytes -= u64::from(chunk.stored);
        Some(chunk)
    }

    fn unshare(&mut self, id: BlockId) {
        let Some(entry) = self.by_id.get(&id) else { return };
        let hash = entry.chunk.hash;
        if matches!(self.by_hash.get(&hash), Some(Known::Placed(known)) if *known == id) {
            self.by_hash.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use memproto::stream::Codec;

    use super::*;

    fn chunk(id: u64, hash: u8) -> PlacedChunk {
        PlacedChunk {
            id: BlockId::new(id).unwrap(),
            holder: NodeId::from_bytes([1; 16]),
            length: 100,
            stored: 40,
            codec: Codec::Zstd,
            hash: ChunkHash::from_bytes([hash; 32]),
        }
    }

    fn place(chunks: &OwnChunks, chunk: PlacedChunk) {
        match chunks.claim(chunk.hash, |_| true) {
            Some(Claim::New(placing)) => placing.done(chunk),
            _ => panic!("nobody has it"),
        }
    }

    fn manifest(of: &[PlacedChunk]) -> Manifest {
        let mut manifest = Manifest::new();
        of.iter().for_each(|&chunk| manifest.push(chunk).unwrap());
        manifest
    }

    #[test]
    fn a_chunk_is_freed_when_its_last_use_ends() {
        let chunks = OwnChunks::default();
        let one = chunk(1, 1);
        place(&chunks, one);
        assert!(matches!(chunks.claim(one.hash, |_| true), Some(Claim::Known(known)) if known == one));
        let totals = Totals {
            bytes: 100,
            stored_bytes: 40,
        };
        assert_eq!(chunks.totals(), totals);
        assert_eq!(chunks.release(one.id), None);
        assert_eq!(chunks.release_all(&manifest(&[one])).len(), 1);
        assert_eq!((chunks.totals(), chunks.len()), (Totals::default(), 0));
        assert!(matches!(chunks.claim(one.hash, |_| true), Some(Claim::New(_))));
    }

    #[test]
    fn whoever_asks_for_a_chunk_on_its_way_waits_for_it() {
        let chunks = OwnChunks::default();
        let one = chunk(1, 1);
        let Some(Claim::New(placing)) = chunks.claim(one.hash, |_| true) else {
            panic!("nobody has it")
        };
        let Some(Claim::Pending(done)) = chunks.claim(one.hash, |_| true) else {
            panic!("it is on its way")
        };
        assert!(!done.is_cancelled());
        drop(placing);
        assert!(done.is_cancelled());
        place(&chunks, one);
    }

    #[test]
    fn a_chunk_that_lies_where_it_may_not_is_not_used() {
        let chunks = OwnChunks::default();
        place(&chunks, chunk(1, 1));
        assert!(chunks.claim(chunk(1, 1).hash, |_| false).is_none());
        chunks.add_unshared(chunk(2, 1));
        assert_eq!(chunks.release(chunk(2, 1).id), Some(chunk(2, 1)));
        assert!(matches!(
            chunks.claim(chunk(1, 1).hash, |_| true),
            Some(Claim::Known(_))
        ));
    }

    #[test]
    fn only_what_no_other_stream_needs_expires_with_a_stream() {
        let chunks = OwnChunks::default();
        let (mine, shared) = (chunk(1, 1), chunk(2, 2));
        place(&chunks, mine);
        place(&chunks, shared);
        let twice = |chunk: PlacedChunk| {
            assert!(matches!(
                chunks.claim(chunk.hash, |_| true),
                Some(Claim::Known(_))
            ));
        };
        twice(mine);
        twice(shared);
        // `mine` stands twice in the stream, `shared` once in it and once in another one.
        let alone = chunks.of_this_alone(&manifest(&[mine, shared, mine]));
        assert_eq!(alone.into_values().collect::<Vec<_>>(), [[mine.id]]);
        assert!(matches!(chunks.claim(mine.hash, |_| true), Some(Claim::New(_))));
        twice(shared);
    }

    #[test]
    fn what_a_holder_lost_is_placed_anew() {
        let chunks = OwnChunks::default();
        place(&chunks, chunk(1, 1));
        chunks.forget(chunk(1, 1).id);
        place(&chunks, chunk(2, 1));
        assert_eq!(chunks.release(chunk(1, 1).id), Some(chunk(1, 1)));
        assert!(
            matches!(chunks.claim(chunk(2, 1).hash, |_| true), Some(Claim::Known(known)) if known.id == chunk(2, 1).id)
        );
    }
}
