//! Reads one table of a pool file by its [`schema`](super::schema): every value
//! of a wrong type or out of bounds, every key that is not known and every
//! field that is missing becomes a mistake with its line, and reading goes on.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::{Component, Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    mistake::{Complaints, plain, quoted},
    nearest::nearest,
    schema::{Fallback, Field, Kind, Table},
};
use crate::model::Name;

/// Below this every directory is in a BPF file system.
const BPFFS: &str = "/sys/fs/bpf";
/// The kernel's limit on the name of an interface.
const MAX_INTERFACE_NAME: usize = 15;

/// A table being read. A method that returns an `Option` for a field that has a
/// default returns `None` only after it has complained.
pub(super) struct Reader<'a> {
    complaints: &'a Complaints,
    schema: &'static Table,
    /// Absent where the table is not in the file.
    table: Option<&'a DeTable<'a>>,
    spot: RefCell<Spot>,
}

/// Where a table was and where its values were, for complaints that come later.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// What is there, as in `loadbalancer "web" pool "app"`.
    pub(super) place: String,
    line: usize,
    lines: Vec<(&'static str, usize)>,
    wrong: Vec<&'static str>,
}

impl Spot {
    /// The line of a field, or of the table where the field is not written.
    pub(super) fn line(&self, field: Option<&str>) -> usize {
        let line = self.lines.iter().find(|(key, _)| Some(*key) == field);
        line.map_or(self.line, |(_, line)| *line)
    }

    /// Whether a field's value is none that the file gave.
    pub(super) fn is_wrong(&self, field: &str) -> bool {
        self.wrong.contains(&field)
    }
}

impl<'a> Reader<'a> {
    /// Begins with the file as a whole.
    pub(super) fn of_file(complaints: &'a Complaints, schema: &'static Table, table: &'a DeTable<'a>) -> Self {
        Self::new(complaints, schema, Some(table), 1, String::new())
    }

    fn new(
        complaints: &'a Complaints,
        schema: &'static Table,
        table: Option<&'a DeTable<'a>>,
        line: usize,
        place: String,
    ) -> Self {
        let spot = RefCell::new(Spot { place, line, lines: Vec::new(), wrong: Vec::new() });
        let reader = Self { complaints, schema, table, spot };
        reader.refuse_unknown_keys();
        reader
    }

    /// Ends reading.
    pub(super) fn spot(self) -> Spot {
        self.spot.into_inner()
    }

    /// Whether a field was refused so far.
    pub(super) fn is_wrong(&self, field: &Field) -> bool {
        self.spot.borrow().is_wrong(field.key)
    }

    /// Whether a table in this one was refused so far.
    pub(super) fn is_wrong_table(&self, table: &Table) -> bool {
        self.spot.borrow().is_wrong(table.key)
    }

    /// Whether a field or a table is written.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Marks a field whose value follows from one that was refused.
    pub(super) fn mark_wrong(&self, field: &'static Field) {
        self.spot.borrow_mut().wrong.push(field.key);
    }

    /// Complains about a field, in the line of its value.
    pub(super) fn mistake(&self, key: &'static str, text: String) {
        let line = self.spot.borrow().line(Some(key));
        self.mistake_at(line, key, text);
    }

    /// Complains about a field of a table that was read already.
    pub(super) fn mistake_of(&self, spot: &Spot, key: &'static str, text: String) {
        self.complaints.mistake(spot.line(Some(key)), &spot.place, key, text);
    }

    /// Notes that a field's value is a secret.
    pub(super) fn keeps_a_secret(&self, field: &Field) {
        let spot = self.spot.borrow();
        self.complaints.secret(spot.line(Some(field.key)), &spot.place, field.key);
    }

    /// Warns of a field, in the line of its value.
    pub(super) fn warning(&self, key: &'static str, text: &str) {
        let spot = self.spot.borrow();
        self.complaints.warning(spot.line(Some(key)), format!("{}: {key}: {text}", spot.place));
    }

    /// Complains about a part of a field that is in a line of its own.
    pub(super) fn mistake_at(&self, line: usize, key: &'static str, text: String) {
        let mut spot = self.spot.borrow_mut();
        spot.wrong.push(key);
        self.complaints.mistake(line, &spot.place, key, text);
    }

