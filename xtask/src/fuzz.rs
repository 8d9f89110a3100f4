//! `fuzz`: builds the targets of `tests/fuzz` with coverage counters, and lets
//! libFuzzer run them.
//!
//! The counters are LLVM's own pass, which a stable compiler has too; libFuzzer
//! itself is built from source by `libfuzzer-sys`, for which it takes a C++
//! compiler. So neither cargo-fuzz nor a nightly is needed; both can be used.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    shell::{Cmd, find_program},
    workspace::Workspace,
};

/// The targets, and the longest input of each: about what its events can use.
const TARGETS: &[(&str, u32)] = &[("packets", 4096), ("flow_table", 640)];

/// What has LLVM count which edges are taken and tell which numbers are compared;
/// the last leaves comparisons apart that it would fold into one.
const COVERAGE: &str = "--cfg fuzzing -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares \
    -C llvm-args=-simplifycfg-branch-fold-threshold=0";

/// Builds all targets and runs one, or one after the other, for so many minutes
/// each. With `keep`, what was found to be new is added to the corpus then.
pub(crate) fn run(workspace: &Workspace, target: Option<&str>, minutes: u32, keep: bool) -> Result<()> {
    let chosen: Vec<_> = TARGETS.iter().filter(|(name, _)| target.is_none_or(|t| t == *name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!("there is no fuzz target {}; the targets are: {}", target.unwrap_or_default(), names.join(" "));
    }
    let programs = build(workspace)?;
    for (name, longest) in chosen {
        let found = workspace.root.join("target/fuzz/found").join(name);
        fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        let corpus = workspace.root.join("tests/fuzz/corpus").join(name);
        let finding = workspace.root.join("target/fuzz").join(format!("finding-{name}-"));
        Cmd::new(programs.join(name))
            .arg(&found)
            .arg(&corpus)
            .arg(format!("-max_total_time={}", u64::from(minutes) * 60))
            .arg(format!("-max_len={longest}"))
            .args(["-rss_limit_mb=4096", "-timeout=30", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}", finding.display()))
            .remedy(format!(
                "the message above says what does not hold; {}* has the input, and as a file of {} it is a test",
                finding.display(),
                corpus.display(),
            ))
            .run(&format!("fuzzing {name} for {minutes} minutes"))?;
        if keep {
            Cmd::new(programs.join(name))
                .arg("-merge=1")
                .arg(format!("-max_len={longest}"))
                .arg(&corpus)
                .arg(&found)
                .run("adding what is new to the corpus")?;
        }
    }
    Ok(())
}

/// Builds the targets; returns the folder they are in.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    if std::env::var_os("CXX").is_none() && ["c++", "g++", "clang++"].iter().all(|name| find_program(name).is_none()) {
        bail!("libFuzzer is built by a C++ compiler, and there is none; install g++ or clang, or name it in CXX");
    }
    let verbose = Cmd::new("rustc").arg("-vV").probe().unwrap_or_default();
    let Some(host) = verbose.lines().find_map(|line| line.strip_prefix("host: ")) else {
        bail!("cannot learn from `rustc -vV` what machine this is; is Rust installed?");
    };
    let folder = workspace.root.join("target/fuzz");
    // With a target named, build scripts and macros are left uncounted.
    Cmd::cargo()
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.split_whitespace().collect::<Vec<_>>().join("\u{1f}"))
        .args(["build", "--release", "--locked", "--target", host])
        .arg("--target-dir")
        .arg(&folder)
        .dir(&workspace.root.join("tests/fuzz"))
        .remedy("see the compiler's message above")
        .run("building the fuzz targets")?;
    Ok(folder.join(host).join("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_a_program_and_a_corpus() -> Result<()> {
        let workspace = Workspace::load()?;
        let folder = workspace.root.join("tests/fuzz");
        for (name, _) in TARGETS {
            assert!(folder.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
            assert!(folder.join("corpus").join(name).is_dir(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_target_that_is_not_there_is_refused() -> Result<()> {
        let refused = run(&Workspace::load()?, Some("pakets"), 1, false).err().map(|e| e.to_string());
        assert_eq!(refused.as_deref(), Some("there is no fuzz target pakets; the targets are: packets flow_table"));
        Ok(())
    }
}
