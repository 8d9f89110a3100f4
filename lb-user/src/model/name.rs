//! Names of things, as operators type them.

use std::fmt;

/// A name: 1 to 64 characters, letters, digits, `.`, `_`, `-` and `:`, so that
/// it can stand in a label, a metric and a command line without quoting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Nothing is there.
    #[error("a name must not be empty")]
    Empty,
    /// It is too long.
    #[error("a name has at most {} characters", Name::MAX)]
    TooLong,
    /// It has a character that names do not have.
    #[error("a name has letters, digits, '.', '_', '-' and ':' only, not {0:?}")]
    Character(char),
}

impl Name {
    /// The longest name, in characters.
    pub const MAX: usize = 64;

    /// Checks a text.
    ///
    /// # Errors
    /// When it is no name.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-:".contains(*c))) {
            return Err(NameError::Character(c));
        }
        if text.len() > Self::MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self(text))
    }

    /// A name for something whose own was refused, so that the rest of it can
    /// be looked at. It must not reach a [`super::Model`] that is used.
    pub(crate) fn placeholder() -> Self {
        Self("_".to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
