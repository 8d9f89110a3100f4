#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{io::Write, net::TcpListener, thread};

use http::{HeaderValue, Response};
use proptest::prelude::*;

use super::{
    super::rig::{self, BRIEF, PATIENCE, Server, was_reset},
    *,
};
use crate::question::{DomainName, Kind};

fn kind(service: &str, name: Option<&str>) -> Kind {
    let domain_name = name.map(|name| DomainName::new(name).unwrap());
    Kind::Grpc(Arc::new(GrpcQuestion { service: service.to_owned(), domain_name }))
}

fn outcome_of(to: SocketAddr) -> Outcome {
    rig::ask(kind("", None), to, PATIENCE)
}

/// What a server says to a request.
#[derive(Clone, Debug)]
struct Says {
    status: u16,
    content_type: &'static str,
    /// In the headers, without body and trailers.
    at_once: Vec<(&'static str, &'static str)>,
    /// Pieces of the body.
    body: Vec<Vec<u8>>,
    trailers: Option<Vec<(&'static str, &'static str)>>,
}

impl Says {
    /// One message with these bytes, and OK.
    fn message(proto: &[u8]) -> Self {
        let length = u8::try_from(proto.len()).unwrap();
        Self::body(&[&[0, 0, 0, 0, length], proto].concat())
    }

    fn body(body: &[u8]) -> Self {
        Self {
            status: 200,
            content_type: "application/grpc",
            at_once: vec![],
            body: vec![body.to_vec()],
            trailers: Some(vec![("grpc-status", "0")]),
        }
    }

    /// An error in the headers.
    fn error(code: &'static str, message: &'static str) -> Self {
        let at_once = vec![("grpc-status", code), ("grpc-message", message)];
        Self { at_once, body: vec![], trailers: None, ..Self::body(b"") }
    }
}

/// What a server heard: `:authority`, path, some headers, and the message.
type Asked = (String, HeaderMap, Vec<u8>);

fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
    of.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// A server of real HTTP/2 for one request.
fn serving(says: Says) -> (SocketAddr, thread::JoinHandle<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        rig::run(async {
            let stream = TcpStream::from_std(stream).unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, respond) = connection.accept().await.unwrap().unwrap();
            let serve = answer(request, respond, says);
            let (asked, ()) =
                tokio::join!(serve, async { while connection.accept().await.is_some_and(|r| r.is_ok()) {} });
            asked
        })
    });
    (to, thread)
}

async fn answer(request: Request<RecvStream>, mut respond: h2::server::SendResponse<Bytes>, says: Says) -> Asked {
    let (head, mut body) = request.into_parts();
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        message.extend_from_slice(&data.unwrap());
    }
    let mut response = Response::new(());
    *response.status_mut() = says.status.try_into().unwrap();
    *response.headers_mut() = headers(&says.at_once);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(says.content_type));
    let is_all = says.body.is_empty() && says.trailers.is_none();
    // The client may be gone before everything is said.
    if let Ok(mut stream) = respond.send_response(response, is_all) {
        let last = says.body.len().saturating_sub(1);
        for (n, piece) in says.body.into_iter().enumerate() {
            let _ = stream.send_data(piece.into(), n == last && says.trailers.is_none());
        }
        if let Some(trailers) = says.trailers {
            let _ = stream.send_trailers(headers(&trailers));
        }
    }
    (head.uri.to_string(), head.headers, message)
}

fn text(says: Says) -> String {
    let (to, server) = serving(says);
    let outcome = outcome_of(to);
    server.join().unwrap();
    assert!(matches!(outcome, Outcome::Fails(_)), "{outcome:?}");
    outcome.to_string()
}

#[test]
fn serving_is_an_answer_and_the_request_is_one_of_grpc() {
    let (to, server) = serving(Says::message(&[8, 1]));
    assert_eq!(outcome_of(to), Outcome::Answers(Answer::Serving));
    let (uri, headers, message) = server.join().unwrap();
    assert_eq!(uri, format!("http://{to}/grpc.health.v1.Health/Check"));
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["user-agent"], USER_AGENT);
    assert_eq!(message, [0, 0, 0, 0, 0]);
}

