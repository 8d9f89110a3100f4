#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread::sleep,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    super::rig::{BRIEF, PATIENCE, Server, ask, expecting, http, request as read_request, saying, was_reset},
    *,
};
use crate::question::{DomainName, UrlPath};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// What comes of GET / with 200 expected.
fn outcome_of(server: &Server<bool>, patience: Duration) -> Outcome {
    ask(http(expecting("200")), server.to, patience)
}

fn failure(what: Outcome) -> String {
    assert!(matches!(what, Outcome::Fails(_)), "{what:?}");
    what.to_string()
}

/// The request as the server saw it, and what came of it when it said 200.
fn seen(address: IpAddr, asked: HttpQuestion) -> (SocketAddr, String) {
    let server = Server::start_on(address, |mut stream| {
        let text = read_request(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
        was_reset(&stream);
        text
    });
    let to = server.to;
    assert_eq!(ask(http(asked), to, PATIENCE), Outcome::Answers(Answer::Status(200)));
    (to, server.end())
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn a_request_of_http_1_0_has_no_host_unless_a_domain_name_is_given() {
    let common = format!("User-Agent: {USER_AGENT}\r\nAccept: */*\r\n");
    let (_, text) = seen(V4, expecting("200"));
    assert_eq!(text, format!("GET / HTTP/1.0\r\n{common}\r\n"));
    let named = HttpQuestion { domain_name: Some(DomainName::new("example.com").unwrap()), ..expecting("200") };
    let (_, text) = seen(V4, named);
    assert_eq!(text, format!("GET / HTTP/1.0\r\nHost: example.com\r\n{common}\r\n"));
}

#[test]
fn a_request_of_http_1_1_names_the_domain_or_the_address_as_host_and_wants_no_second_one() {
    let common = format!("User-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n");
    let asked =
        HttpQuestion { version: HttpVersion::V11, path: UrlPath::new("/health?deep=yes").unwrap(), ..expecting("200") };
    let (to, text) = seen(V4, asked.clone());
    assert_eq!(text, format!("GET /health?deep=yes HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{common}\r\n", to.port()));
    let (to, text) = seen(Ipv6Addr::LOCALHOST.into(), asked.clone());
    assert_eq!(text, format!("GET /health?deep=yes HTTP/1.1\r\nHost: [::1]:{}\r\n{common}\r\n", to.port()));
    let named = HttpQuestion { domain_name: Some(DomainName::new("example.com").unwrap()), ..asked };
    let (_, text) = seen(V4, named);
    assert_eq!(text, format!("GET /health?deep=yes HTTP/1.1\r\nHost: example.com\r\n{common}\r\n"));
}

#[test]
fn the_scheme_s_own_port_is_left_out_of_the_host() {
    let asked = HttpQuestion { version: HttpVersion::V11, ..expecting("200") };
    let host = |to: &str, default| {
        let text = String::from_utf8(request(to.parse().unwrap(), &asked, default)).unwrap();
        text.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap().to_owned()
    };
    assert_eq!(host("192.0.2.1:80", 80), "192.0.2.1");
    assert_eq!(host("192.0.2.1:443", 80), "192.0.2.1:443");
    assert_eq!(host("192.0.2.1:443", 443), "192.0.2.1");
    assert_eq!(host("[2001:db8::1]:80", 80), "[2001:db8::1]");
}

#[test]
fn every_method_is_asked_as_servers_understand_it() {
    for method in HttpMethod::ALL {
        let (to, text) = seen(V4, HttpQuestion { method, version: HttpVersion::V11, ..expecting("200") });
        let target = if method == HttpMethod::Connect { to.to_string() } else { "/".to_owned() };
        let first = text.lines().next().unwrap();
        assert_eq!(first, format!("{} {target} HTTP/1.1", method.name()));
        let has_body = ["POST", "PUT", "PATCH"].contains(&method.name());
        assert_eq!(text.contains("\r\nContent-Length: 0\r\n"), has_body, "{text}");
    }
    let name = Some(DomainName::new("example.com").unwrap());
    let asked = HttpQuestion { method: HttpMethod::Connect, domain_name: name, ..expecting("200") };
    let (to, text) = seen(V4, asked);
    assert!(text.starts_with(&format!("CONNECT example.com:{} HTTP/1.0\r\n", to.port())), "{text}");
}

#[test]
fn a_good_answer_is_one_and_the_connection_ends_with_a_reset() {
    let server = saying(OK);
    assert_eq!(outcome_of(&server, PATIENCE), Outcome::Answers(Answer::Status(200)));
    assert!(server.end());
}

#[test]
fn codes_are_taken_or_refused_as_the_operator_says_and_a_redirect_is_a_code() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n";
    let cases = [
        (redirect, "300-399", Ok(302)),
        (redirect, "200", Err("status 302, expected 200")),
        (redirect, "200,302", Ok(302)),
        (redirect, "200-204", Err("status 302, expected 200-204")),
        ("HTTP/1.0 503 Service Unavailable\r\n\r\n", "200,202", Err("status 503, expected 200,202")),
        ("HTTP/1.0 503 Service Unavailable\r\n\r\n", "503", Ok(503)),
        // The line is enough to say no.
        ("HTTP/1.0 500 Oh no\r\nX: ", "200", Err("status 500, expected 200")),
    ];
    for (said, expected, result) in cases {
        let server = saying(said);
        match (ask(http(expecting(expected)), server.to, PATIENCE), result) {
            (Outcome::Answers(Answer::Status(got)), Ok(code)) => assert_eq!(got, code),
            (outcome, Err(text)) => assert_eq!(failure(outcome), text),
            (outcome, Ok(_)) => panic!("{said:?}: {outcome}"),
        }
    }
}

#[test]
fn interim_responses_are_passed_over_and_bounded() {
    let server = saying(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"));
    assert_eq!(outcome_of(&server, PATIENCE), Outcome::Answers(Answer::Status(200)));
    let server = saying("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000));
    assert_eq!(failure(outcome_of(&server, PATIENCE)), "it sends interim responses (1xx) without end");
}

#[test]
fn a_server_that_stalls_fails_in_time_and_the_text_says_how_far_it_came() {
    for (said, text) in [
        ("", "no status line within 1 s"),
        ("HTTP/1.1 20", "no status line within 1 s"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "no status line within 1 s"),
        ("HTTP/1.1 200 OK\r\n", "no end of the response's head within 1 s"),
        ("HTTP/1.1 200 OK\r\nServer: x\r\nDa", "no end of the response's head within 1 s"),
    ] {
        let server = saying(said);
        assert_eq!(failure(outcome_of(&server, BRIEF)), text);
        assert!(server.end());
    }
}

#[test]
fn a_server_that_closes_early_fails_and_the_text_says_how_far_it_came() {
    for (said, text) in [
        ("", "closed the connection before it had sent a status line"),
        ("HTTP/1.1 20", "closed the connection before it had sent a status line"),
        ("HTTP/1.1 200 OK\r\nServer: x\r\n", "closed the connection before the head of its response had ended"),
    ] {
        let server = Server::start(move |mut stream| {
            read_request(&mut stream);
            stream.write_all(said.as_bytes()).unwrap();
            true
        });
        assert_eq!(failure(outcome_of(&server, PATIENCE)), text);
    }
}

/// A server that sends its answer byte by byte.
fn slowly(pause: Duration) -> Server<bool> {
    Server::start(move |mut stream| {
        read_request(&mut stream);
        for byte in OK.as_bytes() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            sleep(pause);
        }
        was_reset(&stream)
    })
}

#[test]
fn an_answer_byte_by_byte_is_as_good_as_its_last_byte() {
    let in_time = slowly(Duration::from_millis(2));
    assert_eq!(outcome_of(&in_time, PATIENCE), Outcome::Answers(Answer::Status(200)));
    // Each byte comes soon enough, all of them together do not.
    let too_slow = slowly(Duration::from_millis(100));
    assert_eq!(failure(outcome_of(&too_slow, BRIEF)), "no status line within 1 s");
}

#[test]
fn what_is_no_http_is_said_so() {
    for (said, text) in [
        ("220 mail.example.com ESMTP\r\n", "what it sends is no HTTP/1 response"),
        ("HTTP/1.1 OK\r\n\r\n", "its answer begins like HTTP/1, but with no valid status line"),
    ] {
        let server = saying(said);
        assert_eq!(failure(outcome_of(&server, PATIENCE)), text);
    }
}

/// A server that repeats something after its status line until it is hung up on.
fn endless(what: &'static [u8]) -> Server<bool> {
    Server::start(move |mut stream| {
        read_request(&mut stream);
        let block = what.repeat(4096 / what.len());
        let mut sent = 0;
        let mut result = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while result.is_ok() && sent < 64 << 20 {
            result = stream.write_all(&block);
            sent += block.len();
        }
        result.is_err()
    })
}

#[test]
fn a_head_without_end_fails_at_its_bound_and_is_hung_up_on() {
    for (what, text) in [
        (&b"Name: value\r\n"[..], "its response has more than 96 headers"),
        (b"x", "the head of its response does not end within 16 KiB"),
        (b"no header at all\r\n", "the head of its response does not end within 256 lines"),
    ] {
        let server = endless(what);
        assert_eq!(failure(outcome_of(&server, PATIENCE)), text);
        assert!(server.end());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over a real connection: whatever a server says before it closes, the probe ends.
    #[test]
    fn any_answer_has_an_outcome(said in proptest::collection::vec(any::<u8>(), 0..3000), like_http in any::<bool>()) {
        let said = if like_http { [b"HTTP/1.1 200 OK\r\n", &said[..]].concat() } else { said };
        let server = Server::start(move |mut stream| {
            read_request(&mut stream);
            let _ = stream.write_all(&said);
            true
        });
        let outcome = outcome_of(&server, PATIENCE);
        prop_assert!(!matches!(outcome, Outcome::NotAsked(_) | Outcome::Fails(Failure::Timeout { .. })), "{outcome}");
    }
}
