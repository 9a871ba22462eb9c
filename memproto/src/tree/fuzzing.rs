//! The body of the fuzz target of trees.

use super::codec::{Trailer, decode, encode};
use super::{DEPTH_MAX, is_name, path};

/// Reads any bytes as an index and as a trailer. What is read leads nowhere but into the tree, and has no other bytes than these.
pub fn tree_index(data: &[u8]) {
    if let Ok(trailer) = Trailer::decode(data.len() as u64, data) {
        assert!(data.ends_with(&trailer.encode()));
    }
    let Ok(index) = decode(data) else {
        return;
    };
    assert_eq!(encode(&index), data, "an index has one form");
    for (place, entry) in index.entries.iter().enumerate().skip(1) {
        assert!((entry.parent as usize) < place && index.entries[entry.parent as usize].is_folder());
        let path = path(&index.entries, place);
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        assert!(names.len() <= DEPTH_MAX + 1 && names.iter().all(|name| is_name(name)));
    }
}
