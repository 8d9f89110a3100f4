//! Who may depend on whom, and who may name which library.

use super::{
    lexer::words_at,
    tree::{Finding, Tree},
};
use crate::workspace::{Package, TESTS, Workspace};

/// The arrows between our crates. The tests may look at everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("lb-common", &[]),
    ("lb-ebpf", &["lb-common"]),
    // lb-ebpf is there for its library: the in-memory data plane runs it.
    ("lb-user", &["lb-common", "lb-ebpf", "lb-health", "vrrp"]),
    ("lb-health", &[]),
    ("vrrp", &[]),
    ("xtask", &[]),
];

/// Libraries that only some crates may depend on.
const FENCED_CRATES: &[(&str, &[&str])] = &[
    ("aya", &["lb-user", TESTS]),
    ("aya-ebpf", &["lb-ebpf"]),
    ("aya-log", &["lb-user", TESTS]),
    ("aya-log-ebpf", &["lb-ebpf"]),
    ("rtnetlink", &["lb-user", "vrrp", TESTS]),
    ("netlink-packet-route", &["lb-user", "vrrp", TESTS]),
];

/// Names that only some files may mention.
struct FencedName {
    name: &'static str,
    allowed: &'static [&'static str],
}

const FENCED_NAMES: &[FencedName] = &[
    FencedName { name: "aya", allowed: &["lb-user/src/dataplane/", "tests/"] },
    FencedName { name: "rtnetlink", allowed: &["lb-user/src/net/", "vrrp/src/runner", "tests/"] },
    FencedName { name: "netlink_packet_route", allowed: &["lb-user/src/net/", "vrrp/src/runner", "tests/"] },
    FencedName { name: "netlink_packet_core", allowed: &["lb-user/src/net/", "vrrp/src/runner", "tests/"] },
];

/// Every arrow that points the wrong way.
pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let packages = workspace.packages.iter().flat_map(|package| dependencies(workspace, tree, package));
    packages.chain(names(tree)).collect()
}

fn dependencies(workspace: &Workspace, tree: &Tree, package: &Package) -> Vec<Finding> {
    if package.name == TESTS {
        return Vec::new();
    }
    let manifest = format!("{}/Cargo.toml", package.dir);
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        let message =
            format!("{} has no place in the house: add it to ARROWS in xtask/src/tidy/arrows.rs", package.name);
        return vec![Finding::new(&manifest, 1, message)];
    };
    let mut found = Vec::new();
    for dependency in &package.dependencies {
        let ours = workspace.package(dependency).is_some();
        if ours && !allowed.contains(&dependency.as_str()) {
            found.push((dependency, format!("{} must not depend on {dependency}", package.name)));
        }
        let fence = FENCED_CRATES.iter().find(|(name, _)| name == dependency);
        if let Some((_, users)) = fence.filter(|(_, users)| !users.contains(&package.name.as_str())) {
            found.push((dependency, format!("only {} may depend on {dependency}", users.join(", "))));
        }
    }
    found.into_iter().map(|(name, message)| Finding::new(&manifest, line_of(tree, &manifest, name), message)).collect()
}

fn names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for FencedName { name, allowed } in FENCED_NAMES {
            if allowed.iter().any(|prefix| file.path.starts_with(prefix)) {
                continue;
            }
            let uses =
                words_at(&file.code, name).filter(|at| file.code[at + name.len()..].trim_start().starts_with("::"));
            findings.extend(uses.map(|at| {
                file.finding_at(&file.code, at, format!("`{name}::` may be named only in {}", allowed.join(", ")))
            }));
        }
    }
    findings
}

/// The line that declares a dependency.
fn line_of(tree: &Tree, manifest: &str, dependency: &str) -> usize {
    let text = tree.file(manifest).map_or("", |f| f.text.as_str());
    let declares = |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    text.lines().position(declares).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(members: &[(&str, &[&str])]) -> Workspace {
        let package = |(name, dependencies): &(&str, &[&str])| Package {
            name: (*name).to_owned(),
            dir: (*name).to_owned(),
            dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
            targets: Vec::new(),
        };
        Workspace { root: "/".into(), host_target: "/".into(), packages: members.iter().map(package).collect() }
    }

    #[test]
    fn an_arrow_that_is_drawn_is_allowed() {
        let members =
            [("lb-common", &[] as &[&str]), ("lb-ebpf", &["lb-common", "aya-ebpf"]), ("krater-tests", &["aya"])];
        assert_eq!(check(&workspace(&members), &Tree::default()), []);
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found_with_its_line() {
        let members = [("lb-common", &[] as &[&str]), ("vrrp", &["lb-common"])];
        let tree =
            Tree::of(&[("vrrp/Cargo.toml", "[dependencies]\nlb-common-x = \"1\"\nlb-common.workspace = true\n")]);
        let expected = Finding::new("vrrp/Cargo.toml", 3, "vrrp must not depend on lb-common");
        assert_eq!(check(&workspace(&members), &tree), [expected]);
    }

    #[test]
    fn a_fenced_library_is_refused_elsewhere() {
        let findings = check(&workspace(&[("lb-common", &["rtnetlink"])]), &Tree::default());
        assert_eq!(findings[0].message, "only lb-user, vrrp, krater-tests may depend on rtnetlink");
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        assert_eq!(check(&workspace(&[("lb-extra", &[])]), &Tree::default()).len(), 1);
    }

    #[test]
    fn only_the_data_plane_says_aya() {
        let tree = Tree::of(&[
            ("lb-user/src/dataplane/kernel.rs", "use aya::Ebpf;"),
            ("lb-user/src/lib.rs", "// aya::Ebpf\nuse aya_log::X;\nlet s = \"aya::\";"),
            ("lb-user/src/health/mod.rs", "\nuse aya::Ebpf;"),
        ]);
        let expected = "lb-user/src/health/mod.rs:2: `aya::` may be named only in lb-user/src/dataplane/, tests/";
        assert_eq!(names(&tree).iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}
