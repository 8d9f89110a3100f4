//! `run` and `rig`: make sure that the rig's program is there, then become it.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, shell::Cmd, workspace::Workspace};

const RIG: &str = "krater-rig";

/// Builds everything and becomes `krater-rig run`.
pub(crate) fn run(workspace: &Workspace, ha: bool, keep: bool, args: &[OsString]) -> Result<()> {
    build::all(workspace, false)?;
    let (ha, keep) = (ha.then_some("--ha"), keep.then_some("--keep"));
    match rig(workspace).arg("run").args(ha).args(keep).args(args).exec()? {}
}

/// Becomes `krater-rig ARGS`, building it only where it is missing: looking
/// around must work while the tree does not compile.
pub(crate) fn forward(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    if !workspace.dev_program(RIG).is_file() {
        build::all(workspace, false)?;
    }
    match rig(workspace).args(args).exec()? {}
}

fn rig(workspace: &Workspace) -> Cmd {
    Cmd::new(workspace.dev_program(RIG)).remedy("does the package krater-tests have a bin of that name?")
}
