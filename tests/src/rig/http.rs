//! A small HTTP/1.1 client over blocking sockets. Real sockets, real time
//! limits, nothing shared between requests.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// How long a connection and each read or write may take.
pub const LIMIT: Duration = Duration::from_secs(3);

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// The server's name, from its `X-Member` header.
    pub member: String,
    /// Its content.
    pub body: Vec<u8>,
}

/// From where and how to connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source {
    /// The address; any if `None`.
    pub address: Option<IpAddr>,
    /// The port; 0 for any.
    pub port: u16,
    /// Whether closing resets the connection instead of finishing it.
    pub reset_on_close: bool,
}

/// Opens a TCP connection.
///
/// # Errors
/// As the sockets say; a silent peer is [`io::ErrorKind::TimedOut`].
pub fn connect(target: SocketAddr, source: Source) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    if source.address.is_some() || source.port != 0 {
        let any: IpAddr = if target.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(source.address.unwrap_or(any), source.port).into())?;
    }
    if source.reset_on_close {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    socket.connect_timeout(&target.into(), LIMIT)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Asks for a path over a connection of its own and reads until the server has
/// closed it.
///
/// # Errors
/// As the sockets say, and [`io::ErrorKind::InvalidData`] for an answer that
/// is no whole HTTP response.
pub fn get(target: SocketAddr, path: &str, source: Source) -> io::Result<Response> {
    let mut stream = connect(target, source)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.ip());
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let (response, used) = parse(&bytes)?.ok_or_else(|| invalid("the response ends early"))?;
    if used != bytes.len() {
        return Err(invalid("bytes follow the response"));
    }
    Ok(response)
}

/// Stores a body at a path over a connection of its own.
///
/// # Errors
/// As [`get`].
pub fn put(target: SocketAddr, path: &str, body: &[u8]) -> io::Result<Response> {
    let mut session = Session::open(target, Source::default())?;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", target.ip(), body.len());
    session.stream.write_all(head.as_bytes())?;
    session.stream.write_all(body)?;
    session.read_response()
}

/// A connection that serves several requests.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    host: IpAddr,
    buffer: Vec<u8>,
}

impl Session {
    /// Opens it.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn open(target: SocketAddr, source: Source) -> io::Result<Self> {
        Ok(Self { stream: connect(target, source)?, host: target.ip(), buffer: Vec::new() })
    }

    /// Asks for a path and leaves the connection open.
    ///
    /// # Errors
    /// As [`get`].
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes())?;
        self.read_response()
    }

    fn read_response(&mut self) -> io::Result<Response> {
        let mut chunk = [0u8; 16384];
        loop {
            if let Some((response, used)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(response);
            }
            let length = self.stream.read(&mut chunk)?;
            if length == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed before its response"));
            }
            self.buffer.extend_from_slice(&chunk[..length]);
        }
    }
}

/// What went wrong, in few words that can be counted.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timeout".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed early".to_owned(),
        _ => error.to_string(),
    }
}

/// A whole response at the start of `bytes` and its length, `None` while it is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(Response, usize)>> {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid("the head is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("no status line"))?;
    let (mut length, mut member) = (None, String::new());
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("x-member") {
            value.trim().clone_into(&mut member);
        }
    }
    // Without a length there is no content: nginx gives one to everything the rig asks for.
    let start = end + 4;
    let Some(body) = bytes.get(start..start + length.unwrap_or(0)) else { return Ok(None) };
    let body = body.to_vec();
    let used = start + body.len();
    Ok(Some((Response { status, member, body }, used)))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nX-Member: m1\r\nContent-length: 3\r\n\r\nm1\nHTTP";

    #[test]
    fn a_response_is_read_once_it_is_whole() {
        let whole = RESPONSE.len() - 4;
        for length in 0..whole {
            assert!(parse(&RESPONSE[..length]).unwrap().is_none());
        }
        let (response, used) = parse(RESPONSE).unwrap().unwrap();
        assert_eq!(used, whole);
        assert_eq!(response, Response { status: 200, member: "m1".to_owned(), body: b"m1\n".to_vec() });
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 2\r\n\r\n").is_err());
    }
}
