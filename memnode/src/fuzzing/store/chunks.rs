//! Steps on chunks: what is held once, and found by its hash.

use bytes::Bytes;
use memproto::stream::Codec;
use memproto::{BlockId, ErrorCode};

use super::model::{Known, What};
use super::{Cost, Play};
use crate::chunk::{hash, is_right};
use crate::store::{Adopted, Adoption, Chunk, ENTRY_OVERHEAD, Owner, Store};

/// Lengths of the chunks of a script, which has one of each: so few that it meets one again.
const LENS: [usize; 4] = [1, 700, 2_000, 4_000];

/// The stream whose chunks are stored.
const STREAM: u64 = 77;

/// The bytes of a chunk of a script.
fn raw(which: u8) -> Bytes {
    let which = which % LENS.len() as u8;
    Bytes::from(vec![which; LENS[usize::from(which)]])
}

/// A chunk as it is stored, and what is said of it. Peers lie now and then.
pub(super) fn chunk(owner: Owner, c: u8) -> (Bytes, Chunk) {
    let is_lie = owner != Owner::Local && c & 0x18 == 0x18;
    let (bytes, claimed) = (raw(c), raw(c.wrapping_add(u8::from(is_lie))));
    let (stored, codec) = if c & 4 == 0 {
        (bytes, Codec::Raw)
    } else {
        let packed = zstd::bulk::compress(&bytes, 1).expect("there is room for little");
        (packed.into(), Codec::Zstd)
    };
    let chunk = Chunk {
        stream: BlockId::new(STREAM).expect("it is small and positive"),
        hash: hash(&claimed),
        length: claimed.len() as u32,
        codec,
    };
    (stored, chunk)
}

/// Whether an entry has the bytes that it says.
fn says_right(known: &Known) -> bool {
    let (Some(bytes), Some(chunk)) = (known.bytes(), known.chunk()) else {
        return false;
    };
    is_right(bytes, chunk.codec, chunk.length, &chunk.hash)
}

impl Play {
    /// What is held for a chunk that is put in: what is there, where that is the same, else its own.
    pub(super) fn hold_chunk(&mut self, chunk: &Chunk, bytes: &Bytes) -> u64 {
        if let Some((number, there)) = self.model.find(&chunk.hash) {
            let form = |chunk: Chunk| (chunk.length, chunk.codec);
            if there.bytes() == Some(bytes) && there.chunk().map(form) == Some(form(*chunk)) {
                return number;
            }
            if !says_right(there) {
                self.model.found.remove(&chunk.hash);
            }
        }
        self.serial += 1;
        if self.model.find(&chunk.hash).is_none() {
            self.model.found.insert(chunk.hash, self.serial);
        }
        self.serial
    }

    /// Asks for a chunk by its hash, to read it or to have it as well.
    pub(super) fn ask_for_chunk(&mut self, a: u8, owner: Owner, b: u8, c: u8) {
        let bytes = raw(c);
        let name = hash(&bytes);
        let found = self.model.find(&name);
        let found = found.map(|(number, known)| (number, known.clone()));
        let right = found.clone().filter(|(_, known)| says_right(known));
        if found.is_some() && right.is_none() {
            self.model.found.remove(&name);
        }
        if c & 0x20 != 0 {
            let read = self.store.chunk(&name);
            assert_eq!(read.is_some(), right.is_some());
            let Some((read, (_, known))) = read.zip(right) else {
                return;
            };
            let chunk = known.chunk().expect("it was found by its hash");
            assert_eq!((read.length, read.codec), (chunk.length, chunk.codec));
            let expected = known.bytes().expect("it is a block").clone();
            self.model.read_by_hash.extend(known.held());
            self.readers_by_hash.push((read.bytes.bytes(), expected));
            return;
        }
        let length = bytes.len() as u32 + u32::from(c & 0x18 == 0x18);
        let right = right.filter(|(_, known)| known.chunk().is_some_and(|chunk| chunk.length == length));
        let mut adoption = Adoption {
            owner,
            // Another one for each, so that none of them keeps another one from being evicted.
            stream: BlockId::new(1_000 + self.serial).expect("it is positive"),
            hash: name,
            length,
            class: memproto::BlockClass::Pinned,
            expires: None,
        };
        let Some((number, there)) = right else {
            let id = self.store.new_id(None);
            assert_eq!(self.store.adopt(id, adoption), Ok(None));
            return;
        };
        self.adopt(a, b, number, &there, &mut adoption);
    }

    fn adopt(&mut self, a: u8, b: u8, number: u64, there: &Known, adoption: &mut Adoption) {
        let (id, owner) = (self.any_new_id(a), adoption.owner);
        let stored = there.bytes().expect("it is a block").clone();
        let chunk = there.chunk().expect("it was found by its hash");
        let chunk = Chunk {
            stream: adoption.stream,
            ..chunk
        };
        let what = What::Block {
            bytes: stored.clone(),
            owner,
            chunk: Some((chunk, number)),
        };
        let mut known = self.make(what, b);
        (adoption.class, adoption.expires) = (known.class, self.moment_of(&known));
        let entry = match owner {
            Owner::Local => 0,
            Owner::Peer(_) => Store::cost_of_lent_entry(known.class),
        };
        let of_budget = ENTRY_OVERHEAD + entry;
        let cost = Cost {
            of_budget,
            of_grant: of_budget + Store::cost_of_chunk(stored.len() as u64),
        };
        let before = self.before_taking(owner, cost);
        let result = self.store.adopt(id, *adoption);
        if result == Ok(None) {
            self.find_evicted(before.missing + before.missing_of_grant, None);
            assert!(before.missing > 0, "{known:?} was not adopted");
            let is_it = |known: &Known| known.held().is_some_and(|(held, _)| held == number);
            assert!(!self.model.known.iter().any(is_it), "{known:?} was there");
            return;
        }
        let is_taken = matches!(&result, Err(error) if error.code == ErrorCode::InvalidArgument);
        let result = if is_taken { Ok(None) } else { result };
        let Some(adopted) = self.taken(owner, cost, before, result) else {
            return;
        };
        assert_eq!(adopted.is_none(), self.model.of_id(id).is_some(), "{id}");
        if let Some(Adopted { stored_len, codec }) = adopted {
            assert_eq!((stored_len, codec), (stored.len() as u64, chunk.codec));
            known.id = Some(id);
            self.model.known.push(known);
        }
    }
}
