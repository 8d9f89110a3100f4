//! Tables, and what of them depends on where they are looked at.
//!
//! A table on a terminal fits its width and colours the words of state; one in
//! a pipe has a line for each row and no colour. Text that came from elsewhere
//! loses its control characters here, so that nothing it contains reaches the
//! terminal as a command.

use std::{cmp::Ordering, io::IsTerminal as _, iter};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

/// Below this a table is unreadable however it is folded.
const NARROWEST: u16 = 40;

/// Where a table is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Screen {
    /// Its width in characters; `None`: rows are not folded.
    pub(super) width: Option<u16>,
    /// Whether words of state are coloured.
    pub(super) colour: bool,
}

impl Screen {
    /// The one that standard output is.
    pub(super) fn of_stdout() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::default();
        }
        let width = terminal_size::terminal_size().map(|(width, _)| width.0.max(NARROWEST));
        let set = |name: &str| std::env::var_os(name).unwrap_or_default();
        Self { width, colour: set("NO_COLOR").is_empty() && set("TERM") != "dumb" }
    }
}

/// Rows under headings, numbers to the right.
pub(super) fn listing<const N: usize>(
    screen: Screen,
    headings: [&str; N],
    numbers: &[&str],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = bare(screen);
    table.set_header(headings);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    for (column, heading) in table.column_iter_mut().zip(headings) {
        if numbers.contains(&heading) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    finish(&mut table, screen)
}

/// Keys and what they are for one thing.
pub(super) fn facts<'a>(screen: Screen, facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = bare(screen);
    table.add_rows(facts.into_iter().map(|(key, value)| [key.to_owned(), plain(&value)]));
    if let Some(keys) = table.column_mut(0) {
        keys.set_constraint(ColumnConstraint::ContentWidth);
    }
    finish(&mut table, screen)
}

/// A line by itself, such as one of a stream.
pub(super) fn line(screen: Screen, text: &str) -> String {
    let text = format!("{}\n", plain(text).replace('\n', " "));
    if screen.colour { painted(&text) } else { text }
}

fn bare(screen: Screen) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match screen.width {
        Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

fn finish(table: &mut Table, screen: Screen) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text: String = table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect();
    if screen.colour { painted(&text) } else { text }
}

/// The text without control characters other than line breaks.
pub(super) fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() && c != '\n' { c.escape_unicode().collect() } else { String::from(c) };
    text.chars().map(visible).collect()
}

/// What stands where nothing is known.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Texts one after another, such as the labels of listeners; a dash for none.
pub(super) fn joined(texts: &[String]) -> String {
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const GREY: &str = "\u{1b}[90m";
const END: &str = "\u{1b}[0m";

fn colour_of(word: &str) -> Option<&'static str> {
    match word {
        "ERROR" | "DOWN" | "FAILURE" => Some(RED),
        "DEGRADED" | "DRAINING" | "MIXED" | "GENERIC" | "INITIALIZE" | "ABSENT" | "NOT_ASKED" => Some(YELLOW),
        "ONLINE" | "NO_MONITOR" | "ACTIVE" | "PRESENT" | "UP" | "SUCCESS" => Some(GREEN),
        "OFFLINE" | "BACKUP" => Some(GREY),
        _ => None,
    }
}

/// Colours words of state. Done after the table is laid out, because colours
/// take characters and no width.
fn painted(text: &str) -> String {
    let paint = |piece: &str| {
        let word = piece.trim_end_matches([' ', '\n', ':', ',']);
        colour_of(word)
            .map_or_else(|| piece.to_owned(), |colour| format!("{colour}{word}{END}{}", &piece[word.len()..]))
    };
    text.split_inclusive([' ', '\n']).map(paint).collect()
}

/// Orders names as people count: `m2` before `m10`.
pub(super) fn by_name(a: &str, b: &str) -> Ordering {
    pieces(a).cmp(pieces(b)).then_with(|| a.cmp(b))
}

/// Runs of digits, by length and then by value, and single other characters.
fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    iter::from_fn(move || {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = if digits > 0 { digits } else { rest.chars().next()?.len_utf8() };
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(if digits > 0 { (digits, piece) } else { (0, piece) })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn rows() -> [[String; 3]; 2] {
        [["a".into(), "12".into(), "ONLINE".into()], ["b-long".into(), "3".into(), "ERROR".into()]]
    }

    #[test]
    fn a_listing_in_a_pipe_has_a_line_for_each_row_and_aligned_columns() {
        let text = listing(Screen::default(), ["NAME", "N", "STATUS"], &["N"], rows());
        assert_eq!(text, "NAME     N  STATUS\na       12  ONLINE\nb-long   3  ERROR\n");
    }

    #[test]
    fn a_listing_on_a_terminal_fits_it() {
        let wide = [["x".to_owned(), "word ".repeat(60)]];
        let narrow = listing(Screen { width: Some(60), colour: false }, ["A", "B"], &[], wide.clone());
        assert!(narrow.lines().count() > 4 && narrow.lines().all(|line| line.len() <= 60), "{narrow}");
        let piped = listing(Screen::default(), ["A", "B"], &[], wide);
        assert_eq!(piped.lines().count(), 2, "{piped}");
    }

    #[test]
    fn colours_change_nothing_but_the_words_of_state() {
        let plain = listing(Screen::default(), ["NAME", "N", "STATUS"], &["N"], rows());
        let coloured = listing(Screen { width: None, colour: true }, ["NAME", "N", "STATUS"], &["N"], rows());
        assert!(coloured.contains("\u{1b}[32mONLINE\u{1b}[0m\n") && coloured.contains("\u{1b}[1;31mERROR\u{1b}[0m\n"));
        let mut bare = coloured;
        for code in [RED, YELLOW, GREEN, GREY, END] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, plain);
    }

    #[test]
    fn what_would_command_a_terminal_is_shown_as_text() {
        let text = facts(Screen::default(), [("error", "first\nsecond \u{1b}[2J\r".to_owned())]);
        assert_eq!(text, "error  first\n       second \\u{1b}[2J\\u{d}\n");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(line(Screen::default(), "front: ACTIVE, why\nnot\u{7}"), "front: ACTIVE, why not\\u{7}\n");
        let coloured = line(Screen { width: None, colour: true }, "front: ACTIVE, and so on");
        assert_eq!(coloured, "front: \u{1b}[32mACTIVE\u{1b}[0m, and so on\n");
    }

    #[test]
    fn names_are_ordered_as_people_count() {
        let mut names = ["10.0.0.10:80", "m10", "10.0.0.9:80", "m2", "m02", "m", "M2", ""];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(names, ["", "M2", "m", "m2", "m02", "m10", "10.0.0.9:80", "10.0.0.10:80"]);
    }
}
