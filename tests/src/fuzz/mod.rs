//! What fuzzers call: functions that take any bytes and assert what must hold.
//!
//! `tests/fuzz` wraps each of them into a libFuzzer target, `cargo xtask fuzz`
//! builds and runs those. The ordinary tests run the same functions over
//! `tests/fuzz/corpus`, which began as the fixtures and keeps what fuzzing found
//! to be worth keeping.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a finding is a panic")]

mod bytes;
pub mod flow_table;
mod ground;
mod mend;
pub mod packets;
#[cfg(test)]
mod seeds;
mod sound;
mod tracked;

#[cfg(test)]
mod corpus_tests;
