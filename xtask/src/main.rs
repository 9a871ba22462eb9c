//! `cargo xtask`: see the library.

fn main() {}
