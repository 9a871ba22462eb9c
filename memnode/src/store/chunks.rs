//! The chunks that are held, each once, and the index that finds them by the hash of their bytes.
//!
//! Equal bytes are shared between entries, whoever owns them: each entry has a [`HeldChunk`], and what is read through it is paid for by
//! a [`Share`] of the entry's owner. The index knows the chunk for as long as it has an entry.
//!
//! A hash that comes from a peer is a claim. Bytes are shared with an owner who stores the very same bytes, which needs no hash,
//! or once with somebody asks for them by their hash they were found to have it ([`HeldChunk::is_right`]). What has another one is taken out
//! of the index, so that it stands in nobody's way, and stays with those who stored it.
//!
//! The locks are those of parts of the index, held for one look at a table, and never while a lock of a shard is waited for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use foldhash::fast::SeedableRandomState;
use memproto::ChunkHash;
use memproto::stream::Codec;

use super::charges::Charge;
use super::lock_any;
use super::outside::kept;
use super::records::Chunk;
use super::shard::NoPage;
use super::shares::{Share, SharedCharge};
use super::{ENTRY_OVERHEAD, Owner};
use crate::chunk;
use crate::value::Value;

/// What a chunk costs beside its stored bytes, and beside [`ENTRY_OVERHEAD`] for each entry that has it: the chunk itself, its charge, the
/// owner of the bytes' memory behind [`Bytes`](bytes::Bytes), what the allocator adds to these three, and a place in the index.
pub const CHUNK_OVERHEAD: u64 = 480;

/// Parts of the index, each with a lock of its own.
const PARTS: usize = 16;

/// A table gets smaller where it has room for so many times what is in it.
const ROOM_MAX: usize = 3;

/// A table that got smaller has room for half as much again.
fn room_for(len: usize) -> usize {
    len + len / 2
}

/// A chunk that some entries have.
pub(super) struct HeldChunk {
    index: Arc<ChunkIndex>,
    hash: ChunkHash,
    length: u32,
    codec: Codec,
    /// Paid for by `paid`, which lives as long as they do.
    bytes: Value,
    paid: Arc<SharedCharge>,
    /// Whether the bytes have the hash, where somebody wanted to know.
    is_right: OnceLock<bool>,
}

