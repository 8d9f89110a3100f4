//! TCP with the whole three-way handshake, for members whose server must accept; the
//! half-open one is made of raw packets.

use std::{io, net::SocketAddr};

use super::connection;
use crate::outcome::{Answer, Failure, Outcome};

/// Connects, and hangs up with a reset.
pub(super) async fn ask(to: SocketAddr) -> Outcome {
    match connect(to).await {
        Ok(answer) => answer,
        Err(error) => Failure::of_io(&error),
    }
}

async fn connect(to: SocketAddr) -> io::Result<Outcome> {
    let stream = connection::open(to)?;
    connection::established(&stream).await?;
    // Where nobody listens on a port of this very host that is among those the kernel
    // gives to clients, it may give us that one, and we meet ourselves (RFC 9293 §3.5,
    // simultaneous open).
    if stream.local_addr()? == to {
        return Ok(Outcome::Fails(Failure::Kernel(libc::ECONNREFUSED)));
    }
    Ok(Outcome::Answers(Answer::Accepts))
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
