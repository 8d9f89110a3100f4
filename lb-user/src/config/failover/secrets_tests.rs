#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::config::{Config, Refused, failover::fields::SYNC_SECRET, load, parse};

fn read_as(text: &str) -> Vec<u8> {
    bytes(&SYNC_SECRET, text).unwrap()
}

fn flaw_of(text: &str) -> String {
    bytes(&SYNC_SECRET, text).unwrap_err()
}

#[test]
fn a_secret_is_what_it_says_it_is() {
    assert_eq!(read_as("hex:000102030405060708090a0b0c0d0e0F"), (0..16).collect::<Vec<u8>>());
    assert_eq!(read_as("base64:AAECAwQFBgcICQoLDA0ODw=="), (0..16).collect::<Vec<u8>>());
    assert_eq!(read_as("base64:AAECAwQFBgcICQoLDA0ODw"), (0..16).collect::<Vec<u8>>());
    assert_eq!(read_as("base64:-__-_v39_P37-v37-_v7-w"), read_as("base64:+//+/v39/P37+v37+/v7+w=="));
    assert_eq!(read_as("text:000102030405060708090a0b0c0d0e0f"), b"000102030405060708090a0b0c0d0e0f");
    assert_eq!(read_as("text:hex:and no digit"), b"hex:and no digit");
}

#[test]
fn what_says_nothing_is_hexadecimal_if_it_can_be_and_itself_otherwise() {
    assert_eq!(read_as("000102030405060708090a0b0c0d0e0f"), (0..16).collect::<Vec<u8>>());
    assert_eq!(read_as("correct horse battery staple"), b"correct horse battery staple");
    // An odd number of digits, and too few bytes: these are words.
    assert_eq!(read_as("000102030405060708090a0b0c0d0e0f0"), b"000102030405060708090a0b0c0d0e0f0");
    assert_eq!(read_as("deadbeefdeadbeef"), b"deadbeefdeadbeef");
}

#[test]
fn a_secret_that_is_none_is_refused_and_not_repeated() {
    for (text, words) in [
        ("", "has 0 bytes; give 16 to 256"),
        ("swordfish", "has 9 bytes; give 16 to 256, for example what `openssl rand -hex 32` says"),
        (&"swordfish".repeat(29), "has 261 bytes"),
        ("hex:swordfishswordfish", "is no hexadecimal, though it says so; "),
        ("hex:000102030405060708090a0b0c0d0e0", "is no hexadecimal"),
        ("hex:0001", "has 2 bytes"),
        ("base64:swordfish swordfish swordfish", "is no base64, though it says so; "),
        ("base64:swordfishswordfishswordfi", "is no base64"),
        ("base64:AAECAwQFBgcICQoLDA0ODx==", "is no base64"),
        ("swordfish\nswordfish", "has a line end or another control character in it; "),
        ("swordfish\0swordfish", "has a line end or another control character in it; "),
    ] {
        let flaw = flaw_of(text);
        assert!(flaw.contains(words), "{text:?}: {flaw}");
        assert!(!flaw.contains("swordfish") && flaw.contains("; "), "{flaw}");
    }
}

proptest! {
    #[test]
    fn bytes_survive_both_ways_of_writing_them(secret in vec(any::<u8>(), 16..=256)) {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(&read_as(&format!("hex:{hex}")), &secret);
        prop_assert_eq!(&read_as(&hex), &secret);
        prop_assert_eq!(&read_as(&format!("base64:{}", in_base64(&secret))), &secret);
    }

    #[test]
    fn any_text_is_a_secret_or_is_refused(text in "(hex:|base64:|text:|)(?s).{0,300}") {
        if let Ok(bytes) = bytes(&SYNC_SECRET, &text) {
            prop_assert!((16..=256).contains(&bytes.len()));
        }
    }
}

fn in_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(*three.get(at).unwrap_or(&0)));
        let letters = (0..4).map(move |at| char::from(LETTERS[bits >> (18 - 6 * at) & 63]));
        let written = three.len() + 1;
        letters.take(written).chain(std::iter::repeat_n('=', 4 - written)).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// A file of that content and mode, in a directory that lasts as long as it.
fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

