//! What a cache is: it has an object or not, takes one in, and makes room by itself.

use memnode::store::ENTRY_OVERHEAD;

/// An object that is asked for: its number, and its size in bytes, which is the same each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Object {
    pub(super) id: u64,
    pub(super) size: u32,
}

impl Object {
    /// What it takes of a cache's capacity in bytes.
    pub(super) fn charged(self) -> u64 {
        u64::from(self.size) + ENTRY_OVERHEAD
    }
}

/// A cache of a capacity in bytes.
pub(super) trait Policy {
    /// Whether the object is there; then it is used.
    fn get(&mut self, object: Object) -> bool;

    /// Puts an object in that is not there, and evicts others as far as they must make room. `false`: it does not
    /// go in at all.
    fn put(&mut self, object: Object) -> bool;
}

/// Checks that hold for every policy.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::random::Random;

    /// An object whose charge is a thousand bytes.
    pub(in super::super) fn thousand(id: u64) -> Object {
        Object {
            id,
            size: 1000 - ENTRY_OVERHEAD as u32,
        }
    }

    /// Asks for objects by their numbers, puts those in that are missing, and returns the hits.
    pub(in super::super) fn hits(policy: &mut impl Policy, ids: &[u64]) -> Vec<u64> {
        let mut hits = Vec::new();
        for &id in ids {
            if policy.get(thousand(id)) {
                hits.push(id);
            } else {
                policy.put(thousand(id));
            }
        }
        hits
    }

    /// Mixed sizes for a while: what is there fits the capacity, and what does not fit is refused.
    pub(in super::super) fn keeps_to_its_capacity(mut policy: impl Policy, capacity: u64) {
        let mut random = Random::new(11);
        let sizes: Vec<u32> = (0..500).map(|_| random.log_uniform(64, 4096) as u32).collect();
        for _ in 0..20_000 {
            let id = random.below(sizes.len() as u64);
            let object = Object {
                id,
                size: sizes[id as usize],
            };
            if !policy.get(object) {
                assert!(policy.put(object));
                assert!(policy.get(object), "what was put in last is there");
            }
        }
        let there: u64 = (0..sizes.len() as u64)
            .map(|id| Object {
                id,
                size: sizes[id as usize],
            })
            .filter(|&object| policy.get(object))
            .map(Object::charged)
            .sum();
        assert!(there <= capacity, "{there} of {capacity}");
        assert!(there > capacity - 8192, "{there} of {capacity}");
        let too_large = Object {
            id: 1000,
            size: capacity as u32,
        };
        assert!(!policy.put(too_large));
    }
}
