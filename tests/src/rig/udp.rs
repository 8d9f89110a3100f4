//! A UDP server that says who it is, and a client that checks it.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// How long an answer may take.
pub const LIMIT: Duration = Duration::from_millis(500);

/// Answers every datagram with `name`, a space and the datagram, for ever. One
/// socket for each address, so that answers come from the address asked.
///
/// # Errors
/// When an address cannot be bound.
pub fn serve(name: &str, addresses: &[SocketAddr]) -> Result<()> {
    let mut sockets = Vec::new();
    for address in addresses {
        sockets.push(UdpSocket::bind(address).with_context(|| format!("bind {address}"))?);
    }
    thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(move || answer(name, socket));
        }
    });
    Ok(())
}

fn answer(name: &str, socket: &UdpSocket) {
    let mut buffer = vec![0u8; 65536];
    let prefix = format!("{name} ").into_bytes();
    let mut reply = Vec::new();
    loop {
        // Errors here are those of earlier answers (a client that has gone): the next datagram is not to blame.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        reply.clear();
        reply.extend_from_slice(&prefix);
        reply.extend_from_slice(&buffer[..length]);
        let _ = socket.send_to(&reply, client);
    }
}

/// A client port that this process has not asked from for tens of thousands of
/// datagrams. UDP has no end: a port that the kernel's chance gives out twice
/// would be the same flow, with the member it had.
#[must_use]
pub fn fresh_port() -> u16 {
    const FIRST: u32 = 24_000;
    const PORTS: u32 = 40_000;
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(7919) % PORTS));
    let next = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
    u16::try_from(FIRST + next).unwrap_or(0)
}

/// Sends a datagram from a port of its own and waits for the answer; returns
/// who gave it.
///
/// # Errors
/// As the sockets say, and [`io::ErrorKind::InvalidData`] for an answer to
/// something else.
pub fn ask(target: SocketAddr, source_port: u16, payload: &[u8]) -> io::Result<String> {
    let any: IpAddr = if target.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, source_port))?;
    // Connected: an answer from another address is not heard.
    socket.connect(target)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send(payload)?;
    let mut buffer = vec![0u8; payload.len() + 64];
    let length = socket.recv(&mut buffer)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "an answer to something else");
    let answer = &buffer[..length];
    let space = answer.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
    if &answer[space + 1..] != payload {
        return Err(wrong());
    }
    String::from_utf8(answer[..space].to_vec()).map_err(|_| wrong())
}
