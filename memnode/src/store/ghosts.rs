//! The keys that were evicted lately, as far as S3-FIFO wants to know them.
//!
//! A table of buckets of four, each with the tag of a key and when it was put in, counted in evictions. A bucket that is full forgets
//! its oldest. It is as large as the number of entries in the main queue asks for, so that one is remembered for about as many
//! evictions as there are such entries, as in section 4.2 of the paper that [`super::queues`] names.

/// Places of a bucket: one cache line holds two buckets.
const WAYS: usize = 4;

/// Buckets of the smallest table.
const BUCKETS_MIN: usize = 4;

/// Bytes of the table for an entry of class cache: its place, and as much again while the table is up to half empty.
pub(super) const COST: u64 = 16;

#[derive(Clone, Copy, Default)]
struct Ghost {
    tag: u32,
    /// 0 is never.
    at: u32,
}

impl Ghost {
    /// How many evictions ago it was put in; more than any where it never was.
    fn age(self, evictions: u32) -> u32 {
        if self.at == 0 {
            u32::MAX
        } else {
            evictions.wrapping_sub(self.at)
        }
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Ghosts {
    /// A power of two of buckets.
    places: Vec<Ghost>,
    evictions: u32,
}

impl Ghosts {
    /// Takes note of a key that was evicted, and lets as many be remembered as `remembered` says.
    pub(super) fn note(&mut self, tag: u32, remembered: usize) {
        if buckets_for(remembered) * WAYS > self.places.len() {
            self.resize(buckets_for(remembered));
        }
        self.shrink(remembered);
        // Behind 2^32 it begins anew: ages are differences, which bear that.
        self.evictions = self.evictions.wrapping_add(1).max(1);
        let evictions = self.evictions;
        let oldest = self
            .bucket(tag)
            .iter_mut()
            .max_by_key(|ghost| ghost.age(evictions));
        *oldest.expect("a bucket has places") = Ghost { tag, at: evictions };
    }

    /// Gives memory back where the table is far too large for so many.
    pub(super) fn shrink(&mut self, remembered: usize) {
        if buckets_for(remembered) * WAYS * 4 < self.places.len() {
            self.resize(buckets_for(remembered));
        }
    }

    /// Whether a key was evicted lately; then it is forgotten here.
    pub(super) fn take(&mut self, tag: u32, remembered: usize) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let evictions = self.evictions;
        let is_it = |ghost: &&mut Ghost| ghost.at != 0 && ghost.tag == tag;
        let Some(ghost) = self.bucket(tag).iter_mut().find(is_it) else {
            return false;
        };
        let age = ghost.age(evictions) as usize;
        *ghost = Ghost::default();
        age < remembered.max(BUCKETS_MIN * WAYS)
    }

    fn bucket(&mut self, tag: u32) -> &mut [Ghost] {
        let bucket = tag as usize & (self.places.len() / WAYS - 1);
        &mut self.places[bucket * WAYS..][..WAYS]
    }

    fn resize(&mut self, buckets: usize) {
        let before = std::mem::replace(&mut self.places, vec![Ghost::default(); buckets * WAYS]);
        let evictions = self.evictions;
        for ghost in before {
            let oldest = self
                .bucket(ghost.tag)
                .iter_mut()
                .max_by_key(|place| place.age(evictions));
            let place = oldest.expect("a bucket has places");
            if ghost.age(evictions) < place.age(evictions) {
                *place = ghost;
            }
        }
    }
}

/// How many buckets so many ghosts take.
fn buckets_for(remembered: usize) -> usize {
    remembered.div_ceil(WAYS).next_power_of_two().max(BUCKETS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_evicted_lately_is_known_once() {
        let mut ghosts = Ghosts::default();
        assert!(!ghosts.take(7, 100));
        ghosts.note(7, 100);
        assert!(ghosts.take(7, 100));
        assert!(!ghosts.take(7, 100));
    }

    #[test]
    fn about_as_many_are_remembered_as_was_said() {
        let mut ghosts = Ghosts::default();
        let tag = |number: u32| number.wrapping_mul(0x9e37_79b9).rotate_left(16);
        for number in 0..10_000 {
            ghosts.note(tag(number), 1_000);
        }
        let known = (0..10_000)
            .filter(|&number| ghosts.take(tag(number), 1_000))
            .count();
        assert!((600..=1_000).contains(&known), "{known}");
    }

    #[test]
    fn the_table_shrinks_with_the_cache() {
        let mut ghosts = Ghosts::default();
        ghosts.note(1, 100_000);
        ghosts.note(2, 100_000);
        ghosts.note(3, 10);
        assert_eq!(ghosts.places.len(), BUCKETS_MIN * WAYS);
        assert!(ghosts.take(1, 10) && ghosts.take(2, 10) && ghosts.take(3, 10));
        ghosts.note(4, 100_000);
        ghosts.shrink(0);
        assert_eq!(ghosts.places.len(), BUCKETS_MIN * WAYS);
        assert!(ghosts.take(4, 10));
    }

    #[test]
    fn the_oldest_is_forgotten_also_where_the_count_begins_anew() {
        let mut ghosts = Ghosts {
            evictions: u32::MAX - 10,
            ..Ghosts::default()
        };
        // All in one bucket of four.
        let tag = |number: u32| number * 256;
        for number in 0..30 {
            ghosts.note(tag(number), 16);
            let known = (0..=number).filter(|&number| {
                ghosts
                    .places
                    .iter()
                    .any(|ghost| ghost.at != 0 && ghost.tag == tag(number))
            });
            let last: Vec<u32> = ((number + 1).saturating_sub(WAYS as u32)..=number).collect();
            assert_eq!(known.collect::<Vec<_>>(), last);
        }
        ghosts.resize(2 * BUCKETS_MIN);
        assert!(ghosts.take(tag(29), 16) && ghosts.take(tag(26), 16) && !ghosts.take(tag(25), 16));
    }
}
