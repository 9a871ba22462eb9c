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
        let buckets = remembered.div_ceil(WAYS).next_power_of_two().max(BUCKETS_MIN);
        if buckets * WAYS > self.places.len() || buckets * WAYS * 4 < self.places.len() {
            self.resize(buckets);
        }
        // Once in 2^32 evictions the ghosts of before look old, and are forgotten.
        self.evictions = self.evictions.wrapping_add(1).max(1);
        let evictions = self.evictions;
        let oldest = self.bucket(tag).iter_mut().min_by_key(|ghost| ghost.at);
        *oldest.expect("a bucket has places") = Ghost { tag, at: evictions };
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
        let age = evictions.wrapping_sub(ghost.at) as usize;
        *ghost = Ghost::default();
        age < remembered.max(BUCKETS_MIN * WAYS)
    }

    fn bucket(&mut self, tag: u32) -> &mut [Ghost] {
        let bucket = tag as usize & (self.places.len() / WAYS - 1);
        &mut self.places[bucket * WAYS..][..WAYS]
    }

    fn resize(&mut self, buckets: usize) {
        let before = std::mem::replace(&mut self.places, vec![Ghost::default(); buckets * WAYS]);
        for ghost in before {
            let youngest = self.bucket(ghost.tag).iter_mut().min_by_key(|place| place.at);
            let place = youngest.expect("a bucket has places");
            if ghost.at > place.at {
                *place = ghost;
            }
        }
    }
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
    }
}
