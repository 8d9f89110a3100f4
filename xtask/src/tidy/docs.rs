//! Documents that must keep up with the source.

use super::{
    lexer::has_word,
    source::mentions,
    tree::{File, Finding, Tree},
};
use crate::workspace::{Package, Workspace};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const CHANGELOG: &str = "CHANGELOG.md";
const DROPS: &str = "docs/drops.md";
const DROP_REASONS: &str = "lb-common/src/drop_reason.rs";
const PIPELINE: &str = "lb-ebpf/src/";

/// Files that are no module of their own.
const NO_MODULES: &[&str] = &["lib", "main", "tests"];

/// Everything the documents do not know.
pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = architecture(workspace, tree);
    findings.extend(drop_reasons(tree));
    findings.extend(changelog(tree));
    findings
}

/// Every crate has a section in ARCHITECTURE.md, which names its modules.
fn architecture(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(ARCHITECTURE) else {
        return vec![Finding::new(ARCHITECTURE, 1, "there is none: it is the map of the crates and their modules")];
    };
    workspace.packages.iter().flat_map(|package| package_in_architecture(file, tree, package)).collect()
}

fn package_in_architecture(file: &File, tree: &Tree, package: &Package) -> Vec<Finding> {
    let Some((line, section)) = section(&file.text, &package.dir) else {
        let message = format!("no heading names the crate `{}`", package.dir);
        return vec![Finding::new(ARCHITECTURE, 1, message)];
    };
    let named = code_spans(section);
    let modules = modules(tree, &package.dir);
    let missing = modules.into_iter().filter(|module| !has_word(&named, module));
    missing
        .map(|module| {
            let message = format!("the section on {0} does not name `{module}`, which {0}/src has", package.dir);
            Finding::new(ARCHITECTURE, line, message)
        })
        .collect()
}

/// The first section whose heading names the word: its line and its text, the
/// sections below it included.
fn section<'a>(text: &'a str, word: &str) -> Option<(usize, &'a str)> {
    let level = |line: &str| line.bytes().take_while(|b| *b == b'#').count();
    let mut start: Option<(usize, usize, usize)> = None;
    let (mut at, mut fenced) = (0, false);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        fenced ^= line.starts_with("```");
        let this = if fenced { 0 } else { level(line) };
        match start {
            None if this > 0 && names_crate(line, word) => start = Some((number + 1, at, this)),
            Some((line, from, outer)) if this > 0 && this <= outer => return Some((line, &text[from..at])),
            _ => {}
        }
        at += line.len();
    }
    start.map(|(line, from, _)| (line, &text[from..]))
}

/// `tests` and the like are ordinary words, so a heading that means the crate
/// writes it as code; a hyphen belongs to the name.
fn names_crate(heading: &str, name: &str) -> bool {
    heading.split('`').skip(1).step_by(2).any(|code| code.trim_end_matches('/') == name)
}

/// What is written as code: spans in backticks and fenced blocks.
fn code_spans(markdown: &str) -> String {
    let mut spans = String::new();
    let mut fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            spans.push_str(line);
        } else {
            line.split('`').skip(1).step_by(2).for_each(|span| spans.extend([span, " "]));
        }
        spans.push('\n');
    }
    spans
}

