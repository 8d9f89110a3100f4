//! `docs/vrrp.md` says which test shows which rule; here is whether it tells
//! the truth.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use vrrp::Refusal;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/vrrp.md")).unwrap()
}

/// The cells of the table's rows whose first cell `is_item` takes.
fn rows(page: &str, is_item: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    let rows = page.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter(|row: &Vec<String>| is_item(&row[0])).collect()
}

/// All Rust source of the crates that the page names tests of.
fn source(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_item_has_a_row_and_every_test_it_names_exists() {
    let page = page();
    let is_item =
        |cell: &str| cell.parse::<u8>().is_ok() || cell.strip_prefix('E').is_some_and(|n| n.parse::<u8>().is_ok());
    let items = rows(&page, is_item);
    let numbers: BTreeSet<u8> = items.iter().filter_map(|row| row[0].parse().ok()).collect();
    assert_eq!(numbers, (1..=62).collect());
    assert_eq!(items.len(), 62 + 4);

    let mut code = String::new();
    ["vrrp/src", "tests"].iter().for_each(|folder| source(&root().join(folder), &mut code));
    for row in &items {
        let [item, _, status, shown] = &row[..] else { panic!("{row:?} has not four cells") };
        assert!(status.starts_with("done") || status.starts_with("out of scope: "), "{item}: {status}");
        assert!(!status.starts_with("done: ") || !shown.is_empty(), "{item}");
        for name in shown.split('`').skip(1).step_by(2) {
            assert!(code.contains(&format!("fn {name}(")), "{item} names `{name}`, which is no test");
        }
    }
}

#[test]
fn every_refusal_is_explained_in_the_words_of_the_code() {
    let page = page();
    let labels: Vec<_> = Refusal::ALL.iter().map(|refusal| format!("`{}`", refusal.label())).collect();
    let explained = rows(&page, |cell| labels.iter().any(|label| label == cell));
    let expected =
        Refusal::ALL.iter().map(|refusal| vec![format!("`{}`", refusal.label()), refusal.meaning().to_owned()]);
    assert_eq!(explained, expected.collect::<Vec<_>>());
}
