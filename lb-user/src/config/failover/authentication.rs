//! How one router knows the other: a password in version 2, signatures in
//! version 3.

use vrrp::{Authentication, HmacKeys, HmacMode, Secret, Version};

use super::{
    fields::{HMAC_FRESHNESS, HMAC_KEY, HMAC_MODE, HMAC_SEND, KEY_ID, KEY_SECRET, KEY_SECRET_FILE, MAX_KEYS, PASSWORD},
    secrets::secret,
};
use crate::config::{
    reader::{Reader, Spot},
    schema::Kind,
};

const MODES: [(&str, HmacMode); 3] =
    [("enforce", HmacMode::Enforce), ("permissive", HmacMode::Permissive), ("receive_only", HmacMode::ReceiveOnly)];

/// What a router's fields say; [`Authentication::None`] where they were
/// refused. `version` is absent where it was.
pub(super) fn authentication(table: &Reader<'_>, version: Option<Version>) -> Authentication {
    let password = password(table);
    let keys = hmac(table);
    if version == Some(Version::V3) && table.has(PASSWORD.key) && !table.is_wrong(&PASSWORD) {
        let remedy = "write version = 2, or sign adverts with a [[vrrp.hmac_key]]";
        table.mistake(PASSWORD.key, format!("only version 2 has a password; {remedy}"));
    }
    if version == Some(Version::V2) && table.has(HMAC_KEY.key) && !table.is_wrong_table(&HMAC_KEY) {
        let remedy = "write version = 3, or use a password";
        table.mistake(HMAC_KEY.key, format!("only version 3 has signatures; {remedy}"));
    }
    match (password, keys) {
        (Some(password), _) => Authentication::Password(password),
        (None, Some(keys)) => Authentication::Hmac(keys),
        (None, None) => Authentication::None,
    }
}

fn password(table: &Reader<'_>) -> Option<[u8; 8]> {
    let Kind::Password { max } = PASSWORD.kind else { return None };
    let text = table.text(&PASSWORD)?;
    table.keeps_a_secret(&PASSWORD);
    let flaw = if text.is_empty() {
        "it is empty; give 1 to 8 characters, or leave it out".to_owned()
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "it has a character that is no letter, digit or sign of ASCII; give 1 to 8 that are".to_owned()
    } else if text.len() > max {
        format!("it has {} characters; give 1 to {max}, there is no room for more in an advert", text.len())
    } else {
        let mut password = [0; 8];
        password.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        return Some(password);
    };
    table.mistake(PASSWORD.key, flaw);
    None
}

fn hmac(table: &Reader<'_>) -> Option<HmacKeys> {
    let mode = table.word(&HMAC_MODE, &MODES);
    let send = table.integer::<u8>(&HMAC_SEND);
    let freshness = table.seconds(&HMAC_FRESHNESS);
    if !table.has(HMAC_KEY.key) {
        for field in [&HMAC_MODE, &HMAC_SEND, &HMAC_FRESHNESS] {
            if table.has(field.key) && !table.is_wrong(field) {
                table.mistake(field.key, "there is no key to sign with; add a [[vrrp.hmac_key]]".to_owned());
            }
        }
        return None;
    }
    let keys = keys(table)?;
    let first = keys.first()?.0;
    if let Some(send) = send
        && !keys.iter().any(|(id, _)| *id == send)
    {
        let ids: Vec<String> = keys.iter().map(|(id, _)| id.to_string()).collect();
        table.mistake(HMAC_SEND.key, format!("there is no key {send}; there is {}", ids.join(", ")));
    }
    Some(HmacKeys { mode: mode?, send: send.unwrap_or(first), keys, freshness })
}

/// Every key; `None` after a complaint about any.
fn keys(table: &Reader<'_>) -> Option<Vec<(u8, Secret)>> {
    let tables = table.tables(&HMAC_KEY);
    if tables.len() > MAX_KEYS {
        let text = format!("there are {}, and room for {MAX_KEYS}; remove those that nobody sends", tables.len());
        table.mistake(HMAC_KEY.key, text);
        return None;
    }
    if tables.is_empty() && !table.is_wrong_table(&HMAC_KEY) {
        table.mistake(HMAC_KEY.key, "there is none; add a [[vrrp.hmac_key]], or leave it out".to_owned());
    }
    let read: Vec<(Option<u8>, Option<Secret>, Spot)> = tables.into_iter().map(key).collect();
    let mut unique = true;
    for (at, (id, _, spot)) in read.iter().enumerate() {
        let first = read[..at].iter().find(|(other, ..)| id.is_some() && other == id);
        if let (Some(id), Some((.., first))) = (id, first) {
            let line = first.line(Some(KEY_ID.key));
            let text = format!("key {id} is there already (see line {line}); give it another id");
            table.mistake_of(spot, KEY_ID.key, text);
            unique = false;
        }
    }
    let keys: Option<Vec<_>> = read.into_iter().map(|(id, secret, _)| Some((id?, secret?))).collect();
    keys.filter(|keys| unique && !keys.is_empty())
}

fn key(table: Reader<'_>) -> (Option<u8>, Option<Secret>, Spot) {
    let id = table.integer(&KEY_ID);
    let secret = secret(&table, &KEY_SECRET, &KEY_SECRET_FILE);
    if !table.has(KEY_SECRET.key) && !table.has(KEY_SECRET_FILE.key) {
        let text = format!("is missing; add for example secret_file = {}", KEY_SECRET_FILE.example);
        table.mistake(KEY_SECRET.key, text);
    }
    (id, secret, table.spot())
}
