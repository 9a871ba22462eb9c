//! A fuzzer's input, read as a script of steps and their arguments.
//!
//! A part of each crate with a fuzz target that plays such a script, which names this file with `#[path]`.

/// What is left of a script. Any bytes are one: behind the end come zeroes.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all was read.
    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.take_up_to(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// The next bytes, so many or what is left.
    pub(crate) fn take_up_to(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
