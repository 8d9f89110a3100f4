//! The daemon: from a pool file to a data path that forwards.
#![forbid(unsafe_code)]

use std::{
    io::{IsTerminal as _, stderr},
    path::Path,
    process::ExitCode,
};

use clap::Parser as _;
use lb_user::{
    cli::{LbdAction, LbdArguments},
    config,
    controller::daemon,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = LbdArguments::parse();
    match arguments.action() {
        LbdAction::Check { config } => check(config),
        LbdAction::Run { config } => match arguments.log_filter() {
            Ok(filter) => run(config, filter),
            Err(error) => {
                eprintln!("lbd: {error}");
                ExitCode::from(2)
            }
        },
    }
}

/// Says whether a pool file is in order, touching nothing.
fn check(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("{} is in order", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path, filter: EnvFilter) -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal()).init();
    match daemon::run(file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {}", daemon::explain(&error));
            ExitCode::FAILURE
        }
    }
}
