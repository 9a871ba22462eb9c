//! A secret of another library that leaves nothing behind in memory.
//!
//! `unsafe` stands here for one reason: the library that makes the value does not wipe it, so that its bytes are overwritten where it lay.

#![allow(unsafe_code)]

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value whose own bytes are overwritten when it is dropped. It lies on the heap and so never moves: there is one place to wipe. What it
/// points to is its own business.
pub(super) struct Wiped<T>(Box<ManuallyDrop<T>>);

impl<T> Wiped<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Box::new(ManuallyDrop::new(value)))
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> ZeroizeOnDrop for Wiped<T> {}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        let value: &mut ManuallyDrop<T> = &mut self.0;
        // SAFETY: this runs once, and nothing reads the value afterwards: the box frees its memory and does not drop what is in it.
        unsafe { ManuallyDrop::drop(value) };
        let bytes = std::ptr::from_mut(value).cast::<MaybeUninit<u8>>();
        // SAFETY: the value's memory belongs to the box as a whole until that is freed, `MaybeUninit<u8>` has no alignment and may be
        // anything, and nobody else refers to it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, size_of::<T>()) };
        bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_value_is_used_and_dropped_once() {
        struct Counted<'a>(&'a Cell<u32>);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let drops = Cell::new(0);
        let wiped = Wiped::new(Counted(&drops));
        assert_eq!(wiped.0.0.get(), 0);
        drop(wiped);
        assert_eq!(drops.get(), 1);
        // One without bytes.
        drop(Wiped::new(()));
    }
}
