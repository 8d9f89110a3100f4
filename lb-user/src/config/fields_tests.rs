//! The page is written from the fields; here the reader is held to them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::FILE;
use crate::config::{
    parse,
    schema::{Fallback, Field, Kind, Table},
};

/// Fields that cannot stand side by side: a file of examples has all fields but
/// some of these, and there is a file with each.
struct Scene {
    /// What is left out, as `table.field`.
    without: &'static [&'static str],
    /// What is written beside the examples: a line of a table.
    with: &'static [(&'static str, &'static str)],
}

const SCENES: [Scene; 3] = [
    // Version 3 of IPv4, signed with a key from this file. A TCP monitor.
    Scene {
        without: &[
            "vrrp.password",
            "vrrp.link_local",
            "hmac_key.secret_file",
            "sync.secret_file",
            "healthmonitor.http_method",
            "healthmonitor.http_version",
            "healthmonitor.url_path",
            "healthmonitor.expected_codes",
            "healthmonitor.domain_name",
            "healthmonitor.grpc_service",
        ],
        with: &[],
    },
    // Version 2, with a password. No example of a path is that of a file here. An HTTP monitor.
    Scene {
        without: &[
            "vrrp.version",
            "vrrp.link_local",
            "vrrp.hmac_mode",
            "vrrp.hmac_send",
            "vrrp.hmac_freshness",
            "vrrp.learned_interval_limit_ms",
            "vrrp.hmac_key",
            "hmac_key.id",
            "hmac_key.secret",
            "hmac_key.secret_file",
            "sync.secret_file",
            "healthmonitor.type",
            "healthmonitor.grpc_service",
            "healthmonitor.tcp_handshake",
        ],
        with: &[("vrrp", "version = 2"), ("healthmonitor", "type = \"HTTP\"")],
    },
    // A gRPC monitor, and no pair.
    Scene {
        without: &[
            "vrrp",
            "sync",
            "loadbalancer.topology",
            "loadbalancer.vrrp",
            "healthmonitor.type",
            "healthmonitor.http_method",
            "healthmonitor.http_version",
            "healthmonitor.url_path",
            "healthmonitor.expected_codes",
            "healthmonitor.tcp_handshake",
        ],
        with: &[("healthmonitor", "type = \"GRPC\"")],
    },
];

/// A valid file in which every field of the page is written with its example,
/// but for some.
fn every_example(table: &Table, scene: &Scene, text: &mut String) {
    let out = |key: &str| scene.without.contains(&format!("{}.{key}", table.key).trim_start_matches('.'));
    if !table.header.is_empty() {
        text.push_str(&format!("{}\n", table.header));
    }
    for field in table.fields.iter().filter(|field| !out(field.key)) {
        text.push_str(&format!("{} = {}\n", field.key, field.example));
    }
    for (_, line) in scene.with.iter().filter(|(key, _)| *key == table.key) {
        text.push_str(&format!("{line}\n"));
    }
    table.tables.iter().filter(|table| !out(table.key)).for_each(|table| every_example(table, scene, text));
}

fn tables<'t>(table: &'t Table, all: &mut Vec<&'t Table>) {
    all.push(table);
    table.tables.iter().for_each(|table| tables(table, all));
}

/// Each scene's file with every field that is in it, by line number.
fn scenes() -> Vec<(String, Vec<(usize, &'static Field)>)> {
    let mut all = Vec::new();
    tables(&FILE, &mut all);
    let scene = |scene: &Scene| {
        let mut text = String::new();
        every_example(&FILE, scene, &mut text);
        let mut found = Vec::new();
        for table in all.iter().filter(|table| !table.header.is_empty()) {
            let Some(header) = text.lines().position(|line| line == table.header) else { continue };
            let lines = text.lines().enumerate().skip(header + 1).take_while(|(_, line)| !line.starts_with('['));
            for (at, line) in lines.filter(|(_, line)| !scene.with.iter().any(|(_, with)| with == line)) {
                let key = line.split(' ').next().unwrap();
                found.push((at, *table.fields.iter().find(|field| field.key == key).unwrap()));
            }
        }
        (text, found)
    };
    SCENES.iter().map(scene).collect()
}

fn with_line(text: &str, line: usize, new: &str) -> String {
    text.lines().enumerate().map(|(at, old)| format!("{}\n", if at == line { new } else { old })).collect()
}

#[test]
fn the_examples_of_all_fields_together_are_a_file_in_order() {
    for (text, _) in scenes() {
        parse(&text, "examples.toml").unwrap();
    }
}

/// What no scene has has tests of its own.
#[test]
fn every_field_is_in_a_scene_but_those_that_are_known() {
    let mut all = Vec::new();
    tables(&FILE, &mut all);
    let scenes = scenes();
    let shown = |field: &Field| scenes.iter().any(|(_, fields)| fields.iter().any(|(_, f)| std::ptr::eq(*f, field)));
    let missing: Vec<&str> =
        all.iter().flat_map(|table| table.fields).filter(|field| !shown(field)).map(|field| field.key).collect();
    assert_eq!(missing, ["link_local", "secret_file", "secret_file"]);
}

#[test]
fn every_field_of_the_page_is_read() {
    for (text, fields) in scenes() {
        for (line, field) in fields {
            let bad = with_line(&text, line, &format!("{} = {{}}", field.key));
            let refused = parse(&bad, "examples.toml").unwrap_err();
            assert_eq!(refused.mistakes.len(), 1, "{}: {refused}", field.key);
            assert_eq!((refused.mistakes[0].line, refused.mistakes[0].field.as_str()), (line + 1, field.key));
        }
    }
}

/// Whether something else is said instead where it is left out, or is wrong
/// without it.
fn is_needed(field: &Field) -> bool {
    // One of two is required, or several interfaces leave a choice, or
    // something else in the scene rests on it.
    ["interface", "secret", "name", "unicast_peers", "topology", "http_version"].contains(&field.key)
}

#[test]
fn every_default_on_the_page_is_what_holds() {
    for (text, fields) in scenes() {
        for (line, field) in fields {
            let without = parse(&with_line(&text, line, ""), "examples.toml");
            match field.default.toml() {
                Some(value) => {
                    let with = parse(&with_line(&text, line, &format!("{} = {value}", field.key)), "examples.toml");
                    assert!(with.is_ok() || is_needed(field), "{}: {with:?}", field.key);
                    assert_eq!(with.ok(), without.ok(), "{}", field.key);
                }
                None if matches!(field.default, Fallback::Required) => assert!(without.is_err(), "{}", field.key),
                None => assert!(without.is_ok() || is_needed(field), "{}: {without:?}", field.key),
            }
        }
    }
}

#[test]
fn every_word_on_the_page_is_what_it_says() {
    for (text, fields) in scenes() {
        for (line, field) in fields {
            let Kind::Word { now, later } = field.kind else { continue };
            let said = |word: &str| match parse(&with_line(&text, line, &format!("{} = \"{word}\"", field.key)), "x") {
                Ok(_) => String::new(),
                Err(refused) => refused.to_string(),
            };
            for word in now {
                // Pool and listener have to agree, and a router with its peers,
                // which is no question of words.
                assert!(!said(word).contains("is not"), "{}: {}", field.key, said(word));
            }
            for word in later {
                assert!(said(word).contains(&format!("{word} is not available yet")), "{}: {}", field.key, said(word));
            }
        }
    }
}
