//! The command line of MemCloud.

fn main() {}
