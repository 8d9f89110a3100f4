//! What a pool file can say, as data: the reader takes keys, bounds and defaults
//! from here, and the reference page is written from here, so that neither can
//! know of a field that the other does not.

/// A table of the pool file.
pub(super) struct Table {
    /// Its key in the table around it.
    pub(super) key: &'static str,
    /// How it is opened, as in `[[loadbalancer.pool]]`.
    pub(super) header: &'static str,
    /// What it is about.
    pub(super) about: &'static str,
    /// Its fields.
    pub(super) fields: &'static [&'static Field],
    /// The tables in it.
    pub(super) tables: &'static [&'static Table],
    /// Fields that Octavia has and Krater does not have yet.
    pub(super) later: &'static [&'static str],
}

/// A field of a table.
pub(super) struct Field {
    /// Its key.
    pub(super) key: &'static str,
    /// What can be written.
    pub(super) kind: Kind,
    /// What holds when nothing is written.
    pub(super) default: Fallback,
    /// A value as it is written in TOML.
    pub(super) example: &'static str,
    /// What it is for, in Markdown.
    pub(super) meaning: &'static str,
}

/// What can be written for a field.
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number, bounds included.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A whole number that may be below zero, bounds included.
    Signed {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// Seconds, whole or with decimals, bounds included.
    Seconds {
        /// The fewest.
        min: f64,
        /// The most.
        max: f64,
        /// Why not more or less.
        why: &'static str,
    },
    /// One of some words.
    Word {
        /// Those that can be chosen.
        now: &'static [&'static str],
        /// Those that exist and cannot be chosen yet.
        later: &'static [&'static str],
    },
    /// One of some words in quotes, or a whole number, bounds included.
    WordOrInteger {
        /// The words.
        words: &'static [&'static str],
        /// The smallest number.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// One of some versions, as a word or as a number.
    Version {
        /// Those that can be chosen, as words.
        now: &'static [&'static str],
    },
    /// A text that whoever reads it checks.
    Text {
        /// What it is, for somebody who wrote no text.
        what: &'static str,
        /// What it can be, for the page.
        can_be: &'static str,
    },
    /// A [`crate::model::Name`].
    Name,
    /// An IP address.
    Address,
    /// A list of IP addresses.
    Addresses {
        /// The most of them.
        max: usize,
    },
    /// A list of networks in CIDR notation.
    Cidrs {
        /// The most of them.
        max: usize,
    },
    /// An IP address with a port or without.
    Endpoint {
        /// The port where none is written.
        port: u16,
    },
    /// An absolute path of at most so many bytes.
    Path {
        /// The most bytes.
        max: usize,
    },
    /// Two ports with a `-` between them.
    PortRange,
    /// An interface's name.
    Interface,
    /// A list of interfaces' names.
    Interfaces,
    /// A secret of so many bytes, written as text, in hexadecimal or in base64.
    Secret {
        /// The fewest bytes.
        min: usize,
        /// The most bytes.
        max: usize,
    },
    /// A password of a few characters, which goes over the wire as it is.
    Password {
        /// The most characters.
        max: usize,
    },
}

/// What holds for a field that is not written.
pub(super) enum Fallback {
    /// Nothing: it has to be written.
    Required,
    /// That there is none, in words for the page.
    None(&'static str),
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Integer(u64),
    /// A word, a path or a port range.
    Text(&'static str),
}

impl Table {
    /// Every key that can be written in it.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.key).chain(self.tables.iter().map(|table| table.key))
    }
}

impl Fallback {
    /// As it would be written in TOML, if it could be.
    pub(super) fn toml(&self) -> Option<String> {
        match self {
            Self::Required | Self::None(_) => None,
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Text(text) => Some(format!("\"{text}\"")),
        }
    }
}

impl Kind {
    /// What it is, for somebody who wrote something else.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Integer { .. } | Self::Signed { .. } => "a whole number",
            Self::Seconds { .. } => "a number of seconds",
            Self::Word { .. } => "a word in quotes",
            Self::WordOrInteger { .. } => "a word in quotes or a whole number",
            Self::Version { .. } => "a version",
            Self::Text { what, .. } => what,
            Self::Name => "a name in quotes",
            Self::Address => "an IP address in quotes",
            Self::Addresses { .. } => "a list of IP addresses",
            Self::Cidrs { .. } => "a list of networks",
            Self::Endpoint { .. } => "an IP address and a port in quotes",
            Self::Path { .. } => "a path in quotes",
            Self::PortRange => "two ports in quotes",
            Self::Interface => "an interface's name in quotes",
            Self::Interfaces => "a list of interfaces",
            Self::Secret { .. } => "a secret in quotes",
            Self::Password { .. } => "a password in quotes",
        }
    }
}