fn with_secret_in(path: &Path) -> Result<Config, Refused> {
    let text = format!(
        "[dataplane]\ninterfaces = [\"eth0\"]\n[[vrrp]]\nname = \"pair\"\nvirtual_router_id = 1\n\
         [[vrrp.address]]\naddress = \"192.0.2.9\"\n\
         [sync]\nlocal = \"192.0.2.1\"\npeer = \"192.0.2.2\"\nsecret_file = {path:?}\n\
         [[loadbalancer]]\nname = \"a\"\nvip_address = \"192.0.2.10\"\n"
    );
    parse(&text, "pools.toml")
}

#[test]
fn a_secret_comes_from_a_file_of_its_own() {
    let (_directory, path) = file(b"000102030405060708090a0b0c0d0e0f\n", 0o600);
    let config = with_secret_in(&path).unwrap();
    assert_eq!(config.sync.unwrap().secret.expose(), (0..16).collect::<Vec<u8>>());
    assert_eq!(config.warnings, []);
}

#[test]
fn a_file_that_others_may_read_is_taken_with_a_warning_and_one_they_may_change_is_not() {
    let (_directory, path) = file(b"correct horse battery staple\n", 0o644);
    let config = with_secret_in(&path).unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert_eq!(warning.line, 11);
    assert!(warning.text.contains("sync: secret_file: everybody may read that file"), "{warning}");

    let (_directory, path) = file(b"correct horse battery staple\n", 0o602);
    let refused = with_secret_in(&path).unwrap_err();
    assert!(refused.to_string().contains("secret_file: everybody may write into that file"), "{refused}");
}

#[test]
fn a_file_without_a_secret_is_refused_and_not_repeated() {
    let said = |path: &Path| {
        let refused = with_secret_in(path).unwrap_err();
        assert_eq!((refused.mistakes.len(), refused.mistakes[0].line), (1, 11), "{refused}");
        assert_eq!(refused.mistakes[0].field, "secret_file");
        refused.mistakes[0].text.clone()
    };
    let (directory, path) = file(b"swordfish\n", 0o600);
    assert!(said(&path).contains("in that file, the secret has 9 bytes; "), "{}", said(&path));
    fs::write(&path, b"swordfish\nswordfish\n").unwrap();
    assert!(said(&path).contains("has a line end"), "{}", said(&path));
    fs::write(&path, [0xff; 32]).unwrap();
    assert!(said(&path).contains("that file is no text; "), "{}", said(&path));
    fs::write(&path, [b'a'; 4097]).unwrap();
    assert!(said(&path).contains("more than 4096 bytes; "), "{}", said(&path));
    assert!(said(directory.path()).contains("no regular file; "), "{}", said(directory.path()));
    let missing = directory.path().join("missing");
    assert!(said(&missing).contains("cannot read that file: No such file"), "{}", said(&missing));
    // Opening a pipe that nobody writes into must not wait for somebody.
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(said(&pipe).contains("no regular file; "), "{}", said(&pipe));
}

#[test]
fn a_pool_file_with_a_secret_that_everybody_may_read_is_taken_with_one_warning() {
    let text = "[dataplane]\ninterfaces = [\"eth0\"]\n[[vrrp]]\nname = \"pair\"\nvirtual_router_id = 1\nversion = 2\n\
                password = \"8charPwd\"\n[[vrrp.address]]\naddress = \"192.0.2.9\"\n[sync]\nlocal = \"192.0.2.1\"\n\
                peer = \"192.0.2.2\"\nsecret = \"correct horse battery staple\"\n\
                [[loadbalancer]]\nname = \"a\"\nvip_address = \"192.0.2.10\"\n";
    let (_directory, path) = file(text.as_bytes(), 0o640);
    let config = load(&path).unwrap();
    assert_eq!(config.warnings, []);
    assert!(!format!("{config:?}").contains("horse") && !format!("{config:?}").contains("8charPwd"), "{config:?}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let config = load(&path).unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert_eq!(warning.line, 7);
    assert!(warning.text.contains("password: everybody may read this file"), "{warning}");
}

#[test]
fn a_program_that_would_not_be_run_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    let flaw = || flaw_of_program(&path).unwrap_or_default();
    assert!(flaw().contains("there is no such program"), "{}", flaw());
    fs::write(&path, "").unwrap();
    for (mode, words) in [(0o644, "nobody may run"), (0o757, "everybody may change"), (0o755, "")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(flaw().contains(words), "{}", flaw());
    }
    assert_eq!(flaw_of_program(&path), None);
    assert!(flaw_of_program(directory.path()).unwrap().contains("that is no program"));
}
