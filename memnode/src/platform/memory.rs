//! Giving memory back to the system while its addresses stay.

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