#[test]
fn the_service_and_the_name_are_those_of_the_operator() {
    let (to, server) = serving(Says::message(&[8, 1]));
    let outcome = rig::ask(kind("shop.Cart", Some("example.com")), to, PATIENCE);
    assert_eq!(outcome, Outcome::Answers(Answer::Serving));
    let (uri, _, message) = server.join().unwrap();
    assert_eq!(uri, "http://example.com/grpc.health.v1.Health/Check");
    assert_eq!(message, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
    // Longer than one byte of length says.
    let long = super::message(&"x".repeat(300));
    assert_eq!(long[..8], [0, 0, 0, 1, 47, 10, 0xac, 2]);
    assert_eq!(long.len(), 8 + 300);
}

#[test]
fn a_message_in_pieces_with_fields_of_a_later_version_is_understood() {
    let proto =
        [&[8, 2][..], b"\x12\x03abc", &[0x19, 1, 2, 3, 4, 5, 6, 7, 8], &[0x25, 1, 2, 3, 4], &[0x30, 0xff, 1], &[8, 1]]
            .concat();
    let mut says = Says::message(&proto);
    says.body = says.body[0].chunks(3).map(<[u8]>::to_vec).collect();
    let (to, server) = serving(says);
    assert_eq!(outcome_of(to), Outcome::Answers(Answer::Serving));
    server.join().unwrap();
}

#[test]
fn everything_else_than_serving_is_a_failure_by_its_name() {
    assert_eq!(text(Says::message(&[])), "gRPC: UNKNOWN");
    assert_eq!(text(Says::message(&[8, 0])), "gRPC: UNKNOWN");
    assert_eq!(text(Says::message(&[8, 2])), "gRPC: NOT_SERVING");
    assert_eq!(text(Says::message(&[8, 3])), "gRPC: SERVICE_UNKNOWN");
    assert_eq!(text(Says::message(&[8, 77])), "gRPC: health status 77");
}

#[test]
fn a_grpc_status_fails_by_its_name_in_headers_and_in_trailers() {
    let in_headers = text(Says::error("5", "unknown service"));
    assert_eq!(in_headers, "gRPC: NOT_FOUND (it does not know the service): unknown service");
    let in_headers = text(Says::error("12", "unknown service grpc.health.v1.Health"));
    assert!(in_headers.starts_with("gRPC: UNIMPLEMENTED (it has no grpc.health.v1.Health)"), "{in_headers}");
    let in_trailers = Says { trailers: Some(vec![("grpc-status", "14")]), ..Says::message(&[8, 1]) };
    assert_eq!(text(in_trailers), "gRPC: UNAVAILABLE");
    assert_eq!(text(Says::error("99", "strange")), "gRPC: status 99: strange");
    assert_eq!(text(Says::error("no", "strange")), "its grpc-status is no number");
}

#[test]
fn what_is_http_2_but_not_grpc_is_said_so() {
    let not_found = Says { status: 404, content_type: "text/html", ..Says::body(b"<html>") };
    assert_eq!(text(not_found), "status 404, expected 200");
    assert_eq!(text(Says { content_type: "text/html", ..Says::body(b"<html>") }), "it speaks HTTP/2, but not gRPC");
}

#[test]
fn responses_that_are_not_one_whole_message_and_a_status_fail() {
    let serving = Says::message(&[8, 1]);
    let without_status = Says { trailers: None, ..serving.clone() };
    assert_eq!(text(without_status), "its gRPC response ends without grpc-status");
    assert_eq!(text(Says { body: vec![], ..serving.clone() }), "its gRPC response has no message");
    assert_eq!(text(Says::body(&[0, 0, 0, 0, 9, 8, 1])), "its gRPC response is not one whole message");
    assert_eq!(text(Says::body(&[0, 0])), "its gRPC response is not one whole message");
    assert_eq!(text(Says::body(&[1, 0, 0, 0, 2, 8, 1])), "its gRPC message is compressed, which was not asked for");
    for proto in [&[8][..], &[0x0f, 1], &[0, 1], &[0x12, 9, 1], &[0x19, 1]] {
        assert_eq!(text(Says::message(proto)), "its gRPC message is no HealthCheckResponse", "{proto:?}");
    }
}

#[test]
fn data_without_end_fails_at_its_bound() {
    let says = Says { body: vec![vec![0; 1 << 20]; 4], ..Says::body(b"") };
    assert_eq!(text(says), "its gRPC response does not end within 1 KiB");
}

/// The frame of that type, with such a payload.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, 0, 0, 0, 0, 0], payload].concat()
}

