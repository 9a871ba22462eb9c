//! The allocator of the GNU C library.
//!
//! glibc maps an allocation of its own for a large block and unmaps it when it is freed, but each such free raises the size
//! above which it does so, up to 32 MiB. From then on blocks come from a heap of which only the end goes back to the system. Measured:
//! 1 GiB stored in blocks of 1 MiB by four threads and freed leaves 7 MiB resident the first time, 1,031 MiB the second time.
//! A size that is set stays as it is: 7 MiB each time. The price is fresh pages for every large block: on two cores that GiB
//! takes 0.32 s to fill instead of 0.04 s. A machine that lent its memory gets it back; that goes before speed.

#![allow(unsafe_code)]

/// Blocks from this size in bytes on are mapped each on its own. glibc's first value, and that of musl.
const MMAP_THRESHOLD: libc::c_int = 128 * 1024;

/// How many are. Linux allows a process 65,530 mappings, and threads need some as well; blocks beyond come from the heap.
const MMAP_MAX: libc::c_int = 32 * 1024;

pub(super) fn return_freed_memory() {
    // SAFETY: mallopt(3) takes two integers, touches nothing but the allocator's own parameters, and takes the allocator's lock
    // while it does. An argument that it does not like makes it return 0 and change nothing; then memory returns later.
    let all_set = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD) == 1
            && libc::mallopt(libc::M_MMAP_MAX, MMAP_MAX) == 1
    };
    debug_assert!(all_set, "both are within the limits of mallopt(3)");
}
