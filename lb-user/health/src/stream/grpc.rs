//! gRPC: `grpc.health.v1.Health/Check` over cleartext HTTP/2 with prior knowledge.
//!
//! The frames are h2's work, driven within the probe's own future. The two messages are
//! so small that they are written and read here. Sources: gRPC over HTTP/2
//! (`PROTOCOL-HTTP2.md`), the gRPC health checking protocol, and the encoding of Protocol
//! Buffers.

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Connection, SendRequest},
};
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use tokio::net::TcpStream;

use super::{
    Missing, USER_AGENT, authority,
    connection::{self, Bounded},
};
use crate::{
    outcome::{Answer, Failure, Outcome},
    question::GrpcQuestion,
};

const METHOD: &str = "/grpc.health.v1.Health/Check";

/// Most bytes that a server may send for one answer, frames of every kind included.
const MAX_BYTES: usize = 64 * 1024;
/// Most bytes of the headers of a response, and of its trailers.
const MAX_HEADERS: u32 = 16 * 1024;
/// Longest response message in bytes: an enum takes two.
const MAX_MESSAGE: usize = 1024;
/// Longest `grpc-message` that is kept, in characters.
const MAX_TEXT: usize = 100;
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The health of a service is asked for over one connection.
pub(super) async fn ask(to: SocketAddr, asked: &GrpcQuestion, missing: &mut Missing) -> Outcome {
    let stream = match connect(to).await {
        Ok(stream) => stream,
        Err(error) => return Failure::of_io(&error),
    };
    *missing = "gRPC response";
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(u32::from(u16::MAX))
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(16 * 1024)
        .max_concurrent_reset_streams(1);
    let (sender, connection) = match builder.handshake(Bounded::new(stream, MAX_BYTES)).await {
        Ok(both) => both,
        Err(error) => return broken(&error),
    };
    drive(connection, exchange(sender, to, asked, missing)).await
}

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = connection::open(to)?;
    connection::established(&stream).await?;
    Ok(stream)
}

/// Lets the connection work until the exchange is over. When the connection ends first,
/// it may still have brought all of the answer; otherwise it knows best why not.
async fn drive(
    connection: Connection<Bounded<TcpStream>, Bytes>,
    exchange: impl Future<Output = Result<Outcome, h2::Error>>,
) -> Outcome {
    let mut exchange = pin!(exchange);
    let ended = tokio::select! {
        biased;
        result = &mut exchange => return result.unwrap_or_else(|error| broken(&error)),
        ended = connection => ended,
    };
    match (exchange.await, ended) {
        (Ok(outcome), _) => outcome,
        (Err(_), Err(error)) | (Err(error), Ok(())) => broken(&error),
    }
}

async fn exchange(
    sender: SendRequest<Bytes>,
    to: SocketAddr,
    asked: &GrpcQuestion,
    missing: &mut Missing,
) -> Result<Outcome, h2::Error> {
    let request = match request(to, asked) {
        Ok(request) => request,
        Err(error) => return Ok(Outcome::NotAsked(format!("no gRPC request could be made: {error}").into())),
    };
    let mut sender = sender.ready().await?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(message(&asked.service), true)?;
    let (head, body) = response.await?.into_parts();
    if head.status != StatusCode::OK {
        let failure = Failure::Status { got: head.status.as_u16(), expected: Arc::from("200") };
        return Ok(Outcome::Fails(failure));
    }
    let is_grpc = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if !head.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Ok(Outcome::Fails(Failure::Malformed("it speaks HTTP/2, but not gRPC")));
    }
    *missing = "end of the gRPC response";
    // An error before any message has its status in the headers ("Trailers-Only").
    if let Some(failure) = status_failure(&head.headers) {
        return Ok(failure);
    }
    let outcome = finish(body, &head.headers).await;
    // Dropped no earlier: the connection ends when nobody wants it any more.
    drop(sender);
    outcome
}

