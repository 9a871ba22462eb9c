//! Memory for the pages of arenas.
//!
//! Pages are cut from extents, which are mapped from the system and stay mapped; the memory of a page that nobody has goes back to the
//! system. An extent of its own for each page would be simpler, but Linux allows a process 65,530 mappings, and pages that come
//! back in any order would split them.
//!
//! `unsafe` stands here for one reason: a page is a part of a mapping that other pages share.

#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use crate::platform;

/// The length of a page in bytes: eight of the largest slots, and sixteen pages of the system.
pub(super) const PAGE_LEN: usize = 64 * 1024;

/// How many pages are mapped at a time: 4 MiB.
const EXTENT_PAGES: usize = 64;

/// How many free pages keep their memory, 4 MiB in all: a store that breathes does not fault it in anew each time.
const WARM_PAGES_MAX: usize = 64;

/// Where pages come from. Shared by the arenas of a store.
#[derive(Debug, Default)]
pub(super) struct PagePool {
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    extents: Vec<MmapMut>,
    /// Free pages whose memory is still there.
    warm: Vec<Start>,
    /// Free pages without memory.
    cold: Vec<Start>,
}

/// The first byte of a page.
#[derive(Clone, Copy, Debug)]
struct Start(NonNull<u8>);

// SAFETY: it is an address in a mapping that belongs to no thread; who may use it is told by `Page`.
unsafe impl Send for Start {}

/// A page: its bytes are its owner's alone. Dropped, it goes back to its pool.
#[derive(Debug)]
pub(super) struct Page {
    start: Start,
    pool: Arc<PagePool>,
}

impl PagePool {
    /// A page with any bytes in it; `None` where the system maps no more.
    pub(super) fn take(self: &Arc<Self>) -> Option<Page> {
        let mut free = self.free();
        if free.warm.is_empty() && free.cold.is_empty() {
            free.map_extent()?;
        }
        let start = free.warm.pop().or_else(|| free.cold.pop())?;
        Some(Page {
            start,
            pool: Arc::clone(self),
        })
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        // Nothing that can panic stands between two changes that belong together.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn map_extent(&mut self) -> Option<()> {
        let mut extent = MmapMut::map_anon(EXTENT_PAGES * PAGE_LEN).ok()?;
        let start = NonNull::new(extent.as_mut_ptr())?;
        let starts = (0..EXTENT_PAGES).rev().map(|page| {
            // SAFETY: the offset lies within the mapping, which is as long as all of its pages.
            Start(unsafe { start.add(page * PAGE_LEN) })
        });
        self.cold.extend(starts);
        self.extents.push(extent);
        Some(())
    }
}

impl Deref for Page {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the extent is mapped, readable and writable as long as the pool lives, which the page holds; its bytes are
        // initialized by the system. Each start is in a list of the pool or in one page, and extents are only touched through pages.
        unsafe { std::slice::from_raw_parts(self.start.0.as_ptr(), PAGE_LEN) }
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the page is borrowed mutably, and nobody else has this start.
        unsafe { std::slice::from_raw_parts_mut(self.start.0.as_ptr(), PAGE_LEN) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let mut free = self.pool.free();
        if free.warm.len() < WARM_PAGES_MAX {
            free.warm.push(self.start);
            return;
        }
        drop(free);
        // Outside of the lock; nobody gets the page before it is in a list.
        platform::discard(self);
        self.pool.free().cold.push(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_do_not_share_bytes_and_come_back() {
        let pool = Arc::new(PagePool::default());
        let mut pages: Vec<Page> = (0..3 * EXTENT_PAGES).map(|_| pool.take().unwrap()).collect();
        for (number, page) in pages.iter_mut().enumerate() {
            page.fill(number as u8);
        }
        for (number, page) in pages.iter().enumerate() {
            assert!(page.len() == PAGE_LEN && page.iter().all(|&byte| byte == number as u8));
        }
        drop(pages);
        let free = pool.free();
        assert_eq!((free.extents.len(), free.warm.len()), (3, WARM_PAGES_MAX));
        assert_eq!(free.warm.len() + free.cold.len(), 3 * EXTENT_PAGES);
        drop(free);
        let mut page = pool.take().unwrap();
        page.fill(9);
        assert!(page.iter().all(|&byte| byte == 9));
    }
}
