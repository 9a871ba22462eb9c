//! The chores of MemCloud.

fn main() {}
