//! What is wrong with a pool file, and where.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    path::PathBuf,
};

/// The most mistakes, and the most warnings, that are kept of one file: enough
/// for anybody to read, and a bound on what a hopeless file can cost.
const MAX_KEPT: usize = 1000;
/// The most characters of a file's own text that are repeated in a message.
const MAX_QUOTED: usize = 64;

/// One thing that is wrong with a pool file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// In what, as in `loadbalancer "web" pool "app"`; empty for the file as a whole.
    pub place: String,
    /// The key of the field; empty for what is no field.
    pub field: String,
    /// Why it is refused, a semicolon, and what to do.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.field].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// Something in a pool file that is allowed and probably not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The line, from 1.
    pub line: usize,
    /// In what, what, and what to do.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// A pool file's text that does not say what a balancer could do. As text it is
/// one line for each mistake: file, line, place, field, reason and remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.lines())]
pub struct Refused {
    /// The file's name, as it was given.
    pub file: String,
    /// What is wrong with it, by line. There is at least one.
    pub mistakes: Vec<Mistake>,
    /// How many more mistakes there are than [`Self::mistakes`] has.
    pub more: usize,
}

impl Refused {
    fn lines(&self) -> String {
        let mut lines: Vec<String> =
            self.mistakes.iter().map(|mistake| format!("{}:{}: {mistake}", self.file, mistake.line)).collect();
        if self.more > 0 {
            lines.push(format!("{}: and {} more mistakes; correct these first", self.file, self.more));
        }
        lines.join("\n")
    }
}

/// Why a pool file could not be loaded. Its text is complete: there is no
/// source to add to it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read pool file {}: {reason}; name one that exists and that this user may read", .path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// It is too large to be one.
    #[error("pool file {} is larger than {limit} bytes, which is more than the largest balancer needs; name another file", .path.display())]
    TooLarge {
        /// Its path.
        path: PathBuf,
        /// The largest size in bytes.
        limit: u64,
    },
    /// It can be read and is refused.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Mistakes and warnings while they are found. Whoever reads a file has one and
/// lends it to everybody who reads a part.
pub(super) struct Complaints {
    /// Byte offsets at which lines begin.
    starts: Vec<usize>,
    mistakes: RefCell<Kept<Mistake>>,
    warnings: RefCell<Kept<Warning>>,
    /// Whether everybody on the host may read the file, and nobody has been
    /// warned that there is a secret in it.
    secrets_are_open: Cell<bool>,
}

struct Kept<T> {
    first: Vec<T>,
    more: usize,
}

impl<T> Kept<T> {
    const fn new() -> RefCell<Self> {
        RefCell::new(Self { first: Vec::new(), more: 0 })
    }

    fn add(&mut self, item: T) {
        if self.first.len() < MAX_KEPT { self.first.push(item) } else { self.more += 1 }
    }
}

impl Complaints {
    /// About a text that everybody on the host may read, or not.
    pub(super) fn about(text: &str, open_to_everybody: bool) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        let secrets_are_open = Cell::new(open_to_everybody);
        Self { starts, mistakes: Kept::new(), warnings: Kept::new(), secrets_are_open }
    }

    /// Notes that a secret is written in a line; warns of the first one that
    /// everybody can read.
    pub(super) fn secret(&self, line: usize, place: &str, field: &str) {
        if self.secrets_are_open.take() {
            let text = format!(
                "{place}: {field}: everybody may read this file, and it has a secret in it; take it from them (chmod \
                 o-rwx), or keep secrets in files of their own"
            );
            self.warning(line, text);
        }
    }

    /// The line of a byte, from 1.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte).max(1)
    }

    /// Whether another mistake would be kept: if not, its text is of no use.
    pub(super) fn has_room(&self) -> bool {
        self.mistakes.borrow().first.len() < MAX_KEPT
    }

    pub(super) fn mistake(&self, line: usize, place: &str, field: &str, text: String) {
        let (place, field) = (place.to_owned(), field.to_owned());
        self.mistakes.borrow_mut().add(Mistake { line, place, field, text });
    }

    pub(super) fn warning(&self, line: usize, text: String) {
        self.warnings.borrow_mut().add(Warning { line, text });
    }

    /// The warnings, if there was no mistake.
    pub(super) fn settle(self, file: &str) -> Result<Vec<Warning>, Refused> {
        let Kept { first: mut mistakes, more } = self.mistakes.into_inner();
        if !mistakes.is_empty() {
            mistakes.sort_by_key(|mistake| mistake.line);
            return Err(Refused { file: file.to_owned(), mistakes, more });
        }
        let mut warnings = self.warnings.into_inner().first;
        warnings.sort_by_key(|warning| warning.line);
        Ok(warnings)
    }
}

/// A piece of the file's own text, shortened and with nothing in it that would
/// disturb a terminal.
pub(super) fn plain(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        None => text.escape_debug().to_string(),
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
    }
}

/// The same in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", plain(text))
}
