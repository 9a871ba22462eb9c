//! Least recently used: what was put in or used longest ago goes.

use std::collections::{BTreeMap, HashMap};

use super::policy::{Object, Policy};

/// The uses are numbered, and the lowest number goes: slower than a linked list, and plainly right.
#[derive(Debug)]
pub(super) struct Lru {
    capacity: u64,
    used: u64,
    uses: u64,
    by_use: BTreeMap<u64, Object>,
    last_use: HashMap<u64, u64>,
}

impl Lru {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            used: 0,
            uses: 0,
            by_use: BTreeMap::new(),
            last_use: HashMap::new(),
        }
    }

    fn note_use(&mut self, object: Object) {
        self.uses += 1;
        self.by_use.insert(self.uses, object);
        self.last_use.insert(object.id, self.uses);
    }
}

impl Policy for Lru {
    fn get(&mut self, object: Object) -> bool {
        let Some(&last) = self.last_use.get(&object.id) else {
            return false;
        };
        self.by_use.remove(&last);
        self.note_use(object);
        true
    }

    fn put(&mut self, object: Object) -> bool {
        if u64::from(object.charged) > self.capacity {
            return false;
        }
        while self.used + u64::from(object.charged) > self.capacity {
            let (_, victim) = self
                .by_use
                .pop_first()
                .expect("what is used is used by something");
            self.last_use.remove(&victim.id);
            self.used -= u64::from(victim.charged);
        }
        self.used += u64::from(object.charged);
        self.note_use(object);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::{hits, keeps_to_its_capacity};
    use super::*;

    #[test]
    fn use_keeps_an_object() {
        // Room for three. Object 1 is used before 4 comes, so 2 goes.
        let mut lru = Lru::new(3000);
        assert_eq!(hits(&mut lru, &[1, 2, 3, 1, 4, 1, 2]), [1, 1]);
    }

    #[test]
    fn a_loop_larger_than_the_cache_never_hits() {
        let ids: Vec<u64> = (0..100).map(|request| request % 4).collect();
        assert!(hits(&mut Lru::new(3000), &ids).is_empty());
        assert_eq!(hits(&mut Lru::new(4000), &ids).len(), 96);
    }

    #[test]
    fn it_keeps_to_its_capacity() {
        keeps_to_its_capacity(Lru::new(1_000_000), 1_000_000);
    }
}
