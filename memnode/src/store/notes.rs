//! What is known of the keys of other nodes: a number of the node and a time for the hash of each, and no key.
//!
//! A node keeps a note of every key that its peers answer for, so that a read costs one round trip. There may be many more of them than keys of
//! its own, and the keys may be long: so a note has a fixed size, in three arrays side by side.
//!
//! ```text
//!  hashes   u64   64 bits of the key's hash; 0 is free
//!  times    u64   the time of the version
//!  nodes    u16   the node that wrote it, see `numbers`
//! ```
//!
//! As in [`index`](super::index), places are in the order of the hashes and searched from a home on. 18 bytes at a load that never stays below
//! [`LOAD_MIN_PERCENT`] are at most 30 for a note, whatever the length of its key. The few places behind the last home add less than 2, from some dozens of
//! notes on; a table with fewer has some hundred bytes.
//!
//! Two keys with one hash share a note. The hash is seeded, so that nobody can look for such keys, and 64 bits are enough that nobody meets them: with
//! a million notes the chance is 2.7e-8 that any two of them do (n^2 / 2^65), and a key that has no note finds one with a chance of 5e-14. It would then
//! be looked for on a node that does not have it, which costs a round trip, and is asked for everywhere else after that. A value is never taken from a
//! note, and no other node drops one because of it; a write of this node is taken for overwritten only by what arrives in the moment between its version
//! and its entry. Deletions are no notes: their entries have the whole key, for a wrong match would hide a value.

/// The number of homes of the smallest table that holds anything.
const HOMES_MIN: usize = 16;

/// Places behind the last home, for the last run of full ones. Where it is longer there are more.
const TAIL_MIN: usize = 4;

/// The largest load, as for the index.
const LOAD_MAX_PERCENT: usize = 80;

/// The least load, but for a table of [`HOMES_MIN`]: 18 bytes at 60 % are 30 for a note. Growing leaves 64 %.
const LOAD_MIN_PERCENT: usize = 60;

/// The load that shrinking leaves: in the middle, so that neither more nor fewer notes change the table again soon.
const LOAD_SHRUNK_PERCENT: usize = 72;

/// Bytes of a place.
const PLACE_LEN: usize = 8 + 8 + 2;

/// Bytes of the smallest table.
#[cfg(any(test, fuzzing, feature = "simulation"))]
pub(super) const BYTES_MIN: u64 = ((HOMES_MIN + TAIL_MIN) * PLACE_LEN) as u64;

/// What is noted of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// The time of its version.
    pub(super) time: u64,
    /// The number of the node that wrote it.
    pub(super) node: u16,
}

/// The hash of a key as a note has it: never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct NoteHash(u64);

impl NoteHash {
    pub(super) fn new(hash: u64) -> Self {
        Self(hash.max(1))
    }
}

/// Why a note has no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoPlace<E> {
    /// Whoever pays does not.
    Unpaid(E),
    /// The system gives no memory.
    NoMemory,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Notes {
    places: Places,
    homes: usize,
    len: usize,
}

/// The arrays, of one length. The last place is free.
#[derive(Default)]
struct Places {
    hashes: Box<[u64]>,
    times: Box<[u64]>,
    nodes: Box<[u16]>,
}

impl Notes {
    /// The note of a key.
    pub(super) fn find(&self, hash: NoteHash) -> Option<Note> {
        self.place_of(hash).ok().map(|at| self.places.note(at))
    }

