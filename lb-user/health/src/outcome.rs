//! What came of a probe, in an operator's words.

use std::{fmt, io, sync::Arc, time::Duration};

/// What came of a probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The member answers as it should.
    Answers(Answer),
    /// It does not.
    Fails(Failure),
    /// It was not asked, for a reason of our own (descriptors, memory, local ports):
    /// that says nothing about it.
    NotAsked(Arc<str>),
}

/// How a member answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// PING: an echo.
    Echo,
    /// TCP: the port accepts connections.
    Accepts,
    /// UDP-CONNECT: a datagram came back.
    Datagram,
    /// UDP-CONNECT: nothing said that the port is closed.
    Silence,
    /// SCTP: INIT ACK.
    InitAck,
    /// HTTP and HTTPS: an expected code.
    Status(u16),
    /// TLS-HELLO: part of a handshake, or an alert.
    Hello,
    /// gRPC: SERVING.
    Serving,
}

/// How a member failed. Small, because the last few of each member are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nothing came in time. The text says what was waited for, as in
    /// `no SYN-ACK within 3 s`.
    Timeout {
        /// How long it was waited for.
        patience: Duration,
        /// What was waited for.
        missing: &'static str,
    },
    /// The kernel says so: refused, reset, unreachable.
    Kernel(i32),
    /// An ICMP message said so, or another packet that means no.
    Told(&'static str),
    /// The connection ended before what was waited for had come.
    Closed(&'static str),
    /// What came is not what the protocol has there.
    Malformed(&'static str),
    /// HTTP or gRPC: another code than expected.
    Status {
        /// The code.
        got: u16,
        /// Those that would have been good.
        expected: Arc<str>,
    },
    /// TLS could not be agreed on.
    Tls(Arc<str>),
    /// gRPC: the server says something else than SERVING.
    Grpc(Arc<str>),
    /// Frames cannot reach the member in the data path.
    NextHop(Arc<str>),
}

impl Failure {
    /// Whether it looks so when frames do not arrive: nobody answered, or this host's
    /// kernel or a router found no way.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Kernel(libc::EHOSTUNREACH | libc::ENETUNREACH))
    }

    /// From what a system call said, or `Outcome::NotAsked` where this host lacks
    /// something.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Outcome {
        let errno = error.raw_os_error();
        match errno {
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EADDRNOTAVAIL
                | libc::EAGAIN
                | libc::ENOSPC,
            ) => Outcome::NotAsked(error.to_string().into()),
            Some(errno) => Outcome::Fails(Self::Kernel(errno)),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof => Outcome::Fails(Self::Closed("it had answered")),
                _ => Outcome::Fails(Self::Tls(error.to_string().into())),
            },
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("echoes"),
            Self::Accepts => f.write_str("accepts connections"),
            Self::Datagram => f.write_str("answers"),
            Self::Silence => f.write_str("does not say that it is closed"),
            Self::InitAck => f.write_str("accepts associations"),
            Self::Status(code) => write!(f, "status {code:03}"),
            Self::Hello => f.write_str("speaks TLS"),
            Self::Serving => f.write_str("SERVING"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { patience, missing } => write!(f, "no {missing} within {} s", patience.as_secs_f64()),
            Self::Kernel(errno) => match *errno {
                libc::ECONNREFUSED => f.write_str("connection refused"),
                libc::ECONNRESET => f.write_str("connection reset"),
                libc::EHOSTUNREACH => f.write_str("no route to host"),
                libc::ENETUNREACH => f.write_str("network unreachable"),
                libc::ETIMEDOUT => f.write_str("no answer, connection timed out"),
                libc::EPERM | libc::EACCES => f.write_str("this host's firewall or routes forbid it"),
                errno => write!(f, "{}", io::Error::from_raw_os_error(errno)),
            },
            Self::Told(what) => f.write_str(what),
            Self::Closed(before) => write!(f, "closed the connection before {before}"),
            Self::Malformed(what) => f.write_str(what),
            Self::Status { got, expected } => write!(f, "status {got:03}, expected {expected}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Grpc(what) => write!(f, "gRPC: {what}"),
            Self::NextHop(why) => write!(f, "frames cannot reach it: {why}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers(answer) => answer.fmt(f),
            Self::Fails(failure) => failure.fmt(f),
            Self::NotAsked(why) => write!(f, "not probed: {why}"),
        }
    }
}
