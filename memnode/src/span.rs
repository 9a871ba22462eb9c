//! Memory for blocks that are too large to lie next to their keys and too small for a file of their own.
//!
//! A span is a run of the system's pages in large mappings that stay mapped. What is freed is given back to the system page by page, so that
//! holes cost addresses and nothing else: what is resident is what is in use, whatever the sizes were and in whatever order they went. glibc's
//! heap keeps such holes: after churn of values of 64 B to 256 KiB a node with nothing stored held 620 MiB, and 1.3 to 1.5 times its
//! budget when it was full. A mapping for each value would do, but Linux allows a process 65,530.
//!
//! `unsafe` stands here for one reason: a span is a part of a mapping that other spans share.

#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use crate::platform;

/// Spans are multiples of this many bytes: the pages of most systems. Where pages are larger, less is given back.
const PAGE_LEN: usize = 4096;

/// How much is mapped at a time, where it suffices.
const EXTENT_LEN: usize = 64 * 1024 * 1024;

/// How many bytes of freed spans keep their memory in all: a value that is replaced by one of its size finds memory that is there, which is filled
/// several times as fast.
const WARM_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many warm spans are looked at for one of the right size.
const WARM_COMPARED_MAX: usize = 64;

/// How many bytes of a span that is being filled get their memory in one call: few enough to be still in the processor's cache, where the
/// system has put zeroes, when they are filled.
const WARM_UP_STEP: usize = 256 * 1024;

/// Blocks from this size in bytes on lie in spans; in smaller ones the rounding would weigh too much.
pub const SPAN_MIN: usize = 8 * 1024;

/// What a block of so many bytes takes of memory, beside the cost of its entry.
pub fn memory_len(bytes: u64) -> u64 {
    if bytes < SPAN_MIN as u64 {
        bytes
    } else {
        bytes.next_multiple_of(PAGE_LEN as u64)
    }
}

static FREE: Mutex<Free> = Mutex::new(Free {
    extents: Vec::new(),
    warm: VecDeque::new(),
    warm_bytes: 0,
    by_start: BTreeMap::new(),
    by_len: BTreeSet::new(),
});

/// What is mapped and in no span. Lengths are in bytes.
struct Free {
    extents: Vec<MmapMut>,
    /// What still has its memory, the one that was freed first in front.
    warm: VecDeque<(Start, usize)>,
    warm_bytes: usize,
    /// The rest, joined as far as it is adjacent.
    by_start: BTreeMap<Start, usize>,
    by_len: BTreeSet<(usize, Start)>,
}

/// The first byte of a span.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Start(NonNull<u8>);

// SAFETY: it is an address in a mapping that belongs to no thread; who may use it is told by `Span`.
unsafe impl Send for Start {}
// SAFETY: as above; by itself it leads to no access.
unsafe impl Sync for Start {}

impl Start {
    fn offset(self, bytes: usize) -> Self {
        // SAFETY: it is only called within one extent, or for the first byte behind it.
        Self(unsafe { self.0.add(bytes) })
    }
}

/// Bytes of their owner's alone. Dropped, they go back.
pub struct Span {
    start: Start,
    /// How many bytes are used, at most those of its pages.
    len: usize,
    /// How many of its bytes, from the first on, are known to have memory.
    resident: usize,
}

impl Span {
    /// A span of this length with any bytes in it; `None` where the system maps no more.
    pub fn new(len: usize) -> Option<Self> {
        let pages_len = pages_len(len)?;
        let (start, is_warm) = free().take(pages_len)?;
        let resident = if is_warm { len } else { 0 };
        Some(Self { start, len, resident })
    }

    /// Gets memory for the next `len` bytes from `from` on, and for some more of the span, where it is not known to have it: a step of it at a
    /// time, so that a span that is never filled takes little. For who fills it from its first byte on.
    pub fn warm_up(&mut self, from: usize, len: usize) {
        let end = from.saturating_add(len).min(self.len);
        if end <= self.resident {
            return;
        }
        let (from, end) = (self.resident, end.next_multiple_of(WARM_UP_STEP).min(self.len));
        platform::populate(&mut self[from..end]);
        self.resident = end;
    }

    fn pages_len(&self) -> usize {
        pages_len(self.len).expect("it was made with this length")
    }
}

fn pages_len(len: usize) -> Option<usize> {
    len.max(1).checked_next_multiple_of(PAGE_LEN)
}

impl Free {
    /// A run of pages, and whether they have memory.
    fn take(&mut self, len: usize) -> Option<(Start, bool)> {
        let looked_at = self.warm.len().saturating_sub(WARM_COMPARED_MAX)..self.warm.len();
        if let Some(at) = self
            .warm
            .range(looked_at.clone())
            .rposition(|(_, warm)| *warm == len)
        {
            let (start, len) = self.warm.remove(looked_at.start + at)?;
            self.warm_bytes -= len;
            return Some((start, true));
        }
        let fitting = self
            .by_len
            .range((len, Start(NonNull::dangling()))..)
            .next()
            .copied();
        // The dangling address is the least one, so that all of this length are behind it.
        let (whole, start) = match fitting {
            Some(fitting) => fitting,
            None => self.map_extent(len)?,
        };
        self.remove(start, whole);
        if whole > len {
            self.insert(start.offset(len), whole - len);
        }
        Some((start, false))
    }

    fn map_extent(&mut self, len: usize) -> Option<(usize, Start)> {
        let len = len.max(EXTENT_LEN);
        let mut extent = MmapMut::map_anon(len).ok()?;
        #[cfg(target_os = "linux")]
        // A huge page would be resident whole for the sake of one span. Where it is refused there are none.
        let _ = extent.advise(memmap2::Advice::NoHugePage);
        let start = Start(NonNull::new(extent.as_mut_ptr())?);
        self.extents.push(extent);
        // Not joined with a neighbour that happens to lie beside it: a span stays within one mapping.
        self.insert(start, len);
        Some((len, start))
    }

