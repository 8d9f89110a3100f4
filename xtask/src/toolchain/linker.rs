//! `bpf-linker`, made for the LLVM that emits our bitcode.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use serde_json::Value;

use super::debian;
use crate::{shell::Cmd, workspace::Workspace};

const VERSION: &str = "0.13.0";

/// The LLVM major versions that this version of bpf-linker has a feature for.
const SUPPORTED_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// A linker that is already there and fits; ours first.
pub(super) fn find(workspace: &Workspace, llvm_major: u32) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(workspace.tools().join("bin")).chain(env::split_paths(&path));
    dirs.map(|dir| dir.join("bpf-linker")).find(|file| file.is_file() && llvm_of(file) == Some(llvm_major))
}

/// Builds one under `target/tools`.
pub(super) fn install(workspace: &Workspace, llvm_major: u32) -> Result<PathBuf> {
    if !SUPPORTED_LLVM.contains(&llvm_major) {
        bail!(
            "the BPF compiler emits bitcode of LLVM {llvm_major}, which bpf-linker {VERSION} does not read; \
             install a compiler with LLVM {} to {}",
            SUPPORTED_LLVM.start(),
            SUPPORTED_LLVM.end(),
        );
    }
    let prefix = llvm_prefix(llvm_major)?;
    eprintln!("bpf-linker for LLVM {llvm_major} is missing: building it once, which takes about two minutes");
    let tools = workspace.tools();
    Cmd::cargo()
        .env("LLVM_PREFIX", prefix)
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force", "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm_major}")])
        .arg("--root")
        .arg(&tools)
        // Kept, so that an interrupted build goes on where it was.
        .arg("--target-dir")
        .arg(tools.join("build"))
        .remedy("see the compiler's message above")
        .run("building bpf-linker")?;
    match find(workspace, llvm_major) {
        Some(linker) => Ok(linker),
        None => bail!(
            "bpf-linker was built but does not use LLVM {llvm_major}; look at `ldd {}/bin/bpf-linker`",
            tools.display()
        ),
    }
}

/// Where LLVM and the libraries it needs are, installed if they can be.
fn llvm_prefix(llvm_major: u32) -> Result<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm_major}"));
    let development = format!("llvm-{llvm_major}-dev");
    let packages = [development.as_str(), "libzstd-dev", "zlib1g-dev", "libxml2-dev"];
    if debian::can_install(&packages) {
        debian::install(&format!("LLVM {llvm_major} for bpf-linker"), &packages)?;
    }
    if prefix.join("bin/llvm-config").is_file() {
        return Ok(prefix);
    }
    if let Some(given) = env::var_os("LLVM_PREFIX").map(PathBuf::from) {
        return Ok(given);
    }
    bail!(
        "bpf-linker needs LLVM {llvm_major}, and {} is not there; install {} (or what your system calls them), \
         or set LLVM_PREFIX to where LLVM {llvm_major} is",
        prefix.display(),
        packages.join(" "),
    )
}

/// The LLVM major version a `bpf-linker` was made for.
fn llvm_of(linker: &Path) -> Option<u32> {
    let libraries = Cmd::new("ldd").arg(linker).probe()?;
    linked_llvm(&libraries).or_else(|| {
        // Linked statically: the record that `cargo install` keeps tells.
        let record = linker.parent()?.parent()?.join(".crates2.json");
        recorded_llvm(&fs::read_to_string(record).ok()?)
    })
}

/// The version in `libLLVM.so.22.1 => …` or `libLLVM-21.so.1 => …`, unless the
/// library itself is gone.
fn linked_llvm(ldd: &str) -> Option<u32> {
    let line = ldd.lines().map(str::trim).find(|l| l.starts_with("libLLVM") && !l.contains("not found"))?;
    let digits = line.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The `llvm-NN` feature in cargo's record of what it installed.
fn recorded_llvm(crates2: &str) -> Option<u32> {
    let record: Value = serde_json::from_str(crates2).ok()?;
    let installs = record["installs"].as_object()?;
    let (_, install) = installs.iter().find(|(package, _)| package.starts_with("bpf-linker "))?;
    let features = install["features"].as_array()?;
    features.iter().find_map(|f| f.as_str()?.strip_prefix("llvm-")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_that_a_linker_loads_is_read_from_ldd() {
        assert_eq!(linked_llvm("\tlibc.so.6 => /lib/libc.so.6\n\tlibLLVM.so.22.1 => /usr/lib/x (0x1)\n"), Some(22));
        assert_eq!(linked_llvm("\tlibLLVM-21.so.1 => /usr/lib/x (0x1)\n"), Some(21));
        assert_eq!(linked_llvm("\tlibLLVM.so.22.1 => not found\n"), None);
        assert_eq!(linked_llvm("\tstatically linked\n"), None);
    }

    #[test]
    fn the_llvm_of_a_static_linker_is_read_from_the_record_of_its_installation() {
        let record = r#"{"installs": {"other 1.0.0 (x)": {"features": ["llvm-9"]},
                                      "bpf-linker 0.13.0 (x)": {"features": ["llvm-link-static", "llvm-22"]}}}"#;
        assert_eq!(recorded_llvm(record), Some(22));
        assert_eq!(recorded_llvm("{}"), None);
    }
}