/// The first-level modules and the programs of a crate.
fn modules(tree: &Tree, dir: &str) -> Vec<String> {
    let (src, bin) = (format!("{dir}/src/"), format!("{dir}/src/bin/"));
    let inside = tree.rust().filter_map(|f| f.path.strip_prefix(&bin).or_else(|| f.path.strip_prefix(&src)));
    let mut names: Vec<String> = inside
        .filter_map(|path| path.split('/').next())
        .map(|first| first.trim_end_matches(".rs").to_owned())
        .filter(|name| !NO_MODULES.contains(&name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Each reason to drop a packet is given somewhere and explained somewhere.
fn drop_reasons(tree: &Tree) -> Vec<Finding> {
    let Some(reasons) = tree.file(DROP_REASONS) else { return Vec::new() };
    let documented = tree.file(DROPS).map_or("", |f| f.text.as_str());
    let mut findings = Vec::new();
    for (line, name, label) in declared_reasons(&reasons.text) {
        let used = format!("DropReason::{name}");
        if !tree.rust().any(|f| f.path.starts_with(PIPELINE) && mentions(f, &used)) {
            findings.push(Finding::new(
                DROP_REASONS,
                line,
                format!("no packet is dropped for {name}: {PIPELINE} does not name {used}"),
            ));
        }
        if !has_word(documented, label) {
            findings.push(Finding::new(DROP_REASONS, line, format!("{DROPS} does not explain `{label}`")));
        }
    }
    findings
}

/// Lines of the form `Name = 1, "label";`.
fn declared_reasons(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let (name, rest) = line.trim().split_once(" = ")?;
        let (value, rest) = rest.split_once(", \"")?;
        let label = rest.strip_suffix("\";")?;
        let is_name = name.chars().all(char::is_alphanumeric);
        (is_name && value.parse::<u32>().is_ok()).then_some((number + 1, name, label))
    })
}

fn changelog(tree: &Tree) -> Option<Finding> {
    let Some(file) = tree.file(CHANGELOG) else {
        return Some(Finding::new(CHANGELOG, 1, "there is none"));
    };
    let has_section = file.text.lines().any(|l| l.starts_with('#') && l.contains("Unreleased"));
    (!has_section)
        .then(|| Finding::new(CHANGELOG, 1, "no section `Unreleased`, where changes are noted as they are made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Workspace {
        let package = Package { name: "x".into(), dir: "lb-x".into(), dependencies: Vec::new(), targets: Vec::new() };
        Workspace { root: "/".into(), host_target: "/".into(), packages: vec![package] }
    }

    fn missing(architecture: &str) -> Vec<String> {
        let source =
            [("lb-x/src/lib.rs", ""), ("lb-x/src/flow/a.rs", ""), ("lb-x/src/hash.rs", ""), ("lb-x/src/bin/d.rs", "")];
        let tree = Tree::of(&[&source[..], &[(ARCHITECTURE, architecture)]].concat());
        super::architecture(&workspace(), &tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_section_that_names_every_module_will_do() {
        assert_eq!(
            missing("# Map\n\n## `lb-x`\n\n- `flow/`, `src/hash.rs`\n\n```\nd   the program\n```\n\n## Next\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_module_named_in_prose_or_in_another_section_is_not_named() {
        let found = missing("## `lb-x/`\nThe hash and the `flow`.\n### below\n`d`\n## `other`\n`hash`\n");
        assert_eq!(found, ["ARCHITECTURE.md:1: the section on lb-x does not name `hash`, which lb-x/src has"]);
    }

    #[test]
    fn a_crate_without_a_section_is_found() {
        assert_eq!(
            missing("## lb-x-more\n`flow` `hash` `d`"),
            ["ARCHITECTURE.md:1: no heading names the crate `lb-x`"]
        );
        assert_eq!(super::architecture(&workspace(), &Tree::default()).len(), 1);
    }

    #[test]
    fn a_drop_reason_is_given_and_explained() {
        let reasons = "    /// Why = 9, \"no\";\n    NoRoute = 1, \"no_route\";\n    Full = 2, \"full\";\n";
        let source = "f(DropReason::NoRouteAtAll); g(DropReason::Full); // DropReason::NoRoute";
        let docs = "| `no_route` | … |\n| `full_up` | … |";
        let tree = Tree::of(&[(DROP_REASONS, reasons), ("lb-ebpf/src/pipeline.rs", source), (DROPS, docs)]);
        let found: Vec<_> = drop_reasons(&tree).into_iter().map(|f| (f.line, f.message)).collect();
        let expected = [
            (2, "no packet is dropped for NoRoute: lb-ebpf/src/ does not name DropReason::NoRoute".to_owned()),
            (3, "docs/drops.md does not explain `full`".to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn changes_are_noted_as_they_are_made() {
        assert!(changelog(&Tree::default()).is_some());
        assert!(changelog(&Tree::of(&[(CHANGELOG, "# Changelog\n## 1.0\n")])).is_some());
        assert!(changelog(&Tree::of(&[(CHANGELOG, "# Changelog\n## [Unreleased]\n")])).is_none());
    }
}
