//! The tools that building and running need: found, or installed with a word
//! about what is done and why.
//!
//! What must not be here: building anything of ours.
//!
//! Invariant others rely on: [`ensure`] costs a fraction of a second when
//! nothing is missing, and changes nothing then.

mod compiler;
mod debian;
mod host;
mod linker;

use std::path::PathBuf;

use anyhow::Result;

pub(crate) use self::{compiler::BpfCompiler, host::obstacle};
use crate::workspace::Workspace;

/// What turns our pipeline into a BPF object.
pub(crate) struct Tools {
    /// Emits the bitcode.
    pub compiler: BpfCompiler,
    /// Makes the object from it.
    pub linker: PathBuf,
}

/// Finds or installs everything.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Tools> {
    let compiler = match compiler::find() {
        Some(compiler) => compiler,
        None => compiler::install()?,
    };
    let linker = match linker::find(workspace, compiler.llvm_major) {
        Some(linker) => linker,
        None => linker::install(workspace, compiler.llvm_major)?,
    };
    host::ensure_programs()?;
    host::ensure_bpffs();
    Ok(Tools { compiler, linker })
}

/// Finds or installs everything and says what it is.
pub(crate) fn report(workspace: &Workspace) -> Result<()> {
    let tools = ensure(workspace)?;
    let shown = tools.linker.strip_prefix(&workspace.root).unwrap_or(&tools.linker);
    println!("BPF compiler: {}", tools.compiler.description);
    println!("BPF linker:   {}", shown.display());
    println!("programs:     {}", host::present().join(" "));
    Ok(())
}