    /// Keeps a note, in the place of one with the same hash, which is returned. `pay` is called with the bytes by which the table is about to
    /// grow, where it does.
    ///
    /// # Errors
    /// [`NoPlace`]; nothing has changed then.
    pub(super) fn set<E>(
        &mut self,
        hash: NoteHash,
        note: Note,
        pay: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<Option<Note>, NoPlace<E>> {
        let at = match self.place_of(hash) {
            Ok(at) => {
                let before = self.places.note(at);
                self.places.put(at, hash, note);
                return Ok(Some(before));
            }
            Err(at) => at,
        };
        let (at, end) = if (self.len + 1) * 100 > self.homes * LOAD_MAX_PERCENT {
            // By a quarter: more would leave more places free, and moving them is reading and writing in order.
            self.grow((self.homes * 5 / 4).max(HOMES_MIN), TAIL_MIN, pay)?;
            self.gap(hash)
        } else {
            let (at, end) = (at, self.places.run_end(at));
            if end + 1 < self.places.len() {
                (at, end)
            } else {
                self.grow(self.homes, 2 * (self.places.len() - self.homes), pay)?;
                self.gap(hash)
            }
        };
        self.places.shift(at..end, at + 1);
        self.places.put(at, hash, note);
        self.len += 1;
        Ok(None)
    }

    /// Takes a note out.
    pub(super) fn remove(&mut self, hash: NoteHash) -> Option<Note> {
        let at = self.place_of(hash).ok()?;
        let note = self.places.note(at);
        // What follows comes one place nearer to its home, up to one that is at home.
        let follows = self.places.hashes[at + 1..]
            .iter()
            .enumerate()
            .take_while(|&(step, &hash)| hash != 0 && self.home(hash) <= at + step);
        let end = at + 1 + follows.count();
        self.places.shift(at + 1..end, at);
        self.places.free(end - 1);
        self.len -= 1;
        self.shrink();
        Some(note)
    }

    /// Takes all notes of a node out. Returns how many there were.
    pub(super) fn remove_node(&mut self, node: u16) -> usize {
        let (before, mut next) = (self.len, 0);
        for at in 0..self.places.len() {
            let hash = self.places.hashes[at];
            if hash == 0 {
                continue;
            }
            let note = self.places.note(at);
            self.places.free(at);
            if note.node == node {
                self.len -= 1;
                continue;
            }
            // What is left lies at its home or behind its neighbour: never behind where it lay.
            let to = self.home(hash).max(next);
            self.places.put(to, NoteHash(hash), note);
            next = to + 1;
        }
        self.shrink();
        before - self.len
    }

    /// Number of notes.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All notes with their hashes, in the order of these.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn all(&self) -> impl Iterator<Item = (NoteHash, Note)> + '_ {
        let full = (0..self.places.len()).filter(|&at| self.places.hashes[at] != 0);
        full.map(|at| (NoteHash(self.places.hashes[at]), self.places.note(at)))
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> u64 {
        (self.places.len() * PLACE_LEN) as u64
    }

    /// The first place at which a note may lie: in the order of the hashes.
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.homes as u128) >> 64) as usize
    }

    /// The place of a note, or the one that it would have.
    fn place_of(&self, hash: NoteHash) -> Result<usize, usize> {
        let home = self.home(hash.0);
        let Some(places) = self.places.hashes.get(home..) else {
            return Err(0);
        };
        let passed = places.iter().take_while(|&&at| at != 0 && at < hash.0).count();
        let at = home + passed;
        match self.places.hashes.get(at) {
            Some(&found) if found == hash.0 => Ok(at),
            _ => Err(at),
        }
    }

    /// Where a note that is not there belongs, and the first free place from there on.
    fn gap(&self, hash: NoteHash) -> (usize, usize) {
        let at = self.place_of(hash).unwrap_or_else(|at| at);
        (at, self.places.run_end(at))
    }

    fn grow<E>(
        &mut self,
        homes: usize,
        tail: usize,
        pay: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<(), NoPlace<E>> {
        let grown = self.resized(homes, tail).ok_or(NoPlace::NoMemory)?;
        let more = (grown.len().saturating_sub(self.places.len()) * PLACE_LEN) as u64;
        pay(more).map_err(NoPlace::Unpaid)?;
        (self.places, self.homes) = (grown, homes);
        Ok(())
    }

    /// Gives memory back where few notes are left. Where the system has none for the smaller table the larger one stays.
    fn shrink(&mut self) {
        if self.len == 0 {
            *self = Self::default();
            return;
        }
        if self.homes <= HOMES_MIN || self.len * 100 >= self.homes * LOAD_MIN_PERCENT {
            return;
        }
        let homes = (self.len * 100 / LOAD_SHRUNK_PERCENT).max(HOMES_MIN);
        if let Some(shrunk) = self.resized(homes, TAIL_MIN) {
            (self.places, self.homes) = (shrunk, homes);
        }
    }

    /// The notes in a table with so many homes. `None` where the system has no memory.
    fn resized(&self, homes: usize, tail: usize) -> Option<Places> {
        let home = |hash: u64| ((u128::from(hash) * homes as u128) >> 64) as usize;
        let full = || (0..self.places.len()).filter(|&at| self.places.hashes[at] != 0);
        let last = full().fold(0, |next, at| home(self.places.hashes[at]).max(next) + 1);
        // A note more than there are, and a free place behind it.
        let mut places = Places::new((homes + tail).max(last + 2))?;
        let mut next = 0;
        for at in full() {
            let hash = self.places.hashes[at];
            let to = home(hash).max(next);
            places.put(to, NoteHash(hash), self.places.note(at));
            next = to + 1;
        }
        Some(places)
    }
}

impl Places {
    fn new(len: usize) -> Option<Self> {
        Some(Self {
            hashes: zeroes(len)?,
            times: zeroes(len)?,
            nodes: zeroes(len)?,
        })
    }

    fn len(&self) -> usize {
        self.hashes.len()
    }

    fn note(&self, at: usize) -> Note {
        Note {
            time: self.times[at],
            node: self.nodes[at],
        }
    }

    fn put(&mut self, at: usize, hash: NoteHash, note: Note) {
        self.hashes[at] = hash.0;
        self.times[at] = note.time;
        self.nodes[at] = note.node;
    }

    fn free(&mut self, at: usize) {
        self.hashes[at] = 0;
    }

    fn shift(&mut self, from: std::ops::Range<usize>, to: usize) {
        self.hashes.copy_within(from.clone(), to);
        self.times.copy_within(from.clone(), to);
        self.nodes.copy_within(from, to);
    }

    /// The first free place from this one on.
    fn run_end(&self, at: usize) -> usize {
        let run = self.hashes[at..].iter().take_while(|&&hash| hash != 0);
        at + run.count()
    }
}

