//! What the rules look at and what they say.

use std::{fmt, fs};

use anyhow::{Context as _, Result};

use super::lexer;
use crate::{shell::Cmd, workspace::Workspace};

/// The files of the repository that are or would be tracked, as text.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// In the order of their paths.
    pub files: Vec<File>,
}

/// A file of the repository.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the root.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// For Rust source: without comments and literals. Empty for other files.
    pub code: String,
}

/// A rule that is broken somewhere.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    /// The file.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

impl Finding {
    /// A finding in a file.
    pub(super) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl Tree {
    /// Reads the work tree; files that are ignored are not ours, files that
    /// are no text have no lines to point at.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        let list = Cmd::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .dir(&workspace.root)
            .probe()
            .context("cannot list the tracked files: is git installed, and is this a clone?")?;
        let files = list.split_terminator('\0').filter_map(|path| {
            let text = fs::read_to_string(workspace.root.join(path)).ok()?;
            Some(File::new(path, &text))
        });
        let mut files: Vec<File> = files.collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// The file at exactly this path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|f| f.path == path)
    }

    /// The Rust source.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|f| f.is_rust())
    }

    /// A tree made up for a test.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
    }
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let is_rust = path.ends_with(".rs");
        let code = if is_rust { lexer::code_only(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// Whether it is Rust source.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A finding at a byte of the text.
    pub(super) fn finding_at(&self, text: &str, at: usize, message: impl Into<String>) -> Finding {
        Finding::new(&self.path, 1 + text[..at].matches('\n').count(), message)
    }
}
