//! HTTP: a request in one write, and as much of the answer as its head.
//!
//! The body is never read, redirects are not followed: 302 is a code like any other.

use std::{io, net::SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{
    Missing, USER_AGENT, authority,
    connection::{self, hear},
    head::{Head, Heard},
    host,
};
use crate::{
    outcome::{Answer, Failure, Outcome},
    question::{HttpMethod, HttpQuestion, HttpVersion},
};

/// The port that a Host header leaves out.
const PORT: u16 = 80;

/// Asks over TCP.
pub(super) async fn ask(to: SocketAddr, asked: &HttpQuestion, missing: &mut Missing) -> Outcome {
    match connection::open(to) {
        Ok(mut stream) => talk(&mut stream, &request(to, asked, PORT), asked, missing).await,
        Err(error) => Failure::of_io(&error),
    }
}

/// Sends the request over a connection that may still be in the making, and judges the
/// answer.
pub(super) async fn talk(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    asked: &HttpQuestion,
    missing: &mut Missing,
) -> Outcome {
    let mut before = "it had sent a status line";
    let outcome = exchange(stream, request, asked, missing, &mut before).await;
    outcome.unwrap_or_else(|error| connection::broken(&error, before))
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    asked: &HttpQuestion,
    missing: &mut Missing,
    before: &mut &'static str,
) -> io::Result<Outcome> {
    stream.write_all(request).await?;
    stream.flush().await?;
    *missing = "status line";
    let mut head = Head::default();
    let heard = hear(stream, |bytes| match head.take(bytes) {
        Heard::Nothing => None,
        Heard::StatusLine(code) if asked.expected.accept(code) => {
            *missing = "end of the response's head";
            *before = "the head of its response had ended";
            None
        }
        Heard::StatusLine(code) | Heard::Whole(code) => Some(judge(code, asked)),
        Heard::Nonsense(why) => Some(Outcome::Fails(Failure::Malformed(why))),
    })
    .await?;
    Ok(heard.unwrap_or(Outcome::Fails(Failure::Closed(before))))
}

fn judge(code: u16, asked: &HttpQuestion) -> Outcome {
    if asked.expected.accept(code) {
        return Outcome::Answers(Answer::Status(code));
    }
    Outcome::Fails(Failure::Status { got: code, expected: asked.expected.to_string().into() })
}

/// The request as it is written. `default_port` is the scheme's.
///
/// HTTP/1.0 has no Host unless `domain_name` asks for it; HTTP/1.1 must have one (RFC 9112
/// §3.2): `domain_name` as it is, as Octavia sends it, or else address and port.
pub(super) fn request(to: SocketAddr, asked: &HttpQuestion, default_port: u16) -> Vec<u8> {
    let mut text = String::with_capacity(256);
    let name = asked.domain_name.as_ref().map(|name| name.as_str());
    text.push_str(asked.method.name());
    text.push(' ');
    if asked.method == HttpMethod::Connect {
        // The only method that names no resource but whom to connect to, always with
        // the port (RFC 9110 §9.3.6).
        match name {
            Some(name) => text.push_str(&format!("{name}:{}", to.port())),
            None => text.push_str(&authority(to)),
        }
    } else {
        text.push_str(asked.path.as_str());
    }
    text.push_str(" HTTP/");
    text.push_str(asked.version.name());
    text.push_str("\r\n");
    match (name, asked.version) {
        (Some(name), _) => header(&mut text, "Host", name),
        (None, HttpVersion::V11) if to.port() == default_port => header(&mut text, "Host", &host(to.ip())),
        (None, HttpVersion::V11) => header(&mut text, "Host", &authority(to)),
        (None, HttpVersion::V10) => {}
    }
    header(&mut text, "User-Agent", USER_AGENT);
    header(&mut text, "Accept", "*/*");
    if matches!(asked.method, HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch) {
        header(&mut text, "Content-Length", "0");
    }
    if asked.version == HttpVersion::V11 {
        header(&mut text, "Connection", "close");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn header(text: &mut String, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        text.push_str(part);
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
