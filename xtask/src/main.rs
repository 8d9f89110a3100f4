//! Krater's project commands: `cargo xtask --help`.
//!
//! What must not be here: knowledge of packets, maps or pool files. This crate
//! depends on no other crate of the workspace, so that it can build them.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod ci;
mod fuzz;
mod rig;
mod shell;
mod test;
mod tidy;
mod toolchain;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Krater's project commands. Each prints the commands it runs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what building and running need
    Setup,
    /// Build the BPF objects
    BuildEbpf,
    /// Build the BPF objects and everything for the host
    Build {
        /// Build the daemon and its CLI as they are shipped
        #[arg(long)]
        release: bool,
    },
    /// Build, raise client, balancer and members in namespaces, send traffic, judge
    Run {
        /// Two balancers, a planned and an unplanned failover
        #[arg(long)]
        ha: bool,
        /// Leave the rig up and print how to look around
        #[arg(long)]
        keep: bool,
        /// Passed on to the rig
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Handle the rig: up, down, shell, …
    Rig {
        /// Passed on to the rig
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run the tests: every tier, or one, or those whose names match
    Test {
        /// host, prog, netns, …; a word that is no tier is taken as NAME
        tier: Option<String>,
        /// Only tests whose path contains this
        name: Option<String>,
    },
    /// Measure the data path; `bench failover`: what moving the VIP costs; `bench health`: what probing costs; `bench tables`: what tables of slots move
    Bench {
        /// Passed on to the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Fuzz the pipeline and the flow table, and stop at the first finding
    Fuzz {
        /// packets or flow_table; both, one after the other, if none is named
        target: Option<String>,
        /// For how long each
        #[arg(long, default_value_t = 30)]
        minutes: u32,
        /// Add what was found to be new to the corpus
        #[arg(long)]
        keep: bool,
    },
    /// Check the rules of the house
    Tidy,
    /// Everything that must hold before a change lands
    Ci,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    match command {
        Command::Setup => toolchain::report(&workspace)?,
        Command::BuildEbpf => build::ebpf(&workspace, &toolchain::ensure(&workspace)?)?,
        Command::Build { release } => build::all(&workspace, release)?,
        Command::Run { ha, keep, args } => rig::run(&workspace, ha, keep, &args)?,
        Command::Rig { args } => rig::forward(&workspace, &args)?,
        Command::Test { tier, name } => return test::run(&workspace, tier, name),
        Command::Bench { args } => bench::run(&workspace, &args)?,
        Command::Fuzz { target, minutes, keep } => fuzz::run(&workspace, target.as_deref(), minutes, keep)?,
        Command::Tidy => tidy::run(&workspace)?,
        Command::Ci => return ci::run(&workspace),
    }
    Ok(ExitCode::SUCCESS)
}
