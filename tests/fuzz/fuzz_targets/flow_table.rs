//! See `krater_tests::fuzz::flow_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| krater_tests::fuzz::flow_table::run(data));
