//! The binary `memnode`.

fn main() {}
