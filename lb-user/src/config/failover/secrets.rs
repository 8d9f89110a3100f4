//! Secrets: as text, in hexadecimal or in base64; in the pool file or in a file
//! of their own. No complaint repeats one.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use vrrp::Secret;

use crate::config::{
    reader::Reader,
    schema::{Field, Kind},
};

/// The largest file with a secret, in bytes: the longest secret in hexadecimal
/// has a fraction of them.
const MAX_FILE_BYTES: u64 = 4096;
/// Somebody who is neither the owner nor of the group may read.
const OTHERS_READ: u32 = 0o004;
/// The same for writing.
const OTHERS_WRITE: u32 = 0o002;

/// The secret of a table that has it in one of two fields; `None` where
/// neither is written or what is written was refused.
pub(super) fn secret(table: &Reader<'_>, inline: &'static Field, in_file: &'static Field) -> Option<Secret> {
    // Both are read, so that both complain.
    let path = table.path(in_file);
    let text = table.text(inline);
    if table.has(inline.key) && table.has(in_file.key) {
        let text = format!("there is {} beside it; remove one of the two", inline.key);
        table.mistake(in_file.key, text);
        return None;
    }
    if let Some(text) = text {
        table.keeps_a_secret(inline);
        return accepted(table, inline, text);
    }
    let text = match read(&path?) {
        Ok((text, metadata)) => {
            let mode = metadata.permissions().mode();
            if mode & OTHERS_WRITE != 0 {
                let text = "everybody may write into that file; take it from them: chmod o-rwx".to_owned();
                table.mistake(in_file.key, text);
                return None;
            }
            if mode & OTHERS_READ != 0 {
                table.warning(in_file.key, "everybody may read that file; take it from them: chmod o-rwx");
            }
            text
        }
        Err(flaw) => {
            table.mistake(in_file.key, flaw);
            return None;
        }
    };
    let Kind::Secret { .. } = inline.kind else { return None };
    match bytes(inline, text.trim_end_matches(['\r', '\n'])) {
        Ok(bytes) => Some(Secret::new(bytes)),
        Err(flaw) => {
            table.mistake(in_file.key, format!("in that file, the secret {flaw}"));
            None
        }
    }
}

fn accepted(table: &Reader<'_>, field: &'static Field, text: &str) -> Option<Secret> {
    bytes(field, text).map(Secret::new).map_err(|flaw| table.mistake(field.key, format!("it {flaw}"))).ok()
}

/// The text of a file, and whose it is.
fn read(path: &Path) -> Result<(String, Metadata), String> {
    let unreadable = |reason: io::Error| {
        format!("cannot read that file: {reason}; name one that exists and that lbd's user may read")
    };
    // Whoever opens a pipe waits for somebody to write into it, unless told not to.
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("that is no regular file; name one with nothing but the secret in it".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "that file has more than {MAX_FILE_BYTES} bytes; name one with nothing but the secret in it"
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        "that file is no text; write the secret in hexadecimal, as `openssl rand -hex 32` does".to_owned()
    })?;
    Ok((text, metadata))
}

/// The bytes that a text stands for. Only digits of hexadecimal, if they are
/// enough for a secret, are hexadecimal; everything else is itself, unless it
/// says what it is.
fn bytes(field: &Field, text: &str) -> Result<Vec<u8>, String> {
    let Kind::Secret { min, max } = field.kind else { return Err("is no secret".to_owned()) };
    let bytes = if let Some(digits) = text.strip_prefix("hex:") {
        hexadecimal(digits).ok_or("is no hexadecimal, though it says so; write two digits for each byte")?
    } else if let Some(letters) = text.strip_prefix("base64:") {
        base64(letters).ok_or("is no base64, though it says so; write what `openssl rand -base64 32` does")?
    } else if let Some(text) = text.strip_prefix("text:") {
        one_line(text)?
    } else {
        match hexadecimal(text).filter(|bytes| bytes.len() >= min) {
            Some(bytes) => bytes,
            None => one_line(text)?,
        }
    };
    if !(min..=max).contains(&bytes.len()) {
        return Err(format!(
            "has {} bytes; give {min} to {max}, for example what `openssl rand -hex 32` says",
            bytes.len()
        ));
    }
    Ok(bytes)
}

fn one_line(text: &str) -> Result<Vec<u8>, String> {
    if text.chars().any(char::is_control) {
        return Err("has a line end or another control character in it; write it in one line, or in base64 after \
                    base64:"
            .to_owned());
    }
    Ok(text.as_bytes().to_vec())
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let nibbles: Vec<u8> =
        digits.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = nibbles.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Base64 with either alphabet, with padding or without.
fn base64(letters: &str) -> Option<Vec<u8>> {
    let letters = letters.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(letters.len());
    let (mut bits, mut count) = (0u32, 0);
    for letter in letters.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits & 0xffff) << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    // What is left over are less than a byte's bits, and zero.
    (count < 6 && bits & ((1 << count) - 1) == 0).then_some(bytes)
}

/// Why the program that is run when the state changes would not be, or is not
/// to be trusted.
pub(super) fn flaw_of_program(path: &Path) -> Option<&'static str> {
    match std::fs::metadata(path) {
        Err(_) => Some("there is no such program now; put one there before it is needed"),
        Ok(metadata) if !metadata.is_file() => Some("that is no program; name a file that can be run"),
        Ok(metadata) => match metadata.permissions().mode() {
            mode if mode & 0o111 == 0 => Some("nobody may run that program; allow it: chmod +x"),
            mode if mode & OTHERS_WRITE != 0 => {
                Some("everybody may change that program, which lbd runs as its own user; take it from them: chmod o-w")
            }
            _ => None,
        },
    }
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