fn request(to: SocketAddr, asked: &GrpcQuestion) -> Result<Request<()>, http::Error> {
    let authority = asked.domain_name.as_ref().map_or_else(|| authority(to), |name| name.as_str().to_owned());
    let uri = http::Uri::builder().scheme("http").authority(authority).path_and_query(METHOD).build()?;
    Request::post(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers")
        .header(http::header::USER_AGENT, USER_AGENT)
        .body(())
}

/// `HealthCheckRequest { service }`, with the prefix of a message that is not compressed.
fn message(service: &str) -> Bytes {
    let mut proto = Vec::with_capacity(service.len() + 8);
    // A field that has its default is not written.
    if !service.is_empty() {
        // Field 1, a string.
        proto.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            proto.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        proto.push(length as u8);
        proto.extend_from_slice(service.as_bytes());
    }
    let mut message = vec![0];
    message.extend_from_slice(&(proto.len() as u32).to_be_bytes());
    message.extend_from_slice(&proto);
    message.into()
}

/// Reads the message and the trailers.
async fn finish(mut body: RecvStream, head: &HeaderMap) -> Result<Outcome, h2::Error> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if message.len() + data.len() > PREFIX + MAX_MESSAGE {
            return Ok(Outcome::Fails(Failure::Malformed("its gRPC response does not end within 1 KiB")));
        }
        message.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    if let Some(failure) = status_failure(&trailers) {
        return Ok(failure);
    }
    if !trailers.contains_key(STATUS) && !head.contains_key(STATUS) {
        return Ok(Outcome::Fails(Failure::Malformed("its gRPC response ends without grpc-status")));
    }
    Ok(judge(&message))
}

const STATUS: &str = "grpc-status";

/// A failure, if there is a status and it is not OK.
fn status_failure(headers: &HeaderMap) -> Option<Outcome> {
    let status = headers.get(STATUS)?;
    let code = status.to_str().ok().and_then(|text| text.parse::<u8>().ok());
    let Some(code) = code else {
        return Some(Outcome::Fails(Failure::Malformed("its grpc-status is no number")));
    };
    if code == 0 {
        return None;
    }
    let mut text = status_name(code).map_or_else(|| format!("status {code}"), str::to_owned);
    if let Some(said) = headers.get("grpc-message") {
        let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let said: String = said.as_bytes().iter().copied().filter(printable).take(MAX_TEXT).map(char::from).collect();
        text = format!("{text}: {said}");
    }
    Some(Outcome::Fails(Failure::Grpc(text.into())))
}

/// The names of gRPC's status codes, and what the ones mean that a health check meets.
fn status_name(code: u8) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND (it does not know the service)",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED (it has no grpc.health.v1.Health)",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::from(code)).copied()
}

/// What a whole body says: one message, `HealthCheckResponse { status }`.
fn judge(body: &[u8]) -> Outcome {
    let failure = match body {
        [] => Failure::Malformed("its gRPC response has no message"),
        [0, a, b, c, d, proto @ ..] if u32::from_be_bytes([*a, *b, *c, *d]) as usize == proto.len() => {
            match serving_status(proto) {
                Some(1) => return Outcome::Answers(Answer::Serving),
                Some(0) => Failure::Grpc("UNKNOWN".into()),
                Some(2) => Failure::Grpc("NOT_SERVING".into()),
                Some(3) => Failure::Grpc("SERVICE_UNKNOWN".into()),
                Some(other) => Failure::Grpc(format!("health status {other}").into()),
                None => Failure::Malformed("its gRPC message is no HealthCheckResponse"),
            }
        }
        [1, ..] => Failure::Malformed("its gRPC message is compressed, which was not asked for"),
        _ => Failure::Malformed("its gRPC response is not one whole message"),
    };
    Outcome::Fails(failure)
}

/// Field 1 of the message, an enum; the last one counts, 0 where there is none. Fields
/// that we do not know are passed over. `None` when it is no message.
fn serving_status(mut proto: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !proto.is_empty() {
        let tag = varint(&mut proto)?;
        match (tag >> 3, tag & 7) {
            (0, _) => return None,
            (1, 0) => status = varint(&mut proto)?,
            (_, 0) => _ = varint(&mut proto)?,
            (_, 1) => proto = proto.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut proto)?).ok()?;
                proto = proto.get(length..)?;
            }
            (_, 5) => proto = proto.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Seven bits a byte, the lowest first; ten bytes at most.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// What an error of h2 says of the member.
fn broken(error: &h2::Error) -> Outcome {
    if let Some(error) = error.get_io() {
        return connection::broken(error, "it had answered in gRPC");
    }
    if error.is_library() {
        return Outcome::Fails(Failure::Malformed("what it sends is not HTTP/2"));
    }
    let reason = error.reason().map_or_else(|| "an error".to_owned(), |reason| format!("{reason:?}"));
    let what = if error.is_go_away() { "ends the connection" } else { "ends the stream" };
    Outcome::Fails(Failure::Grpc(format!("the server {what} with {reason}").into()))
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
