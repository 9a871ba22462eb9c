//! Looks an arena over, for tests.

use super::{Arena, CLASS_LENS, CLASSES, ClassPage};
use crate::store::pages::PAGE_LEN;

/// What an arena has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::store) struct ArenaAudit {
    /// How many slots live.
    pub(in crate::store) live: usize,
    /// Bytes of all pages.
    pub(in crate::store) held_bytes: usize,
}

impl Arena {
    /// Counts everything anew.
    ///
    /// # Panics
    /// Where its lists and counts contradict each other.
    pub(in crate::store) fn audit(&self) -> ArenaAudit {
        let mut sums = ArenaAudit::default();
        // Of each class the free slots, and the pages that have any.
        let mut counted = [(0, 0); CLASSES];
        for page in self.pages.iter().flatten() {
            let (free, listed) = &mut counted[page.class];
            *free += page.slots() - usize::from(page.live);
            *listed += usize::from(page.partial_at.is_some());
            sums.live += page.count();
            sums.held_bytes += PAGE_LEN;
        }
        let told = self.classes.iter().map(|class| (class.free, class.partial.len()));
        assert!(
            told.eq(counted),
            "free slots, and pages that have any, of {CLASS_LENS:?}: {counted:?}"
        );
        let absent = self.pages.iter().skip(1).filter(|page| page.is_none()).count();
        assert_eq!(self.unused.len(), absent, "numbers of pages that went back");
        for (number, page) in self.pages.iter().enumerate() {
            let Some(page) = page else { continue };
            match page.partial_at {
                Some(at) => assert_eq!(self.classes[page.class].partial[at as usize] as usize, number),
                None => assert_eq!(
                    usize::from(page.live),
                    page.slots(),
                    "a page with free slots is in a list"
                ),
            }
        }
        sums
    }
}

impl ClassPage {
    /// Its live slots, counted one by one.
    fn count(&self) -> usize {
        let marked: usize = self.used.iter().map(|word| word.count_ones() as usize).sum();
        let behind_the_last = self.used.len() * 64 - self.slots();
        assert_eq!(marked - behind_the_last, usize::from(self.live));
        marked - behind_the_last
    }
}
