use std::collections::HashMap;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn arena() -> Arena {
    Arena::new(Arc::new(PagePool::default()))
}

/// Slots with what was written into them, by handle.
#[derive(Default)]
struct Model(HashMap<u32, (Handle, u8, usize)>);

impl Model {
    fn take(&mut self, arena: &mut Arena, bytes: usize, mark: u8) {
        let handle = arena.take(bytes).unwrap();
        let slot = arena.slot_mut(handle);
        assert_eq!(slot.len(), slot_len(bytes));
        slot.fill(mark);
        let before = self.0.insert(handle.to_u32(), (handle, mark, slot_len(bytes)));
        assert_eq!(before, None, "a slot is given to one at a time");
    }

    fn give_back(&mut self, arena: &mut Arena, number: u32) {
        let (handle, ..) = self.0.remove(&number).unwrap();
        arena.give_back(handle);
    }

    /// Empties the sparse pages of the class of this length, as whoever holds the handles does.
    fn empty_sparse_pages(&mut self, arena: &mut Arena, bytes: usize) {
        while let Some(page) = arena.sparse_page(bytes) {
            for from in arena.begin_emptying(page) {
                let to = arena.take(bytes).expect("others have free slots");
                arena.copy(from, to);
                let (_, mark, len) = self
                    .0
                    .remove(&from.to_u32())
                    .expect("only what lives is to be moved");
                assert_eq!(self.0.insert(to.to_u32(), (to, mark, len)), None);
            }
            arena.finish_emptying(page);
        }
    }

    fn check(&self, arena: &Arena) -> usize {
        let audit = arena.audit();
        assert_eq!(audit.live, self.0.len());
        for &(handle, mark, len) in self.0.values() {
            let slot = arena.slot(handle);
            assert!(slot.len() == len && slot.iter().all(|&byte| byte == mark));
        }
        audit.held_bytes
    }
}

#[test]
fn the_lengths_of_slots_are_close_and_fit_into_pages() {
    assert_eq!((CLASS_LENS[0], CLASS_LENS[CLASSES - 1]), (40, 8192));
    for pair in CLASS_LENS.windows(2) {
        let [len, next] = [pair[0], pair[1]].map(usize::from);
        assert!(len < next && next % UNIT == 0, "{len} {next}");
        let waste = next - len - 1;
        assert!(
            waste < UNIT || waste * 8 < next,
            "{waste} bytes of {next} are lost at worst"
        );
        assert!(
            PAGE_LEN % next < PAGE_LEN / 16,
            "{} bytes of a page of {next}",
            PAGE_LEN % next
        );
    }
    for bytes in 1..=SLOT_LEN_MAX {
        let len = slot_len(bytes);
        assert!(len >= bytes);
        let smaller = CLASS_LENS
            .iter()
            .filter(|&&smaller| usize::from(smaller) >= bytes)
            .min();
        assert_eq!(smaller.map(|&len| usize::from(len)), Some(len));
    }
}

#[test]
fn handles_name_the_last_page_too() {
    let last = Handle::new(PAGES_MAX - 1, PAGE_LEN - UNIT);
    assert_eq!(last.to_u32(), u32::MAX);
    assert_eq!((last.page(), last.offset()), (PAGES_MAX - 1, PAGE_LEN - UNIT));
    assert_eq!(Handle::from_u32(0), None);
}

#[test]
fn what_lives_in_few_slots_of_many_pages_comes_together() {
    for bytes in [40, 104, 500, 3_000, SLOT_LEN_MAX] {
        let mut rng = SmallRng::seed_from_u64(bytes as u64);
        let (mut arena, mut model) = (arena(), Model::default());
        let per_page = PAGE_LEN / slot_len(bytes);
        for number in 0..40 * per_page {
            model.take(&mut arena, bytes, number as u8);
        }
        assert_eq!(model.check(&arena), 40 * PAGE_LEN);
        let all: Vec<u32> = model.0.values().map(|&(handle, ..)| handle.to_u32()).collect();
        let mut left = all.len();
        for number in all {
            // Those that moved have another handle by now: they stay.
            if rng.random_range(0..10) > 0 && model.0.contains_key(&number) {
                model.give_back(&mut arena, number);
                model.empty_sparse_pages(&mut arena, bytes);
                left -= 1;
            }
        }
        let held = model.check(&arena);
        assert_eq!(model.0.len(), left);
        assert!(
            held <= (left.div_ceil(per_page) + 3) * PAGE_LEN,
            "{held} bytes for {left} slots of {bytes}"
        );
    }
}

#[test]
fn a_page_that_is_empty_goes_but_for_the_last_of_its_class() {
    let (mut arena, mut model) = (arena(), Model::default());
    let per_page = PAGE_LEN / slot_len(1_000);
    (0..3 * per_page).for_each(|_| model.take(&mut arena, 1_000, 1));
    let all: Vec<u32> = model.0.keys().copied().collect();
    for number in all {
        model.give_back(&mut arena, number);
    }
    assert_eq!(model.check(&arena), PAGE_LEN);
    model.take(&mut arena, 1_000, 2);
    assert_eq!(model.check(&arena), PAGE_LEN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn slots_keep_what_is_in_them(steps in proptest::collection::vec((any::<u16>(), any::<u16>(), 0..5_u8), 1..600)) {
        // Few lengths, of which the long ones fill a page soon.
        const LENS: [usize; 6] = [40, 41, 2_000, 5_000, 8_000, SLOT_LEN_MAX];
        let (mut arena, mut model) = (arena(), Model::default());
        for (which, len, what) in steps {
            let bytes = LENS[usize::from(len) % LENS.len()];
            if what > 1 {
                model.take(&mut arena, bytes, which as u8);
            } else if let Some(number) = model.0.keys().copied().min_by_key(|number| number ^ u32::from(which) << 10) {
                model.give_back(&mut arena, number);
            }
            model.empty_sparse_pages(&mut arena, bytes);
        }
        model.check(&arena);
    }
}
