//! Rules for every Rust file: its length, what must not be left in it, and
//! where and how it may be unsafe.

use super::{
    lexer::{has_word, words_at},
    tree::{File, Finding, Tree},
};
use crate::workspace::Workspace;

/// Longer than this and a file has more than one purpose.
const MAX_LINES: usize = 600;

/// The only files that may hold unsafe code: the words of shared memory, the
/// packet cursor, the BPF maps and programs, the mapping of shared memory, and
/// the smallest corners around system calls.
const UNSAFE_FILES: &[&str] = &[
    "lb-common/src/atomic.rs",
    "lb-ebpf/src/floor.rs",
    "lb-ebpf/src/harness.rs",
    "lb-ebpf/src/kernel_far.rs",
    "lb-ebpf/src/main.rs",
    "lb-ebpf/src/maps.rs",
    "lb-ebpf/src/packet.rs",
    "lb-ebpf/src/pass.rs",
    "lb-ebpf/src/route.rs",
    "lb-user/health/src/raw/sys.rs",
    "lb-user/src/dataplane/region.rs",
    "lb-user/src/heap.rs",
    "tests/src/sys.rs",
    "vrrp/src/runner/sys.rs",
];

/// Macros that stand for something unfinished.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Everything wrong with the source.
pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().flat_map(|file| {
        let unsafety = unsafe_code(file);
        length(file).into_iter().chain(left_behind(file)).chain(unsafety)
    });
    files.chain(crate_roots(workspace, tree)).collect()
}

fn length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let message = || format!("{lines} lines; a file has at most {MAX_LINES}: split it by purpose");
    (lines > MAX_LINES).then(|| Finding::new(&file.path, lines, message()))
}

fn left_behind(file: &File) -> Vec<Finding> {
    let ignored = file
        .code
        .match_indices("#[ignore")
        .map(|(at, _)| file.finding_at(&file.code, at, "an ignored test proves nothing: make it run or delete it"));
    let unfinished = UNFINISHED.iter().flat_map(|name| {
        let bare = name.trim_end_matches('!');
        let uses = words_at(&file.code, bare).filter(|at| file.code[at + bare.len()..].starts_with('!'));
        uses.map(move |at| file.finding_at(&file.code, at, format!("`{name}` must not be left in the source")))
    });
    ignored.chain(unfinished).collect()
}

fn unsafe_code(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in words_at(&file.code, "unsafe") {
        let what = file.code[at + "unsafe".len()..].trim_start();
        // `#[unsafe(no_mangle)]` is an attribute; which names are exported is
        // no question of memory.
        if what.starts_with('(') {
            continue;
        }
        if !UNSAFE_FILES.contains(&file.path.as_str()) {
            let message =
                "unsafe code outside of the files that may hold it (UNSAFE_FILES in xtask/src/tidy/source.rs)";
            findings.push(file.finding_at(&file.code, at, message));
        } else if !is_justified(file, at) {
            let message = "unsafe code without a `// SAFETY:` line in front that says why it is sound";
            findings.push(file.finding_at(&file.code, at, message));
        }
    }
    findings
}

/// Whether the statement or item with the `unsafe` at that byte is preceded by
/// the reason why it is sound.
fn is_justified(file: &File, at: usize) -> bool {
    let line = file.code[..at].matches('\n').count();
    let lines: Vec<(&str, &str)> = file.text.lines().zip(file.code.lines()).collect();
    for (text, code) in lines[..line].iter().rev() {
        let (text, code) = (text.trim(), code.trim());
        if text.starts_with("//") {
            if text.contains("SAFETY:") || text.contains("# Safety") {
                return true;
            }
        } else if !code.starts_with("#[") && ends_something(code) {
            return false;
        }
    }
    false
}

/// Whether a line of code is the end of what came before, so that the next
/// line begins a statement, an item or an arm of its own.
fn ends_something(code: &str) -> bool {
    code.is_empty() || code.ends_with([';', '{', '}', ','])
}

