//! Measures the data path: see `docs/performance.md`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    krater_tests::bench::main(&krater_tests::bench::Arguments::parse())
}
