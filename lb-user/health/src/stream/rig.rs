//! Servers on loopback for the tests of probes: each takes one connection, on a thread.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    outcome::Outcome,
    question::{Delivery, ExpectedCodes, HttpQuestion, Kind, Question},
};

/// Far longer than anything takes that is answered.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// For what is never answered.
pub(super) const BRIEF: Duration = Duration::from_secs(1);

/// A server that takes one connection, and what it makes of it.
pub(super) struct Server<T> {
    pub(super) to: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    /// On IPv4.
    pub(super) fn start(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), serve)
    }

    pub(super) fn start_on(address: IpAddr, serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            serve(stream)
        });
        Self { to, thread }
    }

    /// Waits until it has served.
    pub(super) fn end(self) -> T {
        self.thread.join().unwrap()
    }
}

/// Reads a request to its end.
pub(super) fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", text.escape_ascii());
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// Reads what comes first: a client's hello in whatever protocol.
pub(super) fn some(stream: &mut TcpStream) {
    assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0);
}

/// Waits until the other side ends the connection. True when it did so with a reset.
pub(super) fn was_reset(mut stream: &TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// A server that reads the request, sends these bytes and hangs up only after the client.
pub(super) fn saying(bytes: impl AsRef<[u8]> + Send + 'static) -> Server<bool> {
    Server::start(move |mut stream| {
        request(&mut stream);
        // It may be reset while it still writes.
        let _ = stream.write_all(bytes.as_ref());
        was_reset(&stream)
    })
}

/// Lets one probe run to its end.
pub(super) fn ask(kind: Kind, to: SocketAddr, patience: Duration) -> Outcome {
    let question = Question { kind, to, delivery: Delivery::Routed };
    run(super::ask(&question, patience))
}

/// As the engine runs probes: one thread for everything.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// GET / with these codes expected.
pub(super) fn expecting(codes: &str) -> HttpQuestion {
    let expected = ExpectedCodes::new(codes).unwrap();
    HttpQuestion {
        method: crate::HttpMethod::Get,
        version: crate::HttpVersion::V10,
        path: crate::UrlPath::default(),
        expected,
        domain_name: None,
    }
}

/// The question over HTTP.
pub(super) fn http(asked: HttpQuestion) -> Kind {
    Kind::Http(Arc::new(asked))
}

/// An address where SYNs are not answered: a socket that listens for one connection, has
/// two waiting, and is never asked for them. It is one as long as this is held.
pub(super) struct BlackHole {
    pub(super) to: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl BlackHole {
    pub(super) fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let to = listener.local_addr().unwrap().as_socket().unwrap();
        let connect = |_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking(), None).unwrap();
            let _ = socket.connect(&to.into());
            socket
        };
        let waiting = (0..4).map(connect).collect();
        Self { to, _listener: listener, _waiting: waiting }
    }
}
