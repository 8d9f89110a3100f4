//! Echo requests over raw sockets: no `ping` has to be installed.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Sends an echo request and waits for its reply; returns the time between.
///
/// # Errors
/// As the sockets say; no reply is [`io::ErrorKind::TimedOut`].
pub fn ping(target: IpAddr, sequence: u16, payload: &[u8], limit: Duration) -> io::Result<Duration> {
    let v4 = target.is_ipv4();
    let (domain, protocol) = if v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    let identifier = std::process::id().to_be_bytes();
    let sequence = sequence.to_be_bytes();
    let (request, reply) = if v4 { (8, 0) } else { (128, 129) };
    let mut message = vec![request, 0, 0, 0, identifier[2], identifier[3], sequence[0], sequence[1]];
    message.extend_from_slice(payload);
    if v4 {
        // The kernel fills in ICMPv6's itself.
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    let start = Instant::now();
    socket.send_to(&message, &SocketAddr::new(target, 0).into())?;
    let mut buffer = vec![0u8; 65536];
    loop {
        let left = limit.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
        let left = left.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no echo reply"))?;
        socket.set_read_timeout(Some(left))?;
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        // An IPv4 raw socket gives the IP header too.
        let skip = if v4 { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
        let Some(heard) = buffer.get(skip..length) else { continue };
        if heard.len() == message.len() && heard[0] == reply && heard[4..] == message[4..] {
            return if v4 && checksum(heard) != 0 {
                Err(io::Error::new(io::ErrorKind::InvalidData, "an echo reply with a wrong checksum"))
            } else {
                Ok(start.elapsed())
            };
        }
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_in_it_sums_to_zero() {
        let mut message = vec![8, 0, 0, 0, 1, 2, 0, 3, 0xff];
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        assert_eq!(checksum(&message), 0);
    }
}
