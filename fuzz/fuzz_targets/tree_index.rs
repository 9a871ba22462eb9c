#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memproto::fuzzing::tree_index(data));
