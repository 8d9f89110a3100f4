//! Building the test programs and knowing which belongs to which tier.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use super::tiers::{HOST, Tier};
use crate::{
    build,
    shell::Cmd,
    workspace::{TESTS, Workspace},
};

/// A test program, built.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The tier it belongs to.
    pub tier: String,
    /// Package and target, for messages.
    pub label: String,
    /// The directory that its tests expect to run in.
    pub dir: PathBuf,
    /// The program.
    pub executable: PathBuf,
}

/// Builds what the tiers need.
pub(super) fn build(workspace: &Workspace, tiers: &[Tier]) -> Result<Vec<Program>> {
    let messages = Cmd::cargo()
        .args(["build", "--workspace", "--bins"])
        .args(targets(tiers))
        .args(build::locked())
        .arg("--message-format=json-render-diagnostics")
        .dir(&workspace.root)
        .remedy("see the compiler's message above")
        .run_and_read("building the tests")?;
    Ok(messages.lines().filter_map(|line| program(workspace, line)).collect())
}

/// The kinds of target that hold the tests of these tiers. The programs are
/// built in any case: the tiers above the unit start them.
fn targets(tiers: &[Tier]) -> Vec<String> {
    if tiers.iter().any(|t| t.name == HOST) {
        return vec!["--lib".to_owned(), "--tests".to_owned()];
    }
    tiers.iter().flat_map(|t| ["--test".to_owned(), t.name.clone()]).collect()
}

/// The test program that a line of cargo's messages announces.
fn program(workspace: &Workspace, message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let dir = manifest.parent()?.to_owned();
    let package = workspace.packages.iter().find(|p| workspace.root.join(&p.dir) == dir)?;
    let (target, kind) = (message["target"]["name"].as_str()?, message["target"]["kind"][0].as_str()?);
    let is_tier = package.name == TESTS && kind == "test";
    let tier = if is_tier { target } else { HOST };
    Some(Program { tier: tier.to_owned(), label: format!("{} {kind} {target}", package.name), dir, executable })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn workspace() -> Result<Workspace> {
        Workspace::parse(
            r#"{"workspace_root": "/r", "target_directory": "/t", "packages": [
                {"name": "vrrp", "manifest_path": "/r/vrrp/Cargo.toml"},
                {"name": "krater-tests", "manifest_path": "/r/tests/Cargo.toml"}]}"#,
        )
    }

    fn message(dir: &str, kind: &str, name: &str, test: bool) -> String {
        format!(
            r#"{{"reason": "compiler-artifact", "manifest_path": "/r/{dir}/Cargo.toml", "profile": {{"test": {test}}},
                "target": {{"name": "{name}", "kind": ["{kind}"]}}, "executable": "/t/{name}"}}"#
        )
    }

    #[test]
    fn a_test_program_of_the_tests_crate_is_its_own_tier() -> Result<()> {
        let found = program(&workspace()?, &message("tests", "test", "netns", true)).context("a program")?;
        assert_eq!((found.tier.as_str(), found.label.as_str()), ("netns", "krater-tests test netns"));
        assert_eq!(found.dir, PathBuf::from("/r/tests"));
        Ok(())
    }

    #[test]
    fn everything_else_is_the_host_tier() -> Result<()> {
        for (dir, kind) in [("vrrp", "lib"), ("vrrp", "test"), ("tests", "lib"), ("tests", "bin")] {
            let found = program(&workspace()?, &message(dir, kind, "x", true)).context("a program")?;
            assert_eq!(found.tier, HOST);
        }
        Ok(())
    }

    #[test]
    fn a_program_without_tests_is_none() -> Result<()> {
        assert_eq!(program(&workspace()?, &message("vrrp", "bin", "x", false)), None);
        assert_eq!(program(&workspace()?, "not json"), None);
        Ok(())
    }
}
