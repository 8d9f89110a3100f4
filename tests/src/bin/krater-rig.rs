//! The rig at a terminal: `krater-rig run`, `up`, `down`, `shell` and what
//! they start inside namespaces.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    krater_tests::rig_cli::main(krater_tests::rig_cli::Arguments::parse())
}
