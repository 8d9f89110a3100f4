//! `bench`: make sure that the bench's program and what it measures are there,
//! then become it.

use std::{env, ffi::OsString};

use anyhow::Result;

use crate::{
    build,
    shell::Cmd,
    toolchain,
    workspace::{TESTS, Workspace},
};

const BENCH: &str = "krater-bench";
/// Names the directory that the bench takes lbd and lbctl from.
const DIRECTORY: &str = "KRATER_BIN_DIR";

/// Builds everything and becomes `krater-bench ARGS`.
///
/// The program is built like any other, not for release: the kernel runs what
/// is measured, and it takes the time itself. `bench health` measures lbd, and takes
/// the one that is shipped, unless the environment names another; `bench tables`,
/// `bench changes` and `bench load` measure functions of ours, and are themselves built for
/// release.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    if is_of("tables", args) || is_of("changes", args) || is_of("load", args) {
        build::ebpf(workspace, &toolchain::ensure(workspace)?)?;
        build::for_release(workspace, TESTS)?;
        match Cmd::new(workspace.shipped_programs().join(BENCH)).args(args).exec()? {}
    }
    build::all(workspace, false)?;
    if measures_packets(args) {
        build::uncounted(workspace, &toolchain::ensure(workspace)?)?;
    }
    let bench = Cmd::new(workspace.dev_program(BENCH)).args(args);
    let bench = if is_of("health", args) && env::var_os(DIRECTORY).is_none() {
        build::shipped(workspace)?;
        bench.env(DIRECTORY, workspace.shipped_programs())
    } else {
        bench
    };
    match bench.remedy("does the package krater-tests have a bin of that name?").exec()? {}
}

/// Whether the words name no other kind of measurement, and do not only ask what there is.
fn measures_packets(args: &[OsString]) -> bool {
    let is_about_itself = |word: &OsString| ["--help", "-h", "--version", "-V", "--list"].iter().any(|w| word == w);
    let is_an_option = |word: &OsString| word.to_string_lossy().starts_with('-');
    args.first().is_none_or(is_an_option) && !args.iter().any(is_about_itself)
}

/// Whether the words ask for this kind of measurement, and not only for help.
fn is_of(kind: &str, args: &[OsString]) -> bool {
    args.first().is_some_and(|word| word == kind) && !args.iter().any(|word| word == "--help" || word == "-h")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn only_a_measurement_of_packets_needs_the_program_without_counters() {
        for args in [&[][..], &["--quick"], &["--case", "tables"]] {
            assert!(measures_packets(&words(args)), "{args:?}");
        }
        for args in [&["tables", "--write"][..], &["--list"], &["--help"], &["changes", "--rounds", "3"]] {
            assert!(!measures_packets(&words(args)), "{args:?}");
        }
        assert!(is_of("changes", &words(&["changes", "--write"])) && !is_of("changes", &words(&["changes", "-h"])));
    }
}
