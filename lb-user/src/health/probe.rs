//! One question to a member.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::{net::TcpSocket, time::timeout};

use crate::model::MonitorKind;

/// What came of a probe.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The member answers.
    Answers,
    /// It does not.
    Fails(Failure),
    /// It was not asked, for a reason of our own: that says nothing about it.
    NotAsked(io::Error),
}

/// How a member failed. Its text is for operators.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing came in time.
    Timeout(Duration),
    /// Something else came, or nothing could be sent.
    Io(io::Error),
}

/// Asks once. Takes no longer than `patience`.
pub(super) async fn probe(kind: MonitorKind, address: SocketAddr, patience: Duration) -> Outcome {
    let asked = match kind {
        MonitorKind::Tcp => timeout(patience, connect(address)).await,
    };
    match asked {
        Ok(Ok(())) => Outcome::Answers,
        Ok(Err(error)) if is_our_own(&error) => Outcome::NotAsked(error),
        Ok(Err(error)) => Outcome::Fails(Failure::Io(error)),
        Err(_) => Outcome::Fails(Failure::Timeout(patience)),
    }
}

/// Opens a connection and resets it, so that neither side keeps anything of it.
async fn connect(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_zero_linger()?;
    socket.connect(address).await.map(drop)
}

/// Whether this host lacks something: descriptors, memory, local ports.
fn is_our_own(error: &io::Error) -> bool {
    let ours = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EAGAIN];
    error.raw_os_error().is_some_and(|errno| ours.contains(&errno))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(patience) => write!(f, "no answer within {} s", patience.as_secs_f64()),
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => f.write_str("connection refused"),
                io::ErrorKind::ConnectionReset => f.write_str("connection reset"),
                io::ErrorKind::HostUnreachable => f.write_str("no route to host"),
                io::ErrorKind::NetworkUnreachable => f.write_str("network unreachable"),
                io::ErrorKind::TimedOut => f.write_str("no answer, connection timed out"),
                io::ErrorKind::PermissionDenied => f.write_str("this host's firewall or routes forbid it"),
                _ => write!(f, "{error}"),
            },
        }
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
pub(super) mod tests;