    fn insert(&mut self, start: Start, len: usize) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: Start, len: usize) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }

    /// Takes back a span without memory, and joins it with what is free beside it in the same extent.
    fn join(&mut self, start: Start, len: usize) {
        let (mut start, mut len) = (start, len);
        if let Some((&before, &before_len)) = self.by_start.range(..start).next_back()
            && before.0.as_ptr().wrapping_add(before_len) == start.0.as_ptr()
            && !self.begins_extent(start)
        {
            self.remove(before, before_len);
            (start, len) = (before, before_len + len);
        }
        let behind = self
            .by_start
            .range(start..)
            .next()
            .map(|(&behind, &len)| (behind, len));
        if let Some((behind, behind_len)) = behind
            && start.0.as_ptr().wrapping_add(len) == behind.0.as_ptr()
            && !self.begins_extent(behind)
        {
            self.remove(behind, behind_len);
            len += behind_len;
        }
        self.insert(start, len);
    }

    fn begins_extent(&self, start: Start) -> bool {
        self.extents
            .iter()
            .any(|extent| extent.as_ptr() == start.0.as_ptr().cast_const())
    }
}

impl Deref for Span {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the extent is mapped, readable and writable for as long as the process lives, and its bytes are initialized by the
        // system. A run of bytes is in the lists or in one span, and extents are only touched through spans.
        unsafe { std::slice::from_raw_parts(self.start.0.as_ptr(), self.len) }
    }
}

impl DerefMut for Span {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the span is borrowed mutably, and nobody else has these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.start.0.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Span {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let len = self.pages_len();
        let mut too_much = Vec::new();
        {
            let mut free = free();
            free.warm.push_back((self.start, len));
            free.warm_bytes += len;
            while free.warm_bytes > WARM_BYTES_MAX
                && let Some((start, len)) = free.warm.pop_front()
            {
                free.warm_bytes -= len;
                too_much.push(Span {
                    start,
                    len,
                    resident: 0,
                });
            }
        }
        for mut cold in too_much {
            // Outside of the lock; nobody gets it before it is in a list.
            platform::discard(&mut cold);
            free().join(cold.start, cold.len);
            std::mem::forget(cold);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

fn free() -> MutexGuard<'static, Free> {
    // Nothing that can panic stands between two changes that belong together.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_do_not_share_bytes_and_come_back() {
        let lens = [SPAN_MIN, SPAN_MIN + 1, 100_000, 5 * PAGE_LEN, 1];
        for round in 0..3 {
            let mut spans: Vec<Span> = Vec::new();
            for number in 0..500 {
                let mut span = Span::new(lens[number % lens.len()]).unwrap();
                span.fill(number as u8);
                spans.push(span);
                if number % 7 == round {
                    spans.swap_remove(number % spans.len());
                }
            }
            for span in &spans {
                assert!(span.iter().all(|byte| *byte == span[0]));
            }
        }
    }

    #[test]
    fn one_may_be_larger_than_what_is_mapped_at_a_time() {
        let span = Span::new(EXTENT_LEN + 1).unwrap();
        assert_eq!(span.len(), EXTENT_LEN + 1);
        assert_eq!(span.pages_len(), EXTENT_LEN + PAGE_LEN);
        assert!(Span::new(usize::MAX).is_none());
    }

    #[test]
    fn warming_up_changes_no_byte() {
        for len in [1, PAGE_LEN - 1, WARM_UP_STEP + 1, 3 * WARM_UP_STEP] {
            let mut span = Span::new(len).unwrap();
            // Its neighbours share no page with it, and keep what they hold.
            let mut neighbours = [Span::new(len).unwrap(), Span::new(len).unwrap()];
            for neighbour in &mut neighbours {
                neighbour.fill(7);
            }
            for at in 0..len {
                span.warm_up(at, 1);
                span[at] = at as u8;
            }
            span.warm_up(0, usize::MAX);
            assert!(span.iter().enumerate().all(|(at, byte)| *byte == at as u8));
            assert!(neighbours.iter().all(|span| span.iter().all(|byte| *byte == 7)));
        }
    }

    #[test]
    fn free_neighbours_are_joined() {
        // More than stays warm, so that some of it is joined.
        let spans: Vec<Span> = (0..64).map(|_| Span::new(1 << 20).unwrap()).collect();
        drop(spans);
        let free = free();
        assert!(free.warm_bytes <= WARM_BYTES_MAX);
        let sum: usize = free.warm.iter().map(|(_, len)| len).sum();
        assert_eq!(sum, free.warm_bytes);
        let lens: usize = free.by_start.values().sum();
        assert_eq!(lens, free.by_len.iter().map(|(len, _)| len).sum::<usize>());
        for (start, len) in &free.by_start {
            let behind = start.0.as_ptr().wrapping_add(*len);
            let next = free.by_start.range(start.offset(1)..).next();
            let touches =
                next.is_some_and(|(next, _)| next.0.as_ptr() == behind && !free.begins_extent(*next));
            assert!(!touches, "two free runs touch");
        }
    }

    #[test]
    fn small_blocks_take_their_bytes_and_large_ones_pages() {
        assert_eq!(memory_len(0), 0);
        assert_eq!(memory_len(SPAN_MIN as u64 - 1), SPAN_MIN as u64 - 1);
        assert_eq!(memory_len(SPAN_MIN as u64), SPAN_MIN as u64);
        assert_eq!(memory_len(SPAN_MIN as u64 + 1), (SPAN_MIN + PAGE_LEN) as u64);
    }
}
