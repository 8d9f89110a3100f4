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
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let identifier = [high, low];
    let message = request(v4, identifier, sequence, payload);
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
        let heard = &buffer[..length];
        if reply(v4, identifier, heard) == Some(payload) && heard.ends_with(&message[6..]) {
            return if v4 && checksum(&heard[header_length(heard)..]) != 0 {
                Err(io::Error::new(io::ErrorKind::InvalidData, "an echo reply with a wrong checksum"))
            } else {
                Ok(start.elapsed())
            };
        }
    }
}

/// The message of an echo request.
pub(super) fn request(v4: bool, identifier: [u8; 2], sequence: u16, payload: &[u8]) -> Vec<u8> {
    let sequence = sequence.to_be_bytes();
    let kind = if v4 { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0, identifier[0], identifier[1], sequence[0], sequence[1]];
    message.extend_from_slice(payload);
    if v4 {
        // The kernel fills in ICMPv6's itself.
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// The payload of an echo reply with that identifier, as a raw socket gives
/// it; `None` for anything else.
pub(super) fn reply(v4: bool, identifier: [u8; 2], heard: &[u8]) -> Option<&[u8]> {
    let skip = if v4 { header_length(heard) } else { 0 };
    let message = heard.get(skip..)?;
    let (header, payload) = message.split_at_checked(8)?;
    let kind = if v4 { 0 } else { 129 };
    (header[0] == kind && header[4..6] == identifier).then_some(payload)
}

/// An IPv4 raw socket gives the IP header too.
fn header_length(datagram: &[u8]) -> usize {
    datagram.first().map_or(0, |first| usize::from(first & 0xf) * 4)
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
    fn a_reply_is_told_from_a_request_and_from_another_ones() {
        let request = request(false, [1, 2], 3, b"payload");
        assert_eq!(reply(false, [1, 2], &request), None);
        let mut answer = request;
        answer[0] = 129;
        assert_eq!(reply(false, [1, 2], &answer), Some(&b"payload"[..]));
        assert_eq!(reply(false, [1, 3], &answer), None);
        assert_eq!(reply(true, [1, 2], &[0x4f]), None);
    }

    #[test]
    fn a_message_with_its_checksum_in_it_sums_to_zero() {
        let mut message = vec![8, 0, 0, 0, 1, 2, 0, 3, 0xff];
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        assert_eq!(checksum(&message), 0);
    }
}