/// Each crate says at its root that it has no unsafe code; one with a file
/// that may hold some denies it, so that only that file can allow it.
fn crate_roots(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let has_unsafe_file = UNSAFE_FILES.iter().any(|f| f.starts_with(&format!("{}/src/", package.dir)));
        for target in package.targets.iter().filter(|t| t.kind != "custom-build") {
            let Some(file) = tree.file(&target.source) else { continue };
            let forbids = file.code.contains("#![forbid(unsafe_code)]");
            let denies = file.code.contains("#![deny(unsafe_code)]");
            if forbids || (denies && has_unsafe_file) || UNSAFE_FILES.contains(&file.path.as_str()) {
                continue;
            }
            let or_deny = if has_unsafe_file { " (or `deny`, where a module of it may hold unsafe code)" } else { "" };
            let message = format!("this crate's root lacks `#![forbid(unsafe_code)]`{or_deny}");
            findings.push(Finding::new(&file.path, 1, message));
        }
    }
    findings
}

/// Whether the text names the word in code, not in a comment.
pub(super) fn mentions(file: &File, word: &str) -> bool {
    has_word(&file.code, word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Package, Target};

    const ALLOWED: &str = "tests/src/sys.rs";

    fn file(path: &str, text: &str) -> Tree {
        Tree::of(&[(path, text)])
    }

    fn found(tree: &Tree) -> Vec<String> {
        let nothing = Workspace { root: "/".into(), host_target: "/".into(), packages: Vec::new() };
        check(&nothing, tree).iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(found(&file("a.rs", &"\n".repeat(600))).len(), 0);
        assert_eq!(found(&file("a.rs", &"\n".repeat(601))).len(), 1);
        assert_eq!(found(&file("a.md", &"\n".repeat(601))).len(), 0);
    }

    #[test]
    fn what_was_left_behind_is_found_in_code_only() {
        let source = "#[ignore = \"slow\"]\nfn f() { todo!() }\n// dbg!(x)\nlet s = \"unimplemented!()\";\nmy_dbg!(x);";
        assert_eq!(
            found(&file("a.rs", source)),
            [
                "1: an ignored test proves nothing: make it run or delete it",
                "2: `todo!` must not be left in the source"
            ]
        );
    }

    #[test]
    fn unsafe_code_has_its_files() {
        assert_eq!(found(&file("a.rs", "// SAFETY: none\nunsafe { f() }")).len(), 1);
        assert_eq!(found(&file("a.rs", "#![forbid(unsafe_code)] // unsafe")).len(), 0);
        assert_eq!(found(&file(ALLOWED, "// SAFETY: it is\nunsafe { f() }")).len(), 0);
        assert_eq!(found(&file("a.rs", "#[unsafe(no_mangle)]\nfn f() {}")).len(), 0);
    }

    #[test]
    fn unsafe_code_says_why_it_is_sound() {
        let good = [
            "/// Does.\n///\n/// # Safety\n/// Ask.\n#[inline]\npub unsafe fn f() {}",
            "fn g() {\n    // SAFETY: checked above,\n    // twice.\n    let x =\n        unsafe { f() };\n}",
            "// SAFETY: plain bytes\nunsafe impl Pod for X {}",
        ];
        for source in good {
            assert_eq!(found(&file(ALLOWED, source)), [""; 0], "{source}");
        }
        let bad = [
            "unsafe { f() }",
            "// SAFETY: for the first only\nunsafe impl A for X {}\nunsafe impl B for X {}",
            "/// Does.\npub unsafe fn f() {}",
        ];
        for source in bad {
            assert_eq!(found(&file(ALLOWED, source)).len(), 1, "{source}");
        }
    }

    #[test]
    fn a_crate_root_promises_to_be_safe() {
        let target = |source: &str, kind: &str| Target { name: "x".into(), kind: kind.into(), source: source.into() };
        let package = |dir: &str| Package {
            name: dir.into(),
            dir: dir.into(),
            dependencies: Vec::new(),
            targets: vec![
                target(&format!("{dir}/src/lib.rs"), "lib"),
                target(&format!("{dir}/build.rs"), "custom-build"),
            ],
        };
        let packages = vec![package("xtask"), package("lb-user")];
        let workspace = Workspace { root: "/".into(), host_target: "/".into(), packages };
        let check = |xtask: &str, user: &str| {
            let tree = Tree::of(&[("xtask/src/lib.rs", xtask), ("lb-user/src/lib.rs", user), ("xtask/build.rs", "")]);
            crate_roots(&workspace, &tree).len()
        };
        assert_eq!(check("#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"), 0);
        assert_eq!(check("#![deny(unsafe_code)]", "#![deny(unsafe_code)]"), 1);
        assert_eq!(check("// #![forbid(unsafe_code)]", ""), 2);
    }
}
