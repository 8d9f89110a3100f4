//! `ci`: everything that must hold before a change lands.
//!
//! A check that fails does not keep the others and the tests from being run:
//! one run tells everything. The checks count in the summary like tests, so
//! that the closing line is red whenever the exit status is.

use std::{env, process::ExitCode, time::Instant};

use anyhow::Result;

use crate::{
    build,
    shell::Cmd,
    test::{self, Counts, Row},
    tidy,
    workspace::Workspace,
};

/// Whether nobody is there to see a warning.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Runs the checks, then every tier of the tests.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let started = Instant::now();
    let mut checks = Counts::default();
    for (name, check) in CHECKS {
        checks.add(outcome(name, check(workspace)));
    }
    let mut rows = vec![Row { name: "checks".to_owned(), counts: checks, seconds: started.elapsed().as_secs_f64() }];
    match test::run_all(workspace) {
        Ok(tiers) => rows.extend(tiers),
        Err(error) => rows.push(Row { name: "tests".to_owned(), counts: outcome("tests", Err(error)), seconds: 0.0 }),
    }
    Ok(test::summarise(&rows))
}

type Check = fn(&Workspace) -> Result<()>;

const CHECKS: [(&str, Check); 5] =
    [("fmt", fmt), ("clippy", clippy), ("rustdoc", rustdoc), ("tidy", tidy::run), ("fuzz lock", fuzz_lock)];

fn outcome(name: &str, result: Result<()>) -> Counts {
    match result {
        Ok(()) => Counts { passed: 1, ..Counts::default() },
        Err(error) => {
            eprintln!("error: {error:#}");
            Counts::failure(name)
        }
    }
}

fn fmt(workspace: &Workspace) -> Result<()> {
    let cmd = Cmd::cargo().args(["fmt", "--all", "--check"]).dir(&workspace.root);
    cmd.remedy("run `cargo fmt --all`").run("checking the format")
}

fn clippy(workspace: &Workspace) -> Result<()> {
    Cmd::cargo()
        .args(["clippy", "--workspace", "--all-targets"])
        .args(build::locked())
        .args(["--", "-D", "warnings"])
        .dir(&workspace.root)
        .remedy("each lint's reason is in Cargo.toml")
        .run("clippy")
}

/// The fuzz targets are a workspace of their own, with a lock file that no other
/// build looks at.
fn fuzz_lock(workspace: &Workspace) -> Result<()> {
    Cmd::cargo()
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path", "tests/fuzz/Cargo.toml"])
        .dir(&workspace.root)
        .remedy("run `cargo update --workspace --manifest-path tests/fuzz/Cargo.toml`, and commit its Cargo.lock")
        .run_and_read("comparing the fuzz targets' lock file")
        .map(drop)
}

fn rustdoc(workspace: &Workspace) -> Result<()> {
    Cmd::cargo()
        .env("RUSTDOCFLAGS", "-D warnings")
        .args(["doc", "--workspace", "--no-deps"])
        .args(build::locked())
        .dir(&workspace.root)
        .remedy("see rustdoc's message above")
        .run("rustdoc")
}
