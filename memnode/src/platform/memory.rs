//! Giving memory back to the system while its addresses stay, and getting it before it is used.

#![allow(unsafe_code)]

/// Gives the memory behind these bytes back to the system as far as they are whole pages of it. What they hold afterwards is not said:
/// zeroes, where they belong to an anonymous mapping. Where the system knows no such thing nothing happens.
pub fn discard(bytes: &mut [u8]) {
    #[cfg(target_os = "linux")]
    {
        let page = rustix::param::page_size();
        let begin = bytes.as_ptr().align_offset(page);
        let Some(whole) = bytes.get_mut(begin..) else {
            return;
        };
        let len = whole.len() / page * page;
        if len == 0 {
            return;
        }
        // SAFETY: the range is aligned, lies within bytes that are borrowed mutably, and every value is a valid byte. Where it is refused
        // (locked memory) the bytes stay as they are.
        let _ =
            unsafe { rustix::mm::madvise(whole.as_mut_ptr().cast(), len, rustix::mm::Advice::LinuxDontNeed) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

/// Makes the system put memory behind these bytes, and behind the rest of their pages, in one call: a third cheaper than page by page as they are
/// written (0.4 instead of 0.65 ns for each byte, copy included). Where the system knows no such thing, or has no memory, nothing happens: then that shows
/// where the bytes are written, as ever.
pub fn populate(bytes: &mut [u8]) {
    #[cfg(target_os = "linux")]
    {
        let page = rustix::param::page_size();
        let before = bytes.as_ptr().addr() % page;
        let Some(len) = bytes.len().checked_add(before).filter(|_| !bytes.is_empty()) else {
            return;
        };
        let begin = bytes.as_mut_ptr().wrapping_sub(before);
        // SAFETY: pages that have memory keep it with what it holds, and the others get zeroes, which is what a read of them would find. So
        // no byte changes, of these or of the others of their pages. What is not mapped makes the call fail.
        let _ = unsafe { rustix::mm::madvise(begin.cast(), len, rustix::mm::Advice::LinuxPopulateWrite) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}
