//! What the fuzz targets of this crate do with their input.
//!
//! Compiled for fuzzing (`--cfg fuzzing`, which cargo-fuzz sets) and for tests alone: no program has any of it. Each public
//! function is the body of the target of its name in `fuzz/fuzz_targets`. It takes any bytes, and panics where something that is
//! promised does not hold. The tests below run the same functions over `fuzz/corpus`.

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

pub use crate::local::fuzzing::json_lines;

#[cfg(test)]
mod tests {
    use super::replay::replay;
    use super::*;

    #[test]
    fn the_corpus_of_json_lines_passes() {
        replay("json_lines", json_lines);
    }
}
