//! `bench`: make sure that the bench's program and the objects it measures are
//! there, then become it.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, shell::Cmd, workspace::Workspace};

const BENCH: &str = "krater-bench";

/// Builds everything and becomes `krater-bench ARGS`.
///
/// The program is built like any other, not for release: the kernel runs what
/// is measured, and it takes the time itself.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    build::all(workspace, false)?;
    let bench = Cmd::new(workspace.dev_program(BENCH));
    match bench.args(args).remedy("does the package krater-tests have a bin of that name?").exec()? {}
}
