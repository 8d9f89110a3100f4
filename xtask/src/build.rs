//! Building: the BPF objects with their own compiler, everything else with the
//! host's.
//!
//! One profile, `dev`, serves `run`, `test`, `bench` and `rig`, so that every
//! dependency is compiled once. What is measured and what forwards packets is
//! the BPF object, and that is always built with the profile `bpf`. Only
//! `build --release`, `bench health`, `bench tables` and `bench changes` build for release.
//!
//! Invariant others rely on: cargo gives a dependency the union of the
//! features that the selected packages ask for, and another union is another
//! build. So host builds always select the whole workspace and choose by kind
//! of target instead.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    ci,
    shell::Cmd,
    toolchain::{self, Tools},
    workspace::Workspace,
};

const BPF_TARGET: &str = "bpfel-unknown-none";
const BPF_PROFILE: &str = "bpf";
const BPF_PACKAGE: &str = "lb-ebpf";
/// The one that forwards.
const BPF_PROGRAM: &str = "krater";

/// The instruction set of the objects: v3 brought 32-bit registers and atomic
/// operations that return a value, which the flow table needs. rustc passes it
/// on to the linker.
const BPF_CPU: &str = "v3";

/// Headers lie in a frame as they come. x86-64 and arm64 kernels load a word
/// from any address; without this it would be put together from its bytes,
/// which doubles the program.
const BPF_FEATURES: &str = "+allows-misaligned-mem-access";

/// Builds every BPF program of the workspace.
pub(crate) fn ebpf(workspace: &Workspace, tools: &Tools) -> Result<()> {
    bpf_build(workspace, tools)
        .args(["--features", "kernel", "--bins"])
        .arg("--target-dir")
        .arg(workspace.bpf_target())
        .run("building the BPF objects")?;
    list_objects(workspace)
}

/// Builds the program that forwards once more, without its counters: what the bench
/// compares it with. It has a directory of its own, so that nobody can take it for the
/// one that counts.
pub(crate) fn uncounted(workspace: &Workspace, tools: &Tools) -> Result<()> {
    bpf_build(workspace, tools)
        .args(["--features", "kernel,uncounted", "--bin", BPF_PROGRAM])
        .arg("--target-dir")
        .arg(workspace.uncounted_bpf_target())
        .run("building the BPF object without counters")
}

/// The BPF compiler, told everything but what to build and where to.
fn bpf_build(workspace: &Workspace, tools: &Tools) -> Cmd {
    let compiler = &tools.compiler;
    let build_std: &[&str] = if compiler.build_std { &["-Z", "build-std=core"] } else { &[] };
    Cmd::foreign(&compiler.cargo)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &compiler.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&tools.linker))
        .arg("build")
        .args(build_std)
        .args(["--package", BPF_PACKAGE, "--profile", BPF_PROFILE, "--target", BPF_TARGET])
        .args(locked())
        .dir(&workspace.root)
        .remedy("see the compiler's message above")
}

/// Builds the BPF objects, then everything for the host that embeds them.
pub(crate) fn all(workspace: &Workspace, release: bool) -> Result<()> {
    ebpf(workspace, &toolchain::ensure(workspace)?)?;
    if release { shipped(workspace) } else { host(workspace) }
}

/// Builds every program of the workspace for ordinary work.
pub(crate) fn host(workspace: &Workspace) -> Result<()> {
    Cmd::cargo()
        .args(["build", "--workspace", "--bins"])
        .args(locked())
        .dir(&workspace.root)
        .remedy("see the compiler's message above")
        .run("building the programs")
}

/// Builds the daemon and its CLI as they are shipped.
pub(crate) fn shipped(workspace: &Workspace) -> Result<()> {
    for_release(workspace, "lb-user")
}

/// Builds the programs of a package for release. The objects they embed must be there.
pub(crate) fn for_release(workspace: &Workspace, package: &str) -> Result<()> {
    Cmd::cargo()
        .args(["build", "--release", "--package", package, "--bins"])
        .args(locked())
        .dir(&workspace.root)
        .remedy("see the compiler's message above")
        .run("building for release")
}

/// In CI a lock file that does not match is a mistake of the change; at a desk
/// it is work in progress.
pub(crate) fn locked() -> Option<&'static str> {
    ci::is_ci().then_some("--locked")
}

fn rustflags(linker: &Path) -> String {
    let linker = format!("linker={}", linker.display());
    let cpu = format!("target-cpu={BPF_CPU}");
    let features = format!("target-feature={BPF_FEATURES}");
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    // Cargo's separator, so that a path may hold spaces.
    ["-C", &linker, "-C", "link-arg=--btf", "-C", &cpu, "-C", &features, &arch].join("\u{1f}")
}

fn list_objects(workspace: &Workspace) -> Result<()> {
    let dir = workspace.bpf_target().join(BPF_TARGET).join(BPF_PROFILE);
    let package =
        workspace.package(BPF_PACKAGE).with_context(|| format!("the workspace has no package {BPF_PACKAGE}"))?;
    for bin in package.targets.iter().filter(|t| t.kind == "bin") {
        let object = dir.join(&bin.name);
        let Ok(metadata) = fs::metadata(&object) else {
            bail!(
                "the build succeeded without making {}; does its [[bin]] build with the feature `kernel`?",
                object.display()
            );
        };
        let shown = object.strip_prefix(&workspace.root).unwrap_or(&object);
        eprintln!("  {}: {} KiB", shown.display(), metadata.len().div_ceil(1024));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linker_in_a_directory_with_a_space_stays_one_flag() {
        let flags = rustflags(Path::new("/a b/bpf-linker"));
        assert!(flags.split('\u{1f}').any(|f| f == "linker=/a b/bpf-linker"));
    }
}