    fn refuse_unknown_keys(&self) {
        for (key, _) in self.table.into_iter().flatten() {
            let written: &str = key.get_ref();
            if self.schema.keys().any(|known| known == written) {
                continue;
            }
            let meant = || if self.complaints.has_room() { nearest(written, self.schema.keys()) } else { None };
            let remedy = if self.schema.later.contains(&written) {
                "is not available yet; remove it".to_owned()
            } else if let Some(meant) = meant() {
                format!("is not known; did you mean {meant}?")
            } else {
                format!("is not known; what can be here is {}", self.schema.keys().collect::<Vec<_>>().join(", "))
            };
            let line = self.complaints.line_of(key.span().start);
            self.complaints.mistake(line, &self.spot.borrow().place, &plain(written), remedy);
        }
    }

    /// The value of a key, whose line is noted.
    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let value = self.table?.get(key)?;
        let line = self.complaints.line_of(value.span().start);
        self.spot.borrow_mut().lines.push((key, line));
        Some(value)
    }

    /// The value of a field, if it is written; complains where it has to be.
    fn written(&self, field: &'static Field) -> Option<&'a DeValue<'a>> {
        let value = self.value(field.key);
        if value.is_none() && matches!(field.default, Fallback::Required) {
            self.mistake(field.key, format!("is missing; add for example {} = {}", field.key, field.example));
        }
        value.map(Spanned::get_ref)
    }

    fn wrong_type<T>(&self, field: &'static Field, value: &DeValue<'_>) -> Option<T> {
        let (is, wanted) = (kind_of(value), field.kind.name());
        let example = format!("{} = {}", field.key, field.example);
        self.mistake(field.key, format!("{is} is not {wanted}; write for example {example}"));
        None
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, field: &'static Field) -> bool {
        let default = matches!(field.default, Fallback::Flag(true));
        match self.written(field) {
            None => default,
            Some(DeValue::Boolean(flag)) => *flag,
            Some(other) => self.wrong_type(field, other).unwrap_or(default),
        }
    }

    /// Whether a field is written and is one certain number.
    pub(super) fn says(&self, field: &'static Field, number: i128) -> bool {
        match self.value(field.key).map(Spanned::get_ref) {
            Some(DeValue::Integer(written)) => i128::from_str_radix(written.as_str(), written.radix()) == Ok(number),
            _ => false,
        }
    }

    /// A flag whose default follows from other fields.
    pub(super) fn flag_or(&self, field: &'static Field, default: bool) -> bool {
        if self.has(field.key) { self.flag(field) } else { default }
    }

    /// A whole number within the field's bounds.
    pub(super) fn integer<T: TryFrom<i128>>(&self, field: &'static Field) -> Option<T> {
        let (min, max) = match field.kind {
            Kind::Integer { min, max } => (i128::from(min), i128::from(max)),
            Kind::Signed { min, max } => (i128::from(min), i128::from(max)),
            _ => return None,
        };
        let number = match self.written(field) {
            None => match field.default {
                Fallback::Integer(number) => i128::from(number),
                _ => return None,
            },
            Some(DeValue::Integer(written)) => match i128::from_str_radix(written.as_str(), written.radix()) {
                Ok(number) if number < min => {
                    self.mistake(field.key, format!("{number} is below {min}; give a number from {min} to {max}"));
                    return None;
                }
                Ok(number) if number <= max => number,
                _ => {
                    let written = plain(&written.to_string());
                    self.mistake(field.key, format!("{written} is above {max}; give a number from {min} to {max}"));
                    return None;
                }
            },
            Some(other) => return self.wrong_type(field, other),
        };
        T::try_from(number).ok()
    }

    /// A port.
    pub(super) fn port(&self, field: &'static Field) -> Option<NonZeroU16> {
        self.integer(field).and_then(NonZeroU16::new)
    }

    /// Seconds within the field's bounds.
    pub(super) fn seconds(&self, field: &'static Field) -> Option<Duration> {
        let Kind::Seconds { min, max, why } = field.kind else { return None };
        let written = match (self.written(field), &field.default) {
            (Some(DeValue::Integer(written)), _) => {
                i128::from_str_radix(written.as_str(), written.radix()).ok().map(|number| number as f64)
            }
            (Some(DeValue::Float(written)), _) => written.as_str().parse().ok(),
            (Some(other), _) => return self.wrong_type(field, other),
            (None, Fallback::Integer(seconds)) => return Some(Duration::from_secs(*seconds)),
            (None, _) => return None,
        };
        let inside = written.filter(|seconds| (min..=max).contains(seconds));
        let duration = inside.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if duration.is_none() {
            let shown = written.map_or_else(|| "this".to_owned(), |seconds| seconds.to_string());
            self.mistake(field.key, format!("{} s is out of bounds; give {min} to {max} s: {why}", plain(&shown)));
        }
        duration
    }

    /// A text of whatever kind, or its default.
    pub(super) fn text(&self, field: &'static Field) -> Option<&'a str> {
        match self.written(field) {
            Some(DeValue::String(text)) => Some(text),
            Some(other) => self.wrong_type(field, other),
            None => match field.default {
                Fallback::Text(text) => Some(text),
                _ => None,
            },
        }
    }

    /// One of some words; `meanings` has each that can be chosen.
    pub(super) fn word<T: Clone>(&self, field: &'static Field, meanings: &[(&str, T)]) -> Option<T> {
        let Kind::Word { now, later } = field.kind else { return None };
        let text = self.text(field)?;
        let meaning = meanings.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
        if meaning.is_none() {
            let choices = now.join(", ");
            let choices = if now.len() == 1 { format!("use {choices}") } else { format!("use one of {choices}") };
            let same = |word: &&&str| word.eq_ignore_ascii_case(text);
            let reason = if let Some(word) = later.iter().find(same) {
                format!("{word} is not available yet; {choices}")
            } else if let Some(meant) = nearest(text, now.iter().copied()) {
                format!("{} is not known; did you mean {meant}? {choices}", quoted(text))
            } else {
                format!("{} is not known; {choices}", quoted(text))
            };
            self.mistake(field.key, reason);
        }
        meaning
    }

    /// One of some words, or a number that `meaning_of` takes; `meanings` has each word.
    pub(super) fn word_or_integer<T: Clone>(
        &self,
        field: &'static Field,
        meanings: &[(&str, T)],
        meaning_of: impl FnOnce(u64) -> Option<T>,
    ) -> Option<T> {
        let Kind::WordOrInteger { words, min, max } = field.kind else { return None };
        let known = |text: &str| meanings.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
        let (meaning, shown) = match self.written(field) {
            Some(DeValue::String(text)) => (known(text), quoted(text)),
            Some(DeValue::Integer(written)) => {
                let number = u64::from_str_radix(written.as_str(), written.radix()).ok();
                let inside = number.filter(|number| (min..=max).contains(number));
                (inside.and_then(meaning_of), plain(&written.to_string()))
            }
            Some(other) => return self.wrong_type(field, other),
            None => return if let Fallback::Text(text) = field.default { known(text) } else { None },
        };
        if meaning.is_none() {
            let words = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            self.mistake(field.key, format!("{shown} cannot be; use {words} or a number from {min} to {max}"));
        }
        meaning
    }

    /// One of some versions, in quotes or as a number; `meanings` has each.
    pub(super) fn version<T: Clone>(&self, field: &'static Field, meanings: &[(&str, T)]) -> Option<T> {
        let Kind::Version { now } = field.kind else { return None };
        let same = |text: &str| meanings.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
        let number = |text: &str| {
            let number: f64 = text.parse().ok()?;
            let found = meanings.iter().find(|(word, _)| word.parse() == Ok(number));
            found.map(|(_, meaning)| meaning.clone())
        };
        let (meaning, shown) = match (self.written(field), &field.default) {
            (Some(DeValue::String(text)), _) => (same(text), quoted(text)),
            (Some(DeValue::Float(written)), _) => (number(written.as_str()), plain(written.as_str())),
            (Some(DeValue::Integer(written)), _) => (number(written.as_str()), plain(written.as_str())),
            (Some(other), _) => return self.wrong_type(field, other),
            (None, Fallback::Text(text)) => return same(text),
            (None, _) => return None,
        };
        if meaning.is_none() {
            self.mistake(field.key, format!("{shown} is not known; use one of {}", now.join(", ")));
        }
        meaning
    }

    /// A text that `check` takes, or else says what it must be.
    pub(super) fn checked<T>(
        &self,
        field: &'static Field,
        check: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.text(field)?;
        let refuse = |must_be| {
            let example = format!("{} = {}", field.key, field.example);
            self.mistake(field.key, format!("{} must be {must_be}; write for example {example}", quoted(text)));
        };
        check(text).map_err(refuse).ok()
    }

    /// A name.
    pub(super) fn name(&self, field: &'static Field) -> Option<Name> {
        let text = self.text(field)?;
        Name::new(text)
            .inspect_err(|error| {
                let example = field.example;
                self.mistake(field.key, format!("{} is no name: {error}; write for example {example}", quoted(text)));
            })
            .ok()
    }

    /// An address.
    pub(super) fn address(&self, field: &'static Field) -> Option<IpAddr> {
        let text = self.text(field)?;
        let address = address_of(text, field);
        address.map_err(|flaw| self.mistake(field.key, flaw)).ok()
    }

    /// The addresses of a list, each with its line; those that are none are
    /// left out after a complaint.
    pub(super) fn addresses(&self, field: &'static Field) -> Vec<(usize, IpAddr)> {
        let Kind::Addresses { max } = field.kind else { return Vec::new() };
        if !self.has(field.key) {
            return Vec::new();
        }
        let Some(list) = self.list(field) else { return Vec::new() };
        if list.len() > max {
            self.mistake(field.key, format!("there are {}, and room for {max}; leave some out", list.len()));
            return Vec::new();
        }
        let mut addresses: Vec<(usize, IpAddr)> = Vec::new();
        for (line, value) in list {
            let read = match value {
                DeValue::String(text) => address_of(text, field),
                other => Err(format!("{} is no address in quotes; write {}", kind_of(other), field.example)),
            };
            match read {
                Ok(address) if addresses.iter().any(|(_, known)| *known == address) => {
                    self.mistake_at(line, field.key, format!("{address} is there twice; remove one of the two"));
                }
                Ok(address) => addresses.push((line, address)),
                Err(flaw) => self.mistake_at(line, field.key, flaw),
            }
        }
        addresses
    }

    /// An address with a port, or without one and with the field's own.
    pub(super) fn endpoint(&self, field: &'static Field) -> Option<SocketAddr> {
        let Kind::Endpoint { port } = field.kind else { return None };
        let text = self.text(field)?;
        let alone = |text: &str| IpAddr::from_str(text).ok().map(|address| SocketAddr::new(address, port));
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let endpoint = SocketAddr::from_str(text).ok().or_else(|| alone(text)).or_else(|| alone(bare?));
        let flaw = match endpoint {
            Some(endpoint) if endpoint.port() == 0 => "has no port that can be sent to; give one from 1 to 65535",
            Some(SocketAddr::V6(endpoint)) if endpoint.scope_id() != 0 => {
                "depends on an interface; use an address that needs none beside it"
            }
            Some(endpoint) => return Some(endpoint),
            None => "is no IP address with a port",
        };
        let remedy = if endpoint.is_none() { format!("; write for example {}", field.example) } else { String::new() };
        self.mistake(field.key, format!("{} {flaw}{remedy}", quoted(text)));
        None
    }

    /// The name of an interface.
    pub(super) fn interface(&self, field: &'static Field) -> Option<String> {
        let text = self.text(field)?;
        if is_interface_name(text) {
            return Some(text.to_owned());
        }
        let name = quoted(text);
        self.mistake(field.key, format!("{name} is no name of an interface; write one that `ip link` shows"));
        None
    }

    /// A path.
    pub(super) fn path(&self, field: &'static Field) -> Option<PathBuf> {
        let Kind::Path { max } = field.kind else { return None };
        let text = self.text(field)?;
        let path = Path::new(text);
        let flaw = if !path.is_absolute() {
            Some("is not absolute; begin it with a /".to_owned())
        } else if text.len() > max {
            Some(format!("has {} bytes; the system takes no more than {max}", text.len()))
        } else if text.contains('\0') {
            Some("has a zero byte in it; leave it out".to_owned())
        } else if path.components().any(|part| part == Component::ParentDir) {
            Some("has .. in it; write it without".to_owned())
        } else if path.strip_prefix(BPFFS).is_ok_and(|below| below.as_os_str().as_encoded_bytes().contains(&b'.')) {
            Some("has a dot in it, which names in a BPF file system cannot have; leave it out".to_owned())
        } else {
            None
        };
        if let Some(flaw) = flaw {
            self.mistake(field.key, format!("{} {flaw}", quoted(text)));
            return None;
        }
        Some(path.to_owned())
    }

    /// Two ports with a `-` between them, as they are written.
    pub(super) fn ports(&self, field: &'static Field) -> Option<(u16, u16)> {
        let text = self.text(field)?;
        let parsed = text.split_once('-').and_then(|(low, high)| {
            let port = |text: &str| text.trim().parse::<u16>().ok();
            Some((port(low)?, port(high)?))
        });
        if parsed.is_none() {
            let example = field.example;
            self.mistake(field.key, format!("{} is no range of ports; write for example {example}", quoted(text)));
        }
        parsed
    }

    /// The elements of a list, each with its line.
    pub(super) fn list(&self, field: &'static Field) -> Option<Vec<(usize, &'a DeValue<'a>)>> {
        match self.written(field)? {
            DeValue::Array(list) => {
                Some(list.iter().map(|v| (self.complaints.line_of(v.span().start), v.get_ref())).collect())
            }
            other => self.wrong_type(field, other),
        }
    }

    /// A table in this one; `None` where it is not there.
    pub(super) fn table(&self, schema: &'static Table) -> Option<Self> {
        let value = self.value(schema.key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let line = self.complaints.line_of(value.span().start);
                Some(Self::new(self.complaints, schema, Some(table), line, self.place_of(schema.key)))
            }
            other => {
                self.mistake(schema.key, format!("{} is not a table; write {}", kind_of(other), schema.header));
                None
            }
        }
    }

    /// A table in this one; where it is not there, as if it were empty.
    pub(super) fn table_or_empty(&self, schema: &'static Table) -> Self {
        self.table(schema).unwrap_or_else(|| {
            let line = self.spot.borrow().line(Some(schema.key));
            Self::new(self.complaints, schema, None, line, self.place_of(schema.key))
        })
    }

    /// The tables of a list of tables in this one.
    pub(super) fn tables(&self, schema: &'static Table) -> Vec<Self> {
        let Some(value) = self.value(schema.key) else { return Vec::new() };
        let DeValue::Array(list) = value.get_ref() else {
            let is = kind_of(value.get_ref());
            self.mistake(schema.key, format!("{is} is not a list of tables; write {}", schema.header));
            return Vec::new();
        };
        let mut readers = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let line = self.complaints.line_of(value.span().start);
            match value.get_ref() {
                DeValue::Table(table) => {
                    let name = table.get("name").and_then(|name| name.get_ref().as_str());
                    let name = name.map_or_else(|| format!("number {}", index + 1), quoted);
                    let place = self.place_of(&format!("{} {name}", schema.key));
                    readers.push(Self::new(self.complaints, schema, Some(table), line, place));
                }
                other => {
                    let text = format!("{} is not a table; write {}", kind_of(other), schema.header);
                    self.mistake_at(line, schema.key, text);
                }
            }
        }
        readers
    }

    fn place_of(&self, inner: &str) -> String {
        let place = &self.spot.borrow().place;
        if place.is_empty() { inner.to_owned() } else { format!("{place} {inner}") }
    }
}

/// What the kernel takes for a name.
pub(super) fn is_interface_name(name: &str) -> bool {
    (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
}

fn address_of(text: &str, field: &Field) -> Result<IpAddr, String> {
    if let Ok(address) = IpAddr::from_str(text) {
        return Ok(address);
    }
    let remedy = if text.parse::<SocketAddr>().is_ok() {
        "leave the port out, it is a field of its own".to_owned()
    } else if text.split_once('/').is_some_and(|(address, _)| IpAddr::from_str(address).is_ok()) {
        "leave the prefix length out, it is one host's address".to_owned()
    } else if text.split_once('%').is_some_and(|(address, _)| IpAddr::from_str(address).is_ok()) {
        "use one that needs no interface beside it".to_owned()
    } else {
        format!("write an IPv4 or IPv6 address, for example {}", field.example)
    };
    Err(format!("{} is no IP address; {remedy}", quoted(text)))
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with decimals",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
