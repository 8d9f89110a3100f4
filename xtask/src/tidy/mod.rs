//! `tidy`: the rules of the house that no compiler knows, each finding with
//! its file and line.
//!
//! Invariant others rely on: each rule is a pure function of the workspace's
//! shape and the text of its files.

mod arrows;
mod docs;
mod lexer;
mod source;
mod tree;
mod words;

use anyhow::{Result, bail};

use self::tree::{Finding, Tree};
use crate::workspace::Workspace;

/// Checks everything and prints what it finds.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tree = Tree::read(workspace)?;
    let findings = findings(workspace, &tree);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files are in order", tree.files.len());
            Ok(())
        }
        n => bail!("tidy found {n} breaches of the rules of the house; each line above says where and why"),
    }
}

fn findings(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = arrows::check(workspace, tree);
    findings.extend(source::check(workspace, tree));
    findings.extend(docs::check(workspace, tree));
    findings.extend(words::check(tree));
    findings.sort();
    findings
}