fn zeroes<T: Clone + Default>(len: usize) -> Option<Box<[T]>> {
    let mut all = Vec::new();
    all.try_reserve_exact(len).ok()?;
    all.resize(len, T::default());
    Some(all.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn hash(number: u64) -> NoteHash {
        NoteHash::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn note(time: u64, node: u16) -> Note {
        Note { time, node }
    }

    fn set(notes: &mut Notes, hash: NoteHash, note: Note) -> Option<Note> {
        notes.set(hash, note, |_| Ok::<(), Infallible>(())).unwrap()
    }

    #[test]
    fn an_empty_table_finds_nothing_and_takes_nothing() {
        let mut notes = Notes::default();
        assert_eq!((notes.find(hash(1)), notes.bytes()), (None, 0));
        assert_eq!((notes.remove(hash(1)), notes.remove_node(3)), (None, 0));
    }

    #[test]
    fn a_hash_of_zero_is_one_like_others() {
        let mut notes = Notes::default();
        let zero = NoteHash::new(0);
        assert_eq!(notes.find(zero), None);
        assert_eq!(set(&mut notes, zero, note(0, 0)), None);
        assert_eq!(notes.find(zero), Some(note(0, 0)));
        assert_eq!(notes.remove(zero), Some(note(0, 0)));
        assert_eq!((notes.find(zero), notes.bytes()), (None, 0));
    }

    #[test]
    fn a_note_takes_at_most_32_bytes_while_they_come_and_go() {
        const COUNT: u64 = 20_000;
        let mut notes = Notes::default();
        let check = |notes: &Notes| {
            let most = (notes.len() as u64 * 32).max(1_500);
            assert!(notes.bytes() <= most, "{} take {}", notes.len(), notes.bytes());
        };
        for number in 0..COUNT {
            set(&mut notes, hash(number), note(number, 0));
            check(&notes);
        }
        for number in 0..COUNT {
            assert_eq!(notes.remove(hash(number)), Some(note(number, 0)));
            check(&notes);
        }
        assert_eq!((notes.len(), notes.bytes()), (0, 0));
    }

    #[test]
    fn what_is_not_paid_changes_nothing() {
        let mut notes = Notes::default();
        let mut number = 0;
        let mut paid = 0;
        let refused = loop {
            let result = notes.set(hash(number), note(number, 1), |more| {
                if paid + more > 10_000 {
                    return Err(more);
                }
                paid += more;
                Ok(())
            });
            match result {
                Ok(_) => number += 1,
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, NoPlace::Unpaid(more) if more > 10_000 - paid));
        assert_eq!((notes.bytes(), notes.len() as u64), (paid, number));
        assert!((0..number).all(|number| notes.find(hash(number)) == Some(note(number, 1))));
        assert_eq!(notes.find(hash(number)), None);
        // One that has its place needs no more.
        let again = notes.set(hash(0), note(9, 2), |_| Err(()));
        assert_eq!(again, Ok(Some(note(0, 1))));
    }

    #[test]
    fn a_node_that_goes_takes_its_notes_and_their_memory_with_it() {
        let mut notes = Notes::default();
        for number in 0..3_000 {
            let node = if number < 2_900 { 7 } else { 8 };
            set(&mut notes, hash(number), note(number, node));
        }
        assert_eq!(notes.remove_node(7), 2_900);
        assert_eq!(notes.len(), 100);
        assert!((0..2_900).all(|number| notes.find(hash(number)).is_none()));
        assert!((2_900..3_000).all(|number| notes.find(hash(number)) == Some(note(number, 8))));
        assert!(notes.bytes() < 100 * 32 + 1_000, "{}", notes.bytes());
        assert_eq!((notes.remove_node(8), notes.bytes()), (100, 0));
    }

    proptest! {
        /// Hashes that lie together, so that long runs occur, at both ends too.
        #[test]
        fn it_holds_what_a_map_holds(steps in proptest::collection::vec((0..90_u64, 0..4_u16, 0..6_u8), 0..600)) {
            let mut notes = Notes::default();
            let mut map: BTreeMap<NoteHash, Note> = BTreeMap::new();
            for (time, (which, node, what)) in steps.into_iter().enumerate() {
                let hash = NoteHash::new(match which {
                    0..30 => which,
                    30..60 => u64::MAX - which,
                    _ => which << 57,
                });
                let note = note(time as u64, node);
                match what {
                    0 => prop_assert_eq!(notes.remove(hash), map.remove(&hash)),
                    1 if which == 0 => {
                        let before = map.len();
                        map.retain(|_, note| note.node != node);
                        prop_assert_eq!(notes.remove_node(node), before - map.len());
                    }
                    _ => prop_assert_eq!(set(&mut notes, hash, note), map.insert(hash, note)),
                }
                prop_assert_eq!(notes.find(hash), map.get(&hash).copied());
                prop_assert_eq!(notes.len(), map.len());
            }
            let all: Vec<_> = notes.all().collect();
            prop_assert_eq!(&all, &map.clone().into_iter().collect::<Vec<_>>());
            for (hash, note) in map {
                prop_assert_eq!(notes.find(hash), Some(note));
            }
        }
    }
}
