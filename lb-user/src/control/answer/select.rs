//! Which one is meant: an exact label, or the end of a label from a `/` on,
//! when only one ends so.

use std::fmt::Write as _;

use crate::control::protocol::{Refusal, RefusalCode};

/// Most names in a refusal.
const MAX_NAMES: usize = 8;

/// Longest text that names are suggested for, and longest that is repeated: no
/// label is longer.
const MAX_SELECT: usize = 200;

/// What kind of thing is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noun {
    /// One of them.
    pub(super) one: &'static str,
    /// `lbctl`'s word for them.
    pub(super) command: &'static str,
}

pub(super) const LOAD_BALANCER: Noun = Noun { one: "load balancer", command: "loadbalancer" };
pub(super) const LISTENER: Noun = Noun { one: "listener", command: "listener" };
pub(super) const POOL: Noun = Noun { one: "pool", command: "pool" };
pub(super) const MEMBER: Noun = Noun { one: "member", command: "member" };
pub(super) const VRRP: Noun = Noun { one: "VRRP instance", command: "vrrp" };

/// What a thing is called.
pub(super) struct Names<'r> {
    /// Its label.
    pub(super) label: &'r str,
    /// Another name of the same form, for things that have one.
    pub(super) also: Option<String>,
}

impl<'r> Names<'r> {
    pub(super) const fn label(label: &'r str) -> Self {
        Self { label, also: None }
    }

    fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        test(self.label) || self.also.as_deref().is_some_and(test)
    }
}

/// Picks the row that `select` means.
///
/// # Errors
/// [`RefusalCode::NotFound`] with the names that come near,
/// [`RefusalCode::Ambiguous`] with the candidates.
pub(super) fn pick<'r, R>(
    noun: Noun,
    select: &str,
    rows: impl Iterator<Item = &'r R> + Clone,
    names: impl Fn(&'r R) -> Names<'r>,
) -> Result<&'r R, Refusal> {
    let exact: Vec<&R> = rows.clone().filter(|row| names(row).any(|name| name == select)).collect();
    let found = if exact.is_empty() {
        rows.clone().filter(|row| names(row).any(|name| ends_with(name, select))).collect()
    } else {
        exact
    };
    match found[..] {
        [one] => Ok(one),
        [] => {
            let labels = rows.map(|row| names(row).label);
            Err(Refusal::new(RefusalCode::NotFound, not_found(noun, select, labels)))
        }
        _ => {
            let labels: Vec<&str> = found.iter().map(|row| names(row).label).collect();
            Err(Refusal::new(RefusalCode::Ambiguous, ambiguous(noun, select, &labels)))
        }
    }
}

/// Whether `name` ends with `select`, from a `/` on.
fn ends_with(name: &str, select: &str) -> bool {
    !select.is_empty() && name.strip_suffix(select).is_some_and(|rest| rest.ends_with('/'))
}

fn ambiguous(noun: Noun, select: &str, labels: &[&str]) -> String {
    let mut message = format!("{} could be any of {} {}s: ", quoted(select), labels.len(), noun.one);
    message.push_str(&labels[..labels.len().min(MAX_NAMES)].join(", "));
    if labels.len() > MAX_NAMES {
        let _ = write!(message, " and {} more", labels.len() - MAX_NAMES);
    }
    message.push_str("; name more of the label");
    message
}

fn not_found<'l>(noun: Noun, select: &str, labels: impl Iterator<Item = &'l str>) -> String {
    let near = near(select, labels);
    let remedy = match near[..] {
        [] => format!("`lbctl {} list` shows what there is", noun.command),
        [one] => format!("did you mean {one}?"),
        _ => format!("did you mean one of {}?", near.join(", ")),
    };
    format!("there is no {} {}; {remedy}", noun.one, quoted(select))
}

