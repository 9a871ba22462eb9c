//! What the fuzz targets of this crate do with their input.
//!
//! Compiled for fuzzing (`--cfg fuzzing`, which cargo-fuzz sets) and for tests alone: no program has any of it. Each public
//! function is the body of the target of its name in `fuzz/fuzz_targets`. It takes any bytes, and panics where something that is
//! promised does not hold. The tests below run the same functions over `fuzz/corpus`.

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;
#[path = "../../../fuzz/script.rs"]
mod script;
mod store;

pub use crate::discovery::fuzzing::mdns_txt;
pub use crate::local::fuzzing::json_lines;
pub use crate::trust::fuzzing::trust_file;
pub use store::store;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::replay::replay;
    use super::*;

    #[test]
    fn the_corpus_of_json_lines_passes() {
        replay("json_lines", json_lines);
    }

    #[test]
    fn the_corpus_of_mdns_txt_passes() {
        replay("mdns_txt", mdns_txt);
    }

    #[test]
    fn the_corpus_of_trust_file_passes() {
        replay("trust_file", trust_file);
    }

    #[test]
    fn the_corpus_of_store_passes() {
        replay("store", store);
    }

    proptest! {
        /// Where no corpus has been yet. Four bytes are a step.
        #[test]
        fn any_script_of_store_passes(script in proptest::collection::vec(any::<u8>(), 0..4 * 200)) {
            store(&script);
        }
    }
}
