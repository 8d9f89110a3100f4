//! See `krater_tests::fuzz::packets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(krater_tests::fuzz::packets::run(data)));
