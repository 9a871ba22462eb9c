//! What a cache is: it has an object or not, takes one in, and makes room by itself.

/// An object that is asked for. Its size is the same each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Object {
    pub(super) id: u64,
    /// Bytes.
    pub(super) size: u32,
    /// What it takes of a cache's capacity in bytes: its size, its key, and what its entry costs.
    pub(super) charged: u32,
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
    use super::super::store::Charges;
    use super::*;
    use crate::random::Random;

    /// An object whose charge is a thousand bytes.
    pub(in super::super) fn thousand(id: u64) -> Object {
        Object {
            id,
            size: 900,
            charged: 1000,
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

    /// Mixed sizes for a while: what is there fits the capacity and nearly fills it, and what does not fit is refused.
    pub(in super::super) fn keeps_to_its_capacity(mut policy: impl Policy, capacity: u64) {
        let mut random = Random::new(11);
        let mut charges = Charges::new();
        let objects: Vec<Object> = (0..5000)
            .map(|id| {
                let size = random.log_uniform(64, 4096) as u32;
                let charged = charges.of(size);
                Object { id, size, charged }
            })
            .collect();
        for _ in 0..20_000 {
            let object = objects[random.below(objects.len() as u64) as usize];
            if !policy.get(object) {
                assert!(policy.put(object));
                assert!(policy.get(object), "what was put in last is there");
            }
        }
        let there = objects.iter().filter(|&&object| policy.get(object));
        let there: u64 = there.map(|object| u64::from(object.charged)).sum();
        assert!(there <= capacity, "{there} of {capacity}");
        assert!(there > capacity * 9 / 10, "{there} of {capacity}");
        let too_large = Object {
            id: u64::MAX,
            size: capacity as u32,
            charged: capacity as u32 + 1,
        };
        assert!(!policy.put(too_large));
    }
}
