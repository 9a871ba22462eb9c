//! Which entry has a hash: linear probing, with all places in the order of the hashes.
//!
//! A place holds the [`Handle`] of an entry and 32 bits of its hash, the tag. The tag alone says where the entry belongs, so that
//! the index grows without a look at any entry. Places are kept in the order of their tags (Amble and Knuth, "Ordered hash tables",
//! 1974): a search that fails ends as early as one that finds, and a scan can stop at any tag and go on there later, however much the index
//! grew, shrank or changed meanwhile: what is in it all the time is met.
//!
//! The index never looks at an entry itself: whoever asks compares the candidates.

use super::arena::Handle;

/// The number of places of the smallest index that holds anything.
const PLACES_MIN: usize = 16;

/// The largest load, in fifths: at 4/5 a search looks at 3 places on average, within one cache line (Knuth, The Art of Computer
/// Programming, vol. 3, 6.4).
const LOAD_MAX_FIFTHS: usize = 4;

/// Bytes that an index takes for an entry where it has just grown and 16 of 25 places are full.
pub(super) const COST: u64 = 13;

/// A place: the tag above, the handle below; 0 is free, which no handle is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(u64);

impl Place {
    const FREE: Place = Place(0);

    fn new(tag: u32, handle: Handle) -> Self {
        Self(u64::from(tag) << 32 | u64::from(handle.to_u32()))
    }

    fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn handle(self) -> Option<Handle> {
        Handle::from_u32(self.0 as u32)
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Index {
    /// The homes of all tags, and behind them as many places as the last run of full ones needs: a run never goes on at the
    /// beginning. The last place is free.
    places: Vec<Place>,
    homes: usize,
    len: usize,
}

impl Index {
    /// The entry with this tag for which `is_it` holds.
    pub(super) fn find(&self, tag: u32, mut is_it: impl FnMut(Handle) -> bool) -> Option<Handle> {
        let from = self.home(tag);
        for place in self.places.get(from..)? {
            let handle = place.handle()?;
            if place.tag() > tag {
                return None;
            }
            if place.tag() == tag && is_it(handle) {
                return Some(handle);
            }
        }
        None
    }

    /// Adds an entry that is not in it.
    pub(super) fn insert(&mut self, tag: u32, handle: Handle) {
        if (self.len + 1) * 5 > self.homes * LOAD_MAX_FIFTHS {
            // By a quarter: more would leave more places free, and moving them is reading and writing in order.
            self.resize((self.homes * 5 / 4).max(PLACES_MIN));
        }
        let new = Place::new(tag, handle);
        let mut at = self.home(tag);
        while self.places[at] != Place::FREE && self.places[at].tag() <= tag {
            at += 1;
        }
        let run = self.places[at..].iter().position(|place| *place == Place::FREE);
        let end = at + run.expect("the last place is free");
        self.places.copy_within(at..end, at + 1);
        self.places[at] = new;
        if end + 1 == self.places.len() {
            self.places.push(Place::FREE);
        }
        self.len += 1;
    }

    /// Takes an entry out that is in it.
    pub(super) fn remove(&mut self, tag: u32, handle: Handle) {
        let at = self.place_of(tag, handle);
        // What follows comes one place nearer to its home, up to one that is at home.
        let follows = self.places[at + 1..]
            .iter()
            .enumerate()
            .take_while(|(step, place)| **place != Place::FREE && self.home(place.tag()) <= at + step);
        let end = at + 1 + follows.count();
        self.places.copy_within(at + 1..end, at);
        self.places[end - 1] = Place::FREE;
        self.len -= 1;
        if self.homes > PLACES_MIN && self.len * 2 < self.homes {
            // To where growing would have left it: what is charged for an entry pays for no more free places.
            self.resize((self.len * 25 / 16).max(PLACES_MIN));
        }
    }

    /// Tells that an entry has moved.
    pub(super) fn relocate(&mut self, tag: u32, from: Handle, to: Handle) {
        let at = self.place_of(tag, from);
        self.places[at] = Place::new(tag, to);
    }

    /// Calls `each` with entries in the order of their tags, from a position on, until `looked_at_max` places were looked at or `each` says
    /// false. Returns the position to go on with, `None` at the end. A position is a tag, and how many entries with this very tag
    /// were met: what else is in the index does not matter to it.
    pub(super) fn scan(
        &self,
        from: (u32, u32),
        looked_at_max: usize,
        mut each: impl FnMut(Handle) -> bool,
    ) -> Option<(u32, u32)> {
        let begin = self.home(from.0);
        let (mut tag, mut met) = (from.0, 0);
        // What lies here of earlier tags, or was met before, does not count, so that each scan gets on.
        let mut looked_at = 0;
        for (step, place) in self.places.get(begin..)?.iter().enumerate() {
            let Some(handle) = place.handle() else {
                looked_at += 1;
                if looked_at >= looked_at_max && begin + step + 1 < self.homes {
                    // All that belongs here or before was met: on with the first tag at home in the next place.
                    let next = ((begin + step + 1) as u64) << 32;
                    return Some((next.div_ceil(self.homes as u64) as u32, 0));
                }
                continue;
            };
            if place.tag() < from.0 {
                continue;
            }
            if place.tag() != tag {
                (tag, met) = (place.tag(), 0);
            }
            met += 1;
            if tag == from.0 && met <= from.1 {
                continue;
            }
            looked_at += 1;
            if !each(handle) || looked_at >= looked_at_max {
                return Some((tag, met));
            }
        }
        None
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many places lie between the one where a search begins and the one where it ends, for the entry where it takes longest.
    #[cfg(any(test, fuzzing, feature = "simulation"))]
    pub(super) fn longest_search(&self) -> usize {
        let places = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| **place != Place::FREE);
        places
            .map(|(at, place)| at - self.home(place.tag()))
            .max()
            .unwrap_or(0)
    }

    /// The first place at which an entry with this tag may lie: in the order of the tags.
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.homes as u64) >> 32) as usize
    }

    fn place_of(&self, tag: u32, handle: Handle) -> usize {
        let wanted = Place::new(tag, handle);
        let home = self.home(tag);
        let found = self.places[home..].iter().position(|place| *place == wanted);
        home + found.expect("whoever asks knows that it is in the index")
    }

    fn resize(&mut self, homes: usize) {
        let before = std::mem::take(&mut self.places);
        self.homes = homes;
        self.places.reserve_exact(homes + PLACES_MIN);
        for place in before {
            if place != Place::FREE {
                let home = self.home(place.tag());
                if home > self.places.len() {
                    self.places.resize(home, Place::FREE);
                }
                self.places.push(place);
            }
        }
        let end = homes.max(self.places.len()) + 1;
        self.places.resize(end, Place::FREE);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn handle(number: u32) -> Handle {
        Handle::from_u32(number).unwrap()
    }

    fn found(index: &Index, tag: u32) -> Vec<u32> {
        let mut all = Vec::new();
        index.find(tag, |handle| {
            all.push(handle.to_u32());
            false
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        let index = Index::default();
        assert_eq!(index.find(7, |_| true), None);
        assert_eq!(index.scan((0, 0), 10, |_| true), None);
        assert_eq!(index.len(), 0);
    }

    #[test]
    fn it_shrinks_again() {
        let mut index = Index::default();
        let tag = |number: u32| number.wrapping_mul(0x9e37_79b9);
        for number in 1..=10_000 {
            index.insert(tag(number), handle(number));
        }
        assert!(
            index.places.len() < 10_000 * 25 / 16 + 100,
            "{}",
            index.places.len()
        );
        for number in 1..=10_000 {
            index.remove(tag(number), handle(number));
            assert!(index.homes <= PLACES_MIN.max(2 * index.len()));
        }
        assert_eq!((index.len(), index.homes), (0, PLACES_MIN));
    }

    proptest! {
        /// Few tags, so that runs and equal tags occur; the highest too, whose run has no beginning to go on at.
        #[test]
        fn it_holds_what_a_map_holds(steps in proptest::collection::vec((0..40_u32, 1..6_u32, any::<bool>()), 0..400)) {
            let mut index = Index::default();
            let mut map: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for (tag, number, adds) in steps {
                let tag = if tag < 20 { tag * 1_000 } else { u32::MAX - tag };
                let number = number + tag % 97;
                let there = map.entry(tag).or_default();
                match (there.iter().position(|at| *at == number), adds) {
                    (None, true) => {
                        index.insert(tag, handle(number));
                        there.push(number);
                    }
                    (Some(at), false) => {
                        index.remove(tag, handle(number));
                        there.remove(at);
                    }
                    (Some(at), true) => {
                        index.relocate(tag, handle(number), handle(number + 1_000));
                        there[at] += 1_000;
                    }
                    (None, false) => {}
                }
                there.sort_unstable();
                prop_assert_eq!(&found(&index, tag), &map[&tag]);
            }
            let all: Vec<u32> = map.values().flatten().copied().collect();
            prop_assert_eq!(index.len(), all.len());
            for step in [1, 3, 1_000] {
                let (mut met, mut from) = (Vec::new(), Some((0, 0)));
                while let Some(position) = from {
                    let mut left = step;
                    from = index.scan(position, 4 * step, |handle| {
                        met.push(handle.to_u32());
                        left -= 1;
                        left > 0
                    });
                }
                met.sort_unstable();
                let mut all = all.clone();
                all.sort_unstable();
                prop_assert_eq!(met, all);
            }
        }
    }
}
