//! What the workspace consists of, as cargo sees it.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell::Cmd;

/// The package of the test tiers, the rig and the bench.
pub(crate) const TESTS: &str = "krater-tests";

/// The workspace's places and members.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory of the repository.
    pub root: PathBuf,
    /// Where cargo puts what it builds for the host.
    pub host_target: PathBuf,
    /// The members, in cargo's order.
    pub packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub name: String,
    /// Its directory, relative to the root.
    pub dir: String,
    /// The names of the packages it depends on, of whatever kind.
    pub dependencies: Vec<String>,
    /// What is built from it.
    pub targets: Vec<Target>,
}

/// A crate that is built from a package.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its name.
    pub name: String,
    /// `lib`, `bin`, `test`, `bench`, `custom-build` …
    pub kind: String,
    /// The root file, relative to the workspace's root.
    pub source: String,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let root = root();
        let json = Cmd::cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .dir(&root)
            .probe()
            .context("cannot read the workspace: `cargo metadata` failed; run it by hand to see why")?;
        Self::parse(&json)
    }

    /// Reads the output of `cargo metadata`.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(json).context("cannot read the output of `cargo metadata`")?;
        let root = PathBuf::from(text(&json["workspace_root"]));
        let packages = list(&json["packages"]).iter().map(|p| package(p, &root)).collect();
        Ok(Self { host_target: text(&json["target_directory"]).into(), packages, root })
    }

    /// The member with that name.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|p| p.name == name)
    }

    /// Where the tools that we install live.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// Where the BPF objects are built. `lb-user` embeds from exactly here, so
    /// it does not follow `CARGO_TARGET_DIR`.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.root.join("target/bpf")
    }

    /// Where the BPF program is built that counts nothing.
    pub(crate) fn uncounted_bpf_target(&self) -> PathBuf {
        self.root.join("target/bpf-uncounted")
    }

    /// A program of ours built for ordinary work.
    pub(crate) fn dev_program(&self, name: &str) -> PathBuf {
        self.host_target.join("debug").join(name)
    }

    /// Where the programs for shipping are.
    pub(crate) fn shipped_programs(&self) -> PathBuf {
        self.host_target.join("release")
    }
}

fn package(json: &Value, root: &Path) -> Package {
    let manifest = relative(&json["manifest_path"], root);
    Package {
        name: text(&json["name"]),
        dir: manifest.trim_end_matches("Cargo.toml").trim_end_matches('/').to_owned(),
        dependencies: list(&json["dependencies"]).iter().map(|d| text(&d["name"])).collect(),
        targets: list(&json["targets"]).iter().map(|t| target(t, root)).collect(),
    }
}

fn target(json: &Value, root: &Path) -> Target {
    let kind = list(&json["kind"]).first().map(text).unwrap_or_default();
    Target { name: text(&json["name"]), kind, source: relative(&json["src_path"], root) }
}

fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map(Path::to_path_buf).unwrap_or(here)
}

fn relative(path: &Value, root: &Path) -> String {
    let path = PathBuf::from(text(path));
    path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned()
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_with_paths_relative_to_the_root() -> Result<()> {
        let workspace = Workspace::parse(
            r#"{"workspace_root": "/r", "target_directory": "/t", "packages": [{
                "name": "a", "manifest_path": "/r/crates/a/Cargo.toml",
                "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}],
                "targets": [{"name": "a", "kind": ["lib"], "src_path": "/r/crates/a/src/lib.rs"}]}]}"#,
        )?;
        assert_eq!((workspace.root.as_path(), workspace.host_target.as_path()), (Path::new("/r"), Path::new("/t")));
        let a = workspace.package("a").context("package a")?;
        assert_eq!((a.dir.as_str(), &a.dependencies), ("crates/a", &vec!["b".to_owned(), "c".to_owned()]));
        assert_eq!((a.targets[0].kind.as_str(), a.targets[0].source.as_str()), ("lib", "crates/a/src/lib.rs"));
        assert!(workspace.package("b").is_none());
        Ok(())
    }
}
