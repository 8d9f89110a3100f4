//! The page is written from the fields; here the reader is held to them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::FILE;
use crate::config::{
    parse,
    schema::{Fallback, Field, Kind, Table},
};

/// A valid file in which every field of the page is written with its example.
fn every_example(table: &Table, text: &mut String) {
    if !table.header.is_empty() {
        text.push_str(&format!("{}\n", table.header));
    }
    for field in table.fields {
        text.push_str(&format!("{} = {}\n", field.key, field.example));
    }
    table.tables.iter().for_each(|table| every_example(table, text));
}

fn tables<'t>(table: &'t Table, all: &mut Vec<&'t Table>) {
    all.push(table);
    table.tables.iter().for_each(|table| tables(table, all));
}

/// Every field, with a line number in a file of examples.
fn fields(text: &str) -> Vec<(usize, &'static Field)> {
    let mut all = Vec::new();
    tables(&FILE, &mut all);
    let mut found = Vec::new();
    for table in all.into_iter().filter(|table| !table.header.is_empty()) {
        let header = text.lines().position(|line| line == table.header).unwrap();
        found.extend(table.fields.iter().zip(header + 1..).map(|(field, line)| (line, *field)));
    }
    found
}

fn with_line(text: &str, line: usize, new: &str) -> String {
    text.lines().enumerate().map(|(at, old)| format!("{}\n", if at == line { new } else { old })).collect()
}

#[test]
fn the_examples_of_all_fields_together_are_a_file_in_order() {
    let mut text = String::new();
    every_example(&FILE, &mut text);
    parse(&text, "examples.toml").unwrap();
}

#[test]
fn every_field_of_the_page_is_read() {
    let mut text = String::new();
    every_example(&FILE, &mut text);
    for (line, field) in fields(&text) {
        let bad = with_line(&text, line, &format!("{} = {{}}", field.key));
        let refused = parse(&bad, "examples.toml").unwrap_err();
        assert_eq!(refused.mistakes.len(), 1, "{}: {refused}", field.key);
        assert_eq!((refused.mistakes[0].line, refused.mistakes[0].field.as_str()), (line + 1, field.key));
    }
}

#[test]
fn every_default_on_the_page_is_what_holds() {
    let mut text = String::new();
    every_example(&FILE, &mut text);
    for (line, field) in fields(&text) {
        let without = parse(&with_line(&text, line, ""), "examples.toml");
        match field.default.toml() {
            Some(value) => {
                let with = parse(&with_line(&text, line, &format!("{} = {value}", field.key)), "examples.toml");
                assert_eq!(with.unwrap(), without.unwrap(), "{}", field.key);
            }
            None if matches!(field.default, Fallback::Required) => assert!(without.is_err(), "{}", field.key),
            None => assert!(without.is_ok(), "{}", field.key),
        }
    }
}

#[test]
fn every_word_on_the_page_is_what_it_says() {
    let mut text = String::new();
    every_example(&FILE, &mut text);
    for (line, field) in fields(&text) {
        let Kind::Word { now, later } = field.kind else { continue };
        let said = |word: &str| match parse(&with_line(&text, line, &format!("{} = \"{word}\"", field.key)), "x") {
            Ok(_) => String::new(),
            Err(refused) => refused.to_string(),
        };
        for word in now {
            // Pool and listener have to agree, which is no question of words.
            assert!(!said(word).contains("is not"), "{}: {}", field.key, said(word));
        }
        for word in later {
            assert!(said(word).contains(&format!("{word} is not available yet")), "{}: {}", field.key, said(word));
        }
    }
}
