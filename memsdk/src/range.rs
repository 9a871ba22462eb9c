//! Parts of objects and files, as programs name them.

use std::ops::{Bound, RangeBounds};

/// A part of something: where it begins, and how many bytes it has at most, `u64::MAX` for all the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Part {
    /// The part of a range. One that ends before it begins is empty.
    pub(crate) fn of(range: impl RangeBounds<u64>) -> Self {
        let offset = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let length = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1).saturating_sub(offset),
            Bound::Excluded(&end) => end.saturating_sub(offset),
            Bound::Unbounded => u64::MAX,
        };
        Self { offset, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parts() {
        let part = |offset, length| Part { offset, length };
        assert_eq!(Part::of(..), part(0, u64::MAX));
        assert_eq!(Part::of(5..), part(5, u64::MAX));
        assert_eq!(Part::of(5..9), part(5, 4));
        assert_eq!(Part::of(5..=9), part(5, 5));
        assert_eq!(Part::of(..9), part(0, 9));
        #[expect(clippy::reversed_empty_ranges, reason = "a program may")]
        let reversed = 9..5;
        assert_eq!(Part::of(reversed), part(9, 0));
    }
}