/// What somebody typed, safe to show and not longer than it need be.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_SELECT) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The labels that come near what was typed, the nearest first: by the letters
/// that differ from as much of the label's end as was typed, or because it is
/// contained.
fn near<'l>(select: &str, labels: impl Iterator<Item = &'l str>) -> Vec<&'l str> {
    if select.is_empty() || select.len() > MAX_SELECT {
        return Vec::new();
    }
    let slips = (select.len() / 4).clamp(1, 3);
    let depth = select.matches('/').count();
    let mut near: Vec<(usize, &str)> = labels
        .filter_map(|label| {
            let end = label.rmatch_indices('/').nth(depth).map_or(label, |(at, _)| &label[at + 1..]);
            let close = end.len().abs_diff(select.len()) <= slips;
            let distance = if close { distance(select.as_bytes(), end.as_bytes()) } else { usize::MAX };
            if distance <= slips {
                Some((distance, label))
            } else {
                (select.len() > 2 && label.contains(select)).then_some((slips + 1, label))
            }
        })
        .collect();
    near.sort_unstable();
    near.truncate(MAX_NAMES);
    near.into_iter().map(|(_, label)| label).collect()
}

/// How many bytes must be put in, left out or replaced to get from one text to
/// another (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    fn pick_of<'l>(select: &str, labels: &'l [&'l str]) -> Result<&'l str, Refusal> {
        pick(MEMBER, select, labels.iter(), |label| Names::label(label)).copied()
    }

    #[test]
    fn a_whole_label_or_the_end_that_only_one_has_names_a_thing() {
        let labels = ["web/app/m1", "web/api/m1", "web/api/m2", "x/web/app/m1"];
        assert_eq!(pick_of("web/app/m1", &labels).unwrap(), "web/app/m1", "the whole label goes before an end");
        assert_eq!(pick_of("m2", &labels).unwrap(), "web/api/m2");
        assert_eq!(pick_of("api/m1", &labels).unwrap(), "web/api/m1");
        for part in ["1", "i/m2", "/m2", "", "web", "web/api", "m"] {
            assert_eq!(pick_of(part, &labels).unwrap_err().code, RefusalCode::NotFound, "{part:?}");
        }
    }

    #[test]
    fn what_several_could_be_is_refused_with_some_of_their_names() {
        let refusal = pick_of("m1", &["web/app/m1", "web/api/m1"]).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Ambiguous);
        assert!(refusal.message.contains("web/app/m1, web/api/m1"), "{refusal}");
        let many: Vec<String> = (0..100).map(|n| format!("web/p{n}/m1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let refusal = pick_of("m1", &many).unwrap_err();
        assert!(refusal.message.contains("any of 100 members") && refusal.message.contains("92 more"), "{refusal}");
        assert!(refusal.message.len() < 300);
    }

    #[test]
    fn what_nobody_is_called_is_refused_with_what_comes_near() {
        let labels = ["web/app/backend-1", "web/app/backend-2", "web/api/other"];
        for (typed, first) in [
            ("web/app/bakend-1", "web/app/backend-1"),
            ("backend-3", "web/app/backend-1"),
            ("wep/api/other", "web/api/other"),
            ("back", "web/app/backend-1"),
        ] {
            let refusal = pick_of(typed, &labels).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::NotFound);
            let named = refusal.message.split_once("did you mean ").unwrap_or_else(|| panic!("{refusal}")).1;
            assert!(named.trim_start_matches("one of ").starts_with(first), "{typed}: {refusal}");
        }
        for typed in ["nothing-like-it", "zz", ""] {
            let refusal = pick_of(typed, &labels).unwrap_err();
            assert!(refusal.message.contains("lbctl member list"), "{refusal}");
        }
    }

    #[test]
    fn whatever_is_typed_the_refusal_stays_short_and_printable() {
        let long = "ä\u{1b}[2J".repeat(100_000);
        let refusal = pick_of(&long, &["web/app/m1"]).unwrap_err();
        assert!(refusal.message.len() < 3000 && !refusal.message.contains('\u{1b}'), "{}", refusal.message.len());
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, expected) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }
}
