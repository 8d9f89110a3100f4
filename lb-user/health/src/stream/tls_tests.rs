#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use proptest::prelude::*;
use rustls::{
    ServerConfig, ServerConnection, SupportedProtocolVersion,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    super::rig::{self, BRIEF, PATIENCE, Server, ask, expecting, was_reset},
    *,
};
use crate::question::Kind;

fn https(codes: &str, name: Option<&str>) -> Kind {
    let domain_name = name.map(|name| DomainName::new(name).unwrap());
    Kind::Https(Arc::new(HttpQuestion { domain_name, ..expecting(codes) }))
}

/// A certificate for `example.com` by its own key, valid in these years.
fn certified(years: std::ops::Range<i32>) -> CertifiedKey {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    CertifiedKey::new(vec![certificate.der().clone()], key)
}

/// Hands out one certificate whatever name is asked for, also a certificate that is none.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn server_config(versions: &[&'static SupportedProtocolVersion], certified: CertifiedKey) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(certified))))
}

/// What a server over TLS saw of a probe: version, name, request.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    version: Option<rustls::ProtocolVersion>,
    name: Option<String>,
    alpn: Option<Vec<u8>>,
    request: String,
}

/// Answers one request over TLS.
fn tls_server(config: ServerConfig, answer: &'static str) -> Server<Seen> {
    Server::start(move |mut stream| {
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut request = Vec::new();
        {
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut bytes = [0; 512];
            while !request.ends_with(b"\r\n\r\n") {
                match tls.read(&mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => request.extend_from_slice(&bytes[..n]),
                }
            }
            let _ = tls.write_all(answer.as_bytes());
        }
        was_reset(&stream);
        Seen {
            version: connection.protocol_version(),
            name: connection.server_name().map(str::to_owned),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            request: String::from_utf8(request).unwrap(),
        }
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NOW: std::ops::Range<i32> = 2000..4000;

#[test]
fn https_is_answered_by_servers_of_tls_1_2_and_of_1_3_whatever_their_certificate() {
    let not_yet = || certified(3000..4000);
    let expired = || certified(2000..2001);
    // What nobody can parse: the key is as good as any.
    let garbage = || CertifiedKey { cert: vec![CertificateDer::from(vec![1, 2, 3])], ..certified(NOW) };
    for version in [&TLS12, &TLS13] {
        for certified in [certified(NOW), expired(), not_yet(), garbage()] {
            let server = tls_server(server_config(&[version], certified), OK);
            let outcome = ask(https("200", Some("www.example.org")), server.to, PATIENCE);
            assert_eq!(outcome, Outcome::Answers(Answer::Status(200)));
            let seen = server.end();
            assert_eq!(seen.version, Some(version.version));
            assert_eq!(seen.name.as_deref(), Some("www.example.org"));
            assert!(seen.request.starts_with("GET / HTTP/1.0\r\nHost: www.example.org\r\n"), "{}", seen.request);
        }
    }
}

#[test]
fn an_address_is_no_server_name_and_no_protocol_is_asked_for() {
    let mut config = server_config(&[&TLS13], certified(NOW));
    config.alpn_protocols = vec![b"h2".to_vec()];
    for name in [None, Some("192.0.2.1")] {
        let server = tls_server(config.clone(), OK);
        assert_eq!(ask(https("200", name), server.to, PATIENCE), Outcome::Answers(Answer::Status(200)));
        let seen = server.end();
        assert_eq!((seen.name, seen.alpn), (None, None));
    }
}

#[test]
fn a_code_over_tls_is_judged_like_any_other() {
    let server = tls_server(server_config(&[&TLS13], certified(NOW)), "HTTP/1.1 302 Found\r\n\r\n");
    let outcome = ask(https("200-204", None), server.to, PATIENCE);
    assert_eq!(outcome.to_string(), "status 302, expected 200-204");
}

#[test]
fn a_server_that_stalls_after_the_handshake_is_said_to_send_no_status_line() {
    let server = tls_server(server_config(&[&TLS13], certified(NOW)), "HTTP/1.1 2");
    let outcome = ask(https("200", None), server.to, BRIEF);
    assert_eq!(outcome.to_string(), "no status line within 1 s");
}

#[test]
fn plain_http_at_a_probe_over_tls_is_said_to_be_no_tls() {
    let answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    for kind in [https("200", None), Kind::TlsHello(None)] {
        let server = Server::start(move |mut stream: TcpStream| {
            rig::some(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            was_reset(&stream)
        });
        let outcome = ask(kind, server.to, PATIENCE);
        assert_eq!(outcome, Outcome::Fails(Failure::Malformed("it does not speak TLS")));
    }
}

#[test]
fn tls_at_a_probe_over_plain_http_is_said_to_be_tls() {
    let server = Server::start(|mut stream: TcpStream| {
        let mut connection = ServerConnection::new(Arc::new(server_config(&[&TLS13], certified(NOW)))).unwrap();
        // It takes GET for a record, and says so with an alert.
        let result = connection.complete_io(&mut stream);
        was_reset(&stream);
        result.is_err()
    });
    let outcome = ask(rig::http(expecting("200")), server.to, PATIENCE);
    assert_eq!(outcome, Outcome::Fails(Failure::Malformed("it speaks TLS, not HTTP")));
    assert!(server.end());
}

/// A fatal alert: handshake_failure.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// Reads a ClientHello, and says something.
fn answering(bytes: Vec<u8>) -> Server<bool> {
    Server::start(move |mut stream: TcpStream| {
        rig::some(&mut stream);
        let _ = stream.write_all(&bytes);
        was_reset(&stream)
    })
}

#[test]
fn a_refusal_by_alert_fails_https_and_says_which_but_is_a_hello() {
    let server = answering(ALERT.to_vec());
    let outcome = ask(https("200", None), server.to, PATIENCE);
    assert_eq!(outcome.to_string(), "TLS: the member refuses, with alert HandshakeFailure");
    let server = answering(ALERT.to_vec());
    assert_eq!(ask(Kind::TlsHello(None), server.to, PATIENCE), Outcome::Answers(Answer::Hello));
    assert!(server.end(), "it ends with a reset");
}

#[test]
fn a_hello_is_answered_by_every_server_and_carries_the_name() {
    for version in [&TLS12, &TLS13] {
        let server = tls_server(server_config(&[version], certified(NOW)), "");
        let name = DomainName::new("example.com").unwrap();
        assert_eq!(ask(Kind::TlsHello(Some(name)), server.to, PATIENCE), Outcome::Answers(Answer::Hello));
        assert_eq!(server.end().name.as_deref(), Some("example.com"));
    }
}

#[test]
fn a_record_is_known_by_its_header_however_it_comes() {
    let header = |bytes: &[u8]| {
        let mut header = Header::default();
        bytes.iter().find_map(|byte| header.take(&[*byte]))
    };
    let hello = Some(Outcome::Answers(Answer::Hello));
    assert_eq!(header(&ALERT), hello);
    assert_eq!(header(&[22, 3, 3, 0, 100]), hello);
    assert_eq!(header(&[22, 3, 0, 0, 100]), hello);
    assert_eq!(Header::default().take(&ALERT), hello);
    assert_eq!(header(&ALERT[..4]), None);
    let no_tls = Some(Outcome::Fails(Failure::Malformed("it does not speak TLS")));
    for bytes in [&b"HTTP/"[..], b"\x17\x03\x03\0\x10", b"\x16\x02\0\0\0", b"\x14\x03\x03\0\x01", b"\0\0\0\0\0"] {
        assert_eq!(header(bytes), no_tls, "{}", bytes.escape_ascii());
    }
}

#[test]
fn records_without_end_are_hung_up_on() {
    // Change cipher spec, which TLS 1.3 has clients pass over.
    let server = Server::start(|mut stream: TcpStream| {
        rig::some(&mut stream);
        let block = [20, 3, 3, 0, 1, 1].repeat(1000);
        (0..10_000).any(|_| stream.write_all(&block).is_err())
    });
    let outcome = ask(https("200", None), server.to, PATIENCE);
    assert!(matches!(outcome, Outcome::Fails(Failure::Tls(_) | Failure::Malformed(_))), "{outcome:?}");
    assert!(server.end());
}

#[test]
fn a_handshake_message_without_end_is_hung_up_on() {
    // Records full of a handshake message that says it is 16 MiB long.
    let server = Server::start(|mut stream: TcpStream| {
        rig::some(&mut stream);
        let mut record = vec![22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff];
        record.resize(5 + 0x4000, 0);
        (0..10_000).any(|_| stream.write_all(&record).is_err())
    });
    let outcome = ask(https("200", None), server.to, PATIENCE);
    assert!(matches!(outcome, Outcome::Fails(Failure::Tls(_) | Failure::Malformed(_))), "{outcome:?}");
    assert!(server.end());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_instead_of_a_handshake_have_an_outcome(
        kind in prop_oneof![Just(https("200", None)), Just(Kind::TlsHello(None))],
        start in prop_oneof![Just(vec![]), Just(vec![22, 3, 3, 0, 80, 2, 0, 0, 76]), Just(vec![21, 3, 3])],
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, rest].concat();
        let server = Server::start(move |mut stream: TcpStream| {
            rig::some(&mut stream);
            let _ = stream.write_all(&bytes);
            true
        });
        let outcome = ask(kind, server.to, PATIENCE);
        prop_assert!(!matches!(outcome, Outcome::NotAsked(_) | Outcome::Fails(Failure::Timeout { .. })), "{outcome}");
    }
}
