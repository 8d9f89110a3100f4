//! Completions and pages are there for everything that can be typed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::*;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn completions_of_every_shell_know_verbs_and_options() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
        let text = text(completions_for(shell));
        for word in ["loadbalancer", "detach", "no-drain", "offline"] {
            assert!(text.contains(word), "{shell}: no {word:?}");
        }
    }
}

/// What is to have a page: every command down to the last verb.
fn paths(command: &Command, before: &str) -> Vec<String> {
    let path =
        if before.is_empty() { command.get_name().to_owned() } else { format!("{before}-{}", command.get_name()) };
    let below = command.get_subcommands().flat_map(|verb| paths(verb, &path));
    below.chain([path.clone()]).collect()
}

#[test]
fn every_command_has_a_page_that_names_and_explains_it() {
    let pages = pages().unwrap();
    let mut expected = [paths(&Arguments::command(), ""), paths(&LbdArguments::command(), "")].concat();
    assert!(expected.len() > 20 && expected.iter().any(|path| path == "lbctl-member-set"), "{expected:?}");
    let mut names: Vec<String> = pages.iter().map(|page| page.name.clone()).collect();
    expected.sort_unstable();
    names.sort_unstable();
    assert_eq!(names, expected);
    for Page { name, text: page, section } in pages {
        let page = text(page);
        assert_eq!(section, if name.starts_with("lbd") { "8" } else { "1" }, "{name}");
        let title = format!(".TH {name} {section}");
        assert!(page.lines().any(|line| line.starts_with(&title)), "{name} has no title {title:?}:\n{page}");
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(page.lines().any(|line| line == format!(".SH {heading}")), "{name} has no {heading}:\n{page}");
        }
    }
}

#[test]
fn pages_are_put_where_man_looks_for_them() {
    let directory = tempfile::tempdir().unwrap();
    man(Some(directory.path())).unwrap();
    for path in ["man1/lbctl.1", "man1/lbctl-flow-list.1", "man8/lbd.8", "man8/lbd-check.8"] {
        assert!(directory.path().join(path).is_file(), "no {path}");
    }
    let file = directory.path().join("man1/lbctl.1");
    let failure = man(Some(&file)).unwrap_err();
    assert!(failure.to_string().contains("lbctl.1/man1") && failure.to_string().contains("--out"), "{failure}");
}
