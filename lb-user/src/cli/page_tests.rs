//! `docs/lbctl.md` is made from the definitions and says what they say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use clap::{Command, CommandFactory as _};

use super::{arguments::Arguments, lbd::LbdArguments};

/// Set to anything, the test writes the page in place of comparing it.
const WRITE: &str = "KRATER_BLESS";

const INTRODUCTION: &str = "\
<!-- Made from lb-user/src/cli/ by `KRATER_BLESS=1 cargo test -p lb-user --lib the_docs_page`. -->

# The command lines

What `lbctl` and `lbd` say about themselves with `--help`. The global options
of `lbctl` are shown once, with `lbctl` itself.
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for command in [Arguments::command(), LbdArguments::command()] {
        let mut command = command.disable_help_subcommand(true).term_width(100);
        command.build();
        describe(&mut command, 2, &mut page);
    }
    page
}

fn describe(command: &mut Command, depth: usize, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_help().to_string();
    let help = if depth == 2 { help } else { without_global_options(&help) };
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    page.push_str(&format!("\n{} `{name}`\n\n```text\n{}\n```\n", "#".repeat(depth), help.trim()));
    for verb in command.get_subcommands_mut() {
        describe(verb, (depth + 1).min(4), page);
    }
}

/// Without the paragraph that is the same with every command.
fn without_global_options(help: &str) -> String {
    help.split("\n\n").filter(|paragraph| !paragraph.starts_with("Global options:")).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn the_docs_page_says_what_the_definitions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lbctl.md");
    let page = page();
    for heading in ["## `lbctl`", "#### `lbctl member set`", "## `lbd`", "### `lbd check`"] {
        assert!(page.lines().any(|line| line == heading), "no {heading}");
    }
    if std::env::var_os(WRITE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs =
        written.lines().zip(page.lines()).position(|(a, b)| a != b).map_or(written.lines().count(), |n| n) + 1;
    assert!(written == page, "docs/lbctl.md differs from line {differs} on: write it with {WRITE}=1");
}
