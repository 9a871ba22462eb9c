//! First in, first out: what was put in longest ago goes, used or not.

use std::collections::{HashSet, VecDeque};

use super::policy::{Object, Policy};

#[derive(Debug)]
pub(super) struct Fifo {
    capacity: u64,
    used: u64,
    queue: VecDeque<Object>,
    ids: HashSet<u64>,
}

impl Fifo {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            used: 0,
            queue: VecDeque::new(),
            ids: HashSet::new(),
        }
    }
}

impl Policy for Fifo {
    fn get(&mut self, object: Object) -> bool {
        self.ids.contains(&object.id)
    }

    fn put(&mut self, object: Object) -> bool {
        if u64::from(object.charged) > self.capacity {
            return false;
        }
        while self.used + u64::from(object.charged) > self.capacity {
            let victim = self.queue.pop_front().expect("what is used is used by something");
            self.ids.remove(&victim.id);
            self.used -= u64::from(victim.charged);
        }
        self.used += u64::from(object.charged);
        self.queue.push_back(object);
        self.ids.insert(object.id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::{hits, keeps_to_its_capacity};
    use super::*;

    #[test]
    fn use_does_not_keep_an_object() {
        // Room for three. Object 1 is used again and again, and goes all the same when 4 comes.
        let mut fifo = Fifo::new(3000);
        assert_eq!(hits(&mut fifo, &[1, 2, 3, 1, 1, 4, 2, 1]), [1, 1, 2]);
    }

    #[test]
    fn it_keeps_to_its_capacity() {
        keeps_to_its_capacity(Fifo::new(1_000_000), 1_000_000);
    }
}
