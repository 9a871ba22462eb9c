#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memnode::fuzzing::trust_file(data));