#[test]
fn frames_without_end_are_hung_up_on() {
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    for endless in [frame(PING, &[0; 8]), frame(SETTINGS, &[]), frame(0xaa, &[7; 1000])] {
        let server = Server::start(move |mut stream| {
            rig::some(&mut stream);
            stream.write_all(&frame(SETTINGS, &[])).unwrap();
            let block = endless.repeat(100);
            (0..10_000).any(|_| stream.write_all(&block).is_err())
        });
        let outcome = outcome_of(server.to);
        let is_refused = matches!(outcome, Outcome::Fails(Failure::Malformed(_) | Failure::Grpc(_)));
        assert!(is_refused, "{outcome:?}");
        assert!(server.end());
    }
}

#[test]
fn a_server_that_greets_and_stalls_is_said_not_to_respond_and_is_reset() {
    let server = Server::start(|mut stream| {
        rig::some(&mut stream);
        stream.write_all(&frame(4, &[])).unwrap();
        was_reset(&stream)
    });
    let outcome = rig::ask(kind("", None), server.to, BRIEF);
    assert_eq!(outcome.to_string(), "no gRPC response within 1 s");
    assert!(server.end());
}

#[test]
fn a_server_that_goes_away_or_resets_the_stream_is_told_by_its_reason() {
    const RST_STREAM: u8 = 3;
    const GO_AWAY: u8 = 7;
    let mut reset = frame(RST_STREAM, &[0, 0, 0, 7]);
    reset[8] = 1;
    let away = frame(GO_AWAY, &[0, 0, 0, 0, 0, 0, 0, 11]);
    for (bytes, text) in [
        (reset, "gRPC: the server ends the stream with REFUSED_STREAM"),
        (away, "gRPC: the server ends the connection with ENHANCE_YOUR_CALM"),
    ] {
        let server = Server::start(move |mut stream| {
            // Preface, settings, and the request.
            let mut read = Vec::new();
            let mut bytes_read = [0; 512];
            while !read.ends_with(&[0, 0, 0, 0, 0]) || read.len() < 100 {
                let n = std::io::Read::read(&mut stream, &mut bytes_read).unwrap();
                assert_ne!(n, 0);
                read.extend_from_slice(&bytes_read[..n]);
            }
            stream.write_all(&[frame(4, &[]), bytes].concat()).unwrap();
            was_reset(&stream)
        });
        assert_eq!(outcome_of(server.to).to_string(), text);
    }
}

#[test]
fn a_server_of_another_protocol_is_said_to_speak_no_http_2() {
    for said in [&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], b"\x15\x03\x03\0\x02\x02\x32 and so on"]
    {
        let server = Server::start(move |mut stream| {
            rig::some(&mut stream);
            stream.write_all(said).unwrap();
            was_reset(&stream)
        });
        assert_eq!(outcome_of(server.to), Outcome::Fails(Failure::Malformed("what it sends is not HTTP/2")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_instead_of_frames_have_an_outcome(
        greets in any::<bool>(),
        kinds in proptest::collection::vec((0u8..12, any::<u8>(), 0u8..4, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        rest in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = if greets { frame(4, &[]) } else { Vec::new() };
        for (kind, flags, stream, payload) in kinds {
            let mut frame = frame(kind, &payload);
            (frame[4], frame[8]) = (flags, stream);
            bytes.extend_from_slice(&frame);
        }
        bytes.extend_from_slice(&rest);
        let server = Server::start(move |mut stream| {
            rig::some(&mut stream);
            let _ = stream.write_all(&bytes);
            true
        });
        let outcome = outcome_of(server.to);
        prop_assert!(!matches!(outcome, Outcome::NotAsked(_) | Outcome::Fails(Failure::Timeout { .. })), "{outcome}");
    }

    #[test]
    fn any_bytes_as_a_message_are_judged(body in proptest::collection::vec(any::<u8>(), 0..100), is_framed in any::<bool>()) {
        let body = if is_framed { [&[0, 0, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat() } else { body };
        prop_assert!(!matches!(judge(&body), Outcome::NotAsked(_)));
    }
}
