//! The head of an HTTP/1 response as it comes in, within bounds. Pure.
//!
//! The status line decides, as in Octavia's HAProxy. What follows it is not ours to judge:
//! header lines that are no header lines are passed over. But it must end, and soon: a
//! server that stalls in the middle of its head serves nobody.

use std::mem::MaybeUninit;

/// Longest head in bytes: twice what common servers allow themselves.
pub(super) const MAX_BYTES: usize = 16 * 1024;
/// Most headers of a response.
pub(super) const MAX_HEADERS: usize = 96;
/// Most lines of all heads of an answer. Each line has the head looked at from its
/// beginning, so this bounds what a member costs that sends them one by one.
const MAX_LINES: usize = 256;
/// Most interim responses before the final one.
pub(super) const MAX_INTERIM: u8 = 8;

/// How every status line that we take begins.
const BEGINNING: &[u8] = b"HTTP/1.";

/// How the first record of TLS begins: alert or handshake, in any version since SSL 3.
const TLS_RECORDS: [[u8; 2]; 2] = [[0x15, 0x03], [0x16, 0x03]];

/// What a piece tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// Nothing that was not known before it.
    Nothing,
    /// The status line, with that code; more of the head is to come.
    StatusLine(u16),
    /// The whole head of the response, with that code.
    Whole(u16),
    /// That this will not become a response, and why.
    Nonsense(&'static str),
}

/// The head of a response while it comes in.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// What came and is not used up. Empty as long as nothing came, so that a head
    /// that comes in one piece is copied nowhere.
    kept: Vec<u8>,
    lines: usize,
    interim: u8,
}

impl Head {
    /// Takes what came next. After [`Heard::Whole`] or [`Heard::Nonsense`] nothing more
    /// may be given.
    pub(super) fn take(&mut self, fresh: &[u8]) -> Heard {
        self.lines += fresh.iter().filter(|byte| **byte == b'\n').count();
        let heard = if self.kept.is_empty() {
            let (heard, used) = self.read(fresh, fresh);
            self.kept.extend_from_slice(&fresh[used..]);
            heard
        } else {
            let mut kept = std::mem::take(&mut self.kept);
            kept.extend_from_slice(fresh);
            let (heard, used) = self.read(&kept, fresh);
            kept.drain(..used);
            self.kept = kept;
            heard
        };
        match heard {
            Heard::Nothing | Heard::StatusLine(_) if self.kept.len() >= MAX_BYTES => {
                Heard::Nonsense("the head of its response does not end within 16 KiB")
            }
            Heard::Nothing | Heard::StatusLine(_) if self.lines > MAX_LINES => {
                Heard::Nonsense("the head of its response does not end within 256 lines")
            }
            heard => heard,
        }
    }

    /// Reads all that came, `fresh` being the end of it that has not been looked at.
    /// Says how many bytes interim responses have used up.
    fn read(&mut self, bytes: &[u8], fresh: &[u8]) -> (Heard, usize) {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let known = rest.len().min(BEGINNING.len());
            if rest[..known] != BEGINNING[..known] {
                return (Heard::Nonsense(stranger(rest)), used);
            }
            // What ends no line adds nothing to what is known.
            if !fresh.contains(&b'\n') {
                return (Heard::Nothing, used);
            }
            match one(rest) {
                // 101 is the last that is said in HTTP (RFC 9110 §15.2.2).
                Ok(One::Whole(code, length)) if code < 200 && code != 101 => {
                    self.interim += 1;
                    used += length;
                    if self.interim > MAX_INTERIM {
                        return (Heard::Nonsense("it sends interim responses (1xx) without end"), used);
                    }
                }
                Ok(One::Whole(code, length)) => return (Heard::Whole(code), used + length),
                Ok(One::StatusLine(code)) if code >= 200 => return (Heard::StatusLine(code), used),
                Ok(One::StatusLine(_) | One::Part) => return (Heard::Nothing, used),
                Err(why) => return (Heard::Nonsense(why), used),
            }
        }
    }
}

/// One response, interim or final.
enum One {
    /// Not even a status line.
    Part,
    /// A status line, and perhaps some headers.
    StatusLine(u16),
    /// The whole head, and its length.
    Whole(u16, usize),
}

fn one(bytes: &[u8]) -> Result<One, &'static str> {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let status = config.parse_response_with_uninit_headers(&mut response, bytes, &mut room);
    match (status, response.code, response.reason) {
        (Ok(_), Some(0..100), _) => Err("the status code of its response is below 100"),
        (Ok(httparse::Status::Complete(length)), Some(code), _) => Ok(One::Whole(code, length)),
        (Ok(httparse::Status::Partial), Some(code), Some(_)) => Ok(One::StatusLine(code)),
        (Ok(_), ..) => Ok(One::Part),
        (Err(httparse::Error::TooManyHeaders), ..) => Err("its response has more than 96 headers"),
        (Err(_), _, Some(_)) => Err("the head of its response has bytes that no header has"),
        (Err(_), ..) => Err("its answer begins like HTTP/1, but with no valid status line"),
    }
}

/// What to say of an answer that is no HTTP/1.
fn stranger(bytes: &[u8]) -> &'static str {
    if TLS_RECORDS.iter().any(|record| bytes.starts_with(record)) {
        return "it speaks TLS, not HTTP";
    }
    // The length, type and flags of a SETTINGS frame (RFC 9113 §3.4, §4.1).
    if bytes.len() >= 5 && bytes.starts_with(&[0, 0]) && bytes[3] == 4 {
        return "it speaks HTTP/2, not HTTP/1";
    }
    "what it sends is no HTTP/1 response"
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
