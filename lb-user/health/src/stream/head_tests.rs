#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn whole(bytes: &[u8]) -> Heard {
    Head::default().take(bytes)
}

/// In pieces of that size, until something is decided.
fn in_pieces(bytes: &[u8], size: usize) -> Heard {
    let mut head = Head::default();
    let mut last = Heard::Nothing;
    for piece in bytes.chunks(size) {
        last = with(last, head.take(piece));
        if matches!(last, Heard::Whole(_) | Heard::Nonsense(_)) {
            break;
        }
    }
    last
}

fn with(before: Heard, now: Heard) -> Heard {
    if now == Heard::Nothing { before } else { now }
}

#[test]
fn what_common_servers_send_is_understood_whole_and_byte_by_byte() {
    let cases: [(&[u8], Heard); 14] = [
        (b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nok", Heard::Whole(200)),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", Heard::Whole(404)),
        (b"HTTP/1.1 204\r\n\r\n", Heard::Whole(204)),
        (b"HTTP/1.1 204 \r\n\r\n", Heard::Whole(204)),
        (b"HTTP/1.1 503 Sorry\n\n", Heard::Whole(503)),
        (b"HTTP/1.1  200 OK\r\n\r\n", Heard::Whole(200)),
        (b"HTTP/1.1 200 Gr\xc3\xbcezi\r\n\r\n", Heard::Whole(200)),
        (b"HTTP/1.1 200 OK\r\nnot a header\r\nA : b\r\nC: d\r\n e\r\n\r\n", Heard::Whole(200)),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 201 Created\r\n\r\n",
            Heard::Whole(201),
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello", Heard::Whole(101)),
        (b"HTTP/1.1 999 Strange\r\n\r\n", Heard::Whole(999)),
        (b"HTTP/1.1 302 Found\r\nLocat", Heard::StatusLine(302)),
        (b"HTTP/1.1 100 Continue\r\nA: b\r\n", Heard::Nothing),
        (b"HTTP/1.1 200 O", Heard::Nothing),
    ];
    for (bytes, heard) in cases {
        assert_eq!(whole(bytes), heard, "{}", bytes.escape_ascii());
        for size in 1..bytes.len() {
            assert_eq!(in_pieces(bytes, size), heard, "{} in pieces of {size}", bytes.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_response_is_called_what_it_is() {
    let cases: [(&[u8], &str); 12] = [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what it sends is no HTTP/1 response"),
        (b"<html>hello</html>\n", "what it sends is no HTTP/1 response"),
        (b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "what it sends is no HTTP/1 response"),
        (b"\0", "what it sends is no HTTP/1 response"),
        (b"ICY 200 OK\r\n\r\n", "what it sends is no HTTP/1 response"),
        (b"HTTP/2 200\r\n\r\n", "what it sends is no HTTP/1 response"),
        (b"\x15\x03\x01\0\x02\x02\x46", "it speaks TLS, not HTTP"),
        (b"\0\0\x12\x04\0\0\0\0\0", "it speaks HTTP/2, not HTTP/1"),
        (b"HTTP/1.1 2OO OK\r\n\r\n", "its answer begins like HTTP/1, but with no valid status line"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "its answer begins like HTTP/1, but with no valid status line"),
        (b"HTTP/1.7 200 OK\r\n\r\n", "its answer begins like HTTP/1, but with no valid status line"),
        (b"HTTP/1.1 099 Low\r\n\r\n", "the status code of its response is below 100"),
    ];
    for (bytes, why) in cases {
        assert_eq!(whole(bytes), Heard::Nonsense(why), "{}", bytes.escape_ascii());
    }
}

#[test]
fn heads_without_end_end_at_a_bound() {
    let line = b"HTTP/1.1 200 OK\r\n".to_vec();
    let with = |more: &[u8]| [&line, more].concat();
    let nonsense = |heard| matches!(heard, Heard::Nonsense(_));
    for size in [1, 7, 2048] {
        assert!(nonsense(in_pieces(&with(&b"A: b\r\n".repeat(100)), size)), "headers without end");
        assert!(nonsense(in_pieces(&with(&b"no header\n".repeat(300)), size)), "lines without end");
        assert!(nonsense(in_pieces(&with(&[b'a'; MAX_BYTES]), size)), "one header without end");
        assert!(nonsense(in_pieces(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(20), size)), "interim without end");
        assert!(
            nonsense(in_pieces(&[b"HTTP/1.1 200 ", &[b'a'; MAX_BYTES][..]].concat(), size)),
            "a reason without end"
        );
    }
    // And what is long but within the bounds is fine.
    let long = with(&[&b"A: b\r\n".repeat(MAX_HEADERS - 1)[..], b"C: ", &[b'd'; 12_000], b"\r\n\r\n"].concat());
    assert_eq!(in_pieces(&long, 2048), Heard::Whole(200));
    let interim =
        [&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(usize::from(MAX_INTERIM))[..], b"HTTP/1.1 200 OK\r\n\r\n"].concat();
    assert_eq!(in_pieces(&interim, 1), Heard::Whole(200));
}

/// Bytes that get further into the parser than noise does. They end a line: what does not
/// is looked at only with the rest of it.
fn responses() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"HTTP/1.1 ".to_vec()),
        Just(b"HTTP/1.0 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Just(b"Name: value\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        (0u16..1200).prop_map(|code| format!("{code} x\r\n").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(part, 0..20).prop_map(|parts| [parts.concat(), b"\n".to_vec()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes, however it is cut, the head says the same of it, and never holds
    /// more than its bound and a piece.
    #[test]
    fn any_bytes_in_any_pieces_are_heard_alike(bytes in responses(), cuts in proptest::collection::vec(1usize..50, 1..20)) {
        let expected = whole(&bytes);
        let mut head = Head::default();
        let mut heard = Heard::Nothing;
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || matches!(heard, Heard::Whole(_) | Heard::Nonsense(_)) {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            heard = with(heard, head.take(piece));
            prop_assert!(head.kept.len() < MAX_BYTES + 50);
            rest = after;
        }
        // Cut up, nonsense may show early, by its beginning alone, or not yet.
        if !matches!((expected, heard), (Heard::Nonsense(_), Heard::Nonsense(_))) {
            prop_assert_eq!(heard, expected);
        }
    }
}