impl HeldChunk {
    pub(super) fn hash(&self) -> ChunkHash {
        self.hash
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// The bytes as they are stored. They are not on any owner's account.
    pub(super) fn bytes(&self) -> &Value {
        &self.bytes
    }

    /// What the budget pays for the bytes.
    pub(super) fn paid(&self) -> &Arc<SharedCharge> {
        &self.paid
    }

    /// The bytes as an owner has them, who pays for as long as they are in use.
    pub(super) fn shared_with(&self, share: Share) -> Value {
        // Not the memory file, where it is one: it would keep the share for as long as anybody has the bytes.
        Value::Heap(self.bytes.bytes()).keeping(share)
    }

    /// Whether the bytes have the hash. The first time takes as long as [`chunk::is_right`]: not under a lock.
    fn is_right(&self) -> bool {
        let is_right = *self.is_right.get_or_init(|| {
            let stored = self.bytes.bytes();
            chunk::is_right(&stored, self.codec, self.length, &self.hash)
        });
        if !is_right {
            self.index.leave(self);
        }
        is_right
    }
}

impl Drop for HeldChunk {
    fn drop(&mut self) {
        self.index.leave(self);
    }
}

/// See the module's documentation.
pub(super) struct ChunkIndex {
    parts: [Mutex<Part>; PARTS],
}

/// By a hash of the hash that nobody outside knows: peers choose what they claim.
type Part = HashMap<ChunkHash, Weak<HeldChunk>, SeedableRandomState>;

impl ChunkIndex {
    pub(super) fn new(hasher: &SeedableRandomState) -> Arc<Self> {
        Arc::new(Self {
            parts: std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))),
        })
    }

    /// Puts the bytes of an entry in, which was paid by `charge` with [`CHUNK_OVERHEAD`] and [`ENTRY_OVERHEAD`]. Where the same are held they are shared.
    /// Not under a lock, for it may copy and compare.
    ///
    /// # Errors
    /// Where the system has no memory for a copy.
    pub(super) fn hold(
        self: &Arc<Self>,
        chunk: &Chunk,
        bytes: Value,
        charge: Charge,
    ) -> Result<(Arc<HeldChunk>, Share), NoPage> {
        let is_own = charge.owner() == Owner::Local;
        if let Some(there) = self.find(&chunk.hash) {
            let is_same_form = (there.length, there.codec) == (chunk.length, chunk.codec);
            if is_same_form && there.bytes.as_ref() == bytes.as_ref() {
                if is_own {
                    // Whoever is told otherwise asked at the same time, and was told what the hash says.
                    let _ = there.is_right.set(true);
                }
                let share = there.paid.join(charge);
                return Ok((there, share));
            }
            // One of them lies, or they are compressed differently. The one that lies is not to keep the other out.
            there.is_right();
        }
        let of_bytes = charge.bytes() - ENTRY_OVERHEAD;
        let (paid, share) = SharedCharge::found(charge, of_bytes);
        let held = Arc::new(HeldChunk {
            index: Arc::clone(self),
            hash: chunk.hash,
            length: chunk.length,
            codec: chunk.codec,
            bytes: kept(bytes, Arc::clone(&paid))?,
            paid,
            is_right: if is_own { true.into() } else { OnceLock::new() },
        });
        self.enter(&held);
        Ok((held, share))
    }

    /// The chunk of this hash, looked at: its bytes have it. Takes as long as [`chunk::is_right`] the first time; not under a lock.
    pub(super) fn find_right(&self, hash: &ChunkHash) -> Option<Arc<HeldChunk>> {
        self.find(hash).filter(|held| held.is_right())
    }

    fn find(&self, hash: &ChunkHash) -> Option<Arc<HeldChunk>> {
        self.part_of(hash).get(hash)?.upgrade()
    }

    /// Lets a chunk be found, unless another one of its hash is.
    fn enter(&self, held: &Arc<HeldChunk>) {
        match self.part_of(&held.hash).entry(held.hash) {
            Entry::Occupied(mut there) => {
                // Where it is about to go, it takes nothing out that is not its own.
                if there.get().strong_count() == 0 {
                    there.insert(Arc::downgrade(held));
                }
            }
            Entry::Vacant(place) => {
                place.insert(Arc::downgrade(held));
            }
        }
    }

    /// Takes a chunk out, where it is in.
    fn leave(&self, held: &HeldChunk) {
        let mut part = self.part_of(&held.hash);
        if let Entry::Occupied(there) = part.entry(held.hash)
            && std::ptr::eq(there.get().as_ptr(), held)
        {
            there.remove();
        }
        if part.capacity() > ROOM_MAX * part.len() {
            let room = room_for(part.len());
            part.shrink_to(room);
        }
    }

    fn part_of(&self, hash: &ChunkHash) -> MutexGuard<'_, Part> {
        lock_any(&self.parts[usize::from(hash.as_bytes()[0]) % PARTS])
    }

    /// The chunks that can be found, in no order.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn all(&self) -> Vec<Arc<HeldChunk>> {
        let parts = self.parts.iter().map(lock_any);
        parts
            .flat_map(|part| part.values().filter_map(Weak::upgrade).collect::<Vec<_>>())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_for_a_chunk_pays_for_what_it_takes() {
        // Strong and weak count, and of each allocation the size class and the header.
        let allocated = |len: usize| len.next_multiple_of(16) + 16;
        let counts = 2 * size_of::<usize>();
        let held = allocated(counts + size_of::<HeldChunk>());
        let paid = allocated(counts + size_of::<SharedCharge>());
        // A counter, two functions, and what is owned: the bytes and their charge.
        let owner = allocated(4 * size_of::<usize>() + size_of::<(bytes::Bytes, Arc<SharedCharge>)>());
        // Two thirds of a table's places are unused at worst, and an eighth of its room always is.
        let place = (size_of::<(ChunkHash, Weak<HeldChunk>)>() + 1) * ROOM_MAX * 8 / 7;
        let sum = held + paid + owner + place;
        assert!(sum as u64 <= CHUNK_OVERHEAD, "{sum}");
        assert!(sum as u64 * 5 / 4 > CHUNK_OVERHEAD, "{sum}");
    }
}
